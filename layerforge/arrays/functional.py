"""Maths that several layers share. Plain functions over arrays of any backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..schema.errors import LayerError
from .awaited import refuse_where
from .blocks import in_blocks
from .formula import formula
from .spec import Spec


def rows(x: Any) -> Any:
    """(..., D) as a matrix (N, D): every position is a row."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def map_rows(x: Any, matrix: Any) -> Any:
    """x @ matrix for x (..., D): one product for all positions, where a library would make one for each sample."""
    return x @ matrix if x.ndim <= 2 else (rows(x) @ matrix).reshape(*x.shape[:-1], matrix.shape[1])


def unbroadcast(dy: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of a bottom that was broadcast to dy's shape: the sum over the axes along which it was repeated.

    Broadcasting copies one element to many places; each copy contributes its gradient, so they add up.
    """
    if dy.shape == shape:
        return dy
    extra = dy.ndim - len(shape)
    axes = (*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1 and dy.shape[extra + i] != 1))
    return sum_of(dy, axes, keepdims=True).reshape(shape) if axes else dy.reshape(shape)


Axis = int | tuple[int, ...] | None


def exact_sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Σ x over some axes, in float64 whatever the type of x.

    A running sum in float32 loses what is smaller than its own last digit: three million times 0.1 come to 3 % too
    little. With 29 more bits nothing is lost that a float32 result could show, in whatever order an array is read.
    """
    return x.sum(axis=axis, dtype="float64", keepdims=keepdims)


@formula
def sum_of(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Σ x over some axes, added up exactly and rounded once to the type of x. Layers add real numbers up with this."""
    return exact_sum(x, axis, keepdims).astype(x.dtype)


@formula
def mean_of(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean of x over some axes, added up exactly and rounded once to the type of x."""
    return x.mean(axis=axis, dtype="float64", keepdims=keepdims).astype(x.dtype)


def cumulative_sum(x: Any, axis: int) -> Any:
    """yᵢ = x₁ + ... + xᵢ along an axis, each added up exactly and rounded once to the type of x."""
    return x.cumsum(axis=axis, dtype="float64").astype(x.dtype)


MANY = 2**13  # rows of a product of matrices that is one sum, as the library makes it: for small matrices a running one
TERMS = 2**8  # rows of each part of a sum over more
TERMS_ON_A_DEVICE = 2**12  # whose library adds up in many places at once: these are no running sums


def product_over_rows(a: Any, b: Any) -> Any:
    """aᵀ b of matrices (..., K, M) and (..., K, N): sums over K rows, as many as there are samples and positions.

    Of many rows the products of parts are added up in float64.
    """
    if a.shape[-2] <= MANY:
        return a.swapaxes(-1, -2) @ b
    if not isinstance(a, np.ndarray):
        return _all_parts_at_once(a, b)
    parts = (slice(start, start + TERMS) for start in range(0, a.shape[-2], TERMS))
    total = sum((a[..., part, :].swapaxes(-1, -2) @ b[..., part, :]).astype("float64") for part in parts)
    return total.astype(b.dtype)


SHORT = 2**5  # terms of a line, of fewer of which a call for each costs more than it saves


def inner_products(a: Any, b: Any, over: tuple[int, ...]) -> Any:
    """Σ a b over some axes, axes kept, in float64 whatever the type of the arrays, which have one shape.

    On NumPy, terms that lie together in memory, no more than MANY, are a line that the library sums up, as it does in a
    product of matrices; without such lines, and on a device, each term is rounded and all are added up exactly.
    """
    sets = [axis for axis in range(a.ndim) if axis not in over]
    inner = sorted(over, key=lambda axis: -a.strides[axis])
    terms, joined = 1, 0  # of a line, and the axes that make it up
    if isinstance(a, np.ndarray) and a.strides == b.strides:
        for axis in reversed(inner):
            if a.strides[axis] != terms * a.itemsize or terms * a.shape[axis] > MANY:
                break
            terms, joined = terms * a.shape[axis], joined + 1
    if terms < SHORT:
        return exact_sum(a * b, over, keepdims=True)
    order = (*sets, *inner)
    lines = tuple(a.shape[axis] for axis in order[: a.ndim - joined])
    a_lines, b_lines = (m.transpose(order).reshape(*lines, 1, terms) for m in (a, b))
    found = a_lines @ b_lines.swapaxes(-1, -2)
    kept = [1 if axis in over else n for axis, n in enumerate(a.shape)]
    return exact_sum(found, tuple(range(len(sets), found.ndim))).reshape(kept)


def _all_parts_at_once(a: Any, b: Any) -> Any:
    """The same on a device, where each part would be launches of its own: all parts as one product of many matrices."""
    count, left = divmod(a.shape[-2], TERMS_ON_A_DEVICE)
    whole = a.shape[-2] - left
    of_a, of_b = (m[..., :whole, :].reshape(*m.shape[:-2], count, -1, m.shape[-1]) for m in (a, b))
    total = (of_a.swapaxes(-1, -2) @ of_b).sum(axis=-3, dtype="float64")
    if left:
        total += a[..., whole:, :].swapaxes(-1, -2) @ b[..., whole:, :]
    return total.astype(b.dtype)


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape by NumPy's rule; LayerError naming the shapes where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = ", ".join(map(str, shapes))
        raise LayerError(
            f"shapes {listed} do not broadcast", hint="aligned from the right, axes must be equal or 1"
        ) from None


def normalize_dim(dim: int, ndim: int, what: str = "dim") -> int:
    """A dimension counted from the front; negative ones count from the back."""
    if not -ndim <= dim < ndim:
        raise LayerError(f"{what} {dim} is out of range for a blob with {ndim} axes", hint=f"{-ndim} to {ndim - 1}")
    return dim % ndim


def normalize_dims(dims: int | Sequence[int], ndim: int, what: str = "dim") -> tuple[int, ...]:
    """One or several dimensions counted from the front, in the order given; LayerError where one is named twice."""
    named = [dims] if isinstance(dims, int) else list(dims)
    found = tuple(normalize_dim(dim, ndim, what) for dim in named)
    for dim in found:
        if found.count(dim) > 1:
            raise LayerError(f"{what} {named} names axis {dim} twice")
    return found


def part_along(x: Any, dim: int, start: int, stop: int) -> Any:
    """x[start:stop] on axis dim instead of the first: a view."""
    return x[(slice(None),) * (dim % x.ndim) + (slice(start, stop),)]


def filled(xp: Any, tangents: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> list[Any] | None:
    """Tangents with zeros for those that are None: bottoms that do not move. None where no bottom moves."""
    dtype = next((t.dtype for t in tangents if t is not None), None)
    if dtype is None:
        return None
    return [xp.zeros(s, dtype=dtype) if t is None else t for t, s in zip(tangents, shapes, strict=True)]


def order_along(xp: Any, x: Any, dim: int, largest: bool = True) -> Any:
    """Indices that sort x along dim, the largest first or the smallest; equal ones stay in their order.

    NaN counts as the largest value.
    """
    if not largest:
        return xp.argsort(x, axis=dim, kind="stable")
    backwards = xp.argsort(xp.flip(x, dim), axis=dim, kind="stable")
    return xp.flip(x.shape[dim] - 1 - backwards, dim)


@formula
def log_softmax(xp: Any, x: Any, dim: int, out: Any = None) -> Any:
    """x - log sum exp x along dim, written into `out` (which may be x) or a new array.

    Shifted by the maximum first, so that exp never overflows. Where one element is far above the others, the sum is
    hardly more than 1 and its logarithm is what is left of them: it is taken before the sum is rounded.
    """
    y = xp.subtract(x, x.max(axis=dim, keepdims=True), out=out)
    y -= xp.log(exact_sum(xp.exp(y), dim, keepdims=True)).astype(y.dtype)
    return y


@formula
def softmax(xp: Any, x: Any, dim: int, out: Any = None) -> Any:
    """exp x / sum exp x along dim, shifted by the maximum; written into `out` (which may be x) or a new array."""
    y = xp.subtract(x, x.max(axis=dim, keepdims=True), out=out)
    xp.exp(y, out=y)
    y /= sum_of(y, dim, keepdims=True)
    return y


EXP_LIMIT = 87.0  # e**87 is within float32, and so is its inverse


@formula
@in_blocks
def sigmoid(xp: Any, x: Any, out: Any = None) -> Any:
    """1 / (1 + exp(-x)), written into `out` (which may be x) or a new array.

    The exponent stops at EXP_LIMIT: exp never overflows, and what should be smaller than 1e-37 stays there. Small
    results keep all their digits, which the form with tanh would lose.
    """
    y = xp.negative(x, out=out)
    y = xp.minimum(y, EXP_LIMIT, out=out)
    y = xp.exp(y, out=out)
    y += 1
    return xp.divide(1, y, out=out)


@formula
@in_blocks
def softplus(xp: Any, x: Any, out: Any = None) -> Any:
    """log(1 + exp x) = max(x, 0) + log(1 + exp(-|x|)), written into `out` (which may be x) or a new array.

    exp never overflows, and small results keep all their digits. (logaddexp gives the same, many times more slowly.)
    """
    return xp.add(xp.maximum(x, 0), xp.log1p(xp.exp(-xp.abs(x))), out=out)


def take_class(xp: Any, x: Any, labels: Any) -> Any:
    """The element of x (N, K, d1, ...) at the class of each position, for labels (N, 1, d1, ...) of that same shape."""
    return xp.take_along_axis(x, labels, axis=1)


def one_hot(xp: Any, labels: Any, classes: int) -> Any:
    """Booleans (N, K, d1, ...): true at the class of each position, for labels (N, 1, d1, ...)."""
    return labels == xp.arange(classes).reshape(1, classes, *(1,) * (labels.ndim - 2))


def check_labels(xp: Any, labels: Any, classes: int, valid: Any = None) -> None:
    """Refuse labels outside 0 <= label < classes (where `valid`, if given): they would read another sample's score.

    Errors   LayerError (exit 3: the data are wrong) with the first bad label and its position
    """
    bad = (labels < 0) | (labels >= classes)
    if valid is not None:
        bad &= valid
    refuse_labels(
        labels,
        bad,
        f"out of range for {classes} classes",
        f"labels must be 0 to {classes - 1}; check the data or the number of outputs of the layer below",
    )


def refuse_labels(labels: Any, bad: Any, why: str, hint: str, word: str = "label") -> None:
    """LayerError (exit 3: the data are wrong) with the first label that is `bad`, if there is one, and its position.

    word says what the labels are.
    """

    def error() -> LayerError:
        first = int(bad.argmax())
        position = ", ".join(str(int(i)) for i in np.unravel_index(first, labels.shape))
        label = int(labels.reshape(-1)[first])
        return LayerError(f"{word} {label} at position {position} is {why}", hint=hint, exit_code=3)

    refuse_where(bad.any(), error)


def check_index(xp: Any, index: Any, size: int, what: str) -> None:
    """Refuse indices outside 0 <= index < size, which would be read from somewhere else or not at all.

    Errors   LayerError (exit 3: the data are wrong) with the first bad index and its position; `what` has that size
    """
    hint = f"indices must be 0 to {size - 1}; check the data" if size else "there is nothing to point at"
    refuse_labels(index, (index < 0) | (index >= size), f"out of range for {what}", hint, word="index")


def expect_role(name: str, spec: Spec, role: str) -> None:
    """LayerError unless a bottom holds what its layer computes with: "real" numbers or "index" integers."""
    if spec.role != role:
        words = {"real": "real numbers", "index": "integers, such as labels"}
        raise LayerError(f"{name} must be {words[role]}, got {spec}", hint="check which blob it reads")


def shape_mismatch(name: str, got: tuple[int, ...], want: str) -> LayerError:
    """The error for a bottom of the wrong shape."""
    return LayerError(f"{name} has shape {tuple(got)}, expected {want}")
