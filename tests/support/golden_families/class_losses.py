"""Golden cases of the losses of classes beyond their plain form, which is in losses.py."""

from __future__ import annotations

from support.golden_cases import Case

from layerforge.arrays.spec import Spec, index

from .builders import labels, one

WEIGHT = [0.5, 2.0, 0.0, 1.5]
PROBABILITY = Spec((6, 4), low=0.05, high=0.95)


def settings(layer: str, x: Spec) -> list[Case]:
    """Cases of what all of them share: weights, ignored labels, reductions, normalisations."""
    t, ignoring = index((6,), 4), labels((6,), 4, 9)
    cases = [
        one(f"{layer}-weight", {"weight": WEIGHT}, x, t),
        one(f"{layer}-weight-ignore", {"weight": WEIGHT, "ignore_index": 9}, x, ignoring),
    ]
    cases += [one(f"{layer}-{r}", {"reduction": r, "weight": WEIGHT}, x, t) for r in ("sum", "none")]
    cases += [
        one(f"{layer}-by-{n}", {"normalization": n, "ignore_index": 9}, x, ignoring)
        for n in ("valid", "full", "batch_size", "none")
    ]
    return cases


MATRIX = [[1.0, 0.2, 0.0, 0.1], [0.3, 1.0, 0.5, 0.0], [0.0, 0.1, 2.0, 0.4], [0.2, 0.0, 0.0, 1.0]]
SCORES = Spec((5, 4))
CASES = [
    *settings("NLLLoss", Spec((6, 4))),
    *settings("SoftmaxCrossEntropy", Spec((6, 4))),
    *settings("MultinomialLogisticLoss", PROBABILITY),
    *settings("HingeLoss", Spec((6, 4))),
    one("NLLLoss-image-batch_size", {"normalization": "batch_size"}, Spec((2, 3, 4, 2)), index((2, 4, 2), 3)),
    one("SoftmaxCrossEntropy-smoothing", {"label_smoothing": 0.1}, SCORES, index((5,), 4)),
    one("SoftmaxCrossEntropy-smoothing-weight", {"label_smoothing": 0.2, "weight": WEIGHT}, SCORES, index((5,), 4)),
    one("SoftmaxCrossEntropy-probabilities", {}, SCORES, Spec((5, 4), low=0, high=1)),
    one("SoftmaxCrossEntropy-probabilities-sum", {"reduction": "sum"}, SCORES, Spec((5, 4), low=0, high=1)),
    one("SoftmaxCrossEntropy-probabilities-smoothing", {"label_smoothing": 0.3}, SCORES, Spec((5, 4), low=0, high=1)),
    one("MultinomialLogisticLoss-plain", {}, PROBABILITY, index((6,), 4)),
    one("HingeLoss-L1", {}, SCORES, index((5,), 4)),
    one("HingeLoss-L2", {"norm": "L2"}, SCORES, index((5,), 4)),
    one("InfogainLoss-matrix", {"matrix": MATRIX}, SCORES, index((5,), 4)),
    one("InfogainLoss-bottom", {}, SCORES, index((5,), 4), Spec((4, 4), low=0, high=1)),
    one("InfogainLoss-weight", {"matrix": MATRIX, "weight": WEIGHT, "ignore_index": 9}, SCORES, labels((5,), 4, 9)),
    one("InfogainLoss-by-full", {"matrix": MATRIX, "normalization": "full"}, SCORES, index((5,), 4)),
    one("InfogainLoss-sum", {"matrix": MATRIX, "reduction": "sum"}, SCORES, index((5,), 4)),
    one("InfogainLoss-none", {"matrix": MATRIX, "reduction": "none"}, SCORES, index((5,), 4)),
]
