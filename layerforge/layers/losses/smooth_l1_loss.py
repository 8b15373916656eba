"""SmoothL1Loss: the absolute difference with a round bottom."""

from __future__ import annotations

from ...contract.layer import Bad
from ...schema.params import param
from .huber_loss import huber
from .regression_loss import of_difference

SmoothL1Loss = of_difference(
    "SmoothL1Loss", "absolute error with a round bottom: HuberLoss over beta",
    loss="u²/(2 beta) where |u| < beta, otherwise |u| - beta/2;   u = x - t",
    f=lambda self, u: huber(self.xp, u, self.beta) / self.beta if self.beta else self.xp.abs(u),
    dx="dx = dℓ u/beta, with u/beta limited to ±1; for beta 0, where it is L1Loss, dℓ sign(u)",
    df=lambda self, u: self.xp.clip(u / self.beta, -1, 1) if self.beta else self.xp.sign(u),
    params={"beta": (float, param(1.0, help="where the square ends; 0 is L1Loss", ge=0))},
    tried=({"beta": 0.3}, {"beta": 0.0}),
    bad=[Bad({"beta": -1}, "must be >= 0"), Bad({"delta": 1.0}, "unknown key 'delta'")],
    source="Girshick 2015; compare torch.nn.SmoothL1Loss; Caffe forks have sigma: beta is 1 / sigma²",
)  # fmt: skip
