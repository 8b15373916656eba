"""Elements chosen by whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....arrays.functional import normalize_dim
from ..exporting import BEFORE, BEHIND, SIZES, Export, Extent, Length, Value, exports


@exports("Embedding")
def embedding(w: Export, x: Value) -> Value:
    """Gather; Where with padding_idx."""
    y: Value = w.op("Gather", w.param("weight"), x, axis=0)
    if w.layer.padding_idx is None:
        return y
    is_padding = w.op("Equal", w.op("Unsqueeze", x, [-1]), w.layer.padding_idx, dtype="bool")
    return w.op("Where", is_padding, 0.0, y, dtype="float32")


@exports("Filter")
def filtered(w: Export, *bottoms: Value) -> list[Value]:
    """TopK for the order of the samples, then Gather, and Where for those that are not selected."""
    *xs, selector = bottoms
    left_out = w.op("Equal", selector, 0, dtype="bool")
    numbers = w.cast(left_out, "int64")
    _, order = w.op("TopK", numbers, w.length(selector.shape[0]), axis=0, largest=0, outputs=2)
    order = Value(order.name, "int64")
    empty = w.op("Gather", left_out, order, axis=0)
    return [_emptied(w, x, w.op("Gather", x, order, axis=0), empty) for x in xs]


def _emptied(w: Export, x: Value, moved: Value, empty: Value) -> Value:
    if x.ndim > 1:
        empty = w.op("Unsqueeze", empty, list(range(1, x.ndim)))
    fill: Any = 0.0 if x.dtype == "float32" else w.layer.fill
    return w.op("Where", empty, fill, moved, dtype=x.dtype)


@exports("Scatter", "ScatterAdd")
def scatter(w: Export, x: Value, index: Value, src: Value) -> Value:
    """ScatterElements, with reduction add for ScatterAdd; Slice where src is larger than the index."""
    if src.shape != index.shape:
        axes = [i for i in range(src.ndim) if src.shape[i] != index.shape[i]]
        src = w.op("Slice", src, [0] * len(axes), w.shape([index.shape[i] for i in axes]), axes)
    adds = w.layer.type_name == "ScatterAdd"
    if not adds:
        w.note("ONNX leaves open which element is the last of several that are written to one place; ONNX Runtime's is")
    axis = normalize_dim(w.layer.dim, x.ndim)
    return w.op("ScatterElements", x, index, src, axis=axis, reduction="add" if adds else None)


@exports("Index")
def subscript(w: Export, x: Value) -> Value:
    """Slice and Gather; Transpose and GatherND where several lists name places together."""
    found = [w.layer.selection(_with(x.shape, samples)) for samples in SIZES]
    one = found[0]
    y, sizes = x, list(x.shape)
    y = _sliced(w, y, one.basic)
    numbers = [axis for axis, entry in enumerate(one.basic) if isinstance(entry, int)]
    for axis in reversed(numbers):
        places = [selection.basic[axis] for selection in found]
        y = w.op("Gather", y, _steady(x.shape[axis], places)[()], axis=axis)
    sizes = [n for axis, n in enumerate(sizes) if axis not in numbers]
    if not one.axes:
        return y if y is not x else w.op("Identity", x)
    steady = [_steady(sizes[axis], [other.lists[i] for other in found]) for i, axis in enumerate(one.axes)]
    if len(steady) == 1:
        return w.op("Gather", y, steady[0], axis=one.axes[0])
    others = [i for i in range(len(sizes)) if i not in one.axes]
    y = w.op("Transpose", y, perm=[*one.axes, *others])
    y = w.op("GatherND", y, np.stack(steady, axis=-1))
    back = [int(i) for i in np.argsort(one.order())]
    return y if back == sorted(back) else w.op("Transpose", y, perm=back)


def _with(shape: Sequence[Length], samples: int) -> tuple[int, ...]:
    """A shape for that number of samples."""
    return tuple(n.per * samples + n.plus if isinstance(n, Extent) else n for n in shape)


def _sliced(w: Export, x: Value, basic: Sequence[int | slice]) -> Value:
    """The slices of axes that are not kept whole. ONNX counts from the back where a number is negative, as NumPy."""
    cut = [(axis, entry) for axis, entry in enumerate(basic) if isinstance(entry, slice) and entry != slice(None)]
    if not cut:
        return x
    starts, ends, steps = [], [], []
    for _, entry in cut:
        step = 1 if entry.step is None else entry.step
        starts.append(entry.start if entry.start is not None else 0 if step > 0 else BEHIND)
        ends.append(entry.stop if entry.stop is not None else BEHIND if step > 0 else BEFORE)
        steps.append(step)
    return w.op("Slice", x, starts, ends, [axis for axis, _ in cut], steps)


def _steady(length: Length, places: Sequence[Any]) -> np.ndarray:
    """Places, for several numbers of samples, that are good for any: those counted from the end as ONNX counts them."""
    found = np.asarray(places[0], dtype=np.int64)
    if isinstance(length, int):
        return found
    (size,) = _with([length], SIZES[0])
    return np.where(found == np.asarray(places[1]), found, found - size)
