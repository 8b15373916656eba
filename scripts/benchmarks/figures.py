"""Statistics of repeated measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """Least value, lower quartile, median, upper quartile of some numbers."""

    least: float
    low: float
    middle: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one number; quartiles lie between the two nearest values, in proportion."""
    ordered = sorted(values)

    def at(share: float) -> float:
        position = share * (len(ordered) - 1)
        below = math.floor(position)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (position - below) * (ordered[above] - ordered[below])

    return Spread(ordered[0], at(0.25), at(0.5), at(0.75))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, round by round: what disturbs a whole round disturbs both."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def fastest(times: Mapping[str, Sequence[float]]) -> str:
    """The name with the smallest median."""
    return min(times, key=lambda name: median(times[name]))


def geometric_mean(values: Iterable[float]) -> float | None:
    """The geometric mean; None of nothing."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else None
