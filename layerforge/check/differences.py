"""Finite differences that know when not to be believed.

    (f(a + h r) - f(a - h r)) / 2h  =  <∇f(a), r>  +  O(h²)

Rounding grows as h shrinks and truncation as it grows. Where the first step does not agree with backward, a short
sweep of h around 1e-5 takes the step at which two neighbouring steps agree best. Where no two agree, a kink (ReLU at
0, a tie of a maximum) lies between a - h r and a + h r, and the difference says nothing about the gradient. A kink at a
itself fools both steps alike, so the slopes on the two sides of a are compared too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

STEPS = (1e-5, 1e-6, 1e-4)
ROUNDING = 4e-15  # relative error granted to one evaluation in float64, about twenty roundings
AGREE = 1e-6  # two steps agree when their estimates differ by less than this share of the larger


@dataclass(frozen=True)
class Tolerance:
    """A gradient passes when |analytic - numeric| <= atol * scale + rtol * |numeric| + the rounding of the difference.

    That is NumPy's allclose, with atol relative to the root mean square of the gradient's elements. A gradient whose
    norm is below `zero` times the largest one around counts as zero, and may be off by as much.
    """

    rtol: float = 1e-5
    atol: float = 1e-7
    zero: float = 1e-8

    @classmethod
    def for_dtype(cls, dtype: str) -> Tolerance:
        """What rounding allows a backward in this dtype; differences are taken in float64 whatever it is."""
        return cls() if dtype == "float64" else cls(rtol=1e-3, atol=1e-4, zero=1e-5)

    def allows(self, found: Difference, scale: float, zero: float = 0.0) -> bool:
        """Whether a comparison passes. `scale` is typical of its gradient; `zero` is allowed where that counts as 0."""
        allowed = self.atol * scale + self.rtol * abs(found.numeric) + found.noise + zero
        return math.isfinite(found.numeric) and found.absolute <= allowed


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

    @property
    def weight(self) -> tuple[bool, float]:
        """What makes one disagreement more telling than another: that it names an element, and its size."""
        return self.where.startswith("["), self.absolute

    def describe(self) -> str:
        """Where it is and the two values; or why there was nothing to compare."""
        if math.isnan(self.analytic) and math.isnan(self.numeric):
            return f": {self.where}"
        return f" at {self.where}: backward {self.analytic:.8g}, difference {self.numeric:.8g}"

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

    `move(t)` goes to position t of the path, and is called with 0 at the end; evaluate() returns host arrays.
    Differences are taken array by array before they are summed, so that large outputs do not drown small changes.
    """

    def at(t: float) -> list[np.ndarray]:
        return _values(evaluate, move, t)

    def central(h: float) -> tuple[float, float]:
        return central_difference(evaluate, weights, move, h)

    tried: list[tuple[float, float, Difference]] = []
    for h in steps:
        coarse, noise = central(h)
        known = math.isfinite(coarse)  # a step that leaves the domain tells nothing
        if known and abs(analytic - coarse) <= AGREE * abs(coarse) + noise:  # nothing that spoils it agrees by accident
            tried = [(0.0, h, Difference(analytic, coarse, False, noise, where))]
            break
        fine, noise = central(h / 2)
        known &= math.isfinite(fine)
        excess = abs(coarse - fine) - AGREE * max(abs(coarse), abs(fine)) - noise if known else math.inf
        tried.append((excess, h, Difference(analytic, fine, excess > 0, noise, where)))
        if excess <= 0:
            break
    _, h, best = min(tried, key=lambda t: t[0])
    if not best.kink and best.absolute > AGREE * abs(best.numeric) + best.noise:
        best = replace(best, kink=_kink_at_start(at, weights, h))
    move(0.0)
    return best


def central_difference(
    evaluate: Callable[[], Sequence[np.ndarray]], weights: Sequence[np.ndarray], move: Callable[[float], None], h: float
) -> tuple[float, float]:
    """The difference at one step, and how far rounding can move it. The path is left at -h."""
    plus, minus = _values(evaluate, move, h), _values(evaluate, move, -h)
    with np.errstate(invalid="ignore"):  # infinities of both signs
        total = sum(float((_less(p, m) * w).sum()) for p, m, w in zip(plus, minus, weights, strict=True))
    return total / (2 * h), _rounding(plus, weights, h)


def _values(
    evaluate: Callable[[], Sequence[np.ndarray]], move: Callable[[float], None], t: float
) -> list[np.ndarray]:
    move(t)
    with np.errstate(invalid="ignore", divide="ignore"):  # a step may leave the domain, as from 0 to a root of -h
        return [np.array(y, dtype=np.float64) for y in evaluate()]


def _rounding(values: Sequence[np.ndarray], weights: Sequence[np.ndarray], h: float) -> float:
    """How far rounding can move a difference of such values that is divided by h."""
    sizes = (np.where(np.isfinite(v), np.abs(v), 0.0) * np.abs(w) for v, w in zip(values, weights, strict=True))
    return ROUNDING * sum(float(size.sum()) for size in sizes) / h


def _less(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b, 0 for infinities that are equal: what stays infinite does not move."""
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, a - b)


def _kink_at_start(at: Callable[[float], list[np.ndarray]], weights: Sequence[np.ndarray], h: float) -> bool:
    """Whether the slopes on the two sides of the start differ by a jump.

    Where f is smooth they differ by h f'', a quarter as much at h/4; a jump stays as it is.
    """
    start = at(0.0)

    def jump(h: float) -> tuple[float, float]:
        plus, minus = at(h), at(-h)
        bends = ((_less(p, s) + _less(m, s)) * w for p, s, m, w in zip(plus, start, minus, weights, strict=True))
        return abs(sum(float(b.sum()) for b in bends)) / h, _rounding(plus, weights, h)

    (wide, _), (narrow, noise) = jump(h), jump(h / 4)
    return narrow > wide / 2 and narrow > 4 * noise


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
