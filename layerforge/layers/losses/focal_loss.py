"""FocalLoss: cross entropy that looks away from what is already right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import log_softmax, one_hot, sum_of, take_class
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .class_loss import BAD_EXAMPLES, EXAMPLES, IMAGE, LabelLoss


@register
class FocalLoss(LabelLoss):
    """FocalLoss: cross entropy of labels that counts less the surer the right answer is

        p = softmax(x) over the classes, t is the label;   q = 1 - pₜ
        ℓ = -aₜ q^gamma log pₜ          at each position, 0 where the label is ignore_index; a = alpha
        y = Σ ℓ / m                     or Σ ℓ, or all ℓ: see reduction and normalization

    With gamma 0 and alpha 1 it is SoftmaxCrossEntropy. Where most positions are easy, as the background of an image,
    their many small losses drown the few that matter: q^gamma makes them smaller still. alpha is one factor for all
    classes, or one for each; m is the number of the positions that count, whatever alpha is, unless normalization says
    otherwise. SigmoidFocalLoss is the form for two classes with one score.

    Shapes    x (N, K) or (N, K, d1, ...) real, labels (N) or (N, d1, ...) index, ω (N) or as the
              labels, real; y a single number or as the labels
    Backward  From q = 1 - pₜ = 1 - exp(log pₜ), by the product rule
                  ∂ℓ/∂log pₜ = -aₜ (q^gamma - gamma pₜ q^(gamma - 1) log pₜ)
              and ∂log pₜ/∂xₜ = 1 - pₜ = q, ∂log pₜ/∂xₖ = -pₖ for another k. One factor q of these is taken into the
              power q^(gamma - 1), so that no exponent is negative: with rₖ = pₖ / q, the share of class k in what is
              not the label's, and rₜ = 0, and dℓ = dy / m, what reaches one ℓ (reduction sum or none: dℓ = dy),
                  dx = dℓ aₜ q^gamma (q - gamma pₜ log pₜ) (r - onehot(t))
              at the positions that count, otherwise 0. q is summed up from the other classes, so that it keeps its
              digits where pₜ is nearly 1; all factors are bounded, whatever the scores.
              A weight of each sample, a third bottom ω, makes ℓ to ω ℓ and m, where it is a sum, to Σ ω:
                  dω = dy (ℓ - y) / m      the last term only where m depends on ω (reduction none: dω = dy ℓ)
              at the positions that count, otherwise 0; for ω (N) summed over the positions of a sample
    Keeps     p, q, log pₜ and the factors of the labels
    Cost      9 operations per element forward, 4 backward
    Errors    LayerError when shapes do not fit, or alpha has another length; LayerError (exit 3) for a label that is no
              class
    Source    Lin et al. 2017, equations 4 and 5, with softmax for sigmoid
    """

    scores = "logits"

    gamma: float = param(2.0, help="how much less sure answers count; 0: all alike", ge=0)
    alpha: float | list[float] = param(
        1.0,
        help="a factor of the losses: a number, or one for each class; balanced: n / (K nₖ), with nₖ labels k of n in "
        "data.train",
        ge=0,
    )

    examples = [
        *(e for e in EXAMPLES if "weight" not in e.params),
        Example({"alpha": 0.25, "gamma": 0}, [Spec((4, 5)), index((4,), 5)], "a weighted cross entropy"),
        Example({"alpha": [0.5, 2.0, 0.0], "gamma": 0.5}, IMAGE, "a factor for each class"),
        Example({"alpha": [0.5, 2.0, 1.5], "gamma": 3, "ignore_index": 1, "reduction": "sum"}, IMAGE),
        Example(
            {"alpha": [0.5, 2.0, 1.5], "gamma": 1, "ignore_index": 1, "normalization": "full"},
            [Spec((2, 3, 4)), index((2, 4), 3)],
        ),
        *(Example({"gamma": g}, [Spec((4, 5), low=-1e4, high=1e4), index((4,), 5)], "extreme") for g in (0, 0.5, 2)),
    ]
    bad_examples = [
        *(bad for bad in BAD_EXAMPLES if "weight" not in bad.params),
        Bad({"gamma": -1}, "must be >= 0"),
        Bad({"alpha": [1.0, 2.0]}, "alpha has 2 numbers for 5 classes", [Spec((4, 5)), index((4,), 5)]),
        Bad({"alpha": [1.0, -2.0]}, "must be >= 0"),
        Bad({"weight": [1.0]}, "unknown key 'weight'"),
    ]

    def setup(self, x: Spec, labels: Spec, *weight: Spec) -> Spec:
        top = super().setup(x, labels, *weight)
        if isinstance(self.alpha, list) and len(self.alpha) != x.shape[1]:
            raise LayerError(
                f"alpha has {len(self.alpha)} numbers for {x.shape[1]} classes",
                hint="give one for each class, or one for all",
            )
        return top

    def single(self, x: Any, labels: Any) -> tuple[Any, dict[str, Any]]:
        xp, (classes, valid) = self.xp, self.targets(x, labels)
        log_p = log_softmax(xp, x, 1)
        factor = self.factors(classes) * valid.astype(x.dtype)
        others = xp.exp(log_p) * ~one_hot(xp, classes, x.shape[1])
        q = sum_of(others, 1, keepdims=True)
        log_p_t = xp.where(q < 0.5, xp.log1p(-xp.minimum(q, 0.5)), take_class(xp, log_p, classes))
        losses = xp.where(factor == 0, 0, factor * q**self.gamma * -log_p_t)
        kept = {"others": others, "q": q, "log_p_t": log_p_t, "classes": classes, "alphas": factor}
        return losses[:, 0], kept

    def factors(self, classes: Any) -> Any:
        """alpha of each label."""
        if isinstance(self.alpha, list):
            return self.constant("alpha", self.alpha)[classes]
        return self.alpha

    def partial(self, i: int) -> Any:
        xp, kept, q = self.xp, self.saved, self.saved.q
        never = xp.isinf(kept.log_p_t)  # where p is 0, p log p is
        p_log_p = xp.exp(kept.log_p_t) * xp.where(never, 0, kept.log_p_t)
        slope = kept.alphas * q**self.gamma * (q - self.gamma * p_log_p)
        share = kept.others / (q + (q == 0))
        return slope * (share - one_hot(xp, kept.classes, share.shape[1]))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 9 * bottoms[0].size
