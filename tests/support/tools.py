"""Tools that only `dev-full` installs: where one is missing, its tests say so, and in CI they fail."""

from __future__ import annotations

import importlib.util
import os

import pytest

MISSING = "tool missing: "


def demand(module: str) -> None:
    """Skip the test that calls this where the tool's module is not installed; in CI (CI=true) fail it."""
    if importlib.util.find_spec(module) is not None:
        return
    message = f'{MISSING}{module}; pip install -e ".[dev,dev-full]"'
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
