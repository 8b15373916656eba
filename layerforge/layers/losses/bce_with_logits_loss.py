"""BCEWithLogitsLoss: the binary cross entropy of scores."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import sigmoid, softplus
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from .element_loss import CountedLoss
from .regression_loss import ANY, regression


def check_pos_weight(self: Any, x: Spec) -> None:
    """LayerError where the list is not as long as the last axis."""
    if isinstance(self.pos_weight, list) and len(self.pos_weight) != x.shape[-1]:
        raise LayerError(f"{len(self.pos_weight)} pos_weights for a last axis of {x.shape[-1]}")


def pos_weight(self: Any) -> Any:
    """The weight of the positive answers, 1 where none is given."""
    if isinstance(self.pos_weight, list):
        return self.constant("pos_weight", self.pos_weight)
    return 1.0 if self.pos_weight is None else self.pos_weight


SOME = [Spec((3, 4)), Spec((3, 4), low=-1, high=2)]  # targets beyond 0 and 1, so that some are cut to others than 0
WEIGHTED_SOME = Example({"ignore_index": 0}, [*SOME, Spec((3,), low=0.1, high=3)], "weights of samples")

BCEWithLogitsLoss = regression(
    "BCEWithLogitsLoss", "binary cross entropy, from scores (Caffe: SigmoidCrossEntropyLoss)",
    loss="p t log(1 + e⁻ˣ) + (1 - t) log(1 + eˣ),   p = pos_weight; 0 where t, cut to an integer, is ignore_index",
    divisors="what normalization counts (reduction mean), N (batchmean) or 1 (sum)",
    note="normalization counts the elements that are not ignored, all elements, or the samples, as Caffe's layer does\n"
    "    by default; or nothing, and m is 1.",
    f=lambda self, x, t: pos_weight(self) * t * softplus(self.xp, -x) + (1 - t) * softplus(self.xp, x),
    dx="dx = dℓ ((1 - t) σ(x) - p t σ(-x)) with σ(x) = 1 / (1 + e⁻ˣ);   dℓ (σ(x) - t) for p = 1",
    dfdx=lambda self, x, t: (1 - t) * sigmoid(self.xp, x) - pos_weight(self) * t * sigmoid(self.xp, -x),
    dt="dt = dℓ (p log(1 + e⁻ˣ) - log(1 + eˣ))\n"
    "          at the elements that count, 0 at the others. Below, too, elements are those that count: dω = 0 at the\n"
    "          others, and m is Σ ω with normalization valid alone.",
    dfdt=lambda self, x, t: pos_weight(self) * softplus(self.xp, -x) - softplus(self.xp, x),
    params={"pos_weight": (float | list[float] | None, param(
        None, help="weight of the positive answers: a number, or one for each place on the last axis; null: 1; "
        "balanced: n₀ / n₁, with n₀ answers 0 and n₁ answers 1 in data.train", ge=0))},
    tried=({"pos_weight": 3.0}, {"pos_weight": [0.5, 2.0, 0.0, 1.0]}),
    domains=(ANY, {"low": 0, "high": 1}),
    base=CountedLoss,
    more=[*(Example({"ignore_index": 0, "normalization": n}, SOME) for n in ("valid", "full")), WEIGHTED_SOME],
    bad=[Bad({"normalization": "valids"}, "must be one of valid, full, batch_size, none"),
         Bad({"reduction": "sum", "normalization": "full"}, "normalization full with reduction sum"),
         Bad({"pos_weight": -1.0}, "must be >= 0"), Bad({"pos_weight": [1.0]}, "1 pos_weights", [Spec((3, 2))] * 2)],
    check=check_pos_weight,
    scores="binary_logits",
    source="compare torch.nn.BCEWithLogitsLoss",
)  # fmt: skip
