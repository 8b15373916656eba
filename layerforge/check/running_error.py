"""Numbers that carry how far they may be off: what roundings on the way to a result can do to it, step by step.

Beside its exact value each array has a bound of its error, and every operation makes that of its result, as in the
running error analysis of Wilkinson (Higham, Accuracy and Stability of Numerical Algorithms, 3.3):

    a + b       e_a + e_b
    a b         |a| e_b + e_a |b| + e_a e_b, in a product of matrices summed, and n 2⁻²⁴ Σ|a||b| for a sum of n terms
    softmax s   A (exp(e_s + max e_s) - 1), as the logarithm of a sum of exponentials moves by no more than its terms,
                within 0 and 1. Where exponentials are stored in bfloat16 before they are divided, u more of each
    rounded a   e_a + half the distance of the numbers that bfloat16 has about |a| + e_a, at most u = 2⁻⁸ times that
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.bfloat16 import EPSILON

OF_FLOAT32 = 2.0**-24  # the largest relative error of rounding to float32
AROUND = 4  # roundings of float32 about a sum: the products, a bias, a factor, what it is added to


class Approx:
    """An array in float64, `value`, and the bound of its `error`, element by element."""

    def __init__(self, value: Any, error: Any = None) -> None:
        self.value = value
        self.error = np.zeros_like(value) if error is None else np.broadcast_to(error, value.shape)

    def __add__(self, other: Any) -> Approx:
        other = as_approx(other)
        value = self.value + other.value
        return Approx(value, self.error + other.error + OF_FLOAT32 * np.abs(value))

    def __sub__(self, other: Approx) -> Approx:
        return self + other * -1.0

    def __mul__(self, other: Any) -> Approx:
        other = as_approx(other)
        (a, ea), (b, eb) = (np.abs(self.value), self.error), (np.abs(other.value), other.error)
        return Approx(self.value * other.value, a * eb + ea * b + ea * eb + OF_FLOAT32 * (a + ea) * (b + eb))

    def __matmul__(self, other: Any) -> Approx:
        other = as_approx(other)
        (a, ea), (b, eb) = (np.abs(self.value), self.error), (np.abs(other.value), other.error)
        error = a @ eb + ea @ b + ea @ eb + of_sum(a.shape[-1]) * ((a + ea) @ (b + eb))
        return Approx(self.value @ other.value, error)

    def __getitem__(self, where: Any) -> Approx:
        return Approx(self.value[where], self.error[where])

    def sum(self, axis: int) -> Approx:
        """Along an axis, which stays with the length 1."""
        error = self.error.sum(axis, keepdims=True)
        error = error + of_sum(self.value.shape[axis]) * (np.abs(self.value) + self.error).sum(axis, keepdims=True)
        return Approx(self.value.sum(axis, keepdims=True), error)

    def moved(self, look: Any) -> Approx:
        """With both arrays looked at in another way, such as transposed."""
        return Approx(look(self.value), look(self.error))

    def transposed(self) -> Approx:
        """The transposes of the matrices in the last two axes."""
        return self.moved(lambda a: a.swapaxes(-1, -2))

    def rounded(self) -> Approx:
        """Stored in bfloat16."""
        _, exponent = np.frexp(np.abs(self.value) + self.error)  # of a fraction from 1/2 to 1
        return Approx(self.value, self.error + np.ldexp(EPSILON, exponent - 1))


def as_approx(value: Any) -> Approx:
    """Exact numbers as an Approx."""
    return value if isinstance(value, Approx) else Approx(np.asarray(value, np.float64))


def of_sum(n: int) -> float:
    """The relative error of a sum of n products in float32, in any order, to its sum of absolute values."""
    return (n + AROUND) * OF_FLOAT32


def softmax(scores: Approx, seen: Any) -> Approx:
    """Over the last axis, of exponentials in bfloat16 and their sum; 0 where nothing is seen, or a row sees nothing.

    So oneDNN does it: where the weights are to be bfloat16 it keeps the exponentials in their place.
    """
    s = np.where(seen, scores.value, -np.inf)
    largest = s.max(axis=-1, keepdims=True)
    s = s - np.where(np.isfinite(largest), largest, 0)
    powers = np.exp(s)
    total = powers.sum(axis=-1, keepdims=True)
    total = np.where(total > 0, total, 1)
    weights = powers / total
    moved = np.where(seen, scores.error, 0)
    # Each exponential is computed of a difference as large as the spread of the scores, in float32.
    spread = np.where(seen, np.abs(scores.value), 0).max(axis=-1, keepdims=True)
    moved = moved + OF_FLOAT32 * (spread + of_sum(s.shape[-1]) / OF_FLOAT32)
    moved = moved + moved.max(axis=-1, keepdims=True) + EPSILON
    # The logarithm of a weight is known where the weight is 0 in float64, and scores are unsure by hundreds.
    most = np.exp(np.minimum(s - np.log(total) + moved, 0))
    return Approx(weights, np.maximum(most - weights, -weights * np.expm1(-moved)))


def joined(parts: Sequence[Approx], axis: int) -> Approx:
    """One behind the other along an axis."""
    return Approx(*(np.concatenate([getattr(p, what) for p in parts], axis) for what in ("value", "error")))


def learned(da: Approx, x: Approx) -> tuple[Approx, Approx]:
    """The gradients of weight and bias of a = W x + b."""
    rows, columns = (a.moved(lambda m: m.reshape(-1, m.shape[-1])) for a in (da, x))
    return rows.transposed() @ columns, rows.sum(0)[0]
