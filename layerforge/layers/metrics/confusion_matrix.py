"""ConfusionMatrix: which classes are taken for which."""

from __future__ import annotations

import math
from typing import Any

from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...contract.metric import Tally
from ...schema.params import param
from ...schema.registry import register
from ..losses.labels import BAD_EXAMPLES, some_ignored
from .compared import CLASSES, ONE, PREDICTED, counts
from .decided import Decided


@register
class ConfusionMatrix(Decided):
    """ConfusionMatrix: how many positions of each class were taken for which class

        y[t, p] = Σ [label = t and prediction = p]      over the positions whose label is not ignore_index

    A row t for each right class, a column p for each prediction, so what is right is on the diagonal. Of scores the
    prediction is the class with the largest, the first of equal ones; one score is class 1 above `threshold`. Where a
    score is NaN there is no prediction: the row of that label is NaN, and stays so in the sum over batches. With a
    third bottom each sample counts by its weight.

    An evaluation adds up the matrices of its batches: a row over its sum is the share of each answer for that class,
    and on the diagonal the accuracy of each class, over all samples and not over batches.

    Shapes    x (N, K) or (N, K, d1, ...) real: scores of K = num_classes classes, x (N) or (N, 1) real: one score of
              num_classes 2, or x (N) or (N, d1, ...) index: predictions; labels (N) or (N, d1, ...) index; weights (N);
              y (K, K)
    Keeps     nothing: a metric has no gradient
    Cost      one pass over the scores, one count for each position
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label or prediction that is no class
    Source    compare sklearn.metrics.confusion_matrix, which has the same rows and columns
    """

    adds_up = True
    forms = (CLASSES, ONE, PREDICTED)

    num_classes: int = param(help="how many classes", ge=1)

    examples = [
        Example({"num_classes": 5}, [Spec((8, 5)), index((8,), 5)]),
        Example({"num_classes": 3}, [Spec((2, 3, 2, 3)), index((2, 2, 3), 3)], "a label for each position of an image"),
        Example({"num_classes": 4}, [index((9,), 4), index((9,), 4)], "predictions"),
        Example({"num_classes": 6}, [index((2, 3, 4), 4), index((2, 3, 4), 5)], "classes that do not occur"),
        Example(
            {"num_classes": 4, "ignore_index": -100},
            [Spec((9, 4)), Spec((9,), role="index", draw=some_ignored(4, -100))],
        ),
        Example({"num_classes": 3, "ignore_index": 2}, [index((7,), 3), index((7,), 3)], "a class itself is ignored"),
        Example({"num_classes": 2, "ignore_index": 0}, [Spec((3, 2)), index((3,), 1)], "no position counts"),
        Example({"num_classes": 1}, [Spec((1, 1)), index((1,), 1)]),
        Example({"num_classes": 3}, [Spec((0, 3)), index((0,), 3)], "no sample"),
        Example({"num_classes": 2, "threshold": 0.1}, [Spec((9, 1)), index((9, 1), 2)], "one score"),
        Example({"num_classes": 3}, [Spec((9, 3)), index((9,), 3), Spec((9,), low=0.1, high=2)], "weighted samples"),
    ]
    bad_examples = [
        *(Bad({"num_classes": 5, **bad.params}, bad.message, bad.bottoms) for bad in BAD_EXAMPLES
          if bad.params),
        Bad({}, "num_classes is required"),
        Bad({"num_classes": 0}, "must be >= 1"),
        Bad({"num_classes": 4}, "scores of 5 classes, num_classes is 4", [Spec((4, 5)), index((4,), 4)]),
        Bad({"num_classes": 2}, "threshold: 0 for logits", [Spec((4, 1)), index((4,), 2)]),
        Bad({"num_classes": 5}, "has shape (4, 1), expected (4,)", [Spec((4, 5)), index((4, 1), 5)]),
        Bad({"num_classes": 5}, "has shape (4, 1), expected (4,)", [index((4,), 5), index((4, 1), 5)]),
        Bad({"num_classes": 5}, "bottom[1] must be integers", [Spec((4, 5)), Spec((4,))]),
        Bad({"num_classes": 5}, "at least a batch axis", [index((), 5), index((), 5)]),
    ]  # fmt: skip

    def form_of(self, x: Spec, labels: Spec) -> str:
        if self.num_classes == 1 and x.is_real and x.ndim > 1 and labels.shape == (x.shape[0], *x.shape[2:]):
            return CLASSES  # the scores of the only class, which is right
        return super().form_of(x, labels)

    def tops_of(self, number: Spec) -> Spec:
        return number.with_shape((self.num_classes, self.num_classes))

    def mean_over(self, *bottoms: Any) -> None:
        """Counts are added up."""

    def update(self, x: Any, labels: Any, weight: Any = None) -> Tally:
        return {"counts": matrix_of(self.xp, *self.decide(x, labels, weight), self.num_classes)}

    def compute(self, tally: Tally) -> Any:
        return tally["counts"]


def matrix_of(xp: Any, labels: Any, predicted: Any, weight: Any, classes: int) -> Any:
    """What the positions of each label (rows) and prediction (columns) weigh: (K, K). With one NaN its row is NaN."""
    sums = counts(xp, labels * classes + predicted, weight, classes * classes).reshape(classes, classes)
    return xp.where(xp.isnan(sums).any(axis=1, keepdims=True), math.nan, sums)
