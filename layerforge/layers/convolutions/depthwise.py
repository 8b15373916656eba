"""Depthwise convolution: the products of correlation.py where every channel is a group of its own.

A channel's output is a sum over the elements k of its kernel, each a value times a shifted copy of the channel:

    correlate  y_m(p) = Σₖ W_mk x_c(p · stride + k)      spread  dx_c(p · stride + k) += W_mk dy_m(p)
    weigh      dW_mk = Σₚ dy_m(p) x_c(p · stride + k)

for the outputs m of channel c (padding and dilation as everywhere). The first two multiply a channel's weights by the
matrix of its shifted copies, which are 0 where there is nothing to see: it has a row for each k and a column for each
p; for `spread` a row for each m and k, and a column for each place in dx. The third is an inner product for each m and
k. Some channels are finished before the next are begun, so that all copies of a channel are read from the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ...arrays.functional import product_over_rows, sum_of
from ...arrays.sliding_windows import Windows

AT_ONCE = 2**20  # bytes of a block of channels; 2**17 to 2**20 do alike, the whole at once takes twice the time
COPIES_AT_MOST = 2**24  # bytes of the copies of one channel: of larger ones, some samples after the other

Shift = tuple[tuple[slice, ...], tuple[slice, ...]]  # where a copy has what is at those places of the channel


def correlate(xp: Any, kernels: Any, x: Any, windows: Windows, bias: Any) -> Any:
    """(O, *P, N) from x (C, *S, N); outputs of one channel are neighbours."""
    y = xp.empty((x.shape[0], kernels.shape[0] // x.shape[0], *windows.counts, x.shape[-1]), dtype=x.dtype)
    weight = kernels.reshape(*y.shape[:2], -1)
    shifts = [(tap.outputs, tap.inputs) for tap in windows.taps()]
    for block, samples, copies in shifted(xp, x[:, None], shifts, windows.counts):
        part = y[block, ..., samples]
        part[...] = (weight[block] @ copies).reshape(part.shape)
    if bias is not None:
        y += bias.reshape(*y.shape[:2], *(1,) * (y.ndim - 2))
    return y.reshape(kernels.shape[0], *y.shape[2:])


def spread(xp: Any, kernels: Any, y: Any, windows: Windows, channels: int) -> Any:
    """The sum (C, *S, N) of every element of y (O, *P, N), weighted, at the places that its window sees."""
    y = by_channel(y, channels)
    x = xp.empty((channels, *windows.size, y.shape[-1]), dtype=y.dtype)
    weight = kernels.reshape(channels, 1, -1)
    shifts = [(tap.inputs, tap.outputs) for tap in windows.taps()]
    for block, samples, copies in shifted(xp, y, shifts, windows.size):
        part = x[block, ..., samples]
        part[...] = (weight[block] @ copies).reshape(part.shape)
    return x


def weigh(xp: Any, y: Any, x: Any, windows: Windows, kernels: Any) -> Any:
    """The products of y (O, *P, N) with what its windows see of x (C, *S, N), summed: in the shape of the kernels."""
    y, others = by_channel(y, x.shape[0]), tuple(range(1, x.ndim))
    total = xp.empty((*y.shape[:2], windows.elements), dtype=x.dtype)
    for block, j in blocks(y):
        for tap in windows.taps():
            seen, given = x[block][:, *tap.inputs], y[block, j][:, *tap.outputs]
            lines = product_over_rows(as_lines(given), as_lines(seen))
            total[block, j, tap.number] = sum_of(lines, others)
    return total.reshape(kernels.shape)


def shifted(xp: Any, x: Any, shifts: Sequence[Shift], size: Sequence[int]) -> Iterator[tuple[slice, slice, Any]]:
    """Copies (c, M K, positions N) of x (C, M, *Q, N), some channels after the other: which channels, samples; copies.

    Each of the K shifts makes a copy of spatial shape `size`, with what is in x at its second places at its first ones
    and 0 elsewhere. Copies are there until the next are asked for.
    """
    rows, samples = x.shape[1] * len(shifts), x.shape[-1]
    sample = max(1, rows * math.prod(size) * x.itemsize)  # bytes of the copies of one channel
    few = min(samples, max(1, COPIES_AT_MOST // sample))
    step = min(x.shape[0], max(1, AT_ONCE // max(1, few * sample)))
    for first in range(0, samples, max(1, few)):
        of = slice(first, min(first + few, samples))
        copies = xp.zeros((step, x.shape[1], len(shifts), *size, of.stop - of.start), dtype=x.dtype)
        for start in range(0, x.shape[0], step):
            part = x[start : start + step, ..., of]
            for k, (to, source) in enumerate(shifts):  # zeros stay where they are from block to block
                copies[: len(part), :, k][:, :, *to] = part[:, :, *source]
            yield slice(start, start + len(part)), of, copies[: len(part)].reshape(len(part), rows, -1)


def by_channel(y: Any, channels: int) -> Any:
    """(O, *P, N) as (C, O/C, *P, N)."""
    return y.reshape(channels, -1, *y.shape[1:])


def as_lines(x: Any) -> Any:
    """(c, *P, N) as columns (c, ..., L, 1): what lies together, the last axis of space and the samples, as one."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1], 1)


def blocks(y: Any) -> Iterator[tuple[slice, int]]:
    """Parts of y (C, O/C, *P, N) within AT_ONCE: some channels, and one of the outputs that each has."""
    channel = math.prod(y.shape[2:]) * y.itemsize
    step = max(1, AT_ONCE // max(1, channel))
    for start in range(0, y.shape[0], step):
        for j in range(y.shape[1]):
            yield slice(start, start + step), j
