"""SigmoidFocalLoss: FocalLoss of two classes with one score."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import sigmoid, softplus
from ...contract.layer import Bad
from ...schema.params import param
from .regression_loss import ANY, refuse_outside, regression


def balance(self: Any, t: Any) -> Any:
    """a, the factor of each answer; 1 where there is no alpha."""
    return 1.0 if self.alpha is None else self.alpha * t + (1 - self.alpha) * (1 - t)


def unlikely(self: Any, x: Any, t: Any) -> Any:
    """u = t σ(-x) + (1 - t) σ(x): how far the answer is from t. Never 0, as no σ is."""
    return t * sigmoid(self.xp, -x) + (1 - t) * sigmoid(self.xp, x)


def entropy(self: Any, x: Any, t: Any) -> Any:
    """The binary cross entropy."""
    return t * softplus(self.xp, -x) + (1 - t) * softplus(self.xp, x)


def focal(self: Any, x: Any, t: Any) -> Any:
    """The loss; LayerError for a t that is no probability. NaN is for the solver to name."""
    refuse_outside(t, "t is outside of 0 to 1", "the targets are labels 0 and 1, or probabilities")
    return balance(self, t) * unlikely(self, x, t) ** self.gamma * entropy(self, x, t)


def by_score(self: Any, x: Any, t: Any) -> Any:
    """Its derivative by x: u' / u is bounded, where u^(gamma - 1) would not be."""
    up, down, u = sigmoid(self.xp, x), sigmoid(self.xp, -x), unlikely(self, x, t)
    slope = (1 - t) * up - t * down
    return balance(self, t) * u**self.gamma * (slope + self.gamma * (1 - 2 * t) * up * down / u * entropy(self, x, t))


def by_target(self: Any, x: Any, t: Any) -> Any:
    """Its derivative by t. c / u is bounded where u is small."""
    u, c = unlikely(self, x, t), entropy(self, x, t)
    direct = 0.0 if self.alpha is None else (2 * self.alpha - 1) * c
    moved = self.gamma * (1 - 2 * sigmoid(self.xp, x)) * (c / u) - x
    return u**self.gamma * (direct + balance(self, t) * moved)


SigmoidFocalLoss = regression(
    "SigmoidFocalLoss", "binary cross entropy, from scores, that counts less the surer the right answer is",
    loss="a u^gamma c   with  a = alpha t + (1 - alpha)(1 - t), or 1 where alpha is null,\n"
         "                       u = t σ(-x) + (1 - t) σ(x),\n"
         "                       c = t log(1 + e⁻ˣ) + (1 - t) log(1 + eˣ),   σ(x) = 1 / (1 + e⁻ˣ)",
    f=focal,
    dx="dx = dℓ a u^gamma ((1 - t) σ(x) - t σ(-x) + gamma (1 - 2t) σ(x) σ(-x) (c / u))",
    dfdx=by_score,
    dt="dt = dℓ u^gamma ((2 alpha - 1) c + a (gamma (1 - 2 σ(x)) (c / u) - x))\n"
       "          as ∂u/∂x = (1 - 2t) σ(x) σ(-x), ∂c/∂x = (1 - t) σ(x) - t σ(-x), ∂u/∂t = 1 - 2 σ(x), ∂c/∂t = -x;\n"
       "          (2 alpha - 1) c is left out where alpha is null",
    dfdt=by_target,
    params={
        "gamma": (float, param(2.0, help="how much less sure answers count; 0: all alike", ge=0)),
        "alpha": (float | None, param(
            0.25, help="factor of the answer 1, where 0 has 1 - alpha; null: 1; balanced: n₀ / n, "
            "with n₀ answers 0 of n in data.train", ge=0, le=1)),
    },
    tried=({"gamma": 0.0, "alpha": None}, {"gamma": 0.5, "alpha": 0.9}, {"gamma": 3.0, "alpha": None}),
    domains=(ANY, {"low": 0, "high": 1}),
    bad=[Bad({"gamma": -1.0}, "must be >= 0"), Bad({"alpha": 1.5}, "must be <= 1")],
    scores="binary_logits",
    source="Lin et al. 2017; compare torchvision.ops.sigmoid_focal_loss, whose alpha -1 is null here: a = 1",
)  # fmt: skip
