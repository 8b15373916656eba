"""AUROC and AveragePrecision: how well scores rank what is of a class above what is not, whatever the threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...arrays.functional import one_hot
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...contract.metric import Tally
from ...schema.errors import LayerError
from ...schema.params import param
from ..losses.labels import some_ignored
from ..tables import add_member
from .averages import AVERAGES, averaged, chosen_average, number_or_each
from .compared import CLASSES, ONE, Compared, ones_or, probabilities, ratio, some_probabilities

Curve = tuple[Any, Any]  # what weighs at least each score, the largest first: of a class, and of the rest


class Ranked(Compared):
    """Base of the metrics of a ranking. Each brings `area`, a number from the curve of one class.

    A tally holds every score, as the net gave it, and every label: nothing less would be exact.
    """

    area: Callable[[Any, Any, Any], Any]

    from_logits: bool = param(True, help="of several classes: whether the scores become probabilities by a softmax")
    average: str | None = param(
        None, help="binary: of class 1; macro, micro, weighted, or none: each; null: binary of two classes, else macro",
        choices=AVERAGES,
    )

    def check_form(self) -> None:
        if chosen_average(self) == "micro" and self.form == ONE:
            message = "average micro ranks the scores of all classes together, and there is one score for both"
            raise LayerError(message, hint="binary, macro, weighted or none")

    def tops_of(self, number: Spec) -> Spec:
        return number_or_each(self, number)

    def update(self, x: Any, labels: Any, weight: Any = None) -> Tally:
        x, labels, weight = self.positions(x, labels, weight)
        if self.form == CLASSES:
            probabilities(self.xp, x, self.from_logits)  # refuses what is none here, where the batch is known
        parts = {"scores": self.xp.array(x), "labels": labels}
        return parts if weight is None else {**parts, "weight": self.xp.array(weight)}

    def merge(self, first: Tally, second: Tally) -> Tally:
        return {name: self.xp.concatenate([first[name], second[name]]) for name in first}

    def compute(self, tally: Tally) -> Any:
        scores, labels, average = tally["scores"], tally["labels"], chosen_average(self)
        weight = ones_or(self.xp, tally.get("weight"), len(scores))
        if self.form == ONE:
            scores, counts = self.xp.stack([-scores, scores], axis=1), None
            labels = one_hot(self.xp, labels[:, None], 2)
        elif self.form == CLASSES:
            scores, counts = probabilities(self.xp, scores, self.from_logits), None
            labels = one_hot(self.xp, labels[:, None], self.classes)
        else:
            counts, labels = labels >= 0, labels == 1
        return self.over_classes(average, scores, labels, weight, counts)

    def over_classes(self, average: str, scores: Any, labels: Any, weight: Any, counts: Any) -> Any:
        """The average of scores and labels (P, K); counts (P, K) says which count, None: all."""
        xp, every = self.xp, range(self.classes)
        if average == "micro":
            weight = xp.broadcast_to(weight[:, None], scores.shape)
            scores, labels, weight = scores.reshape(-1), labels.reshape(-1), weight.reshape(-1)
            kept = slice(None) if counts is None else counts.reshape(-1)
            return self.of_class(scores[kept], labels[kept], weight[kept])
        each, actual = [], []
        for k in [1] if average == "binary" else every:
            kept = slice(None) if counts is None else counts[:, k]
            each.append(self.of_class(scores[kept, k], labels[kept, k], weight[kept]))
            actual.append((weight[kept] * labels[kept, k]).sum())
        if average == "binary":
            return each[0]
        return averaged(self, xp.stack(each), xp.ones(self.classes), xp.stack(actual))

    def of_class(self, scores: Any, positive: Any, weight: Any) -> Any:
        """`area` of one class; NaN where a score is, and where there are none."""
        xp = self.xp
        if not len(scores) or bool(xp.isnan(scores).any()):
            return xp.full((), xp.nan)
        return self.area(xp, *curve(xp, scores, positive, weight))


def curve(xp: Any, scores: Any, positive: Any, weight: Any) -> Curve:
    """What weighs at least each of the scores, the largest first, of a class and of the rest; both begin with 0."""
    order = xp.argsort(scores)[::-1]
    scores, positive, weight = scores[order], positive[order], weight[order]
    last = xp.concatenate([scores[1:] != scores[:-1], xp.ones(1, dtype=bool)])  # of equal scores
    start, parts = xp.zeros(1), (xp.where(positive, weight, 0.0), xp.where(positive, 0.0, weight))
    first, second = [xp.concatenate([start, xp.cumsum(part)[last]]) for part in parts]
    return first, second


def under_roc(xp: Any, tp: Any, fp: Any) -> Any:
    """The area under tp over fp, as shares, by trapezoids; NaN where there is only one class."""
    area = ((fp[1:] - fp[:-1]) * (tp[1:] + tp[:-1])).sum() / 2
    whole = tp[-1] * fp[-1]
    return xp.where(whole == 0, xp.nan, ratio(xp, area, whole))


def average_precision(xp: Any, tp: Any, fp: Any) -> Any:
    """Precision at each threshold, weighted by how much the recall grows there; 0 where nothing is of the class."""
    return ratio(xp, ((tp[1:] - tp[:-1]) * ratio(xp, tp[1:], tp[1:] + fp[1:])).sum(), tp[-1])


DOC = """{name}: {what}

    {formula}

