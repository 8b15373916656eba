"""Folds that compute: element by element, over axes, and products."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from .folding import FOLDS, Folding, folds

MOST_PRODUCTS = 1 << 31  # of numbers, in a product of matrices
WIDTH = 16  # of them take as long as to read a number


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A quotient; of integers without what is behind the point."""
    if a.dtype.kind == "f":
        return a / b
    if not np.all(b):
        raise ValueError("an integer is divided by 0")
    return (np.sign(a) * np.sign(b) * (abs(a) // abs(b))).astype(a.dtype)


ONE: dict[str, Callable[..., Any]] = {  # of one array
    **{"Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Floor": np.floor},
    **{"Ceil": np.ceil, "Round": np.round, "Sign": np.sign, "Sin": np.sin, "Cos": np.cos, "Tanh": np.tanh},
    **{"Not": np.logical_not, "Reciprocal": np.reciprocal, "IsNaN": np.isnan},
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
TWO: dict[str, Callable[..., Any]] = {  # of two
    **{"Div": _quotient, "Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater},
    **{"GreaterOrEqual": np.greater_equal, "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor},
    "Pow": lambda a, b: np.power(a, b).astype(a.dtype),
}
MANY: dict[str, Callable[..., Any]] = {  # of any number
    **{"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Min": np.minimum, "Max": np.maximum, "Sum": np.add},
}
REDUCED: dict[str, Callable[..., Any]] = {"Sum": np.sum, "Prod": np.prod, "Max": np.max, "Min": np.min, "Mean": np.mean}


def _one(function: Callable[..., Any]) -> Callable[[Folding], Any]:
    return lambda f: np.asarray(function(f.given(0))).astype(_result(f, function))


def _result(f: Folding, function: Callable[..., Any]) -> Any:
    """Of the input's dtype, or bool."""
    return bool if function in (np.logical_not, np.isnan) else f.given(0).dtype


def _two(function: Callable[..., Any]) -> Callable[[Folding], Any]:
    return lambda f: function(*f.together(2))


def _many(function: Callable[..., Any]) -> Callable[[Folding], Any]:
    return lambda f: reduce(function, f.together(len(f.arrays)))


FOLDS.update({op: _one(function) for op, function in ONE.items()})
FOLDS.update({op: _two(function) for op, function in TWO.items()})
FOLDS.update({op: _many(function) for op, function in MANY.items()})


def _reduced(function: Callable[..., Any]) -> Callable[[Folding], Any]:
    def fold(f: Folding) -> Any:
        axes, x = f.integers(1, "axes"), f.given(0)
        keep, nothing = f.attributes.flag("keepdims", True), f.attributes.flag("noop_with_empty_axes")
        if not axes and nothing:
            return x.copy()
        return function(x, axis=tuple(axes) if axes else None, keepdims=keep).astype(x.dtype)

    return fold


FOLDS.update({f"Reduce{word}": _reduced(function) for word, function in REDUCED.items()})


@folds("MatMul")
def mat_mul(f: Folding) -> Any:
    """A product of matrices."""
    a, b = f.given(0), f.given(1)
    rows = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *a.shape[-2:-1])
    products = math.prod(f.bounded([*rows, *(b.shape[-1:] if b.ndim > 1 else ())])) * a.shape[-1]
    if products > MOST_PRODUCTS:
        raise ValueError(f"a product of {a.shape} and {b.shape} is too large to be computed here")
    f.room.work -= products // WIDTH
    return np.matmul(a, b)


@folds("Mod")
def mod(f: Folding) -> Any:
    """The rest of a division, with the sign of the divisor, or with fmod that of the dividend."""
    return (np.fmod if f.attributes.flag("fmod") else np.mod)(*f.together(2))


@folds("Where")
def where(f: Folding) -> Any:
    """One of two."""
    return np.where(*f.together(3))


@folds("Clip")
def clip(f: Folding) -> Any:
    """Between two limits."""
    x, low, high = f.given(0), f.optional(1), f.optional(2)
    low = np.asarray(f.attributes.number("min", 0)) if f.attributes.has("min") else low
    high = np.asarray(f.attributes.number("max", 0)) if f.attributes.has("max") else high
    f.broadcast(x.shape, *(limit.shape for limit in (low, high) if limit is not None))
    x = x if low is None else np.maximum(x, low.astype(x.dtype))
    return x if high is None else np.minimum(x, high.astype(x.dtype))


@folds("CumSum")
def cum_sum(f: Folding) -> Any:
    """A running sum."""
    x, axis = f.given(0), int(f.given(1).reshape(-1)[0])
    if f.attributes.flag("exclusive"):
        raise ValueError("it is exclusive")
    if f.attributes.flag("reverse"):
        return np.flip(np.cumsum(np.flip(x, axis), axis, dtype=x.dtype), axis)
    return np.cumsum(x, axis, dtype=x.dtype)


@folds("ReverseSequence")
def reverse_sequence(f: Folding) -> Any:
    """Samples with their first steps turned round, as many as each has."""
    time, batch = f.attributes.integer("time_axis", 0), f.attributes.integer("batch_axis", 1)
    x = np.moveaxis(f.given(0), (batch, time), (0, 1)).copy()
    for sample, length in zip(x, f.given(1).reshape(-1).tolist(), strict=True):
        sample[:length] = sample[:length][::-1].copy()
    return np.moveaxis(x, (0, 1), (batch, time))


@folds("NonZero")
def non_zero(f: Folding) -> Any:
    """Where numbers are not 0."""
    x = f.given(0)
    f.bounded([x.ndim, int(np.count_nonzero(x))])
    return np.asarray(np.nonzero(x), dtype=np.int64)


@folds("ArgMax", "ArgMin")
def arg_max(f: Folding) -> Any:
    """Where the extreme elements are."""
    x, axis = f.given(0), f.attributes.integer("axis", 0)
    if f.attributes.flag("select_last_index"):
        raise ValueError("the last of equal elements is asked for")
    function = np.argmax if f.attributes.node.op == "ArgMax" else np.argmin
    return function(x, axis=axis, keepdims=f.attributes.flag("keepdims", True))
