"""Evaluates formulas as docs/textbook.md writes them: `dy y (1 - y)`, `-(Yᵀ dY) Yᵀ`, `2 u ⊙ dy`, `ds + dm [b > c]`.

What stands side by side is multiplied: matrices as matrices, and a number with anything. A vector is a column.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

IN_PYTHON = (  # how formulas are written, and what Python reads, in this order
    (r"e⁻([ˣᶻ])", r"exp(-\1)"), ("eˣ", "exp(x)"), ("ᶻ", "z"), ("ˣ", "x"),
    ("φ", "phi"), ("₂", "2"), ("·", "*"), ("⊙", "%"),
    (r"\b(ln|tanh|det) (\w+)", r"\1(\2)"), (r"√(\w+)", r"√(\1)"), ("√", "sqrt"),
    (r"(?<=[ (])\[(.*?)\]", r"(\1)"), (r"(?<![\w.])(\d+(?:\.\d+)?)", r"number(\1)"),
    ("⁻¹", ".inverse"), ("⁻ᵀ", ".inverse.T"), ("ᵀ", ".T"), ("²", ".squared"),
    (r"(?<=[\w)]) (?=[\w(])", "*"),
)  # fmt: skip


def by_formula(formula: str, numbers: Mapping[str, Any]) -> Any:
    """The value of a formula; None where it has words, sums or indices, or speaks of what is not among the numbers."""
    code = unicodedata.normalize("NFC", formula)
    for written, meant in IN_PYTHON:
        code = re.sub(written, meant, code)
    try:
        found = eval(code, {**FUNCTIONS, **{unicodedata.normalize("NFC", n): Value.of(x) for n, x in numbers.items()}})
    except (NameError, SyntaxError, TypeError):
        return None
    return np.squeeze(found.array) if isinstance(found, Value) else None


class Value:
    """A number, or a matrix."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array, "float64")

    @classmethod
    def of(cls, given: Any) -> Value:
        """That of what a program gives or prints: a vector is a column, an array of one number is that number."""
        array = np.asarray(given, "float64")
        if array.size == 1:
            array = array.reshape(())
        return cls(array[:, None] if array.ndim == 1 else array)

    def __mul__(self, other: Value) -> Value:
        numbers = self.array.ndim == 0 or other.array.ndim == 0
        return Value(self.array * other.array if numbers else self.array @ other.array)

    def __mod__(self, other: Value) -> Value:
        return Value(self.array * other.array)

    def __add__(self, other: Value) -> Value:
        return Value(self.array + other.array)

    def __sub__(self, other: Value) -> Value:
        return Value(self.array - other.array)

    def __truediv__(self, other: Value) -> Value:
        return Value(self.array / other.array)

    def __neg__(self) -> Value:
        return Value(-self.array)

    def __gt__(self, other: Value) -> Value:
        return Value(self.array > other.array)

    def __lt__(self, other: Value) -> Value:
        return Value(self.array < other.array)

    @property
    def squared(self) -> Value:
        return Value(self.array**2)

    @property
    def T(self) -> Value:
        return Value(self.array.T)

    @property
    def inverse(self) -> Value:
        return Value(np.linalg.inv(self.array))


def of_values(function: Callable[..., Any]) -> Callable[..., Value]:
    """The function for Values."""
    return lambda *values: Value(function(*(value.array for value in values)))


FUNCTIONS = {name: of_values(getattr(np, name)) for name in ("exp", "sqrt", "tanh", "arctan")}
FUNCTIONS |= {"ln": of_values(np.log), "max": of_values(np.maximum), "min": of_values(np.minimum)}
FUNCTIONS |= {"det": of_values(np.linalg.det), "number": Value}
