"""GridSample of volumes, which ONNX has from opset 20 on: the neighbours of each place, by GatherND."""

from __future__ import annotations

import math
from functools import reduce
from itertools import product

from ....layers.convolutions.interpolation import REACH
from ..exporting import Export, Value
from .windows import spatial

Neighbours = list[tuple[Value, Value | None]]  # positions (N, P, 1), integers from the border on, and their weights


def read_volume(w: Export, x: Value, grid: Value) -> Value:
    """The sum over the neighbours of all places of the grid, each times its weight along every axis."""
    size, border = spatial(w, x), w.layer.reading.border
    if border:
        x = w.op("Pad", x, [0, 0, *(border,) * 3, 0, 0, *(border,) * 3], shape=x.shape)
    counts = [length + 2 * border for length in size]
    numbers = w.op("Transpose", w.reshape(x, (*x.shape[:2], math.prod(counts))), perm=[0, 2, 1])
    places = math.prod(length for length in grid.shape[1:-1] if isinstance(length, int))
    coordinates = w.reshape(grid, (grid.shape[0], places, 3))
    per_axis = []
    for axis, length in enumerate(size):
        found = neighbours(w, w.op("Gather", coordinates, [2 - axis], axis=2), length)
        step = math.prod(counts[axis + 1 :])
        per_axis.append([(w.op("Mul", i, step) if step != 1 else i, weight) for i, weight in found])
    terms = []
    for corner in product(*per_axis):
        position = reduce(lambda a, b: w.op("Add", a, b), (i for i, _ in corner))
        read = w.op("GatherND", numbers, position, batch_dims=1)
        for weight in (weight for _, weight in corner if weight is not None):
            read = w.op("Mul", read, weight)
        terms.append(read)
    total = w.op("Sum", *terms) if len(terms) > 1 else terms[0]
    return w.reshape(w.op("Transpose", total, perm=[0, 2, 1]), w.tops[0].shape)


def neighbours(w: Export, g: Value, size: int) -> Neighbours:
    """The positions that a coordinate is read from, on an axis of so many: as `Reading.neighbours` has them."""
    layer = w.layer
    scale = (size - 1) / 2 if layer.align_corners else size / 2
    p = w.op("Add", w.op("Mul", g, scale), (size - 1) / 2)
    if layer.padding_mode == "reflection":
        p = reflected(w, p, size)
    else:
        p = w.op("Clip", p, float(-REACH), float(size - 1 + REACH))
    if layer.padding_mode != "zeros":
        p = w.op("Clip", p, 0.0, float(size - 1))
    if layer.mode == "nearest":
        return [(settled(w, w.op("Round", p), size), None)]
    i = w.op("Floor", p)
    f = w.op("Sub", p, i)
    return [(settled(w, i, size), w.op("Sub", 1.0, f)), (settled(w, w.op("Add", i, 1.0), size), f)]


def reflected(w: Export, p: Value, size: int) -> Value:
    """Places thrown back at the ends, as often as it takes: a saw along p."""
    first = 0.0 if w.layer.align_corners else -0.5
    span = size - 1 - 2 * first
    if not span:
        return w.op("Mul", p, 0.0)
    shifted = w.op("Sub", p, first)
    periods = w.op("Floor", w.op("Div", shifted, 2 * span))
    way = w.op("Sub", shifted, w.op("Mul", periods, 2 * span))
    return w.op("Sub", first + span, w.op("Abs", w.op("Sub", way, span)))


def settled(w: Export, i: Value, size: int) -> Value:
    """Positions as integers from the border on, which holds what is outside."""
    border = w.layer.reading.border
    inside = w.op("Clip", i, float(-border), float(size - 1 + border))
    shifted = w.op("Add", inside, float(border)) if border else inside
    return w.cast(shifted, "int64")
