"""Matrices: products, and functions of each matrix of several."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..exporting import BEHIND, REFUSED, Export, Length, Value, exports
from .loops import scan
from .reductions import reduced

REFUSED["SparseMatmul"] = "ONNX Runtime has no sparse inputs"
REFUSED["SVDVals"] = "no operator of ONNX finds singular values, and how many rounds of another way do depends on data"


@exports("Bilinear")
def bilinear(w: Export, a: Value, b: Value) -> Value:
    """MatMul of a with the weights side by side, then MatMul of each sample with b; Add."""
    weight = w.numbers("weight")
    outputs, left, right = weight.shape
    side_by_side = w.array("weight", weight.transpose(1, 0, 2).reshape(left, outputs * right))
    lead = a.shape[:-1]
    forms = w.reshape(w.op("MatMul", a, side_by_side), [*lead, outputs, right])
    y = w.op("Squeeze", w.op("MatMul", forms, w.op("Unsqueeze", b, [-1])), [-1])
    return w.op("Add", y, w.param("bias")) if w.has("bias") else y


@exports("Diagonal")
def diagonal(w: Export, x: Value) -> Value:
    """Transpose, Reshape and Gather: the matrices are read row by row."""
    (rows, columns), offset = w.layer.axes(x.ndim), w.layer.offset
    perm = [*(i for i in range(x.ndim) if i not in (rows, columns)), rows, columns]
    if perm != sorted(perm):
        x = w.op("Transpose", x, perm=perm, shape=[x.shape[i] for i in perm])
    flat = w.op("Reshape", x, [*[0] * (x.ndim - 2), -1])
    return w.op("Gather", flat, _on_diagonal(w, x.shape[-2], x.shape[-1], offset), axis=x.ndim - 2)


def _on_diagonal(w: Export, rows: Length, columns: Length, offset: int) -> Value:
    """Where its elements are in a matrix that is read row by row; computed where an axis counts the samples."""
    down, across = max(-offset, 0), max(offset, 0)
    if isinstance(rows, int) and isinstance(columns, int):
        count = min(rows - down, columns - across)
        return w.constant((np.arange(count) + down) * columns + np.arange(count) + across)
    w.note("a diagonal across the samples is shorter where there are fewer of them")
    longest = w.op("Min", *[w.op("Sub", w.length(n), [less]) for n, less in ((rows, down), (columns, across))])
    places = w.op("Range", w.constant(0), w.op("Squeeze", longest), w.constant(1))
    wide = w.length(columns)
    return w.op("Add", w.op("Mul", w.op("Add", places, [down]), wide), w.op("Add", places, [across]))


@exports("Trace")
def trace(w: Export, x: Value) -> Value:
    """Where on the diagonal, and ReduceSum."""
    rows, columns = (_places(w, length) for length in x.shape[-2:])
    on_diagonal = w.op("Equal", w.op("Unsqueeze", rows, [-1]), columns, dtype="bool")
    return reduced(w, "ReduceSum", w.op("Where", on_diagonal, x, 0.0, dtype="float32"), [-2, -1], keepdims=False)


def _places(w: Export, length: Length) -> Value:
    """0, 1 ... of an axis."""
    if isinstance(length, int):
        return w.constant(np.arange(length))
    return w.op("Range", w.constant(0), w.op("Squeeze", w.length(length)), w.constant(1))


@exports("LogDet")
def log_det(w: Export, x: Value) -> Value:
    """Log of Det, of matrices over the root of the mean of their squares: its size is at most 1 then."""
    size = w.demand_fixed(x.shape[-1], "columns")
    root = w.op("Div", reduced(w, "ReduceL2", x, [-2, -1]), math.sqrt(size))
    root = w.op("Where", w.op("Equal", root, 0.0, dtype="bool"), 1.0, root, dtype="float32")
    logs = w.op("Mul", w.op("Log", w.op("Squeeze", root, [-2, -1])), float(size))
    w.note("ONNX has the determinant, whose logarithm is -inf for large matrices of which it is below 1e-38")
    return w.op("Add", w.op("Log", w.op("Det", w.op("Div", x, root))), logs)


# By a loop over rows ------------------------------------------------------------------------------------------------


@exports("Inverse")
def inverse(w: Export, x: Value) -> Value:
    """Gauss and Jordan's elimination, a Scan over the columns."""
    size = w.demand_fixed(x.shape[-1], "columns")
    ones = w.op("Expand", np.eye(size, dtype=np.float32), w.op("Shape", x, dtype="int64"), dtype="float32")
    return _solved(w, x, ones, size)


