"""NLLLoss: the negative log-likelihood of labels."""

from __future__ import annotations

from typing import Any

from ..functional import one_hot, take_class
from ..registry import register
from .labelled import BAD_EXAMPLES, EXAMPLES, Labelled


@register
class NLLLoss(Labelled):
    """NLLLoss: negative log-likelihood of the labels, from log-probabilities (Caffe: MultinomialLogisticLoss)

        y = -1/n Σ x[label]      over the n positions whose label is not ignore_index

    Takes the top of LogSoftmax. Where no position counts y is 0 (torch: NaN): n is at least 1.

    Shapes    x (N, K) or (N, K, d1, ...) real, labels (N) or (N, d1, ...) index, y a single number
    Backward  y is linear in the one x that each label picks:
                  dx = -dy/n at [label] of the positions that count, otherwise 0
    Keeps     the labels
    Cost      one operation per position
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class
    Source    Fisher 1922; compare torch.nn.NLLLoss, where ignore_index is -100 unless said otherwise
    """

    loss = True
    examples = EXAMPLES
    bad_examples = BAD_EXAMPLES

    def forward(self, x: Any, labels: Any) -> Any:
        labels, valid, n = self.targets(x, labels)
        self.save(labels=labels, valid=valid, n=n, classes=x.shape[1])
        return -(take_class(self.xp, x, labels) * valid).sum() / n

    def backward(self, dy: Any) -> tuple[Any, None]:
        labels, valid, n = self.saved.labels, self.saved.valid, self.saved.n
        return (one_hot(self.xp, labels, self.saved.classes) & valid) * (-dy / n), None
