"""ConfusionMatrix: which classes are taken for which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.functional import check_index, check_labels, scatter_add
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from ..losses.labels import BAD_EXAMPLES, Labelled, some_ignored


@register
class ConfusionMatrix(Labelled):
    """ConfusionMatrix: how many positions of each class were taken for which class

        y[t, p] = Σ [label = t and prediction = p]      over the positions whose label is not ignore_index

    A row t for each right class, a column p for each prediction, so what is right is on the diagonal. Of scores the
    prediction is the class with the largest, the first of equal ones. Where a score is NaN there is no prediction: the
    row of that label is NaN, and stays so in the sum over batches.

    An evaluation adds up the matrices of its batches: a row over its sum is the share of each answer for that class,
    and on the diagonal the accuracy of each class, over all samples and not over batches.

    Shapes    x (N, K) or (N, K, d1, ...) real: scores of K = num_classes classes, or (N) or (N, d1, ...) index:
              predictions; labels (N) or (N, d1, ...) index; y (K, K)
    Keeps     nothing: a metric has no gradient
    Cost      one pass over the scores, one count for each position
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label or prediction that is no class
    Source    compare sklearn.metrics.confusion_matrix, which has the same rows and columns
    """

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
    ]
    bad_examples = [
        *(Bad({"num_classes": 5, **bad.params}, bad.message, bad.bottoms) for bad in BAD_EXAMPLES if bad.params),
        Bad({}, "num_classes is required"),
        Bad({"num_classes": 0}, "must be >= 1"),
        Bad({"num_classes": 4}, "scores of 5 classes, num_classes is 4", [Spec((4, 5)), index((4,), 4)]),
        Bad({"num_classes": 5}, "has shape (4, 1), expected (4,)", [Spec((4, 5)), index((4, 1), 5)]),
        Bad({"num_classes": 5}, "has shape (4, 1), expected (4,)", [index((4,), 5), index((4, 1), 5)]),
        Bad({"num_classes": 5}, "bottom[1] must be integers", [Spec((4, 5)), Spec((4,))]),
        Bad({"num_classes": 5}, "at least a batch axis", [index((), 5), index((), 5)]),
    ]

    def setup(self, x: Spec, labels: Spec) -> Spec:
        if x.is_real:
            super().setup(x, labels)
            if x.shape[1] != self.num_classes:
                raise LayerError(f"bottom[0] holds scores of {x.shape[1]} classes, num_classes is {self.num_classes}")
        elif x.ndim:
            self.expect_labels(labels, x.shape)
        else:
            raise LayerError("bottom[0] is a single number, expected at least a batch axis")
        return Spec((self.num_classes, self.num_classes), self.dtype)

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """Classes."""
        return range(self.num_classes)

    def mean_over(self, x: Any, labels: Any) -> None:
        """Counts are added up."""

    def forward(self, x: Any, labels: Any) -> Any:
        xp, classes = self.xp, self.num_classes
        valid = self.valid(labels)
        check_labels(xp, labels, classes, valid)
        if x.dtype.kind == "f":
            predicted = x.argmax(axis=1)
        else:
            predicted = x * valid
            check_index(xp, predicted, classes, f"{classes} classes")
        cells = (labels * valid).astype("int64") * classes + predicted
        counts = xp.zeros(classes * classes, dtype=self.dtype)
        scatter_add(xp, counts, cells.reshape(-1), 0, self.worth(x, valid).reshape(-1))
        counts = counts.reshape(classes, classes)
        return xp.where(xp.isnan(counts).any(axis=1, keepdims=True), math.nan, counts).astype(self.dtype)

    def worth(self, x: Any, valid: Any) -> Any:
        """What each position counts: 1, 0 where it is ignored, and NaN where it should count and a score is NaN."""
        one = valid.astype(self.dtype)
        if x.dtype.kind == "f":
            one[valid & self.xp.isnan(x).any(axis=1)] = math.nan
        return one

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size
