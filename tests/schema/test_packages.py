"""The packages that are asked for, from a clone's pyproject.toml and from metadata, and which versions will do."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from layerforge.schema import optional, packages
from layerforge.schema.errors import BackendError, ConfigError
from layerforge.schema.packages import Wanted

REQUIRES = [
    "numpy>=2.0",
    'cupy-cuda12x[ctk]<15,>=14.0; extra == "cuda12"',
    'onednn-cpu-gomp==2023.2.0; (platform_system == "Linux" and platform_machine == "x86_64") and extra == "fast"',
    'pytest>=8; extra == "dev"',
    'layerforge[fast]; extra == "dev"',
    "PyYAML (>=6.0) ; extra == 'text'",
]
TOML = """
[project]
name = "layerforge"
dependencies = ["numpy>=2.0"]
[project.optional-dependencies]
cuda12 = ["cupy-cuda12x[ctk]>=14.0,<15"]
fast = ["onednn-cpu-gomp==2023.2.0; platform_system=='Linux' and platform_machine=='x86_64'"]
dev = ["pytest>=8", "layerforge[fast]"]
"""


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linux: None) -> None:
    monkeypatch.setattr(packages, "BESIDE", tmp_path / "none")
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    found = packages.wanted()
    assert found == [
        Wanted("numpy", ">=2.0", ""),
        Wanted("cupy-cuda12x", "<15,>=14.0", "cuda12"),
        Wanted("onednn-cpu-gomp", "==2023.2.0", "fast"),
        Wanted("pyyaml", ">=6.0", "text"),
    ]
    assert [one.module for one in found] == ["numpy", "cupy", "", "yaml"]


def test_a_clone_knows_better_than_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linux: None) -> None:
    monkeypatch.setattr(packages, "BESIDE", tmp_path / "pyproject.toml")
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=1.0"])
    (tmp_path / "pyproject.toml").write_text(TOML)
    assert [(one.name, one.versions, one.extra) for one in packages.wanted()] == [
        ("numpy", ">=2.0", ""),
        ("cupy-cuda12x", ">=14.0,<15", "cuda12"),
        ("onednn-cpu-gomp", "==2023.2.0", "fast"),
    ]
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert packages.wanted() == [Wanted("numpy", ">=1.0")]


def test_what_is_for_another_system_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(packages, "BESIDE", tmp_path / "pyproject.toml")
    (tmp_path / "pyproject.toml").write_text(TOML)
    assert "fast" not in {one.extra for one in packages.wanted()}


def test_not_installed_and_no_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "BESIDE", tmp_path / "none")
    monkeypatch.setattr(packages, "OURS", "no-such-distribution")
    assert packages.wanted() == []


def test_the_extras_of_this_project() -> None:
    extras = {one.extra for one in packages.wanted()}
    assert {"", "cuda12", "cuda13", "sparse", "onnx"} <= extras
    assert not {"dev", "dev-full"} & extras


@pytest.mark.parametrize(
    ("version", "versions", "will_do"),
    [
        ("2.4.6", ">=2.0", True),
        ("1.26.4", ">=2.0", False),
        ("14.2.0", ">=14.0,<15", True),
        ("15.0.0", ">=14.0,<15", False),
        ("15.0.0a1", ">=14.0,<15", False),
        ("4.10.0.84", ">=4.10,<4.11", True),
        ("4.11.0.86", ">=4.10,<4.11", False),
        ("2.13.0+cpu", ">=2.6", True),
        ("2023.2", "==2023.2.0", True),
        ("2.10", ">=2.9", True),
        ("1.5", "!=1.5", False),
        ("0.1", "", True),
    ],
)
def test_versions_that_will_do(version: str, versions: str, will_do: bool) -> None:
    assert packages.satisfies(version, versions) is will_do


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ImportError('libfoo.so.1: no such file')", "(libfoo.so.1: no such file)"),
        ("raise ValueError('numpy.dtype size changed')", "(ValueError: numpy.dtype size changed)"),
        (
            "try:\n    raise ImportError('libcuda is gone')\nexcept ImportError as e:\n"
            "    raise ImportError('\\n=====\\nFailed to import.\\n\\nOriginal error') from e",
            "(libcuda is gone)",
        ),
    ],
)
def test_a_broken_package_is_an_error_of_one_line(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brokenpackage.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError) as caught:
        optional.require("brokenpackage", extra="cuda12", why="backend 'cupy'", error=BackendError)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint == "pip install 'layerforge[cuda12]'"


@pytest.mark.parametrize("ask", [optional.require, optional.require_soon])
def test_a_folder_of_the_name_of_a_package_is_none(
    ask: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "missingpackage").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not optional.is_there("missingpackage")
    with pytest.raises(ConfigError, match="the format X needs the package 'missingpackage'") as caught:
        ask("missingpackage", extra="x", why="the format X")
    assert f"({tmp_path / 'missingpackage'} is only a folder of that name)" in caught.value.message


def test_what_is_there_is_not_yet_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slowpackage.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    optional.require_soon("slowpackage", extra="x", why="the format X")
