"""BalancedAccuracy and MatthewsCorrelation: one number of what is right, predicted and actual of each class."""

from __future__ import annotations

from typing import Any

from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...contract.metric import Tally
from ...schema.params import param
from ...schema.registry import register
from ..losses.labels import some_ignored
from .compared import CLASSES, ONE, PREDICTED, defined_ratio, ratio
from .decided import Predicted

WEIGHTED = [Spec((9, 3)), index((9,), 3), Spec((9,), low=0.1, high=2)]
EXAMPLES = [
    Example({}, [Spec((8, 5)), index((8,), 5)]),
    Example({}, [Spec((2, 3, 2, 3)), index((2, 2, 3), 3)], "a label for each position of an image"),
    Example({"ignore_index": -100}, [Spec((9, 4)), Spec((9,), role="index", draw=some_ignored(4, -100))]),
    Example({"threshold": 0.1}, [Spec((9, 1)), index((9,), 2)], "one score"),
    Example({"num_classes": 6}, [index((9,), 4), index((9,), 5)], "classes that do not occur"),
    Example({}, WEIGHTED, "weighted samples"),
]
BAD = [
    Bad({}, "threshold: 0 for logits", [Spec((4, 1)), index((4,), 2)]),
    Bad({"threshold": 0.5}, "the largest score decides", [Spec((4, 3)), index((4,), 3)]),
    Bad({}, "of how many classes?", [index((4,), 3), index((4,), 3)]),
    Bad({}, "has shape (4, 3), expected (4,)", [Spec((4, 3)), index((4, 3), 3)]),
    Bad({"ignore_label": 255}, "did you mean 'ignore_index'?"),
]


@register
class BalancedAccuracy(Predicted):
    """BalancedAccuracy: the mean over the classes of how much of each was taken for it

        y = (1/c) Σ tp[k] / n[k]                  over the c classes k that occur among the labels
        y = (that - 1/c) / (1 - 1/c)            with adjusted: 0 is chance, 1 is perfect

    tp[k] is how much of class k was taken for it, of n[k]. A net that always says the largest class has 1/c, however
    large that class is. Of scores of several classes the largest decides; one score is class 1 above `threshold`.
    With a third bottom each sample counts by its weight. NaN where there are no labels, where a score is NaN, and
    with adjusted where one class occurs.

    Shapes    x (N, K, d1, ...) real with labels (N, d1, ...) index, x (N) or (N, 1) with labels (N) or (N, 1), index or
              real 0 and 1, or x index: predictions of num_classes; weights (N); y a single number
    Keeps     nothing: a metric has no gradient
    Cost      one pass over the scores, three numbers for each class in an evaluation
    Errors    LayerError when shapes do not fit, and where one score has no threshold; LayerError (exit 3) for a label
              that is no class
    Source    compare sklearn.metrics.balanced_accuracy_score
    """

    forms = (CLASSES, ONE, PREDICTED)

    adjusted: bool = param(False, help="whether chance is 0")

    examples = [*EXAMPLES, Example({"adjusted": True}, WEIGHTED)]
    bad_examples = BAD

    def compute(self, tally: Tally) -> Any:
        xp, occurs = self.xp, ~(tally["actual"] == 0)
        classes = occurs.sum().astype("float64")
        recall = xp.where(occurs, ratio(xp, tally["hits"], tally["actual"]), 0.0)
        mean = defined_ratio(xp, recall.sum(), classes)
        if not self.adjusted:
            return mean
        chance = ratio(xp, xp.ones(()), classes)
        return defined_ratio(xp, mean - chance, 1 - chance)


@register
class MatthewsCorrelation(Predicted):
    """MatthewsCorrelation: the correlation of predictions and labels

        y = (n s - Σ p[k] t[k]) / √((n² - Σ p[k]²) (n² - Σ t[k]²))

    where s of n predictions are right, p[k] are of class k, and t[k] are the labels of that class (Gorodkin's R_K; of
    two classes Matthews' φ). 1 is perfect, 0 as good as chance, and 0 too where all predictions, or all labels, are
    of one class. Of scores of several classes the largest decides; one score is class 1 above `threshold`. With a
    third bottom each sample counts by its weight. A score that is NaN makes y NaN.

    Shapes    x (N, K, d1, ...) real with labels (N, d1, ...) index, x (N) or (N, 1) with labels (N) or (N, 1), index or
              real 0 and 1, or x index: predictions of num_classes; weights (N); y a single number
    Keeps     nothing: a metric has no gradient
    Cost      one pass over the scores, three numbers for each class in an evaluation
    Errors    LayerError when shapes do not fit, and where one score has no threshold; LayerError (exit 3) for a label
              that is no class
    Source    Matthews 1975, Gorodkin 2004; compare sklearn.metrics.matthews_corrcoef
    """

    forms = (CLASSES, ONE, PREDICTED)
    examples = [*EXAMPLES, Example({}, [Spec((0, 3)), index((0,), 3)], "no sample")]
    bad_examples = BAD

    def compute(self, tally: Tally) -> Any:
        xp, predicted, actual = self.xp, tally["predicted"], tally["actual"]
        right, n = tally["hits"].sum(), actual.sum()
        spread = (n * n - (predicted * predicted).sum()) * (n * n - (actual * actual).sum())
        one_class = ((predicted == 0).sum() >= self.classes - 1) | ((actual == 0).sum() >= self.classes - 1)
        spread = xp.where(one_class, 0.0, spread)  # with weights that is else no more than nearly so
        return ratio(xp, n * right - (predicted * actual).sum(), xp.sqrt(spread))
