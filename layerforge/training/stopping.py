"""Early stopping: a run ends when a metric has not improved for some evaluations. Its memory is in the position."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..config.sections import EarlyStoppingSection
from ..errors import ConfigError
from ..words import did_you_mean
from .checkpoints import Position
from .evaluation import is_higher_better


@dataclass(frozen=True)
class EarlyStopping:
    """`train.early_stopping` with its defaults filled in. `higher`: whether larger is better."""

    monitor: str
    higher: bool
    patience: int
    min_delta: float

    @classmethod
    def of(
        cls, section: EarlyStoppingSection | None, known: list[str], monitor: str, higher: bool
    ) -> EarlyStopping | None:
        """From the section; `monitor` and `higher` are what chooses the best checkpoint, and serve as defaults.

        Errors   ConfigError where there are no val data, or no such metric
        """
        if section is None:
            return None
        if not known:
            hint = "add data.val, or remove train.early_stopping"
            raise ConfigError("train.early_stopping: there are no val data to evaluate", hint=hint)
        name = section.monitor or monitor
        if name not in known:
            hint = did_you_mean(name, known) or f"one of {', '.join(known)}"
            raise ConfigError(f"train.early_stopping.monitor: there is no metric '{name}'", hint=hint)
        if section.mode is not None:
            higher = section.mode == "max"
        elif name != monitor:
            higher = is_higher_better(name)
        return cls(name, higher, section.patience, section.min_delta)

    def observe(self, values: Mapping[str, float], position: Position) -> None:
        """Take note of an evaluation. A value that is NaN is no improvement."""
        value, best = values[self.monitor], position.stop_best
        better = best is None or (value - best if self.higher else best - value) > self.min_delta
        if better and not math.isnan(value):
            position.stop_best, position.stop_waited = value, 0
        else:
            position.stop_waited += 1

    def reason(self, position: Position) -> str:
        """Why the run ends now; "" while it goes on."""
        if position.stop_waited < self.patience:
            return ""
        best = "never a number" if position.stop_best is None else f"best {position.stop_best:g}"
        return f"early stopping: {self.monitor} has not improved for {position.stop_waited} evaluations ({best})"
