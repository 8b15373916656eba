"""Formulas in blocks: several passes over large arrays, done part by part, so that the parts stay in the cache.

A pass over a large array waits for memory, and what it makes on the way is memory that the system has to find and to
clear. Over a few thousand elements at a time it is neither: the numbers are those of the whole, in less time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

ELEMENTS = 2**15  # of a block: what a formula makes on the way stays in a cache of 1 MB; 2**14 to 2**16 do alike


def in_blocks(function: Function) -> Function:
    """Decorate an element-wise formula f(xp, ..., out=None) that NumPy computes in several passes.

    Its arrays have one shape and are given by position; `out` may be one of them. A device computes it as a whole.
    """

    @functools.wraps(function)
    def computed(xp: Any, *args: Any, out: Any = None) -> Any:
        arrays = [a for a in args if isinstance(a, np.ndarray)]
        if xp is not np or not arrays or arrays[0].size <= ELEMENTS:
            return function(xp, *args, out=out)
        out = np.empty_like(arrays[0]) if out is None else out
        flat = as_they_lie([*arrays, out])
        if flat is None:
            return function(xp, *args, out=out)
        *vectors, result = flat
        for block in blocks(result.size):
            parts = iter(vectors)
            function(xp, *(next(parts)[block] if isinstance(a, np.ndarray) else a for a in args), out=result[block])
        return out

    return cast(Function, computed)


def as_they_lie(arrays: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """Arrays of one shape as vectors, views in their common order in memory; None where there is no such order."""
    strides = arrays[0].strides
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    views = [a.transpose(order) for a in arrays if a.shape == arrays[0].shape]
    if len(views) < len(arrays) or not all(view.flags.c_contiguous for view in views):
        return None
    return [view.reshape(-1) for view in views]


def in_order_of(xp: Any, array: Any, model: Any) -> Any:
    """An array of the shape of `model` with the order of axes in memory that this has: itself, or on NumPy a copy.

    NumPy's arithmetic goes many times more slowly through arrays of different orders than a copy does.
    """
    if xp is not np or not isinstance(model, np.ndarray) or array.strides == model.strides or array.ndim < 2:
        return array
    out = np.empty_like(model, dtype=array.dtype)
    out[...] = array
    return out


def blocks(size: int) -> Iterator[slice]:
    """The blocks of so many elements."""
    return (slice(start, start + ELEMENTS) for start in range(0, size, ELEMENTS))


class Reused:
    """Memory for arrays that are needed one after the other: each takes the place of the one before it.

    What the system gives for a new array it has to clear first; for small ones that is most of their time.
    """

    def __init__(self, xp: Any, dtype: Any) -> None:
        self.xp = xp
        self.memory = xp.empty(0, dtype=dtype)

    def array(self, shape: Sequence[int]) -> Any:
        """An array of this shape, whose content is undefined."""
        size = math.prod(shape)
        if size > self.memory.size:
            self.memory = self.xp.empty(size, dtype=self.memory.dtype)
        return self.memory[:size].reshape(shape)
