"""KLDivLoss: the Kullback-Leibler divergence of probabilities from log-probabilities."""

from __future__ import annotations

from typing import Any

from ...schema.params import param
from .regression_loss import regression


def target(self: Any, t: Any) -> tuple[Any, Any]:
    """The probabilities of KLDivLoss and their logarithms. Those of 0 do not matter, as 0 log 0 is 0."""
    return (self.xp.exp(t), t) if self.log_target else (t, self.xp.log(self.xp.where(t > 0, t, 1)))


def divergence(self: Any, x: Any, t: Any) -> Any:
    """The loss of KLDivLoss."""
    p, log_p = target(self, t)
    return p * (log_p - x)


def divergence_by_target(self: Any, x: Any, t: Any) -> Any:
    """Its derivative by t; with log_target t is log p, and ∂p/∂t = p."""
    p, log_p = target(self, t)
    slope = log_p + 1 - x
    return p * slope if self.log_target else slope


KLDivLoss = regression(
    "KLDivLoss", "Kullback-Leibler divergence from log-probabilities x to probabilities t",
    loss="t (log t - x),   0 where t is 0;   with log_target:  eᵗ (t - x)",
    f=divergence,
    dx="dx = -dℓ t;   with log_target  -dℓ eᵗ",
    dfdx=lambda self, x, t: -target(self, t)[0],
    dt="dt = dℓ (log t + 1 - x), as (t log t)' = log t + 1, and log 0 counts as 0;   with log_target\n"
    "                   dℓ eᵗ (t - x + 1)",
    dfdt=divergence_by_target,
    params={"log_target": (bool, param(False, help="t are log-probabilities, too"))},
    tried=({"log_target": True}, {"log_target": True, "reduction": "batchmean"}),
    domains=({"low": -5, "high": 0}, {"low": 0.05, "high": 1}),
    source="Kullback & Leibler 1951; compare torch.nn.KLDivLoss: reduction batchmean is the divergence",
)  # fmt: skip
