"""The engine of a device: kernels that do in one launch what a text in the layers and in `arrays` does in several.

A kernel stands in for a function that is marked `@formula` (arrays/formula.py), under its name, and for nothing else:
the layer files, their parameters and what they save are the same. Kernels are CuPy's ElementwiseKernel and
ReductionKernel; their texts are in the language of the device, and are compiled by CuPy at their first use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any


def missing() -> str | None:
    """Why the engine cannot be used here; None: where there is a device, CuPy has all that it takes."""
    return None


def on_device() -> bool:
    """It computes on a device's arrays."""
    return True


def describe() -> str:
    """Which library was loaded."""
    return "CuPy's kernels"


def layers() -> Mapping[str, Any]:
    """None: kernels stand in for functions."""
    return {}


@functools.cache
def kernels() -> Mapping[str, Callable[..., Any]]:
    """The kernels by the name of the function that each stands in for."""
    from . import table

    return table.KERNELS


def updates() -> Mapping[str, Callable[..., Any]]:
    """The solver's rules that it knows, by type: made of a rule and the flat arrays, called on slices of them."""
    from .update import UPDATES

    return UPDATES
