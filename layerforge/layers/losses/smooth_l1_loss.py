"""SmoothL1Loss: the absolute difference with a round bottom."""

from __future__ import annotations

from ...contract.layer import Bad
from ...schema.params import param
from .huber_loss import huber
from .regression_loss import of_difference

SmoothL1Loss = of_difference(
    "SmoothL1Loss", "absolute error with a round bottom: HuberLoss over beta",
    loss="d²/(2 beta) where |d| < beta, otherwise |d| - beta/2;   d = x - t",
    f=lambda self, d: huber(self.xp, d, self.beta) / self.beta if self.beta else self.xp.abs(d),
    dx="dx = d/beta dy/m, with d/beta limited to ±1; sign(d) dy/m for beta 0",
    df=lambda self, d: self.xp.clip(d / self.beta, -1, 1) if self.beta else self.xp.sign(d),
    params={"beta": (float, param(1.0, help="where the square ends; 0 is L1Loss", ge=0))},
    tried=({"beta": 0.3}, {"beta": 0.0}),
    bad=[Bad({"beta": -1}, "must be >= 0"), Bad({"delta": 1.0}, "unknown key 'delta'")],
    source="Girshick 2015; compare torch.nn.SmoothL1Loss",
)  # fmt: skip
