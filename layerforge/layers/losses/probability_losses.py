"""Losses between probabilities, or scores of them, number by number: entries of the table of regression_losses.py."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import sigmoid, softplus
from ...arrays.spec import Spec
from ...contract.layer import Bad
from ...schema.errors import LayerError
from ...schema.params import param
from .regression_losses import ANY, regression

LEAST_LOG, LEAST_PRODUCT = -100.0, 1e-12  # torch's limits for log x, and for x (1 - x) as a divisor


def log_at_least(xp: Any, x: Any, least: float) -> Any:
    """log x, but not below `least`, which it is for x = 0; NaN stays NaN."""
    positive = ~(x <= 0)
    return xp.maximum(xp.where(positive, xp.log(xp.where(positive, x, 1)), least), least)


def binary_cross_entropy(self: Any, x: Any, t: Any) -> Any:
    """The loss of BCELoss; LayerError for an x that is no probability. NaN is for the solver to name, and passes."""
    if bool(((x < 0) | (x > 1)).any()):
        raise LayerError("x is outside of 0 to 1", hint="put a Sigmoid before it, or take BCEWithLogitsLoss")
    return -t * log_at_least(self.xp, x, LEAST_LOG) - (1 - t) * log_at_least(self.xp, 1 - x, LEAST_LOG)


def check_pos_weight(self: Any, x: Spec) -> None:
    """LayerError where the list is not as long as the last axis."""
    if isinstance(self.pos_weight, list) and len(self.pos_weight) != x.shape[-1]:
        raise LayerError(f"{len(self.pos_weight)} pos_weights for a last axis of {x.shape[-1]}")


def pos_weight(self: Any) -> Any:
    """The weight of the positive answers, 1 where none is given."""
    if isinstance(self.pos_weight, list):
        return self.xp.asarray(self.pos_weight, dtype=self.dtype)
    return 1.0 if self.pos_weight is None else self.pos_weight


def target(self: Any, t: Any) -> tuple[Any, Any]:
    """The probabilities of KLDivLoss and their logarithms. Those of 0 do not matter, as 0 log 0 is 0."""
    return (self.xp.exp(t), t) if self.log_target else (t, self.xp.log(self.xp.where(t > 0, t, 1)))


def divergence(self: Any, x: Any, t: Any) -> Any:
    """The loss of KLDivLoss."""
    p, log_p = target(self, t)
    return p * (log_p - x)


def divergence_by_target(self: Any, x: Any, t: Any) -> Any:
    """Its derivative by t; with log_target t is log p, and dp = p dt."""
    p, log_p = target(self, t)
    slope = log_p + 1 - x
    return p * slope if self.log_target else slope


BCELoss = regression(
    "BCELoss", "binary cross entropy, from probabilities",
    loss="-t log x - (1 - t) log(1 - x),   logarithms not below -100",
    f=binary_cross_entropy,
    dx="dx = (x - t) / (x (1 - x)) dy/m, the divisor at least 1e-12",
    dfdx=lambda self, x, t: (x - t) / self.xp.maximum(x * (1 - x), LEAST_PRODUCT),
    dt="dt = (log(1 - x) - log x) dy/m",
    dfdt=lambda self, x, t: log_at_least(self.xp, 1 - x, LEAST_LOG) - log_at_least(self.xp, x, LEAST_LOG),
    domains=({"low": 0.05, "high": 0.95}, {"low": 0, "high": 1}),
    source="compare torch.nn.BCELoss; BCEWithLogitsLoss is more exact",
)  # fmt: skip

BCEWithLogitsLoss = regression(
    "BCEWithLogitsLoss", "binary cross entropy, from scores (Caffe: SigmoidCrossEntropyLoss, with reduction batchmean)",
    loss="p t log(1 + e⁻ˣ) + (1 - t) log(1 + eˣ),   p = pos_weight",
    f=lambda self, x, t: pos_weight(self) * t * softplus(self.xp, -x) + (1 - t) * softplus(self.xp, x),
    dx="dx = ((1 - t) σ(x) - p t σ(-x)) dy/m,   which is σ(x) - t for p = 1",
    dfdx=lambda self, x, t: (1 - t) * sigmoid(self.xp, x) - pos_weight(self) * t * sigmoid(self.xp, -x),
    dt="dt = (p log(1 + e⁻ˣ) - log(1 + eˣ)) dy/m",
    dfdt=lambda self, x, t: pos_weight(self) * softplus(self.xp, -x) - softplus(self.xp, x),
    params={"pos_weight": (float | list[float] | None, param(
        None, help="weight of the positive answers: a number, or one for each place on the last axis; null: 1", ge=0))},
    tried=({"pos_weight": 3.0}, {"pos_weight": [0.5, 2.0, 0.0, 1.0]}),
    domains=(ANY, {"low": 0, "high": 1}),
    bad=[Bad({"pos_weight": -1.0}, "must be >= 0"), Bad({"pos_weight": [1.0]}, "1 pos_weights", [Spec((3, 2))] * 2)],
    check=check_pos_weight,
    source="compare torch.nn.BCEWithLogitsLoss",
)  # fmt: skip

KLDivLoss = regression(
    "KLDivLoss", "Kullback-Leibler divergence from log-probabilities x to probabilities t",
    loss="t (log t - x),   0 where t is 0;   with log_target:  eᵗ (t - x)",
    f=divergence,
    dx="dx = -t dy/m;   with log_target  -eᵗ dy/m",
    dfdx=lambda self, x, t: -target(self, t)[0],
    dt="dt = (log t + 1 - x) dy/m;   with log_target  eᵗ (t - x + 1) dy/m",
    dfdt=divergence_by_target,
    params={"log_target": (bool, param(False, help="t are log-probabilities, too"))},
    tried=({"log_target": True}, {"log_target": True, "reduction": "batchmean"}),
    domains=({"low": -5, "high": 0}, {"low": 0.05, "high": 1}),
    source="Kullback & Leibler 1951; compare torch.nn.KLDivLoss: reduction batchmean is the divergence",
)  # fmt: skip
