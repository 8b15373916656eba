"""The step of a solver that is being accumulated, micro-batch by micro-batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..arrays.awaited import Later
from ..arrays.backend import Array
from ..run.counting import LossPart, known
from ..run.splitting import REMEDY, reasons
from ..schema.errors import ConfigError
from .weighting import AsTheyCome, Counted, Equals


@dataclass(slots=True)
class Accumulation:
    """The step that is being accumulated.

    statistics    copies of the net's running statistics from before the step
    first_sample  of the net, from before the step
    weights       what its micro-batches are weighted by
    samples       in the last micro-batch: the next one begins behind them
    loss          the sum of the losses, each times its weight; None before the first
    squares       the sum of the squares of the gradients, where it is fetched with the loss
    alone         in words, losses that no second micro-batch can be added to
    loss_scale    what the losses are multiplied by before backward: loss_scale.py
    begun         what the losses of the first micro-batch are means over, where a device is still counting
    """

    statistics: Mapping[tuple[str, str], Array]
    first_sample: int
    weights: AsTheyCome | Counted | Equals = field(default_factory=AsTheyCome)
    samples: int = 0
    loss: float | None = None
    alone: list[str] = field(default_factory=list)
    squares: Later | None = None
    loss_scale: float = 1.0
    begun: tuple[Any, ...] | None = None

    def settle(self) -> None:
        """Wait for the counts of the first micro-batch, which alone did not need them: it is not alone."""
        if self.begun is not None:
            counts, self.begun = known(self.begun), None
            if self.weights.of_one_batch:
                self.alone += reasons(counts)
            self.weights.weigh(counts)

    def moved(self, convert: Callable[[Array], Array]) -> Accumulation:
        """The same, with its arrays on another side: for copies of a solver."""
        self.settle()
        statistics = {key: convert(array) for key, array in self.statistics.items()}
        weights, alone = copy.deepcopy(self.weights), list(self.alone)
        return replace(self, statistics=statistics, weights=weights, alone=alone, squares=None)


def refuse_parts(whys: Sequence[str]) -> None:
    """ConfigError where a loss of a whole batch does not follow from those of its micro-batches, and why."""
    for why in whys:
        raise ConfigError(f"{why}: micro-batches of it do not add up to the whole batch", hint=REMEDY)


def counts_differ(losses: Sequence[LossPart]) -> ConfigError:
    """What is to be said where one micro-batch weighs the losses otherwise than those before it."""
    each = ", ".join(f"'{p.name}' {'a sum' if p.count is None else f'a mean over {p.count:g}'}" for p in losses)
    return ConfigError(
        f"the losses have other shares in this micro-batch than in those before it ({each}): fed one by one they"
        " would not add up to the whole batch",
        hint="call solver.begin_step([part, ...]) with all micro-batches of the step before the first accumulate",
    )


def samples_in(batch: Mapping[str, Any]) -> int:
    """The first axis of the first input; 1 where there is none."""
    first = next(iter(batch.values()), 0)
    shape = first.shape if hasattr(first, "shape") else np.shape(first)
    return shape[0] if shape else 1
