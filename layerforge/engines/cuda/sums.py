"""Sums and means: added up in float64 and rounded once, in one launch."""

from __future__ import annotations

import math
from typing import Any

from .kernel import Reduction, stands_in

SUM = Reduction("sum", "T x", "T y", "(double)x")
MEAN = Reduction("mean", "T x, float64 share", "T y", "(double)x * share")
SQUARES = Reduction("sum_of_squares", "T x", "float64 y", "(double)x * (double)x")


@stands_in
def sum_of(xp: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over some axes."""
    if x.dtype.kind != "f" or axis == ():
        return NotImplemented
    return SUM(xp, x, axis=axis, keepdims=keepdims)


@stands_in
def mean_of(xp: Any, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean over some axes."""
    if x.dtype.kind != "f" or axis == () or not x.size:
        return NotImplemented
    of = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return MEAN(xp, x, 1 / math.prod(x.shape[a] for a in of), axis=axis, keepdims=keepdims)


@stands_in
def sum_of_squares(xp: Any, flat: Any) -> Any:
    """The sum of the squares of all gradients."""
    return SQUARES(xp, flat) if flat.size else NotImplemented
