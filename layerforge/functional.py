"""Maths that several layers share. Plain functions over arrays of any backend."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .errors import LayerError


def rows(x: Any) -> Any:
    """(..., D) as a matrix (N, D): every position is a row."""
    return x.reshape(-1, x.shape[-1])


def unbroadcast(dy: Any, shape: tuple[int, ...]) -> Any:
    """The gradient of a bottom that was broadcast to dy's shape: the sum over the axes along which it was repeated.

    Broadcasting copies one number to many places; each copy contributes its gradient, so they add up.
    """
    if dy.shape == shape:
        return dy
    extra = dy.ndim - len(shape)
    axes = (*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1 and dy.shape[extra + i] != 1))
    return dy.sum(axis=axes, keepdims=True).reshape(shape) if axes else dy.reshape(shape)


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


def log_softmax(xp: Any, x: Any, dim: int) -> Any:
    """x - log sum exp x along dim. Shifted by the maximum first, so that exp never overflows."""
    shifted = x - x.max(axis=dim, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(axis=dim, keepdims=True))


def softmax(xp: Any, x: Any, dim: int) -> Any:
    """exp x / sum exp x along dim, shifted by the maximum."""
    e = xp.exp(x - x.max(axis=dim, keepdims=True))
    e /= e.sum(axis=dim, keepdims=True)
    return e


def classes_last(x: Any) -> Any:
    """(N, K, d1, ...) as a matrix (N d1 ..., K): a row for each position that has a label."""
    return x if x.ndim == 2 else x.reshape(x.shape[0], x.shape[1], -1).transpose(0, 2, 1).reshape(-1, x.shape[1])


def classes_second(rows_of_classes: Any, shape: tuple[int, ...]) -> Any:
    """The inverse of classes_last: a matrix (N d1 ..., K) as (N, K, d1, ...)."""
    if len(shape) == 2:
        return rows_of_classes
    return rows_of_classes.reshape(shape[0], -1, shape[1]).transpose(0, 2, 1).reshape(shape)


def check_labels(xp: Any, labels: Any, classes: int, valid: Any = None) -> None:
    """Refuse labels outside 0 <= label < classes (where `valid`, if given): they would read another sample's score.

    Errors   LayerError (exit 3: the data are wrong) with the first bad label and its position
    """
    bad = (labels < 0) | (labels >= classes)
    if valid is not None:
        bad &= valid
    if bool(bad.any()):
        position = int(bad.argmax())
        raise LayerError(
            f"label {int(labels[position])} at position {position} is out of range for {classes} classes",
            hint=f"labels must be 0 to {classes - 1}; check the data or the number of outputs of the layer below",
            exit_code=3,
        )


def shape_mismatch(name: str, got: tuple[int, ...], want: str) -> LayerError:
    """The error for a bottom of the wrong shape."""
    return LayerError(f"{name} has shape {tuple(got)}, expected {want}")


def count(shape: tuple[int, ...]) -> int:
    """Numbers in an array of that shape."""
    return math.prod(shape)
