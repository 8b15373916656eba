"""Shapes: the same numbers in another order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ....arrays.functional import normalize_dim, normalize_dims
from ..exporting import BEFORE, Export, Extent, Length, Value, exports


@exports("Flatten", "Reshape")
def reshape(w: Export, x: Value) -> Any:
    """Reshape, with -1 for what follows the batch."""
    return w.reshape(x, w.tops[0].shape)


@exports("Squeeze")
def squeeze(w: Export, x: Value) -> Any:
    """Squeeze of the axes that go."""
    if w.layer.dim is None:
        gone = [axis for axis, length in enumerate(x.shape) if axis and length == 1]
    else:
        gone = list(normalize_dims(w.layer.dim, x.ndim))
    return w.op("Squeeze", x, gone) if gone else w.op("Identity", x)


@exports("Unsqueeze")
def unsqueeze(w: Export, x: Value) -> Any:
    """Unsqueeze."""
    return w.op("Unsqueeze", x, [normalize_dim(w.layer.dim, x.ndim + 1)])


@exports("Transpose")
def transpose(w: Export, x: Value) -> Any:
    """Transpose with two axes exchanged."""
    i, j = w.layer.axes(x.ndim)
    order = list(range(x.ndim))
    order[i], order[j] = j, i
    return w.op("Transpose", x, perm=order)


@exports("Permute")
def permute(w: Export, x: Value) -> Any:
    """Transpose."""
    return w.op("Transpose", x, perm=list(w.layer.order(x.ndim)))


@exports("Flip")
def flip(w: Export, x: Value) -> Any:
    """Slice with steps of -1."""
    dims = list(normalize_dims(w.layer.dims, x.ndim))
    return w.op("Slice", x, [-1] * len(dims), [BEFORE] * len(dims), dims, [-1] * len(dims))


@exports("Concat")
def concat(w: Export, *bottoms: Value) -> Any:
    """Concat."""
    return w.op("Concat", *bottoms, axis=normalize_dim(w.layer.dim, bottoms[0].ndim))


@exports("Stack")
def stack(w: Export, *bottoms: Value) -> Any:
    """Unsqueeze of each, and Concat."""
    dim = normalize_dim(w.layer.dim, bottoms[0].ndim + 1)
    return w.op("Concat", *(w.op("Unsqueeze", x, [dim]) for x in bottoms), axis=dim)


@exports("Slice", "Split")
def pieces(w: Export, x: Value) -> Any:
    """Split; a Slice for each piece where the axis follows the batch."""
    dim = normalize_dim(w.layer.dim, x.ndim)
    lengths = [top.shape[dim] for top in w.tops]
    fixed = [length for length in lengths if isinstance(length, int)]
    if len(lengths) == 1:
        return w.op("Identity", x)
    if len(fixed) == len(lengths):
        return w.op("Split", x, fixed, axis=dim, outputs=len(fixed))
    return [w.op("Slice", x, *(w.length(cut) for cut in span), [dim]) for span in pairwise(_cuts(lengths))]


def _cuts(lengths: Sequence[Length]) -> list[Length]:
    """Where pieces of these lengths begin and end."""
    cuts: list[Length] = [0]
    for length in lengths:
        cuts.append(plus(cuts[-1], length))
    return cuts


def plus(a: Length, b: Length) -> Length:
    """The sum of two lengths."""
    per = sum(one.per for one in (a, b) if isinstance(one, Extent))
    rest = sum(one.plus if isinstance(one, Extent) else one for one in (a, b))
    return Extent(per, rest) if per else rest


@exports("Crop")
def crop(w: Export, x: Value, like: Value) -> Any:
    """Slice, to the lengths of the top; of the second bottom only the lengths count."""
    dim = normalize_dim(w.layer.dim, x.ndim)
    offset, axes = w.layer.offset, list(range(dim, x.ndim))
    starts = [offset] * len(axes) if isinstance(offset, int) else offset
    starts = starts * len(axes) if len(starts) == 1 else starts
    ends = [plus(start, w.tops[0].shape[axis]) for start, axis in zip(starts, axes, strict=True)]
    return w.op("Slice", x, list(starts), w.shape(ends), axes)


@exports("Pad")
def pad(w: Export, x: Value) -> Any:
    """Pad."""
    layer, widths = w.layer, w.layer.widths(x.ndim)
    sides = [before for before, _ in widths] + [after for _, after in widths]
    if layer.mode != "constant":
        return w.op("Pad", x, sides, mode={"reflect": "reflect", "replicate": "edge"}[layer.mode])
    return w.op("Pad", x, sides, np.asarray(layer.value, x.dtype), mode="constant")


@exports("Expand")
def expand(w: Export, x: Value) -> Any:
    """Expand, where 1 keeps an axis as it is."""
    return w.op("Expand", x, [1 if length == -1 else length for length in w.layer.shape])


@exports("Tile", "Repeat")
def tile(w: Export, x: Value) -> Any:
    """Tile, of x with axes of length 1 in front where there are more counts."""
    counts = w.layer.counts(x.ndim)
    new = len(counts) - x.ndim
    if new:
        x = w.op("Unsqueeze", x, list(range(new)))
    return w.op("Tile", x, list(counts))


@exports("RepeatInterleave")
def repeat_interleave(w: Export, x: Value) -> Any:
    """Gather of places that are named several times; with one count, Tile along a new axis and Reshape."""
    layer = w.layer
    if layer.dim is None:
        x = w.op("Reshape", x, [-1], shape=(-1,))
    axis = 0 if layer.dim is None else normalize_dim(layer.dim, x.ndim)
    count = layer.repeats if isinstance(layer.repeats, int) or len(layer.repeats) > 1 else layer.repeats[0]
    if isinstance(count, list):
        if x.fixed(axis) is None:
            w.refuse(f"there is a count for each place of axis {axis}, which follows the number of samples")
        return w.op("Gather", x, np.arange(len(count)).repeat(count), axis=axis)
    copies = w.op("Tile", w.op("Unsqueeze", x, [axis + 1]), [count if i == axis + 1 else 1 for i in range(x.ndim + 1)])
    return w.reshape(copies, w.tops[0].shape)
