"""SoftmaxCrossEntropy: the loss of classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..functional import log_softmax, one_hot, take_class
from ..layer import Example
from ..registry import register
from ..spec import Spec, index
from .labelled import BAD_EXAMPLES, EXAMPLES, Labelled


@register
class SoftmaxCrossEntropy(Labelled):
    """SoftmaxCrossEntropy: cross entropy of labels and the softmax of scores (Caffe: SoftmaxWithLoss)

        p = softmax(x) over the classes
        y = -1/n Σ log p[label]      over the n positions whose label is not ignore_index

    log p = x - max x - log Σ exp(x - max x) stays finite where p would round to zero. Where no position counts y is 0
    (torch: NaN): n is at least 1.

    Shapes    x (N, K) or (N, K, d1, ...) real, labels (N) or (N, d1, ...) index, y a single number
    Backward  For one position with label t: -log p[t] = log Σⱼ exp xⱼ - xₜ. Its derivative by xₖ is
                  exp xₖ / Σⱼ exp xⱼ - (1 if k = t, else 0) = pₖ - onehotₖ
              so the error in the probabilities is the gradient:
                  dx = (p - onehot) dy/n at the positions that count, otherwise 0
    Keeps     log p and the labels
    Cost      4 operations per number forward, 3 backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class
    Source    Bridle 1990; compare torch.nn.CrossEntropyLoss, where ignore_index is -100 unless said otherwise
    """

    loss = True
    examples = [*EXAMPLES, Example({}, [Spec((4, 5), low=-1e4, high=1e4), index((4,), 5)], "extreme")]
    bad_examples = BAD_EXAMPLES

    def forward(self, x: Any, labels: Any) -> Any:
        labels, valid, n = self.targets(x, labels)
        log_p = log_softmax(self.xp, x, 1)
        self.save(log_p=log_p, labels=labels, valid=valid, n=n)
        return -(take_class(self.xp, log_p, labels) * valid).sum() / n

    def backward(self, dy: Any) -> tuple[Any, None]:
        log_p, labels, valid, n = self.saved.log_p, self.saved.labels, self.saved.valid, self.saved.n
        dx = self.xp.exp(log_p)
        dx -= one_hot(self.xp, labels, dx.shape[1])
        dx *= valid * (dy / n)
        return dx, None

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * bottoms[0].size