@exports("Solve")
def solve(w: Export, a: Value, b: Value) -> Value:
    """Gauss and Jordan's elimination, a Scan over the columns."""
    vector = w.layer.is_vector(a.shape, b.shape)
    size = w.demand_fixed(a.shape[-1], "columns")
    if vector:
        b = w.op("Unsqueeze", b, [-1], shape=[*b.shape, 1])
    if a.shape[:-2] != b.shape[:-2]:  # the batches broadcast
        zeros = w.op("Mul", w.op("MatMul", a, b), 0.0)
        a = w.op("Add", a, w.op("Slice", zeros, [0], [1], [-1]))
        b = w.op("Add", b, w.op("Slice", zeros, [0], [1], [-1]))
    y = _solved(w, a, b, size)
    return w.op("Squeeze", y, [-1]) if vector else y


def _solved(w: Export, a: Value, b: Value, size: int) -> Value:
    """a⁻¹ b for matrices of equally many axes. Column by column the row with the largest number there comes up, is
    divided by it, and is taken from all others as often as makes their number 0."""
    w.note("a singular matrix gives infinity or NaN, and no error")
    columns = w.constant(np.arange(size))
    rows = w.constant(np.arange(size)[:, None])

    def body(state: Value, column: Value) -> tuple[list[Value], list[Value]]:
        numbers = w.op("Abs", w.op("Gather", state, column, axis=-1))
        numbers = w.op("Where", w.op("Less", columns, column, dtype="bool"), -1.0, numbers, dtype="float32")
        pivot = w.op("ArgMax", numbers, axis=-1, keepdims=1, dtype="int64")  # (..., 1)
        is_pivot = w.op("Equal", rows, w.op("Unsqueeze", pivot, [-1]), dtype="bool")  # (..., K, 1)
        is_now = w.op("Equal", rows, column, dtype="bool")  # (K, 1)
        best = reduced(w, "ReduceSum", _where(w, is_pivot, state), [-2])
        now = w.op("Unsqueeze", w.op("Gather", state, column, axis=-2), [-2])
        exchanged = w.op("Where", is_pivot, now, state, dtype="float32")
        best = w.op("Div", best, w.op("Unsqueeze", w.op("Gather", best, column, axis=-1), [-1]))
        factors = w.op("Unsqueeze", w.op("Gather", exchanged, column, axis=-1), [-1])
        rest = w.op("Sub", exchanged, w.op("Mul", factors, best))
        return [w.op("Where", is_now, best, rest, dtype="float32")], []

    beside = w.op("Concat", a, b, axis=-1)
    (state,) = scan(w, body, [beside], [columns], made=0)
    return w.op("Slice", state, [size], [BEHIND], [-1])


def _where(w: Export, condition: Value, x: Value) -> Any:
    return w.op("Where", condition, x, 0.0, dtype="float32")


@exports("Cholesky")
def cholesky(w: Export, x: Value) -> Value:
    """Cholesky's factor, a Scan over its columns."""
    w.note("a matrix that is not positive definite gives NaN, and no error")
    size, last = w.demand_fixed(x.shape[-1], "columns"), x.ndim - 1
    transpose = [*range(x.ndim - 2), last, last - 1]
    state = w.op("Mul", w.op("Add", x, w.op("Transpose", x, perm=transpose)), 0.5)
    rows = w.constant(np.arange(size))

    def body(state: Value, column: Value) -> tuple[list[Value], list[Value]]:
        numbers = w.op("Gather", state, column, axis=-1)
        root = w.op("Sqrt", w.op("Unsqueeze", w.op("Gather", numbers, column, axis=-1), [-1]))
        above = w.op("Less", rows, column, dtype="bool")
        factor = w.op("Where", above, 0.0, w.op("Div", numbers, root), dtype="float32")
        square = w.op("Mul", w.op("Unsqueeze", factor, [-1]), w.op("Unsqueeze", factor, [-2]))
        return [w.op("Sub", state, square)], [factor]

    place = last - 1 if w.layer.upper else last
    return scan(w, body, [state], [rows], stacked=place)[1]
