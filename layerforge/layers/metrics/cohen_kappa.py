"""CohenKappa: how far predictions and labels agree beyond chance."""

from __future__ import annotations

from typing import Any

from ...contract.layer import Bad, Example
from ...contract.metric import Tally
from ...schema.params import param
from ...schema.registry import register
from .agreement import BAD, EXAMPLES, WEIGHTED
from .compared import CLASSES, ONE, PREDICTED, defined_ratio
from .confusion_matrix import matrix_of
from .decided import Predicted


@register
class CohenKappa(Predicted):
    """CohenKappa: how far predictions and labels agree beyond chance

        y = 1 - Σ w[t, p] o[t, p] / Σ w[t, p] e[t, p]

    where o[t, p] is how often label t was taken for p, e[t, p] how often it would be by chance: the row sum of o at t
    times its column sum at p, over the sum of all. w[t, p] is what that costs: 1 where t ≠ p and 0 where t = p, with
    weights linear |t - p|, with quadratic (t - p)², for classes that are in order. 1 is perfect, 0 as good as chance.
    NaN where all is of one class, and where a score is NaN. Of scores of several classes the largest decides; one
    score is class 1 above `threshold`. With a third bottom each sample counts by its weight.

    Shapes    x (N, K, d1, ...) real with labels (N, d1, ...) index, x (N) or (N, 1) with labels (N) or (N, 1), index or
              real 0 and 1, or x index: predictions of num_classes; weights (N); y a single number
    Keeps     nothing: a metric has no gradient
    Cost      one pass over the scores, K² numbers in an evaluation
    Errors    LayerError when shapes do not fit, and where one score has no threshold; LayerError (exit 3) for a label
              that is no class
    Source    Cohen 1960; compare sklearn.metrics.cohen_kappa_score with labels=range(K)
    """

    forms = (CLASSES, ONE, PREDICTED)

    weights: str | None = param(None, help="what a mistake costs; null: each 1", choices=("linear", "quadratic"))

    examples = [*EXAMPLES, Example({"weights": "linear"}, WEIGHTED), Example({"weights": "quadratic"}, WEIGHTED)]
    bad_examples = [*BAD, Bad({"weights": "cubic"}, "must be one of linear, quadratic")]

    def update(self, x: Any, labels: Any, weight: Any = None) -> Tally:
        return {"counts": matrix_of(self.xp, *self.decide(x, labels, weight), self.classes)}

    def compute(self, tally: Tally) -> Any:
        xp, found = self.xp, tally["counts"]
        expected = defined_ratio(xp, found.sum(axis=1)[:, None] * found.sum(axis=0), found.sum())
        apart = abs(xp.arange(self.classes)[:, None] - xp.arange(self.classes)).astype("float64")
        cost = {None: (apart > 0).astype("float64"), "linear": apart, "quadratic": apart**2}[self.weights]
        return 1 - defined_ratio(xp, (cost * found).sum(), (cost * expected).sum())

