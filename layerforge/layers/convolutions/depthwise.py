"""Depthwise convolution: the products of correlation.py where every channel is a group of its own.

A channel's output is a sum over the elements k of its kernel, each a value times a shifted copy of the channel:

    correlate  y_m(p) = Σₖ W_mk x_c(p · stride + k)      spread  dx_c(p · stride + k) += W_mk dy_m(p)
    weigh      dW_mk = Σₚ dy_m(p) x_c(p · stride + k)

for the outputs m of channel c (padding and dilation as everywhere). No window is copied; some channels are finished
before the next are begun, so that all shifts of a channel are read from the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...arrays.functional import sum_of
from ...arrays.sliding_windows import Windows

AT_ONCE = 2**20  # bytes of a block of channels; 2**17 to 2**20 do alike, the whole at once takes twice the time


def correlate(xp: Any, kernels: Any, x: Any, windows: Windows, bias: Any) -> Any:
    """(O, *P, N) from x (C, *S, N); outputs of one channel are neighbours."""
    y = xp.zeros((x.shape[0], kernels.shape[0] // x.shape[0], *windows.counts, x.shape[-1]), dtype=x.dtype)
    weight = by_element(kernels, y)
    for block, j in blocks(y):
        for tap in windows.taps():
            y[block, j][:, *tap.outputs] += weight[block, j, tap.number] * x[block][:, *tap.inputs]
    if bias is not None:
        y += bias.reshape(y.shape[0], y.shape[1], *(1,) * (y.ndim - 2))
    return y.reshape(kernels.shape[0], *y.shape[2:])


def spread(xp: Any, kernels: Any, y: Any, windows: Windows, x: Any) -> Any:
    """The zeros x (C, *S, N) with every element of y (O, *P, N) added, weighted, to what its window saw."""
    y = by_channel(y, x)
    weight = by_element(kernels, y)
    for block, j in blocks(y):
        for tap in windows.taps():
            x[block][:, *tap.inputs] += weight[block, j, tap.number] * y[block, j][:, *tap.outputs]
    return x


def weigh(xp: Any, y: Any, x: Any, windows: Windows, kernels: Any) -> Any:
    """The products of y (O, *P, N) with what its windows see of x (C, *S, N), summed: in the shape of the kernels."""
    y, others = by_channel(y, x), tuple(range(1, x.ndim))
    total = xp.empty((*y.shape[:2], windows.elements), dtype=x.dtype)
    for block, j in blocks(y):
        for tap in windows.taps():
            seen = x[block][:, *tap.inputs]
            total[block, j, tap.number] = sum_of(y[block, j][:, *tap.outputs] * seen, others)
    return total.reshape(kernels.shape)


def by_channel(y: Any, x: Any) -> Any:
    """(O, *P, N) as (C, O/C, *P, N)."""
    return y.reshape(x.shape[0], -1, *y.shape[1:])


def by_element(kernels: Any, y: Any) -> Any:
    """(O, 1, *K) as (C, O/C, K, 1, ..., 1): weight[block, j, k] multiplies a block of channels (c, *P, N)."""
    return kernels.reshape(y.shape[0], y.shape[1], -1, *(1,) * (y.ndim - 2))


def blocks(y: Any) -> Iterator[tuple[slice, int]]:
    """Parts of y (C, O/C, *P, N) within AT_ONCE: some channels, and one of the outputs that each has."""
    channel = math.prod(y.shape[2:]) * y.itemsize
    step = max(1, AT_ONCE // max(1, channel))
    for start in range(0, y.shape[0], step):
        for j in range(y.shape[1]):
            yield slice(start, start + step), j
