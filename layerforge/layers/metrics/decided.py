"""What the metrics share that count decisions: what the scores are taken for, and how often that is right."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ...arrays.spec import Spec
from ...contract.metric import Tally
from ...schema.errors import LayerError
from ...schema.params import param
from .compared import CLASSES, ONE, PREDICTED, SEVERAL, Compared, counts, ones_or

THRESHOLD = "threshold: 0 for logits, threshold: 0.5 for probabilities"


class Decisions(NamedTuple):
    """Flat positions: labels and predictions, both (P) classes, or (P, L) of several labels; weight is (P).

    weight is NaN where a score is not a number, so that every sum it is part of is not one either. A label of several
    that does not count is -1.
    """

    labels: Any
    predicted: Any
    weight: Any


class Decided(Compared):
    """Base of the metrics of decisions: the class with the largest score, or whether one score is above `threshold`."""

    num_classes: int | None = None  # a hyper-parameter of those that take predictions

    threshold: float | None = param(
        None, help="of one score: it is class 1 above this; 0 for logits, 0.5 for probabilities"
    )
    def check_form(self) -> None:
        by_threshold = self.form in (ONE, SEVERAL)
        if by_threshold and self.threshold is None:
            what = "one score for each sample" if self.form == ONE else "a score for each of several labels"
            raise LayerError(f"bottom[0] holds {what}: above which is it class 1?", hint=THRESHOLD)
        if not by_threshold and self.threshold is not None:
            hint = "a threshold is for one score, (N) or (N, 1), or several labels, of the scores' shape"
            raise LayerError(f"threshold {self.threshold:g} for {self.form}: the largest score decides", hint=hint)

    def classes_of(self, x: Spec) -> int:
        if self.form == PREDICTED:
            if self.num_classes is None:
                raise LayerError("bottom[0] holds predictions: of how many classes?", hint="num_classes: 10")
            return self.num_classes
        found = super().classes_of(x)
        if self.num_classes not in (None, found):
            raise LayerError(f"bottom[0] holds scores of {found} classes, num_classes is {self.num_classes}")
        return found

    def classes_of_bottom(self, x: Spec) -> int:
        return x.shape[1] if x.is_real else self.num_classes or 1

    def decide(self, x: Any, labels: Any, weight: Any = None) -> Decisions:
        """What the scores of the positions that count are taken for."""
        xp, (x, labels, weight) = self.xp, self.positions(x, labels, weight)
        weight = ones_or(xp, weight, len(x))
        if self.form == PREDICTED:
            return Decisions(labels, x.astype("int64"), weight)
        lost = xp.isnan(x)
        if self.form in (CLASSES, SEVERAL):
            lost = lost.any(axis=1)
        if xp is not np or bool(lost.any()):
            weight = xp.where(lost, math.nan, weight)
        predicted = x.argmax(axis=1) if self.form == CLASSES else (x > self.threshold).astype("int64")
        return Decisions(labels, predicted, weight)

    def update(self, x: Any, labels: Any, weight: Any = None) -> Tally:
        """For each class what is right, what was taken for it, and what is of it: `hits`, `predicted` and `actual`."""
        xp = self.xp
        labels, predicted, weight = self.decide(x, labels, weight)
        if self.form == SEVERAL:
            counted, each = labels >= 0, weight[:, None]
            sums = {"hits": predicted & labels, "predicted": predicted, "actual": labels}
            return {name: (each * (what & 1) * counted).sum(axis=0) for name, what in sums.items()}
        hits = counts(xp, labels, weight * (labels == predicted), self.classes)
        unknown = weight.sum() * 0  # NaN where one is: a lost prediction could be any class
        return {
            "hits": hits,
            "predicted": counts(xp, predicted, weight, self.classes) + unknown,
            "actual": counts(xp, labels, weight, self.classes),
        }


class Predicted(Decided):
    """Base of the metrics of decisions that take predictions, too, in the place of scores."""

    forms: tuple[str, ...] = (CLASSES, ONE, SEVERAL, PREDICTED)

    num_classes: int | None = param(None, help="how many classes there are, where bottom[0] holds predictions", ge=1)
