"""The factors on a parameter's learning rate and decay."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Multipliers:
    """The factors on a parameter's learning rate and weight decay. A factor of 0 on the rate freezes it too."""

    lr: float = 1.0
    decay: float = 1.0
    freeze: bool = False

    @property
    def frozen(self) -> bool:
        return self.freeze or self.lr == 0
