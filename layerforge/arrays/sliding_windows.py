"""Windows that slide over spatial axes: the one home of the geometry of convolution and pooling.

Along each axis, element k of window o lies at the input position

    i = o · stride + k · dilation - padding

and in the padding where i is not one of 0 ... size - 1. Nothing here makes a padded copy: a `Tap` (one element of the
kernel) lists, as slices, the windows whose element lies in the input and the positions that it has there, and so turns
every sliding-window operation into a short loop over the kernel with whole-array steps. Any number of axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..schema.errors import LayerError
from .blocks import ELEMENTS, Reused
from .formula import formula
from .functional import MANY, expect_role, shape_mismatch
from .spec import Spec

COLUMNS_AT_MOST = 2**21  # bytes of columns made at a time, for use while they are in the cache
PLANES_AT_MOST = 2**19  # and bytes of planes that pooling goes over several times
ON_A_DEVICE = 2**28  # where each piece costs launches, and no cache is as large as a piece worth launching for

Block = tuple[range, ...]  # some of the windows: ranges along the first axes, and all along those not named


@dataclass(frozen=True)
class Axis:
    """The windows along one axis; `at_most` so many of them, where that is given."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int = 1
    ceil_mode: bool = False
    at_most: int | None = None

    @property
    def extent(self) -> int:
        """Positions from the first element of a window to its last, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def count(self) -> int:
        """How many windows there are; below 1 where none fits.

        floor((size + 2 padding - extent) / stride) + 1. With ceil_mode the quotient is rounded up, which lets a last
        window hang over the end, but only if it starts in the input or in the padding before it (torch's rule).
        """
        room = self.size + 2 * self.padding - self.extent
        count = room // self.stride + 1
        if self.ceil_mode and room % self.stride and count * self.stride < self.size + self.padding:
            count += 1
        return count if self.at_most is None else min(count, self.at_most)

    def tap(self, k: int, first: int, stop: int) -> tuple[slice, slice]:
        """Of the windows first ... stop - 1, counted from 0, those with element k in the input; and its positions."""
        shift = k * self.dilation - self.padding
        begin = max(first, -(shift // self.stride))  # the least o with o · stride + shift >= 0
        end = max(begin, min(stop, (self.size - 1 - shift) // self.stride + 1))
        start = begin * self.stride + shift
        return slice(begin - first, end - first), slice(start, start + (end - begin) * self.stride, self.stride)

    def covered(self, o: int, *, with_padding: bool) -> int:
        """How many positions of window o lie in the input; or in input and padding, but not behind them."""
        begin, margin = o * self.stride - self.padding, self.padding if with_padding else 0
        before = max(0, -((begin + margin) // self.dilation))  # positions in front of it all
        until = -(-(self.size + margin - begin) // self.dilation)  # and those that are not behind it
        return max(0, min(self.kernel, until) - before)

    def overhanging(self) -> Iterator[int]:
        """The windows that do not lie in the input as a whole: some at either end."""
        first = min(self.count, -(-self.padding // self.stride))
        last = (self.size + self.padding - self.extent) // self.stride + 1
        yield from range(first)
        yield from range(max(first, last), self.count)


class Tap(NamedTuple):
    """One element of the kernel: its number in row-major order, and slices (one per axis) that pair up.

    What the windows at `outputs` see through it are the input's elements at `inputs`. Those at any of
    `outside`, a range along one axis each, see the padding.
    """

    number: int
    outputs: tuple[slice, ...]
    inputs: tuple[slice, ...]
    outside: tuple[tuple[slice, ...], ...] = ()


@dataclass(frozen=True)
class Windows:
    """The windows over all spatial axes."""

    axes: tuple[Axis, ...]

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial shape of the input."""
        return tuple(a.size for a in self.axes)

    @property
    def counts(self) -> tuple[int, ...]:
        """The spatial shape of the output: how many windows there are along each axis."""
        return tuple(a.count for a in self.axes)

    @property
    def elements(self) -> int:
        """Elements of one window."""
        return math.prod(a.kernel for a in self.axes)

    @property
    def single(self) -> bool:
        """Whether every position of the input is a window of its own, so that the columns of x are x."""
        return self.counts == self.size and all((a.kernel, a.stride, a.padding) == (1, 1, 0) for a in self.axes)

    @property
    def mirrors(self) -> bool:
        """Whether each position of the input is in windows that are neighbours, as many as a window has elements."""
        return all(a.stride == 1 and a.padding < a.extent and a.at_most is None for a in self.axes)

    def mirror(self) -> Windows:
        """Windows over the output, one for each position of the input: its element k is the window whose element
        kernel - 1 - k the position is."""
        return Windows(tuple(Axis(a.count, a.kernel, 1, a.extent - 1 - a.padding, a.dilation) for a in self.axes))

    def taps(self, block: Block = ()) -> tuple[Tap, ...]:
        """All taps, in row-major order; of the windows of a block only, counted from 0."""
        return taps_of(self, block)

    def whole(self, block: Block) -> Block:
        """A block with a range for each axis."""
        return (*block, *map(range, self.counts[len(block) :]))


@lru_cache(maxsize=256)
def taps_of(windows: Windows, block: Block) -> tuple[Tap, ...]:
    """See `Windows.taps`. A pass asks for those of the pass before."""
    ranges = windows.whole(block)
    per_axis = [[a.tap(k, r.start, r.stop) for k in range(a.kernel)] for a, r in zip(windows.axes, ranges, strict=True)]
    spans = (zip(*pairs, strict=True) for pairs in product(*per_axis))
    sizes = [len(r) for r in ranges]
    return tuple(
        Tap(number, outputs, inputs, tuple(around(outputs, sizes))) for number, (outputs, inputs) in enumerate(spans)
    )


def around(outputs: Sequence[slice], sizes: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """What these slices leave out of axes of these sizes, before and behind them along each axis."""
    for axis, (part, size) in enumerate(zip(outputs, sizes, strict=True)):
        for left_out in (slice(0, part.start), slice(part.stop, size)):
            if left_out.start < left_out.stop:
                yield (*[slice(None)] * axis, left_out)


def slide(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Windows:
    """The windows of a kernel over an input of spatial shape `size`; one number per axis in each argument.

    Errors   LayerError where no window fits into the padded input
    """
    padding, dilation = padding or (0,) * len(kernel), dilation or (1,) * len(kernel)
    axes = tuple(Axis(*numbers, ceil_mode) for numbers in zip(size, kernel, stride, padding, dilation, strict=True))
    windows = Windows(axes)
    if min(windows.counts) < 1:
        padded = " x ".join(str(a.size + 2 * a.padding) for a in axes)
        extent = " x ".join(str(a.extent) for a in axes)
        dilated = f" with dilation {tuple(dilation)}" if max(dilation) > 1 else ""
        raise LayerError(
            f"kernel_size {tuple(kernel)}{dilated} covers {extent}, more than the padded input, {padded}",
            hint=f"a smaller kernel_size or more padding (now {tuple(padding)})",
        )
    return windows


def spatial(x: Spec, axes: int) -> tuple[int, ...]:
    """The spatial shape of a bottom (N, C, *S).

    Errors   LayerError unless it holds real numbers and S has `axes` axes
    """
    expect_role("the bottom", x, "real")
    if x.ndim != axes + 2:
        error = shape_mismatch("the bottom", x.shape, f"{axes + 2} axes: samples, channels and {axes} of space")
        if x.ndim == axes + 1:
            made = (x.shape[0], 1, *x.shape[1:])
            error.hint = f"without an axis of channels? A layer `type: Unsqueeze, dim: 1` above makes {made} of it"
        raise error
    return x.shape[2:]


def planes(xp: Any, x: Any) -> Iterator[tuple[slice, slice]]:
    """Samples and channels of x (N, C, *S), so few at a time that several passes find them in the cache.

    On a device all of them.
    """
    axis = 0 if xp is not np or x.strides[0] >= x.strides[1] else 1  # the one whose parts lie together in memory
    step = x.shape[axis] if xp is not np else max(1, PLANES_AT_MOST * x.shape[axis] // max(1, x.nbytes))
    for start in range(0, x.shape[axis], max(1, step)):
        part = slice(start, start + step)
        yield (part, slice(None)) if axis == 0 else (slice(None), part)


# Convolution has the batch last, (C, *S, N): every tap then copies long runs of memory, and the windows of all samples
# are the columns of one matrix. On NumPy this is the fastest order of the axes: scripts/bench_conv.py.


def batch_last(xp: Any, x: Any) -> Any:
    """(N, C, *S) as a contiguous (C, *S, N): a view where x was laid out so by `batch_first`, otherwise a copy."""
    moved = xp.moveaxis(x, 0, -1)
    if xp is not np or moved.ndim < 3 or moved.flags.c_contiguous:
        return xp.ascontiguousarray(moved)
    out = np.empty(moved.shape, dtype=x.dtype)
    step = max(1, ELEMENTS * moved.shape[1] // max(1, moved.size))
    for start in range(0, moved.shape[1], step):  # rows of the first axis of space: what they read stays in the cache
        out[:, start : start + step] = moved[:, start : start + step]
    return out


def batch_first(xp: Any, x: Any) -> Any:
    """(C, *S, N) as (N, C, *S): a view."""
    return xp.moveaxis(x, -1, 0)


def chunks(windows: Windows, x: Any) -> Iterator[tuple[Block, slice]]:
    """All windows over x (C, *S, N), so many at a time that their columns stay within the bound of x's backend.

    A chunk is a block of windows (at least one) that are neighbours in row-major order, and the places of its columns
    among all.
    """
    counts, samples = windows.counts, x.shape[-1]
    column_bytes = max(1, x.shape[0] * windows.elements * x.itemsize)
    if isinstance(x, np.ndarray):  # of no more than MANY columns a sum of products needs no care
        axis, columns = len(counts) - 1, min(COLUMNS_AT_MOST // column_bytes, MANY)
    else:
        axis, columns = 0, ON_A_DEVICE // column_bytes
    at_once = columns // max(1, samples)
    # Whole rows of the first axis if one fits, otherwise one after the other, and whole rows of the second; and so on.
    axis = next((i for i in range(axis) if math.prod(counts[i + 1 :]) <= at_once), axis)
    behind = math.prod(counts[axis + 1 :])
    step, stop = max(1, at_once // behind), 0
    for before in product(*map(range, counts[:axis])):
        for start in range(0, counts[axis], step):
            last = range(start, min(start + step, counts[axis]))
            begin, stop = stop, stop + len(last) * behind * samples
            yield (*(range(i, i + 1) for i in before), last), slice(begin, stop)


def unfolded(xp: Any, x: Any, windows: Windows) -> Iterator[tuple[slice, Any]]:
    """All columns of x (C, *S, N) as `unfold` makes them, a chunk at a time, and their places among all.

    Columns are there until the next are asked for, which on NumPy take their memory.
    """
    memory, height = Reused(xp, x.dtype), x.shape[0] * windows.elements
    for block, places in chunks(windows, x):
        if windows.single:
            yield places, x.reshape(height, -1)[:, places]
            continue
        out = memory.array((height, places.stop - places.start)) if xp is np else None
        yield places, unfold(xp, x, windows, block, out)


@formula
def unfold(xp: Any, x: Any, windows: Windows, block: Block = (), out: Any = None) -> Any:
    """The windows of a block as the columns of a matrix, known as im2col: x (C, *S, N) to (C elements, windows N).

    What lies in the padding is 0. `out` is a contiguous array of that shape, or None for a new one.
    """
    shape, taps = _columns_shape(x, windows, block), windows.taps(block)
    make = xp.zeros if any(tap.outside for tap in taps) else xp.empty
    columns = make(shape, dtype=x.dtype) if out is None else out.reshape(shape)
    for tap in taps:
        part = columns[:, tap.number]
        part[:, *tap.outputs] = x[:, *tap.inputs]
        for places in tap.outside if out is not None else ():
            part[:, *places] = 0
    return columns.reshape(x.shape[0] * windows.elements, -1)


@formula
def fold(columns: Any, x: Any, windows: Windows, block: Block = ()) -> None:
    """The transpose of `unfold`: add every element of the columns to the place in x that it would be read from."""
    columns = columns.reshape(_columns_shape(x, windows, block))
    for tap in windows.taps(block):
        x[:, *tap.inputs] += columns[:, tap.number][:, *tap.outputs]


def _columns_shape(x: Any, windows: Windows, block: Block) -> tuple[int, ...]:
    return (x.shape[0], windows.elements, *map(len, windows.whole(block)), x.shape[-1])
