"""BCELoss: the binary cross entropy of probabilities."""

from __future__ import annotations

from typing import Any

from .regression_loss import refuse_outside, regression

LEAST_LOG, LEAST_PRODUCT = -100.0, 1e-12  # torch's limits for log x, and for x (1 - x) as a divisor


def log_at_least(xp: Any, x: Any, least: float) -> Any:
    """log x, but not below `least`, which it is for x = 0; NaN stays NaN."""
    positive = ~(x <= 0)
    return xp.maximum(xp.where(positive, xp.log(xp.where(positive, x, 1)), least), least)


def binary_cross_entropy(self: Any, x: Any, t: Any) -> Any:
    """The loss of BCELoss; LayerError for an x that is no probability. NaN is for the solver to name, and passes."""
    refuse_outside(x, "x is outside of 0 to 1", "put a Sigmoid before it, or take BCEWithLogitsLoss")
    return -t * log_at_least(self.xp, x, LEAST_LOG) - (1 - t) * log_at_least(self.xp, 1 - x, LEAST_LOG)


BCELoss = regression(
    "BCELoss", "binary cross entropy, from probabilities",
    loss="-t log x - (1 - t) log(1 - x),   logarithms not below -100",
    f=binary_cross_entropy,
    dx="dx = dℓ (x - t) / (x (1 - x)), as -t/x + (1 - t)/(1 - x) = (x - t) / (x (1 - x)); the divisor is at\n"
    "              least 1e-12, so that dx is finite at x = 0 and 1 too",
    dfdx=lambda self, x, t: (x - t) / self.xp.maximum(x * (1 - x), LEAST_PRODUCT),
    dt="dt = dℓ (log(1 - x) - log x)",
    dfdt=lambda self, x, t: log_at_least(self.xp, 1 - x, LEAST_LOG) - log_at_least(self.xp, x, LEAST_LOG),
    domains=({"low": 0.05, "high": 0.95}, {"low": 0, "high": 1}),
    scores="binary_probabilities",
    source="compare torch.nn.BCELoss; BCEWithLogitsLoss is more exact",
)  # fmt: skip