It depends on the order of the scores alone, and equal scores are one step. One score, or each of several labels, is
ranked as it is. Of several classes each is ranked by its probability against all others: the softmax of its scores,
or with from_logits false the scores themselves, which then must be probabilities. `average` is binary (y of class 1),
macro (the mean of y[k]), weighted (by how much of each class there is), micro (all classes in one ranking) or none
(each y[k]). With a third bottom each sample counts by its weight. {undefined} A score that is NaN makes y NaN.

An evaluation keeps every score in the net's dtype, and every label in 8 bytes: 12 bytes for each sample of one float32
score, 4 K + 8 of K classes, 8 more with weights; while it sorts, about 80 for each sample.

Shapes    x (N, K, d1, ...) real with labels (N, d1, ...) index, x (N) or (N, 1) with labels (N) or (N, 1), index or
          real 0 and 1, or x and labels (N, L) of L labels; weights (N); y a single number, or (K)
Keeps     nothing: a metric has no gradient
Cost      one sort of the scores of each class, in every batch and at the end of an evaluation
Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class, and rows that are not
          what from_logits says
Source    {source}
"""

BOTH = Spec((8,), role="index", low=0, high=2, draw=lambda rng, shape: rng.permutation(shape[0]) % 2)
EACH = Spec((9,), role="index", low=0, high=3, draw=lambda rng, shape: rng.permutation(shape[0]) % 3)
WEIGHT = Spec((9,), low=0.1, high=2)
CHANCES = Spec((9, 3), draw=some_probabilities)


def ranking(name: str, what: str, **entry: Any) -> Any:
    """Make a metric of a ranking: the layer `name`."""
    area: Any = staticmethod(entry.pop("area"))
    text = DOC.format(name=name, what=what, **entry)
    return add_member(Ranked, name, text, area=area, examples=EXAMPLES, bad_examples=BAD)


def of_labels(rng: Any, shape: tuple[int, ...]) -> Any:
    """Labels (N, L) of which each is 0 for some samples, and 1 for others."""
    return (rng.permutation(shape[0])[:, None] + rng.permutation(shape[1])) % 2


EXAMPLES = [
    Example({}, [Spec((8, 1)), BOTH], "one score"),
    Example({"average": "macro"}, [Spec((8,)), BOTH], "both classes of one score"),
    Example({}, [Spec((9, 3)), EACH], "each class against all others"),
    Example({"average": "none", "from_logits": True}, [Spec((9, 3)), EACH, WEIGHT], "weighted samples"),
    Example({"from_logits": False}, [CHANCES, EACH], "probabilities"),
    Example({"average": "micro", "ignore_index": 3}, [Spec((9, 3)), Spec((9,), role="index", draw=some_ignored(3, 3))]),
    Example({"average": "weighted"}, [Spec((8, 4)), Spec((8, 4), role="index", draw=of_labels)], "several labels"),
]
BAD = [
    Bad({"average": "binary"}, "average binary is for two classes, there are 3", [Spec((4, 3)), index((4,), 3)]),
    Bad({}, "has shape (5,), expected (4,) or (4, 1)", [Spec((4, 1)), index((5,), 2)]),
    Bad({}, "must be real numbers", [index((4,), 2), index((4,), 2)]),
    Bad({"threshold": 0.5}, "threshold"),
    Bad({"average": "micro"}, "there is one score for both", [Spec((4, 1)), index((4,), 2)]),
    Bad({}, "bottom[2], the weights, has shape (3,), expected (4,)", [Spec((4, 3)), index((4,), 3), Spec((3,))]),
]

AUROC = ranking(
    "AUROC", "the area under the receiver operating characteristic",
    formula="y = P(a score of the class > one of the rest) + P(they are equal) / 2",
    area=under_roc,
    undefined="Where all labels, or none, are of a class its y is NaN.",
    source="compare sklearn.metrics.roc_auc_score (multi_class='ovr')",
)  # fmt: skip
AveragePrecision = ranking(
    "AveragePrecision", "the area under precision over recall, as a sum over thresholds",
    formula="y = Σ (r[i] - r[i-1]) p[i]      r[i] = recall, p[i] = precision at the i-th largest score",
    area=average_precision,
    undefined="Where no label is of a class its y is 0.",
    source="compare sklearn.metrics.average_precision_score",
)  # fmt: skip
