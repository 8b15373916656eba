"""Accuracy: how often the right class is among the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import one_hot, take_class
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from ..losses.labels import BAD_EXAMPLES, EXAMPLES, Labelled


@register
class Accuracy(Labelled):
    """Accuracy: share of the positions whose label is among the top_k best scores (Caffe: Accuracy)

        y = (1/m) Σ [fewer than top_k other classes score at least as high as the label]

    over the m positions whose label is not ignore_index. A tie counts as wrong (Caffe's rule): a net that gives
    every class the same score knows nothing. So does a score that is NaN. Where no position counts y is 0.

    A second top holds the same share for the positions of each class alone, 0 for a class that has none.

    Shapes    x (N, K) or (N, K, d1, ...) real, labels (N) or (N, d1, ...) index, y a single number, second top (K,)
    Keeps     nothing: a metric has no gradient
    Cost      2 operations per element
    Errors    LayerError when shapes do not fit or top_k exceeds K; LayerError (exit 3) for a label that is no class
    Source    compare Caffe's Accuracy layer
    """

    tops = (1, 2)

    top_k: int = param(1, help="how many of the best classes are searched", ge=1)

    examples = [
        *EXAMPLES,
        Example({"top_k": 3}, [Spec((8, 5)), index((8,), 5)]),
        Example({"top_k": 2, "ignore_index": 1}, [Spec((2, 4, 3, 2)), index((2, 3, 2), 4)]),
        Example({}, [Spec((8, 5)), index((8,), 3)], "each class by itself", tops=2),
        Example({"top_k": 2, "ignore_index": 1}, [Spec((2, 4, 3, 2)), index((2, 3, 2), 4)], tops=2),
    ]
    bad_examples = [
        *BAD_EXAMPLES,
        Bad({"top_k": 0}, "must be >= 1"),
        Bad({"top_k": 6}, "top_k 6 of 5 classes", [Spec((4, 5)), index((4,), 5)]),
    ]

    def setup(self, x: Spec, labels: Spec) -> Spec | tuple[Spec, Spec]:
        top = super().setup(x, labels)
        if self.top_k > x.shape[1]:
            raise LayerError(f"top_k {self.top_k} of {x.shape[1]} classes", hint="top_k is at most the classes")
        return top if self.tops_wanted == 1 else (top, x.with_shape(x.shape[1:2]))

    def forward(self, x: Any, labels: Any) -> Any:
        classes, valid = self.targets(x, labels)
        below = (x < take_class(self.xp, x, classes)).sum(axis=1, keepdims=True)
        others_not_below = x.shape[1] - 1 - below
        correct = (others_not_below < self.top_k) & valid
        overall = (correct.sum() / (self.mean_over(x, labels) or 1)).astype(x.dtype)
        if self.tops_wanted == 1:
            return overall
        mine = one_hot(self.xp, classes, x.shape[1]) & valid
        others = (0, *range(2, x.ndim))
        hits, count = (mine & correct).sum(axis=others), mine.sum(axis=others)
        return overall, (hits / self.xp.maximum(count, 1)).astype(x.dtype)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size
