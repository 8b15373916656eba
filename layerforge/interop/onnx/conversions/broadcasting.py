"""Blobs combined element by element. Those of two bottoms that are one operator stand in one_operator's table."""

from __future__ import annotations

from functools import reduce

from ..exporting import Export, Value, exports
from .elementwise import scaled


@exports("Add")
def add(w: Export, *bottoms: Value) -> Value:
    """Add of two, Sum of more, of bottoms that are times their coefficients; Sub of one with the coefficient -1."""
    coeff = w.layer.coeff or [1] * len(bottoms)
    if list(coeff) == [1, -1]:
        return w.op("Sub", *bottoms)
    terms = [scaled(w, x, c, 0) for x, c in zip(bottoms, coeff, strict=True)]
    return w.op("Add" if len(terms) == 2 else "Sum", *terms)


@exports("Mul")
def multiply(w: Export, *bottoms: Value) -> Value:
    """Mul, of more than two one after the other."""
    return reduce(lambda a, b: w.op("Mul", a, b), bottoms)


@exports("Where")
def where(w: Export, condition: Value, a: Value, b: Value) -> Value:
    """Where, with the condition as truth values."""
    return w.op("Where", w.cast(condition, "bool"), a, b, dtype=a.dtype)
