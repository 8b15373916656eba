"""Formulas: pure functions of arrays, which a device may compute in one launch where their text would be several.

    @formula
    def sigmoid(xp, x, out=None): ...      # the formula, in the words of NumPy

On NumPy, and wherever no kernel is known, that text runs. On a device the kernel of the same name in engines/cuda
stands in: the same function of the same arguments, up to rounding. `as_text()` has the text itself run there, too.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np

from ..schema import registry

Function = TypeVar("Function", bound=Callable[..., Any])

DEVICE = "cuda"  # the engine that has the kernels

FORMULAS: dict[str, Callable[..., Any]] = {}  # by name: the text


class _Present(threading.local):
    as_text = False
    used: set[str] | None = None


_present = _Present()


def formula(function: Function) -> Function:
    """Decorate a function whose first argument is the namespace, or an array, and that has a kernel on a device.

    A kernel is called with the namespace and then with what the function is called with, but for a namespace. It gives
    NotImplemented for arguments that are not for it: the text does those.
    """
    name = function.__name__
    FORMULAS[name] = function

    @functools.wraps(function)
    def computed(first: Any, *more: Any, **options: Any) -> Any:
        if first is np or type(first) is np.ndarray or _present.as_text:
            return function(first, *more, **options)
        xp = namespace_of(first)
        kernel = None if xp is None else registry.engine(DEVICE).kernels().get(name)
        if kernel is None:
            return function(first, *more, **options)
        result = kernel(xp, *more, **options) if xp is first else kernel(xp, first, *more, **options)
        if result is NotImplemented:
            return function(first, *more, **options)
        if _present.used is not None:
            _present.used.add(name)
        return result

    return cast(Function, computed)


def namespace_of(first: Any) -> Any:
    """The namespace of a device that can run kernels: the argument itself, or that of an array; None for all else."""
    xp = first if hasattr(first, "ndarray") else sys.modules.get(type(first).__module__)
    return xp if xp is not np and hasattr(xp, "ElementwiseKernel") else None


@contextmanager
def watched() -> Iterator[set[str]]:
    """Collect the names of the functions that kernels compute in this thread, while it lasts."""
    before, _present.used = _present.used, set()
    try:
        yield _present.used
    finally:
        _present.used = before


@contextmanager
def as_text() -> Iterator[None]:
    """In this thread, while it lasts, no kernel stands in for a text."""
    before, _present.as_text = _present.as_text, True
    try:
        yield
    finally:
        _present.as_text = before
