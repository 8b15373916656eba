"""Perplexity: among how many equally likely tokens a language model seems to choose."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import log_softmax, take_class
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...contract.metric import Tally
from ...schema.params import param
from ...schema.registry import register
from ..losses.labels import some_ignored
from .compared import CLASSES, Compared, defined_ratio, ones_or, probabilities, some_probabilities


@register
class Perplexity(Compared):
    """Perplexity: among how many equally likely classes the net seems to choose

        y = exp(-(1/m) Σ log p[label])      p = softmax(x) over the K classes of a position

    over the m positions whose label is not ignore_index: e to the mean cross entropy, in natural logarithms. 1 is
    perfect, K is knowing nothing. With from_logits false x holds the probabilities p. With a third bottom each sample,
    or each position, counts by its weight. NaN where no position counts.

    Shapes    x (N, K) or (N, K, d1, ...) real, labels (N) or (N, d1, ...) index, weights (N) or as the labels; y a
              single number
    Keeps     nothing: a metric has no gradient
    Cost      one softmax, two numbers in an evaluation
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class, and rows that are not
              what from_logits says
    Source    Jelinek et al. 1977
    """

    higher_is_better = False
    forms = (CLASSES,)

    from_logits: bool = param(True, help="whether bottom[0] holds scores; false: probabilities")

    examples = [
        Example({}, [Spec((8, 5)), index((8,), 5)]),
        Example({}, [Spec((2, 5, 3)), index((2, 3), 5), Spec((2, 3), low=0.1, high=2)], "weighted tokens"),
        Example({"ignore_index": -100}, [Spec((9, 4)), Spec((9,), role="index", draw=some_ignored(4, -100))]),
        Example({"from_logits": False}, [Spec((8, 5), draw=some_probabilities), index((8,), 5)], "probabilities"),
    ]
    bad_examples = [
        Bad({}, "takes classes, got one score", [Spec((4, 1)), index((4,), 1)]),
        Bad({}, "has shape (4, 3), expected (4,)", [Spec((4, 3)), index((4, 3), 3)]),
        Bad({}, "bottom[1] must be integers", [Spec((4, 5)), Spec((4,))]),
        Bad({"ignore_label": 255}, "did you mean 'ignore_index'?"),
    ]

    def update(self, x: Any, labels: Any, weight: Any = None) -> Tally:
        xp, (x, labels, weight) = self.xp, self.positions(x, labels, weight)
        given = probabilities(xp, x, self.from_logits)
        logs = log_softmax(xp, x.astype("float64"), 1) if self.from_logits else xp.log(given)
        weight = ones_or(xp, weight, len(x))
        return {"sum": -(weight * take_class(xp, logs, labels[:, None])[:, 0]).sum(), "weight": weight.sum()}

    def compute(self, tally: Tally) -> Any:
        return self.xp.exp(defined_ratio(self.xp, tally["sum"], tally["weight"]))
