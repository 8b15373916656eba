"""The three matrix products of convolution, with any number of spatial axes. Conv2d derives them.

With X the matrix whose columns are the windows over x, and W the kernels as rows, for each group of channels:

    correlate   y = W X
    spread      dx = Wᵀ dy, each element added to the place that X had it from
    weigh       dW = dy Xᵀ

The three know nothing of forward and backward: a transposed convolution uses the same ones the other way round. x is
(C, *S, N) and y (O, *P, N): the batch is last, as windows.py has it; the kernels are (O, C/groups, *K).

With stride 1 a position of x is in as many windows as a window has elements, and they lie side by side: where y is the
gradient, with D the matrix of its windows as the positions of x see them, and W̃ the mirrored kernels,

    spread_and_weigh    dx = W̃ D,  dW̃ = x Dᵀ

Where every channel is a group of its own (a depthwise convolution), W has a single row per output channel and copying
windows costs more than multiplying them. The same three are then sums over the elements of the kernel: depthwise.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...arrays.blocks import Reused
from ...arrays.functional import product_over_rows
from ...arrays.sliding_windows import Windows, chunks, fold, unfolded
from . import depthwise


def correlate(xp: Any, kernels: Any, x: Any, windows: Windows, bias: Any = None) -> Any:
    """W X, with the bias (O,) added to every column where there is one: (O, *P, N)."""
    if is_depthwise(kernels, x.shape[0]):
        return depthwise.correlate(xp, kernels, x, windows, bias)
    groups = x.shape[0] // kernels.shape[1]
    weight = grouped(kernels, groups)
    y = xp.empty((kernels.shape[0], *windows.counts, x.shape[-1]), dtype=x.dtype)
    for places, columns in unfolded(xp, x, windows):
        part = grouped(y, groups)[:, :, places]
        group_products(xp, weight, grouped(columns, groups), out=part)
        if bias is not None:
            part += grouped(bias, groups)
    return y


def spread(xp: Any, kernels: Any, y: Any, windows: Windows, channels: int) -> Any:
    """Wᵀ y, folded onto the positions that the windows see: (C, *S, N)."""
    if is_depthwise(kernels, channels):
        return depthwise.spread(xp, kernels, y, windows, channels)
    x = xp.zeros((channels, *windows.size, y.shape[-1]), dtype=y.dtype)
    groups = channels // kernels.shape[1]
    weight, memory = grouped(kernels, groups).swapaxes(1, 2), Reused(xp, x.dtype)
    # With one output channel in a group Wᵀ y is an outer product, at which NumPy's matmul is slow.
    product = xp.multiply if weight.shape[2] == 1 else partial(group_products, xp)
    for block, places in chunks(windows, x):
        part = grouped(y, groups)[:, :, places]
        if windows.single:  # nothing to add up: the columns are x
            product(weight, part, out=grouped(x, groups)[:, :, places])
            continue
        columns = memory.array((*weight.shape[:2], places.stop - places.start))
        fold(product(weight, part, out=columns), x, windows, block)
    return x


def weigh(xp: Any, y: Any, x: Any, windows: Windows, kernels: Any) -> Any:
    """y Xᵀ in the shape of the kernels: how much each of their elements says in Σ y · (W X)."""
    if is_depthwise(kernels, x.shape[0]):
        return depthwise.weigh(xp, y, x, windows, kernels)
    groups = x.shape[0] // kernels.shape[1]
    total: Any = None
    for places, columns in unfolded(xp, x, windows):
        total = plus(total, products_with(xp, grouped(y, groups)[:, :, places], grouped(columns, groups)))
    return total.astype(kernels.dtype, copy=False).reshape(kernels.shape)


def spread_and_weigh(xp: Any, kernels: Any, y: Any, x: Any, windows: Windows) -> tuple[Any, Any]:
    """What `spread` and `weigh` give; with no more outputs than channels, from the columns of y, which serve both."""
    channels = x.shape[0]
    if is_depthwise(kernels, channels) or not windows.mirrors or windows.single or len(kernels) > channels:
        return spread(xp, kernels, y, windows, channels), weigh(xp, y, x, windows, kernels)
    groups = channels // kernels.shape[1]
    weight = grouped(mirrored(xp, kernels, groups), groups)
    dx = xp.empty_like(x)
    total: Any = None
    for places, columns in unfolded(xp, y, windows.mirror()):
        seen = grouped(columns, groups)
        group_products(xp, weight, seen, out=grouped(dx, groups)[:, :, places])
        total = plus(total, products_with(xp, grouped(x, groups)[:, :, places], seen))
    found = total.astype(kernels.dtype, copy=False).reshape(channels, len(kernels) // groups, *kernels.shape[2:])
    return dx, mirrored(xp, found, groups)


def mirrored(xp: Any, kernels: Any, groups: int) -> Any:
    """(O, C/groups, *K) as (C, O/groups, *K) with the elements of K in reverse order; and back."""
    o, c = len(kernels) // groups, kernels.shape[1]
    turned = kernels.reshape(groups, o, c, *kernels.shape[2:]).swapaxes(1, 2)
    return xp.flip(turned, tuple(range(3, turned.ndim))).reshape(groups * c, o, *kernels.shape[2:])


def plus(total: Any, part: Any) -> Any:
    """A sum of products with the next of its parts: in float64, as of very many chunks float32 would lose digits."""
    if total is None:
        return part
    total = total.astype("float64", copy=False)
    total += part
    return total


def products_with(xp: Any, y: Any, columns: Any) -> Any:
    """y Xᵀ of (groups, rows, columns), group by group; one group as matrices, which a device takes as they lie.

    NumPy's library likes the larger matrix first.
    """
    if len(y) > 1:
        return product_over_rows(y.swapaxes(1, 2), columns.swapaxes(1, 2))
    y, columns = y[0].T, columns[0].T
    if xp is np and columns.shape[1] > y.shape[1]:
        return product_over_rows(columns, y).T
    return product_over_rows(y, columns)


def group_products(xp: Any, a: Any, b: Any, out: Any = None) -> Any:
    """a @ b of (groups, rows, columns), group by group; one group as matrices, which a device takes as they lie."""
    if len(a) > 1:
        return xp.matmul(a, b, out=out)
    return xp.matmul(a[0], b[0], out=None if out is None else out[0])[None]


def grouped(array: Any, groups: int) -> Any:
    """An array with channels first as (groups, channels of a group, all the rest)."""
    return array.reshape(groups, array.shape[0] // groups, -1)


def is_depthwise(kernels: Any, channels: int) -> bool:
    """Whether every one of x's channels is a group of its own, and there are several."""
    return kernels.shape[1] == 1 and channels > 1
