"""What the micro-batches of a step are weighted by, so that together they are one batch cut into pieces.

A loss that is a mean over the c of T things that are in this piece has the share c / T of the whole batch's mean; one
that is a sum counts as it is. Where all losses have the same counts, or counts in the same proportion in every piece,
T need not be known: c over the first piece's c, and one division at the end. Where they do not, each loss needs a
weight of its own, and T must be known before the first backward.

Caffe does not ask what its losses are means of: the gradient of a step is the mean of those of its micro-batches. That
is the same where all have the same counts, and something else where labels are ignored, or a loss is a sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..run.counting import Count, Counts
from ..schema.errors import ConfigError

Weight = float | tuple[float, ...]  # of all losses, or of each


@dataclass
class AsTheyCome:
    """Weights of micro-batches that are fed one by one. `unit` is the first one's count, `total` the sum of all.

    of_one_batch   they are one batch cut into pieces, and of a loss for which that cannot be there is one only
    """

    unit: Counts = 0
    total: float = 0
    fed: int = 0
    of_one_batch: ClassVar[bool] = True

    def weigh(self, counts: Counts) -> Weight | None:
        """The weight of a micro-batch; None where the losses would need weights that only the whole step can tell."""
        if not self.fed and counts and isinstance(counts, int | float):  # as in nearly every step
            self.unit, self.fed, self.total = counts, 1, counts
            return 1.0
        if _is_nothing(counts):
            return 0.0
        if not self.fed:
            self.unit = counts
        elif not proportional(self.unit, counts):
            return None
        self.fed += 1
        share, unit = _first(counts), _first(self.unit)
        if share is None or unit is None:
            return 1.0
        self.total += share
        return share / unit

    @property
    def average(self) -> float:
        """The factor that turns the weighted sum into the mean over everything."""
        unit = _first(self.unit)
        return unit / self.total if unit and self.total else 1.0

    def demand_all(self) -> None:
        """Whatever has come is all there is."""


@dataclass
class Equals:
    """Weights of micro-batches that count the same, whatever is in them: the gradient is the mean of theirs."""

    fed: int = 0
    of_one_batch: ClassVar[bool] = False

    def weigh(self, counts: Counts) -> Weight:
        """The weight of a micro-batch."""
        self.fed += 1
        return 1.0

    @property
    def average(self) -> float:
        """The factor that turns the sum into the mean over the micro-batches."""
        return 1 / self.fed if self.fed else 1.0

    def demand_all(self) -> None:
        """Whatever has come is all there is."""


@dataclass
class Counted:
    """Weights of micro-batches whose counts are known: `parts` has those of each loss, for each micro-batch.

    Each weight is times the number of micro-batches, so that equal ones have weight 1, as when they are fed one by one.
    """

    parts: Sequence[tuple[Count, ...]]
    fed: int = 0
    of_one_batch: ClassVar[bool] = True
    totals: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.totals = [sum(c or 0 for c in counts) for counts in zip(*self.parts, strict=True)]

    def weigh(self, counts: Counts) -> Weight:
        """The weights of the next micro-batch. Errors   ConfigError where it is not the one that was counted."""
        expected = self.parts[self.fed] if self.fed < len(self.parts) else None
        if expected is None or not _same(expected, spread(counts, len(self.totals))):
            hint = "give accumulate the micro-batches of begin_step, in their order"
            raise ConfigError(f"micro-batch {self.fed + 1} is not the one that the step was begun with", hint=hint)
        self.fed += 1
        pieces = len(self.parts)
        return tuple(
            float(pieces) if count is None else pieces * count / total if total else 0.0
            for count, total in zip(expected, self.totals, strict=True)
        )

    @property
    def average(self) -> float:
        """The factor that turns the weighted sum into the mean over everything."""
        return 1 / len(self.parts)

    def demand_all(self) -> None:
        """ConfigError where micro-batches are missing."""
        if self.fed < len(self.parts):
            message = f"the step was begun with {len(self.parts)} micro-batches, {self.fed} were given"
            raise ConfigError(message, hint="call accumulate with each of them before update")


def weighting(parts: Sequence[Counts]) -> AsTheyCome | Counted:
    """How micro-batches with these counts are to be weighted."""
    something = [counts for counts in parts if not _is_nothing(counts)]
    if all(proportional(something[0], counts) for counts in something[1:]):
        return AsTheyCome()
    losses = max(len(counts) for counts in parts if isinstance(counts, tuple))
    return Counted([spread(counts, losses) for counts in parts])


def scaled(weight: Weight, scale: float) -> Weight:
    """A weight times a number."""
    if scale == 1:
        return weight
    return tuple(scale * each for each in weight) if isinstance(weight, tuple) else scale * weight


def proportional(a: Counts, b: Counts) -> bool:
    """Whether the losses have shares of the same size in both; one that is a sum has one of its own."""
    if not isinstance(a, tuple) and not isinstance(b, tuple):
        return (a is None) == (b is None)
    losses = len(a) if isinstance(a, tuple) else len(b) if isinstance(b, tuple) else 1
    one, other = ([c for c in spread(counts, losses) if c is not None] for counts in (a, b))
    if len(one) < losses or len(other) < losses:
        return not one and not other
    k = next(i for i, c in enumerate(one) if c)
    return all(math.isclose(x * other[k], y * one[k], rel_tol=1e-12) for x, y in zip(one, other, strict=True))


def spread(counts: Counts, losses: int) -> tuple[Count, ...]:
    """The count of each loss."""
    return counts if isinstance(counts, tuple) else (counts,) * losses


def _is_nothing(counts: Counts) -> bool:
    """Whether every loss is a mean over nothing."""
    return all(c == 0 for c in counts) if isinstance(counts, tuple) else counts == 0


def _first(counts: Counts) -> Count:
    """The count that stands for all of them, as their proportions are the same in every micro-batch."""
    return next((c for c in counts if c), counts[0]) if isinstance(counts, tuple) else counts


def _same(a: tuple[Count, ...], b: tuple[Count, ...]) -> bool:
    pairs = zip(a, b, strict=True)
    return all(x is y or (x is not None and y is not None and math.isclose(x, y, rel_tol=1e-9)) for x, y in pairs)
