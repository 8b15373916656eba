"""Shared fixtures. `pytest --backend cupy` runs the contract on a real GPU; without it a strict stand-in is used."""

from __future__ import annotations

import os
import sys

# Before NumPy is loaded: the suite runs in several processes, whose threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support import strict_cupy
from support.tools import MISSING, without_engine

from layerforge.arrays import cuda_packages
from layerforge.arrays.backend import Backend, get_backend
from layerforge.schema.registry import LAYERS

# How long an example takes to draw or to run says how busy the machine is, and nothing of what is tested.
settings.register_profile("whatever the load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whatever the load")


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "the second backend of the contract"
    parser.addoption("--backend", choices=("strict", "cupy"), default="strict", help=help)


BYTECODE = Path(__file__).parents[1] / ".pytest_cache" / "bytecode"


def pytest_configure() -> None:
    """Let all that is started from here find the package compiled, the processes of xdist the tests, too.

    Hundreds of tests start Python. Where the environment wants no bytecode beside the sources it is stored elsewhere.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        sys.pycache_prefix = os.environ.setdefault("PYTHONPYCACHEPREFIX", str(BYTECODE))
        sys.dont_write_bytecode = False


# Tests of the engine itself. The extra `dev` installs it wherever it has a wheel: there it must not be missing.
ENGINE_TESTS = (
    "test_activation_accuracy.py",
    "test_memory_layout.py",
    "test_concurrency.py",
    "test_engine_bfloat16.py",
    "test_engine_fuzz.py",
    "test_engine_nets.py",
    "test_engine_not_finite.py",
    "test_engine_steps.py",
    "test_engines.py",
    "test_engines_accuracy.py",
    "test_engines_long_sums.py",
    "test_updates_and_threads.py",
    "test_engines_recurrent.py",
    "test_recurrent_bfloat16.py",
    "test_netfuzz.py",
    "test_capture.py",
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path.name in ENGINE_TESTS and without_engine() else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the real CuPy belong to `--backend cupy`; elsewhere they are not part of the suite."""
    if config.getoption("--backend") != "cupy":
        items[:] = [item for item in items if item.get_closest_marker("cupy") is None]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which tests were skipped, or not collected, for want of a tool."""
    if why := without_engine():
        terminalreporter.write_line(f"{', '.join(ENGINE_TESTS)}: not collected: {MISSING}{why}")
    for report in terminalreporter.stats.get("skipped", []):
        *_, reason = report.longrepr if isinstance(report.longrepr, tuple) else (str(report.longrepr),)
        if MISSING in reason:
            terminalreporter.write_line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def device_backend(request: pytest.FixtureRequest) -> Backend:
    """The backend with a device of its own: real CuPy when asked for, otherwise the strict stand-in."""
    if request.config.getoption("--backend") == "cupy":
        return get_backend("cupy")
    from support.strict_backend import STRICT

    return STRICT


@pytest.fixture
def registry_as_before() -> Iterator[None]:
    """What a test registers is forgotten."""
    before = set(LAYERS.names())
    yield
    for name in set(LAYERS.names()) - before:
        LAYERS.remove(name)


@pytest.fixture
def stand_in_as_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strict stand-in is what is imported as `cupy`, and CuPy is what the packages say."""
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    monkeypatch.setattr(cuda_packages, "installed", lambda: {"cupy-cuda12x": "14.2.0"})
