"""Early stopping: a run ends when a metric has not improved for some evaluations. Its memory is in the position."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .checkpoints import Position


@dataclass(frozen=True)
class EarlyStopping:
    """`train.early_stopping` with its defaults filled in. `higher`: whether larger is better."""

    monitor: str
    higher: bool
    patience: int
    min_delta: float

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
