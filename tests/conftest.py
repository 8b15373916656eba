"""Shared fixtures. `pytest --backend cupy` runs the contract on a real GPU; without it a strict stand-in is used."""

from __future__ import annotations

import pytest

from layerforge.backend import NUMPY, Backend, get_backend


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "the second backend of the contract"
    parser.addoption("--backend", choices=("strict", "cupy"), default="strict", help=help)


@pytest.fixture(scope="session")
def numpy_backend() -> Backend:
    return NUMPY


@pytest.fixture(scope="session")
def device_backend(request: pytest.FixtureRequest) -> Backend:
    """The backend with a device of its own: real CuPy when asked for, otherwise the strict stand-in."""
    if request.config.getoption("--backend") == "cupy":
        return get_backend("cupy")
    import strict_cupy

    return Backend("strict", strict_cupy)
