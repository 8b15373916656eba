"""Formulas over values, written with the signs of arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..exporting import Export, Length, Value
from .reductions import reduced

NUMBERS = {"float32": 1, "int64": 7, "bool": 9, "float64": 11}  # ONNX's, of dtypes


class Formula:
    """A value in a formula: its signs write nodes. What stands beside it is another one, or a number of its dtype."""

    def __init__(self, w: Export, value: Value) -> None:
        self.w, self.value = w, value

    def op(self, kind: str, *others: Any, dtype: str = "", **attributes: Any) -> Formula:
        """An operator of this one and others."""
        given = [self._given(other) for other in others]
        return Formula(self.w, self.w.op(kind, self.value, *given, dtype=dtype, **attributes))

    def _given(self, other: Any) -> Any:
        if isinstance(other, Formula):
            return other.value
        if isinstance(other, int | float | np.ndarray):
            return self.w.constant(other, self.value.dtype)
        return other

    def __add__(self, other: Any) -> Formula:
        return self.op("Add", other)

    def __sub__(self, other: Any) -> Formula:
        return self.op("Sub", other)

    def __mul__(self, other: Any) -> Formula:
        return self.op("Mul", other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Any) -> Formula:
        return Formula(self.w, self.w.op("Sub", self._given(other), self.value))

    def __truediv__(self, other: Any) -> Formula:
        return self.op("Div", other)

    def __invert__(self) -> Formula:
        return self.op("Not")

    def __and__(self, other: Formula) -> Formula:
        return self.op("And", other)

    def __or__(self, other: Formula) -> Formula:
        return self.op("Or", other)

    def equals(self, other: Any) -> Formula:
        """Whether both are equal."""
        return self.op("Equal", other, dtype="bool")

    def above(self, other: Any) -> Formula:
        """Whether this is larger."""
        return self.op("Greater", other, dtype="bool")

    def below(self, other: Any) -> Formula:
        """Whether this is smaller."""
        return self.op("Less", other, dtype="bool")

    def cast(self, dtype: str) -> Formula:
        """The same in another dtype."""
        return self if self.value.dtype == dtype else self.op("Cast", to=NUMBERS[dtype], dtype=dtype)

    def abs(self) -> Formula:
        """The size."""
        return self.op("Abs")

    def sqrt(self) -> Formula:
        """The root."""
        return self.op("Sqrt")

    def sum(self, *axes: int, keepdims: bool = False) -> Formula:
        """The sum along axes, of all without any."""
        return Formula(self.w, reduced(self.w, "ReduceSum", self.value, axes, keepdims))

    def mean(self, *axes: int) -> Formula:
        """The mean along axes, of all without any."""
        return Formula(self.w, reduced(self.w, "ReduceMean", self.value, axes, keepdims=False))

    def any(self, axis: int) -> Formula:
        """Whether one along an axis is true."""
        return self.cast("int64").sum(axis).above(0)

    def all(self, axis: int) -> Formula:
        """Whether all along an axis are true."""
        return ~(~self).any(axis)

    def where(self, condition: Formula, otherwise: Any) -> Formula:
        """This where the condition holds, else the other one or a number."""
        other = self._given(otherwise)
        return Formula(self.w, self.w.op("Where", condition.value, self.value, other, dtype=self.value.dtype))

    def unsqueeze(self, *axes: int) -> Formula:
        """With axes of length 1."""
        return self.op("Unsqueeze", self.w.constant(list(axes)))

    def reshape(self, shape: Sequence[Length]) -> Formula:
        """In another shape."""
        return Formula(self.w, self.w.reshape(self.value, shape))

    def flat(self) -> Formula:
        """In one axis."""
        return self.op("Reshape", self.w.constant([-1]))
