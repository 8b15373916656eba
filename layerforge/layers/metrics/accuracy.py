"""Accuracy: how often the right class is among the best."""

from __future__ import annotations

from typing import Any

from ...arrays.awaited import number_of
from ...arrays.functional import take_class
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...contract.metric import Tally
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from ..losses.labels import BAD_EXAMPLES, EXAMPLES
from .compared import CLASSES, SEVERAL, counts, ones_or, ratio, single
from .decided import Decided


@register
class Accuracy(Decided):
    """Accuracy: share of the positions whose label is among the top_k best scores (Caffe: Accuracy)

        y = (1/m) Σ [fewer than top_k other classes score at least as high as the label]

    over the m positions whose label is not ignore_index. A tie counts as wrong (Caffe's rule): a net that gives
    every class the same score knows nothing. So does a score that is NaN. Where no position counts y is 0.

    One score, (N) or (N, 1), is class 1 above `threshold` and else class 0. Of several labels, (N, L), a position is
    right where all of them are.

    A second top holds the same share for the positions of each class alone, 0 for a class that has none. With a third
    bottom each sample counts by its weight.

    Shapes    x (N, K) or (N, K, d1, ...) real with labels (N) or (N, d1, ...) index, x (N) or (N, 1) with labels (N) or
              (N, 1), index or real 0 and 1, or x and labels (N, L); weights (N); y a single number, second top (K,)
    Keeps     nothing: a metric has no gradient
    Cost      2 operations per element
    Errors    LayerError when shapes do not fit, top_k exceeds K, and where one score has no threshold; LayerError
              (exit 3) for a label that is no class
    Source    compare Caffe's Accuracy layer, and sklearn.metrics.accuracy_score
    """

    tops = (1, 2)
    adds_up = True

    top_k: int = param(1, help="how many of the best classes are searched", ge=1)

    examples = [
        *(e for e in EXAMPLES if e.bottoms[0].shape[1] > 1),
        Example({"top_k": 3}, [Spec((8, 5)), index((8,), 5)]),
        Example({"top_k": 2, "ignore_index": 1}, [Spec((2, 4, 3, 2)), index((2, 3, 2), 4)]),
        Example({}, [Spec((8, 5)), index((8,), 3)], "each class by itself", tops=2),
        Example({"top_k": 2, "ignore_index": 1}, [Spec((2, 4, 3, 2)), index((2, 3, 2), 4)], tops=2),
        Example({"threshold": 0.2}, [Spec((8, 1)), index((8,), 2)], "one score", tops=2),
        Example({}, [Spec((8, 3)), index((8,), 3), Spec((8,), low=0.1, high=2)], "weighted samples", tops=2),
        Example({"threshold": -1.0, "ignore_index": -1}, [Spec((9, 2)), index((9, 2), 2, low=-1)], "several labels"),
    ]
    bad_examples = [
        *(bad for bad in BAD_EXAMPLES if bad.bottoms != [Spec((4,)), index((4,), 5)] and "takes 2" not in bad.message),
        Bad({}, "takes 2 to 3 bottom(s), got 1", [Spec((4, 5))]),
        Bad({"top_k": 0}, "must be >= 1"),
        Bad({"top_k": 6}, "top_k 6 of 5 classes", [Spec((4, 5)), index((4,), 5)]),
        Bad({}, "threshold: 0 for logits", [Spec((4, 1)), index((4,), 2)]),
        Bad({"threshold": 0, "top_k": 2}, "top_k 2 of one score", [Spec((4, 1)), index((4,), 2)]),
    ]

    def check_form(self) -> None:
        super().check_form()
        if self.form != CLASSES and self.top_k > 1:
            raise LayerError(f"top_k {self.top_k} of {self.form}", hint="top_k is for scores of several classes")
        if self.top_k > self.classes:
            raise LayerError(f"top_k {self.top_k} of {self.classes} classes", hint="top_k is at most the classes")
        if self.form == SEVERAL and self.tops_wanted > 1:
            raise LayerError("there is no accuracy of each of several labels", hint="Recall with average: none")

    def tops_of(self, number: Spec) -> Spec | tuple[Spec, Spec]:
        return number if self.tops_wanted == 1 else (number, number.with_shape((self.classes,)))

    def mean_over(self, x: Any, labels: Any, weight: Any = None) -> float:
        """What the positions whose label is not ignore_index weigh together."""
        valid = self.valid(labels)
        if labels.shape == x.shape and single(x.shape) == x.shape and x.ndim > 1:
            valid = valid.any(axis=1)
        if weight is None:
            return number_of(valid.sum())
        return number_of(self.spread(weight, single(valid.shape)) @ valid.reshape(-1).astype("float64"))

    def update(self, x: Any, labels: Any, weight: Any = None) -> Tally:
        """What is right, and what there is: of each class, of several labels together."""
        xp, (x, labels, weight) = self.xp, self.positions(x, labels, weight)
        weight = ones_or(xp, weight, len(x))
        if self.form == CLASSES:
            below = (x < take_class(xp, x, labels[:, None])).sum(axis=1)
            correct = x.shape[1] - 1 - below < self.top_k
        else:
            correct = ((x > self.threshold) == labels) & ~xp.isnan(x)
        if self.form == SEVERAL:
            weight = weight * (labels >= 0).any(axis=1)
            correct, labels = (correct | (labels < 0)).all(axis=1), xp.zeros(len(x), dtype="int64")
        return {
            "correct": counts(xp, labels, weight * correct, self.classes),
            "count": counts(xp, labels, weight, self.classes),
        }

    def compute(self, tally: Tally) -> Any:
        xp, correct, count = self.xp, tally["correct"], tally["count"]
        overall = ratio(xp, correct.sum(), count.sum())
        return overall if self.tops_wanted == 1 else (overall, ratio(xp, correct, count))
