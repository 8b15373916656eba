"""Formulas in Python that become operators: `a * (abs(u) - a / 2)` of Terms is Mul, Sub, Abs and Div."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import reduce
from typing import Any

from ..exporting import Export, Extent, Length, Value


@dataclass(frozen=True)
class Term:
    """A value in a formula. The other side of an operation may be a number or an array, which become constants."""

    w: Export
    value: Value

    def op(self, kind: str, *inputs: Any, dtype: str = "", **attributes: Any) -> Term:
        """An operator of terms, numbers and values; numbers are of this term's dtype."""
        return Term(self.w, self.w.op(kind, *map(self._given, inputs), dtype=dtype or self.value.dtype, **attributes))

    def _given(self, one: Any) -> Any:
        if isinstance(one, Term):
            return one.value
        return self.w.constant(one, self.value.dtype) if isinstance(one, (int, float)) else one

    def __add__(self, other: Any) -> Term:
        return self.op("Add", self, other)

    def __radd__(self, other: Any) -> Term:
        return self.op("Add", other, self)

    def __sub__(self, other: Any) -> Term:
        return self.op("Sub", self, other)

    def __rsub__(self, other: Any) -> Term:
        return self.op("Sub", other, self)

    def __mul__(self, other: Any) -> Term:
        return self if isinstance(other, (int, float)) and other == 1 else self.op("Mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Term:
        return self if isinstance(other, (int, float)) and other == 1 else self.op("Div", self, other)

    def __pow__(self, other: Any) -> Term:
        return self if isinstance(other, (int, float)) and other == 1 else self.op("Pow", self, other)

    def __neg__(self) -> Term:
        return self.op("Neg", self)

    def __abs__(self) -> Term:
        return self.op("Abs", self)

    def __gt__(self, other: Any) -> Term:
        return self.op("Greater", self, other, dtype="bool")

    def __lt__(self, other: Any) -> Term:
        return self.op("Less", self, other, dtype="bool")

    def __invert__(self) -> Term:
        return self.op("Not", self)

    def __and__(self, other: Any) -> Term:
        return self.op("And", self, other)

    def __or__(self, other: Any) -> Term:
        return self.op("Or", self, other)

    def equals(self, other: Any) -> Term:
        """Where the two are the same."""
        return self.op("Equal", self, other, dtype="bool")

    def differs(self, other: Any) -> Term:
        """Where they are not."""
        return ~self.equals(other)

    def is_nan(self) -> Term:
        """Where it is not a number."""
        return self.op("IsNaN", self, dtype="bool")

    def cast(self, dtype: str) -> Term:
        """In another dtype: truth values are 1 and 0."""
        return self if self.value.dtype == dtype else Term(self.w, self.w.cast(self.value, dtype))

    def real(self) -> Term:
        """As real numbers."""
        return self.cast("float32")

    def any(self, axis: int) -> Term:
        """Whether one along an axis is true."""
        return self.cast("int64").sum(axis) > 0

    def all(self, axis: int) -> Term:
        """Whether all along an axis are true."""
        return ~(~self).any(axis)

    def flat(self) -> Term:
        """In one axis."""
        return self.op("Reshape", self, self.w.constant([-1]))

    def at_least(self, least: float) -> Term:
        """Not below a number."""
        return self.op("Clip", self, least)

    def at_most(self, most: float) -> Term:
        """Not above a number."""
        return self.op("Clip", self, None, most)

    def or_one(self) -> Term:
        """1 where it is 0."""
        return where(self.equals(0), 1, self)

    def sum(self, axis: int | None = None, *, keepdims: bool = False) -> Term:
        """The sum over an axis, or of everything."""
        axes = None if axis is None else [axis]
        return Term(self.w, self.w.op("ReduceSum", self.value, axes, keepdims=int(keepdims)))

    def largest(self, axis: int) -> Term:
        """The largest along an axis, which stays."""
        return self.op("ReduceMax", self, axes=[axis])

    def squeezed(self, axis: int) -> Term:
        """Without an axis of length 1."""
        return Term(self.w, self.w.op("Squeeze", self.value, [axis]))

    def unsqueezed(self, *axes: int) -> Term:
        """With new axes of length 1."""
        return Term(self.w, self.w.op("Unsqueeze", self.value, list(axes))) if axes else self


def where(condition: Term, a: Any, b: Any) -> Term:
    """a where the condition holds, b elsewhere; one of them is a term."""
    like = a if isinstance(a, Term) else b
    return like.op("Where", condition, a, b)


def count(w: Export, *lengths: Length) -> Term | float:
    """The number of elements of a shape, at least 1: a number, or computed where it follows the batch."""
    fixed = math.prod(length for length in lengths if isinstance(length, int))
    varying = [Term(w, w.op("Squeeze", w.length(one), [0])) for one in lengths if isinstance(one, Extent)]
    if not varying:
        return float(fixed or 1)
    return reduce(operator.mul, varying).real() * fixed
