"""HuberLoss: squared near zero, absolute farther out."""

from __future__ import annotations

from typing import Any

from ...contract.layer import Bad
from ...schema.params import param
from .regression_loss import of_difference


def huber(xp: Any, d: Any, delta: float) -> Any:
    """d²/2 up to |d| = delta, from there on the tangent: a (|d| - a/2) with a the smaller of |d| and delta."""
    size = xp.abs(d)
    a = xp.minimum(size, delta)
    return a * (size - a / 2)


HuberLoss = of_difference(
    "HuberLoss", "squared near zero, absolute farther out",
    loss="d²/2 where |d| < delta, otherwise delta (|d| - delta/2);   d = x - t",
                                               f=lambda self, d: huber(self.xp, d, self.delta),
    dx="dx = d dy/m, with d limited to ±delta",
                                               df=lambda self, d: self.xp.clip(d, -self.delta, self.delta),
    params={"delta": (float, param(1.0, help="where the square ends", gt=0))},
    tried=({"delta": 0.3},),
    bad=[Bad({"delta": 0}, "must be > 0"), Bad({"beta": 1.0}, "unknown key 'beta'")],
    source="Huber 1964; compare torch.nn.HuberLoss",
)  # fmt: skip
