"""A test whose tool is missing is skipped and named in pytest's summary; in CI it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
USERS = (  # beside those of tests/interop/onnx
    "cli/test_cli.py::test_options_may_stand_before_the_format",
    "cli/test_other_backend.py::test_an_export_needs_no_gpu",
    "scripts/test_fuzz.py::test_a_number_always_stands_for_the_same_file",
)
WITHOUT = """
from support.tools import demand, demand_that

def test_with_a_tool_that_is_there():
    demand("pytest")
    demand_that(True, "nothing")

def test_with_a_module_that_is_not():
    demand("no_such_tool")
    raise AssertionError("went on without")

def test_with_a_right_that_is_not():
    demand_that(False, "the right to do it")
    raise AssertionError("went on without")
"""


def pytest_on(folder: Path, ci: str, *options: str) -> subprocess.CompletedProcess[str]:
    """pytest with the suite's settings on the tests of WITHOUT."""
    (folder / "test_it.py").write_text(WITHOUT)
    words = ["-p", "conftest", "-p", "no:cacheprovider", "-c", str(TESTS.parent / "pyproject.toml"), *options]
    variables = {**os.environ, "CI": ci, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "pytest", *words, str(folder / "test_it.py")]
    return subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "several"])
def test_it_is_skipped_and_named(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = pytest_on(tmp_path, "", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_with_a_module_that_is_not: tool missing: no_such_tool; pip install -e" in done.stdout
    assert "test_with_a_right_that_is_not: tool missing: the right to do it" in done.stdout
    assert "went on without" not in done.stdout


def test_in_ci_it_fails(tmp_path: Path) -> None:
    done = pytest_on(tmp_path, "true")
    assert done.returncode == 1
    assert "Failed: tool missing: no_such_tool; pip install -e" in done.stdout
    assert "Failed: tool missing: the right to do it" in done.stdout
    assert "went on without" not in done.stdout.replace(WITHOUT, "").partition("short test summary")[2]


def test_with_the_extra_dev_alone_no_test_of_onnx_fails() -> None:
    """Its modules are imported, and what needs a tool is skipped: elsewhere in the suite all tools are there."""
    options = ["-p", "support.only_dev", "-p", "no:cacheprovider", "-p", "no:xdist"]
    files = [TESTS / "interop/onnx", TESTS / "interop/test_tables.py", *(TESTS / one for one in USERS)]
    command = [sys.executable, "-m", "pytest", *options, *map(str, files)]
    variables = {**os.environ, "CI": "", "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, env=variables, cwd=TESTS.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for tool in ("onnx", "onnxruntime"):
        assert f"tool missing: {tool}; pip install -e" in done.stdout
