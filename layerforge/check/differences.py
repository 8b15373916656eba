"""Finite differences that know when not to be believed.

    (f(a + h r) - f(a - h r)) / 2h  =  <∇f(a), r>  +  O(h²)

Rounding grows as h shrinks and truncation as it grows, so a short sweep of h around 1e-5 takes the step at which
two neighbouring steps agree best. Where no two agree, a kink (ReLU at 0, a tie of a maximum) lies between
a - h r and a + h r, and the difference says nothing about the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STEPS = (1e-5, 1e-6, 1e-4)
ROUNDING = 4e-15  # relative error granted to one evaluation in float64, about twenty roundings
AGREE = 1e-6  # two steps agree when their estimates differ by less than this share of the larger


@dataclass(frozen=True)
class Tolerance:
    """A gradient passes when |analytic - numeric| <= atol * scale + rtol * |numeric| + the rounding of the difference.

    That is NumPy's allclose, with atol relative to the norm of the whole gradient.
    """

    rtol: float = 1e-5
    atol: float = 1e-7

    def allows(self, found: Difference, scale: float) -> bool:
        return found.absolute <= self.atol * scale + self.rtol * abs(found.numeric) + found.noise


@dataclass(frozen=True)
class Difference:
    """One comparison: what backward says, what the difference says, and whether a kink spoils the latter."""

    analytic: float
    numeric: float
    kink: bool
    noise: float = 0.0  # how far rounding alone can move the numeric value
    where: str = ""

    @property
    def absolute(self) -> float:
        return abs(self.analytic - self.numeric)

    def relative(self, floor: float = 0.0) -> float:
        """|a - n| / max(floor, |a| + |n|), the measure of Stanford's CS231n; 0 for 0 against 0."""
        denominator = max(floor, abs(self.analytic) + abs(self.numeric))
        return self.absolute / denominator if denominator else 0.0


def compare(
    analytic: float,
    evaluate: Callable[[], Sequence[np.ndarray]],
    weights: Sequence[np.ndarray],
    move: Callable[[float], None],
    where: str,
    steps: Sequence[float] = STEPS,
) -> Difference:
    """The derivative of Σ <weights, evaluate()> along a path, held against the analytic one.

    `move(t)` goes to position t of the path; evaluate() returns host arrays. Differences are taken array by array
    before they are summed, so that large outputs do not drown small changes.
    """

    def central(h: float) -> tuple[float, float]:
        move(h)
        plus = [np.array(y, dtype=np.float64) for y in evaluate()]
        move(-h)
        minus = [np.array(y, dtype=np.float64) for y in evaluate()]
        total = sum(float(((p - m) * w).sum()) for p, m, w in zip(plus, minus, weights, strict=True))
        size = sum(float((np.abs(p) * np.abs(w)).sum()) for p, w in zip(plus, weights, strict=True))
        return total / (2 * h), ROUNDING * size / h

    tried: list[tuple[float, Difference]] = []
    for h in steps:
        (coarse, _), (fine, noise) = central(h), central(h / 2)
        excess = abs(coarse - fine) - AGREE * max(abs(coarse), abs(fine)) - noise
        tried.append((excess, Difference(analytic, fine, excess > 0, noise, where)))
        if excess <= 0:
            break
    move(0.0)
    return min(tried, key=lambda pair: pair[0])[1]


def along(array: Any, direction: Any) -> Callable[[float], None]:
    """A path through an array, changed in place: position t is array + t * direction; 0 restores it bit for bit."""
    start = array.copy()

    def move(t: float) -> None:
        array[...] = start + t * direction if t else start

    return move


def along_element(array: Any, element: tuple[int, ...]) -> Callable[[float], None]:
    """A path that changes one element."""
    start = array[element].copy()

    def move(t: float) -> None:
        array[element] = start + t if t else start

    return move
