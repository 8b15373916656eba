"""What only some machines have: where it is missing, its tests are skipped and named at the end; in CI they fail.

No test skips in another way for want of a tool (tests/test_architecture.py).
"""

from __future__ import annotations

import os
import platform

import pytest

from layerforge.plan.engines import FAST
from layerforge.schema.optional import is_there
from layerforge.schema.registry import engine

from .strict_kernels import COMPILER

MISSING = "tool missing: "
TOOLS = 'pip install -e ".[dev,dev-full]"'
HAS_WHEEL = platform.system() == "Linux" and platform.machine() == "x86_64"  # of the engine, which `dev` installs there


def in_ci() -> bool:
    return os.environ.get("CI") == "true"


def demand(module: str) -> None:
    """Go on where a tool's module is installed."""
    demand_that(is_there(module), f"{module}; {TOOLS}")


def demand_that(is_there: bool, what: str) -> None:
    """Go on where something is there; otherwise skip the test that calls this, in CI (CI=true) fail it."""
    if is_there:
        return
    if in_ci():
        pytest.fail(MISSING + what)
    pytest.skip(MISSING + what)


def without_engine() -> str | None:
    """Why tests of the engine are no part of the suite here; None where they are, and so fail where it is missing."""
    return None if HAS_WHEEL or in_ci() else engine(FAST).missing()


def demand_engine() -> None:
    """Go on where the fast engine is, or has to be."""
    why = without_engine()
    demand_that(why is None, f"{FAST}: {why}")


def go_on_with_amx() -> None:
    """Go on where the processor multiplies tiles; nobody can install one, so that in CI, too, others are told of it."""
    demand_engine()
    from layerforge.engines.onednn import library

    if not library.has_amx():
        pytest.skip(f"{MISSING}a processor with AMX; without it LSTM, GRU and RNN stay float32 in bf16-mixed")


def demand_compiler() -> None:
    """Go on where the stand-in for CuPy can compile kernels."""
    demand_that(COMPILER is not None, "a C++ compiler; apt install g++")
