"""Precision, Recall, F1, IoU and Dice: shares of what is right, for each class, and averaged over the classes.

Each is one ratio of three counts of a class: what is right of it (tp), what was taken for it (tp + fp), and what is
of it (tp + fn).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...contract.metric import Tally
from ...schema.params import param
from ..losses.labels import some_ignored
from ..tables import add_member
from .averages import AVERAGES, averaged, chosen_average, number_or_each
from .compared import SEVERAL, ratio
from .decided import Predicted

WEIGHT = Spec((9,), low=0.1, high=2)
IGNORED = {"ignore_index": -100}


class Averaged(Predicted):
    """Base of the shares of each class. Each brings `parts`: numerator and denominator of the three counts."""

    parts: Callable[[Any, Any, Any], tuple[Any, Any]]

    average: str | None = param(
        None, help="binary: of class 1; macro, micro, weighted, or none: each; null: binary of two classes, else macro",
        choices=AVERAGES,
    )

    def check_form(self) -> None:
        super().check_form()
        chosen_average(self)

    def tops_of(self, number: Spec) -> Spec:
        return number_or_each(self, number)

    def compute(self, tally: Tally) -> Any:
        xp, found = self.xp, (tally["hits"], tally["predicted"], tally["actual"])
        if chosen_average(self) == "micro":
            return ratio(xp, *self.parts(*[each.sum() for each in found]))
        occurs = ~(found[1] + found[2] == 0) | (self.form == SEVERAL)
        return averaged(self, ratio(xp, *self.parts(*found)), occurs, found[2])


DOC = """{name}: {what}

    y[k] = {formula}

where tp is how much of class k was taken for k, fp what else was, and fn what else of it there is. Of scores of
several classes the largest decides, the first of equal ones; one score, or each of several labels, is class 1 above
`threshold`. 0 / 0 is 0. `average` says what y is:

    binary      y[1]
    macro       the mean of y[k] over the classes that occur, as label or as prediction (of several labels over all)
    weighted    that, each class weighted by how much of it there is
    micro       y[k] of the sums of tp, fp and fn over all classes
    none        y[k] of each class

With a third bottom each sample counts by its weight. A score that is NaN makes y NaN.

Shapes    x (N, K, d1, ...) real with labels (N, d1, ...) index, x (N) or (N, 1) with labels (N) or (N, 1), index or
          real 0 and 1, x and labels (N, L) of L labels, or x index: predictions of num_classes; weights (N); y a
          single number, or (K)
Keeps     nothing: a metric has no gradient
Cost      one pass over the scores, three numbers for each class in an evaluation
Errors    LayerError when shapes do not fit, and where one score has no threshold; LayerError (exit 3) for a label
          that is no class
Source    {source}
"""

FORMS = [
    Example({}, [Spec((8, 5)), index((8,), 5)]),
    Example({"average": "none"}, [Spec((2, 3, 2, 3)), index((2, 2, 3), 3)], "a label for each position of an image"),
    Example({"average": "micro", **IGNORED}, [Spec((9, 4)), Spec((9,), role="index", draw=some_ignored(4, -100))]),
    Example({"average": "weighted"}, [Spec((9, 3)), index((9,), 3), WEIGHT], "weighted samples"),
    Example({"threshold": 0.1}, [Spec((9, 1)), index((9,), 2)], "one score"),
    Example({"threshold": 0.5}, [Spec((9,), low=0, high=1), Spec((9,), low=0, high=1, draw=lambda rng, s: rng.integers(
        0, 2, s)), WEIGHT], "a probability, and labels that are real 0 and 1"),
    Example({"threshold": 0.0, "average": "macro"}, [Spec((9, 4)), index((9, 4), 2)], "several labels"),
    Example({"num_classes": 6, "average": "macro"}, [index((9,), 4), index((9,), 5)], "classes that do not occur"),
    Example({}, [Spec((0, 3)), index((0,), 3)], "no sample"),
]  # fmt: skip
FEW = [FORMS[i] for i in (2, 3, 4, 7)]
BAD = [
    Bad({}, "threshold: 0 for logits", [Spec((4, 1)), index((4,), 2)]),
    Bad({"threshold": 0.5}, "the largest score decides", [Spec((4, 3)), index((4,), 3)]),
    Bad({"average": "binary"}, "average binary is for two classes, there are 3", [Spec((4, 3)), index((4,), 3)]),
    Bad({"average": "mean"}, "must be one of"),
    Bad({}, "of how many classes?", [index((4,), 3), index((4,), 3)]),
    Bad({}, "bottom[1], the labels, has shape (4, 2), expected (4,)", [Spec((4, 3)), index((4, 2), 3)]),
    Bad({"threshold": 0}, "has shape (5,), expected (4,) or (4, 1)", [Spec((4, 1)), index((5,), 2)]),
    Bad({}, "bottom[2], the weights, has shape (3,), expected (4,)", [Spec((4, 3)), index((4,), 3), Spec((3,))]),
    Bad({"ignore_label": 255}, "did you mean 'ignore_index'?"),
]


def share(name: str, what: str, *, formula: str, parts: Callable[..., tuple[Any, Any]], source: str) -> Any:
    """Make a share of each class: the layer `name`. `formula` is what the documentation shows of `parts`."""
    text = DOC.format(name=name, what=what, formula=formula, source=source)
    examples = FORMS if name == "F1" else FEW  # they share all but a line
    return add_member(Averaged, name, text, parts=staticmethod(parts), examples=examples, bad_examples=BAD)


Precision = share(
    "Precision", "how much of what was taken for a class is of it",
    formula="tp / (tp + fp)", parts=lambda hits, predicted, actual: (hits, predicted),
    source="compare sklearn.metrics.precision_score",
)  # fmt: skip
Recall = share(
    "Recall", "how much of a class was taken for it",
    formula="tp / (tp + fn)", parts=lambda hits, predicted, actual: (hits, actual),
    source="compare sklearn.metrics.recall_score",
)  # fmt: skip
F1 = share(
    "F1", "the harmonic mean of precision and recall",
    formula="2 tp / (2 tp + fp + fn)", parts=lambda hits, predicted, actual: (2 * hits, predicted + actual),
    source="compare sklearn.metrics.f1_score",
)  # fmt: skip
IoU = share(
    "IoU", "intersection over union of what is of a class and what was taken for it (the Jaccard index)",
    formula="tp / (tp + fp + fn)", parts=lambda hits, predicted, actual: (hits, predicted + actual - hits),
    source="compare sklearn.metrics.jaccard_score; over the positions of images it is the mean IoU of segmentation",
)  # fmt: skip
Dice = share(
    "Dice", "twice the intersection over the sum of what is of a class and what was taken for it",
    formula="2 tp / (2 tp + fp + fn)", parts=lambda hits, predicted, actual: (2 * hits, predicted + actual),
    source="Dice 1945; the same number as F1, under the name that it has in segmentation",
)  # fmt: skip
