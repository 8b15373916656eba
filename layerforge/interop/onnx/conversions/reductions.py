"""Results along axes: sums, extremes and scans. Reductions that are one operator stand in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....arrays.functional import normalize_dim
from ..exporting import BEFORE, EXPORTS, Export, Extent, Value, exports
from .loops import scan

REDUCTIONS = {  # layers with dim and keepdim: the operator, with axes and keepdims
    "Sum": "ReduceSum",
    "Mean": "ReduceMean",
    "Prod": "ReduceProd",
    "SumSquare": "ReduceSumSquare",
    "AbsSum": "ReduceL1",
    "LogSumExp": "ReduceLogSumExp",
}


def reduced(w: Export, operator: str, x: Value, axes: Sequence[int] | None, keepdims: bool = True) -> Value:
    """A reduction along axes; None or no axis is all of them. In opset 17 the axes of ReduceSum alone are an input."""
    if operator == "ReduceSum":
        return w.op(operator, x, list(axes) if axes else None, keepdims=int(keepdims))
    return w.op(operator, x, axes=list(axes) if axes else None, keepdims=int(keepdims))


def _axes(w: Export, x: Value) -> list[int]:
    return list(w.layer.axes(x.ndim))


def _reduction(operator: str) -> Callable[[Export, Value], Value]:
    def export(w: Export, x: Value) -> Value:
        axes = None if w.layer.dim is None else _axes(w, x)
        return reduced(w, operator, x, axes, w.layer.keepdim)

    return export


EXPORTS.update({kind: _reduction(operator) for kind, operator in REDUCTIONS.items()})


def number_along(w: Export, x: Value, axes: Sequence[int]) -> Any:
    """How many elements a slice has: a float, or a value where that follows the batch."""
    fixed = float(math.prod(length for axis in axes if (length := x.fixed(axis)) is not None))
    varying = [w.length(x.shape[axis]) for axis in axes if isinstance(x.shape[axis], Extent)]
    if not varying:
        return fixed
    number = varying[0]
    for other in varying[1:]:
        number = w.op("Mul", number, other)
    number = w.cast(number, "float32")
    return number if fixed == 1 else w.op("Mul", number, fixed)


@exports("Var", "Std")
def spread(w: Export, x: Value) -> Value:
    """ReduceMean, Sub, ReduceSumSquare, Div, or with correction 0 Mul and ReduceMean; Sqrt for Std."""
    axes, correction = _axes(w, x), float(w.layer.correction)
    apart = w.op("Sub", x, reduced(w, "ReduceMean", x, axes))
    if correction:
        number = number_along(w, x, axes)
        degrees = number - correction if isinstance(number, float) else w.op("Sub", number, correction)
        y = w.op("Div", reduced(w, "ReduceSumSquare", apart, axes), degrees)
    else:
        y = reduced(w, "ReduceMean", w.op("Mul", apart, apart), axes)
    if w.layer.type_name == "Std":
        y = w.op("Sqrt", y)
    return y if w.layer.keepdim and x.ndim else w.reshape(y, w.tops[0].shape)


@exports("Norm")
def norm(w: Export, x: Value) -> Value:
    """ReduceL1 or ReduceL2; Abs and ReduceMax for p = .inf; Pow and ReduceSum of what the largest is divided out of."""
    axes, keepdim, p = _axes(w, x), w.layer.keepdim, w.layer.p
    if p in (1, 2):
        return reduced(w, f"ReduceL{int(p)}", x, axes, keepdim)
    size = w.op("Abs", x)
    if p == math.inf:
        return reduced(w, "ReduceMax", size, axes, keepdim)
    top = reduced(w, "ReduceMax", size, axes)
    ordinary = w.op("And", w.op("Greater", top, 0.0, dtype="bool"), w.op("Less", top, math.inf, dtype="bool"))
    top = w.op("Where", ordinary, top, 1.0, dtype="float32")
    powers = w.op("Pow", w.op("Div", size, top), float(p))
    y = w.op("Mul", top, w.op("Pow", reduced(w, "ReduceSum", powers, axes), 1 / p))
    return y if keepdim and x.ndim else w.reshape(y, w.tops[0].shape)


@exports("Max", "Min")
def extreme(w: Export, x: Value) -> list[Value]:
    """ReduceMax and, for the index, ArgMax; or ReduceMin and ArgMin."""
    kind, keepdim = w.layer.type_name, w.layer.keepdim
    axes = None if w.layer.dim is None else _axes(w, x)
    y = [reduced(w, f"Reduce{kind}", x, axes, keepdim)]
    if len(w.tops) > 1 and axes:
        y.append(w.op(f"Arg{kind}", x, axis=axes[0], keepdims=int(keepdim), dtype="int64"))
    return y


@exports("ArgMax")
def arg_max(w: Export, x: Value) -> list[Value]:
    """ArgMax, TopK with top_k > 1; GatherElements for the elements."""
    layer, caffe = w.layer, w.layer.ties == "caffe"
    if layer.dim is None:
        x = w.reshape(x, [_whole(x)])
    axis = 0 if layer.dim is None else normalize_dim(layer.dim, x.ndim)
    if layer.top_k == 1:
        places = w.op("ArgMax", x, axis=axis, keepdims=1, select_last_index=1 if caffe else None, dtype="int64")
    elif caffe:  # the first from the back
        length = x.shape[axis]
        backwards = w.op("Slice", x, [-1], [BEFORE], [axis], [-1])
        _, found = w.op("TopK", backwards, [layer.top_k], axis=axis, outputs=2)
        last = w.constant(length - 1) if isinstance(length, int) else w.op("Sub", w.length(length), [1])
        places = w.op("Sub", last, Value(found.name, "int64"))
    else:
        _, found = w.op("TopK", x, [layer.top_k], axis=axis, outputs=2)
        places = Value(found.name, "int64")
    values = [w.op("GatherElements", x, places, axis=axis)] if len(w.tops) > 1 else []
    return [w.reshape(y, top.shape) for y, top in zip([places, *values], w.tops, strict=True)]


def _whole(x: Value) -> int | Extent:
    """The length of all elements in one axis; of what follows the batch any will do, as it becomes -1."""
    lengths = [x.fixed(axis) for axis in range(x.ndim)]
    known = [length for length in lengths if length is not None]
    return math.prod(known) if len(known) == len(lengths) else Extent(max(1, math.prod(known)))


@exports("TopK", "Sort")
def ordered(w: Export, x: Value) -> list[Value]:
    """TopK; of all elements for Sort."""
    layer, axis = w.layer, normalize_dim(w.layer.dim, x.ndim)
    sort = layer.type_name == "Sort"
    count = w.length(x.shape[axis]) if sort else w.constant([layer.k])
    largest = layer.descending if sort else layer.largest
    values, places = w.op("TopK", x, count, axis=axis, largest=int(largest), outputs=2)
    return [values, Value(places.name, "int64")][: len(w.tops)]


@exports("Cumsum")
def cumsum(w: Export, x: Value) -> Value:
    """CumSum."""
    return w.op("CumSum", x, normalize_dim(w.layer.dim, x.ndim))


@exports("Cumprod")
def cumprod(w: Export, x: Value) -> Value:
    """Products over 2, 4, 8 ... elements, each of two of those before it; Scan along the batch."""
    axis = normalize_dim(w.layer.dim, x.ndim)
    length = x.fixed(axis)
    if length is None:
        first = w.op("Squeeze", w.op("Slice", x, [0], [1], [axis]), [axis])
        one = w.op("ConstantOfShape", w.op("Shape", first, dtype="int64"), value=np.ones(1, np.float32))
        one = Value(one.name)

        def body(state: Value, here: Value) -> tuple[list[Value], list[Value]]:
            product = w.op("Mul", state, here)
            return [product], [product]

        return scan(w, body, [one], [x], axis=axis)[1]
    y, reach = x, 1
    while reach < length:
        start, later = w.op("Slice", y, [0], [reach], [axis]), w.op("Slice", y, [reach], [length], [axis])
        before = w.op("Slice", y, [0], [length - reach], [axis])
        y = w.op("Concat", start, w.op("Mul", later, before), axis=axis)
        reach *= 2
    return y if y is not x else w.op("Identity", x)
