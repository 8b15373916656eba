"""CalibrationError: how far the probabilities that a net states are from how often it is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.awaited import refuse_where
from ...arrays.functional import sigmoid
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...contract.metric import Tally
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from ..losses.labels import some_ignored
from .compared import (
    CLASSES,
    ONE,
    Compared,
    counts,
    defined_ratio,
    ones_or,
    probabilities,
    ratio,
    some_probabilities,
)


@register
class CalibrationError(Compared):
    """CalibrationError: how far stated probabilities are from how often they come true

        y = Σ_b (w[b] / m) |a[b] - p[b]|               norm l1, the expected calibration error
        y = √(Σ_b (w[b] / m) (a[b] - p[b])²)           norm l2
        y = the largest |a[b] - p[b]|                 norm max

    over bins b of equal width, (b/n_bins, (b+1)/n_bins]; 0 is in the first. In a bin of w[b] of the m positions, p[b]
    is the mean probability and a[b] how much comes true of it. Of several classes the probability is that of the most
    likely one, and it comes true where that is the label; one score is the probability of class 1. Scores become
    probabilities by a softmax or sigmoid; with from_logits false x holds probabilities, which one score has to say.
    With a third bottom each sample counts by its weight. NaN where no position counts, and where a score is NaN.

    Shapes    x (N, K, d1, ...) real with labels (N, d1, ...) index, or x (N) or (N, 1) with labels (N) or (N, 1),
              index or real 0 and 1; weights (N); y a single number
    Keeps     nothing: a metric has no gradient
    Cost      one softmax, three numbers for each bin in an evaluation
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class, and scores that are
              not what from_logits says
    Source    Naeini et al. 2015, Guo et al. 2017
    """

    higher_is_better = False
    forms = (CLASSES, ONE)

    n_bins: int = param(15, help="how many bins", ge=1)
    norm: str = param("l1", help="how the bins are put together", choices=("l1", "l2", "max"))
    from_logits: bool | None = param(
        None, help="whether bottom[0] holds scores, true, or probabilities, false; null: scores of several classes"
    )

    examples = [
        Example({}, [Spec((8, 5)), index((8,), 5)]),
        Example({"norm": "l2", "n_bins": 3}, [Spec((8, 3)), index((8,), 3), Spec((8,), low=0.1, high=2)], "weights"),
        Example({"norm": "max", "from_logits": True, "n_bins": 4}, [Spec((8, 1)), index((8,), 2)], "one score"),
        Example({"from_logits": False}, [Spec((8,), low=0, high=1), index((8,), 2)], "a probability"),
        Example({"ignore_index": -100}, [Spec((9, 4)), Spec((9,), role="index", draw=some_ignored(4, -100))]),
        Example({"from_logits": False}, [Spec((8, 3), draw=some_probabilities), index((8,), 3)], "probabilities"),
    ]
    bad_examples = [
        Bad({}, "is one score a logit or a probability?", [Spec((4, 1)), index((4,), 2)]),
        Bad({"n_bins": 0}, "must be >= 1"),
        Bad({"norm": "l3"}, "must be one of l1, l2, max"),
        Bad({}, "has shape (4, 3), expected (4,)", [Spec((4, 3)), index((4, 3), 2)]),
        Bad({"ignore_label": 255}, "did you mean 'ignore_index'?"),
    ]

    def check_form(self) -> None:
        if self.form == ONE and self.from_logits is None:
            hint = "from_logits: true takes the sigmoid of a logit, from_logits: false takes a probability as it is"
            raise LayerError("is one score a logit or a probability?", hint=hint)

    def update(self, x: Any, labels: Any, weight: Any = None) -> Tally:
        xp, (x, labels, weight) = self.xp, self.positions(x, labels, weight)
        weight, bins = ones_or(xp, weight, len(x)), self.n_bins
        stated, true = self.stated(x, labels)
        edges = self.constant("edges", bins, lambda: np.linspace(0, 1, bins + 1)[1:-1], "float64")
        weight = xp.where(xp.isnan(stated), xp.nan, weight)
        where = xp.searchsorted(edges, xp.where(xp.isnan(stated), 0.0, stated), side="left")
        sums = {"weight": weight, "stated": weight * stated, "true": weight * true}
        return {name: counts(xp, where, part, bins) for name, part in sums.items()}

    def stated(self, x: Any, labels: Any) -> tuple[Any, Any]:
        """The probability that each position states, and whether that comes true."""
        if self.form == CLASSES:
            p = probabilities(self.xp, x, self.from_logits is not False)
            return p.max(axis=1), p.argmax(axis=1) == labels
        x = x.astype("float64")
        if self.from_logits:
            return sigmoid(self.xp, x), labels == 1
        message = "bottom[0] holds numbers outside of 0 to 1, no probabilities"
        hint = "put a Sigmoid before it, or from_logits: true"
        refuse_where(((x < 0) | (x > 1)).any(), lambda: LayerError(message, hint=hint, exit_code=3))
        return x, labels == 1

    def compute(self, tally: Tally) -> Any:
        xp, weight = self.xp, tally["weight"]
        gap = abs(ratio(xp, tally["true"] - tally["stated"], weight))
        total = weight.sum()
        if self.norm == "max":
            return xp.where(total == 0, xp.nan, gap.max())
        if self.norm == "l1":
            return defined_ratio(xp, (weight * gap).sum(), total)
        return xp.sqrt(defined_ratio(xp, (weight * gap**2).sum(), total))
