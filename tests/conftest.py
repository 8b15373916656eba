"""Shared fixtures. `pytest --backend cupy` runs the contract on a real GPU; without it a strict stand-in is used."""

from __future__ import annotations

import pytest

from layerforge.backend import Backend, get_backend


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "the second backend of the contract"
    parser.addoption("--backend", choices=("strict", "cupy"), default="strict", help=help)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the real CuPy belong to `--backend cupy`; elsewhere they are not part of the suite."""
    if config.getoption("--backend") != "cupy":
        items[:] = [item for item in items if item.get_closest_marker("cupy") is None]


@pytest.fixture(scope="session")
def device_backend(request: pytest.FixtureRequest) -> Backend:
    """The backend with a device of its own: real CuPy when asked for, otherwise the strict stand-in."""
    if request.config.getoption("--backend") == "cupy":
        return get_backend("cupy")
    import strict_cupy

    return Backend("strict", strict_cupy)
