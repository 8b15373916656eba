"""HuberLoss: squared near zero, absolute farther out."""

from __future__ import annotations

from typing import Any

from ...contract.layer import Bad
from ...schema.params import param
from .regression_loss import of_difference


def huber(xp: Any, u: Any, delta: float) -> Any:
    """u²/2 up to |u| = delta, from there on the tangent: a (|u| - a/2) with a the smaller of |u| and delta."""
    size = xp.abs(u)
    a = xp.minimum(size, delta)
    return a * (size - a / 2)


HuberLoss = of_difference(
    "HuberLoss", "squared near zero, absolute farther out",
    loss="u²/2 where |u| < delta, otherwise delta (|u| - delta/2);   u = x - t",
                                               f=lambda self, u: huber(self.xp, u, self.delta),
    dx="dx = dℓ u, with u limited to ±delta",
                                               df=lambda self, u: self.xp.clip(u, -self.delta, self.delta),
    params={"delta": (float, param(1.0, help="where the square ends", gt=0))},
    tried=({"delta": 0.3},),
    bad=[Bad({"delta": 0}, "must be > 0"), Bad({"beta": 1.0}, "unknown key 'beta'")],
    source="Huber 1964; compare torch.nn.HuberLoss",
)  # fmt: skip
