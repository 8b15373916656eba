"""HingeLoss: a margin for every class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import one_hot, sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.params import param
from ...schema.registry import register
from .class_loss import BAD_EXAMPLES, EXAMPLES, IMAGE, ClassLoss


@register
class HingeLoss(ClassLoss):
    """HingeLoss: the support vector machine, one class against the rest (Caffe: HingeLoss)

        sₖ = 1 for the class of the label, -1 for the others;   vₖ = max(0, 1 - sₖ xₖ)
        ℓ = w[label] Σₖ vₖ  (norm L1)   or   w[label] Σₖ vₖ²  (norm L2)      at each position, with w = weight or 1
        y = Σ ℓ / m                     or Σ ℓ, or all ℓ: see reduction and normalization

    m is the sum of the w[label] of the positions that count, unless normalization says otherwise. Without weights and
    ignored positions it is the number of positions: N for (N, K), as in Caffe, which knows no others.

    Shapes    x (N, K) or (N, K, d1, ...) real, labels (N) or (N, d1, ...) index, ω (N) or as the
              labels, real; y a single number or as the labels
    Backward  With dℓ = dy / m, what reaches one ℓ (reduction sum or none: dℓ = dy),
                  dxₖ = -dℓ w[label] sₖ [vₖ > 0]  (L1; 0 at the kink, as in Caffe)   or   -2 dℓ w[label] sₖ vₖ  (L2)
              at the positions that count, otherwise 0
              A weight of each sample, a third bottom ω, makes ℓ to ω ℓ and m, where it is a sum, to Σ ω w[label]:
                  dω = dy (ℓ - y w[label]) / m      the last term only where m depends on ω (reduction none: dω = dy ℓ)
              at the positions that count, otherwise 0; for ω (N) summed over the positions of a sample
    Keeps     s, v and the weights of the positions
    Cost      4 operations per element forward, 3 backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class
    Source    Cortes & Vapnik 1995; compare Caffe's HingeLoss layer
    """

    scores = "margins"

    norm: str = param("L1", help="what the margins are summed as: themselves or squared", choices=("L1", "L2"))

    examples = [
        *EXAMPLES,
        Example({"norm": "L2"}, [Spec((4, 5)), index((4,), 5)]),
        Example({"norm": "L2", "weight": [0.5, 2.0, 1.0], "ignore_index": 1, "reduction": "none"}, IMAGE),
    ]
    bad_examples = [*BAD_EXAMPLES, Bad({"norm": "L3"}, "must be one of L1, L2")]

    def single(self, x: Any, labels: Any) -> tuple[Any, dict[str, Any]]:
        classes, valid = self.targets(x, labels)
        weights = self.weights(classes, valid)
        sign = 2 * one_hot(self.xp, classes, x.shape[1]).astype(x.dtype) - 1
        margin = self.xp.maximum(1 - sign * x, 0)
        cost = margin if self.norm == "L1" else margin * margin
        return sum_of(cost * weights, 1), {"sign": sign, "margin": margin, "weights": weights}

    def partial(self, i: int) -> Any:
        margin = self.saved.margin
        slope = margin > 0 if self.norm == "L1" else 2 * margin
        return -self.saved.sign * slope * self.saved.weights

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * bottoms[0].size
