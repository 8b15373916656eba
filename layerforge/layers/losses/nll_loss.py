"""NLLLoss and MultinomialLogisticLoss: the negative log-likelihood of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import one_hot, take_class
from ...arrays.spec import Spec
from ...contract.layer import Example
from ...schema.registry import register
from .class_loss import BAD_EXAMPLES, EXAMPLES, ClassLoss

LEAST = 1e-20  # Caffe's smallest probability in a logarithm


@register
class NLLLoss(ClassLoss):
    """NLLLoss: negative log-likelihood of the labels, from log-probabilities

        ℓ = -w[label] x[label]      at each position, 0 where the label is ignore_index; w = weight or 1
        y = Σ ℓ / m                 or Σ ℓ, or all ℓ: see reduction and normalization

    Takes the top of LogSoftmax. m is the sum of the w[label] of the positions that count, unless normalization says
    otherwise. Where no position counts y is 0 (torch: NaN).

    Shapes    x (N, K) or (N, K, d1, ...) real, labels (N) or (N, d1, ...) index, ω (N) or as the
              labels, real; y a single number or as the labels
    Backward  ℓ is linear in the one x that each label picks. With dℓ = dy / m (reduction sum or none: dℓ = dy),
                  dx[label] = -dℓ w[label] at the positions that count, otherwise 0
              A weight of each sample, a third bottom ω, makes ℓ to ω ℓ and m, where it is a sum, to Σ ω w[label]:
                  dω = dy (ℓ - y w[label]) / m      the last term only where m depends on ω (reduction none: dω = dy ℓ)
              at the positions that count, otherwise 0; for ω (N) summed over the positions of a sample
    Keeps     the labels and their weights
    Cost      one operation per position
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class
    Source    Fisher 1922; compare torch.nn.NLLLoss, where ignore_index is -100 unless said otherwise
    """

    scores = "log_probabilities"

    examples = EXAMPLES
    bad_examples = BAD_EXAMPLES

    def single(self, x: Any, labels: Any) -> tuple[Any, dict[str, Any]]:
        classes, valid = self.targets(x, labels)
        weights = self.weights(classes, valid)
        picked = self.xp.where(valid, take_class(self.xp, x, classes), 0)
        kept = {"classes": classes, "weights": weights, "picked": picked, "count": x.shape[1]}
        return -(self.likelihood(picked) * weights)[:, 0], kept

    def partial(self, i: int) -> Any:
        saved = self.saved
        return one_hot(self.xp, saved.classes, saved.count) * (-saved.weights * self.slope(saved.picked))

    def likelihood(self, picked: Any) -> Any:
        """The log-likelihood of the labels, from the elements that they pick."""
        return picked

    def slope(self, picked: Any) -> Any:
        """The derivative of `likelihood`."""
        return 1


@register
class MultinomialLogisticLoss(NLLLoss):
    """MultinomialLogisticLoss: negative log-likelihood, from probabilities (Caffe: MultinomialLogisticLoss)

        ℓ = -w[label] log max(x[label], 1e-20)      at each position, 0 where the label is ignore_index; w = weight or 1
        y = Σ ℓ / m                                 or Σ ℓ, or all ℓ: see reduction and normalization

    Takes the top of Softmax. SoftmaxCrossEntropy is more exact: small probabilities round to zero on the way here. m is
    the sum of the w[label] of the positions that count, unless normalization says otherwise.

    Shapes    x (N, K) or (N, K, d1, ...) real, labels (N) or (N, d1, ...) index, ω (N) or as the
              labels, real; y a single number or as the labels
    Backward  With dℓ = dy / m, what reaches one ℓ (reduction sum or none: dℓ = dy),
                  dx[label] = -dℓ w[label] / max(x[label], 1e-20) at the positions that count, otherwise 0
              Below 1e-20, where ℓ is flat, the slope is Caffe's: still uphill
              A weight of each sample, a third bottom ω, makes ℓ to ω ℓ and m, where it is a sum, to Σ ω w[label]:
                  dω = dy (ℓ - y w[label]) / m      the last term only where m depends on ω (reduction none: dω = dy ℓ)
              at the positions that count, otherwise 0; for ω (N) summed over the positions of a sample
    Keeps     the labels, their weights and probabilities
    Cost      one logarithm per position
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class
    Source    Caffe's MultinomialLogisticLoss layer
    """

    scores = "probabilities"

    examples = [
        Example(e.params, [Spec(e.bottoms[0].shape, low=0.05, high=1), e.bottoms[1]], e.note) for e in EXAMPLES
    ]

    def likelihood(self, picked: Any) -> Any:
        return self.xp.log(self.xp.maximum(picked, LEAST))

    def slope(self, picked: Any) -> Any:
        return 1 / self.xp.maximum(picked, LEAST)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * bottoms[1].size
