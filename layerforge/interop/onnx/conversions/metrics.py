"""Metrics of decisions and likelihoods, of the batch that is given. Sums are in float64, as the layers' own."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ....layers.metrics.averages import chosen_average
from ....layers.metrics.compared import CLASSES, PREDICTED, SEVERAL
from ..exporting import REFUSED, Export, Value, exports
from .formulas import Term, where

REFUSED.update(
    dict.fromkeys(
        ("AUROC", "AveragePrecision", "CalibrationError"),
        "a metric that ranks scores or bins probabilities counts over a data set: of a batch it says nothing",
    )
)


class Flat(NamedTuple):
    """Positions: scores (P, K), or (P) of one score and predictions; labels (P), of several labels (P, L).

    valid   which labels count, of the labels' shape
    weight  (P), 0 where a position does not count
    """

    x: Term
    labels: Term
    valid: Term
    weight: Term


def positions(w: Export, x: Value, labels: Value, weight: Value | None) -> Flat:
    """All positions flat; a label that does not count is 0."""
    layer, several = w.layer, w.layer.form == SEVERAL
    scores = _rows(Term(w, x), layer.classes) if layer.form in (CLASSES, SEVERAL) else Term(w, x).flat()
    told = Term(w, labels).cast("int64")
    told = _rows(told, layer.classes) if several else told.flat()
    valid = told.equals(told) if layer.ignore_index is None else told.differs(layer.ignore_index)
    counts = valid.any(1) if several else valid
    each = counts.cast("float64")
    if weight is not None:
        each = where(counts, _spread(w, weight, x, each), 0)
    return Flat(scores, where(valid, told, 0), valid, each)


def _rows(x: Term, classes: int) -> Term:
    """(N, K, d1, ...) as (P, K)."""
    if (ndim := x.value.ndim) > 2:
        x = x.op("Transpose", x, perm=[0, *range(2, ndim), 1])
    return x.op("Reshape", x, x.w.constant([-1, classes]))


def _spread(w: Export, weight: Value, x: Value, flat: Term) -> Term:
    """Weights of samples, or of positions, as one for each position."""
    given = Term(w, weight).cast("float64")
    places = tuple(n for i, n in enumerate(x.shape) if i != 1 or w.layer.form not in (CLASSES, SEVERAL))
    if weight.shape == places or set(places[1:]) <= {1}:
        return given.flat()
    by_sample = flat.op("Reshape", flat, w.shape([weight.shape[0], -1]))
    return (flat.op("Expand", given.flat().unsqueezed(1), w.op("Shape", by_sample.value, dtype="int64"))).flat()


def one_hot(classes: Term, among: int) -> Term:
    """(P) as truth values (P, K)."""
    return classes.unsqueezed(1).equals(classes.w.constant(np.arange(among)))


def of_each(hot: Term, weight: Term) -> Term:
    """How much each class weighs: (K)."""
    return where(hot, weight.unsqueezed(1), 0).sum(0)


def ratio(part: Term, whole: Term, undefined: float = 0) -> Term:
    """part / whole; where the whole is 0 what is said."""
    none = whole.equals(0)
    return where(none, undefined, part / where(none, 1, whole))


def top(term: Term) -> Value:
    """What is a top."""
    return term.real().value


# Decisions ----------------------------------------------------------------------------------------------------------


def decided(w: Export, x: Value, told: Value, weights: Value | None = None) -> tuple[Flat, Term]:
    """The positions, whose weight is NaN where a score is, and what they are taken for."""
    flat, form = positions(w, x, told, weights), w.layer.form
    if form == PREDICTED:
        return flat, where(flat.valid, flat.x, 0)
    lost, counts = flat.x.is_nan(), flat.valid
    if form == CLASSES:
        predicted = flat.x.op("ArgMax", flat.x, axis=1, keepdims=0, dtype="int64")
    else:
        predicted = (flat.x > w.layer.threshold).cast("int64")
    lost = lost.any(1) if form in (CLASSES, SEVERAL) else lost
    counts = counts.any(1) if form == SEVERAL else counts
    return flat._replace(weight=where(lost & counts, math.nan, flat.weight)), predicted


def counted(w: Export, *bottoms: Value) -> tuple[Term, Term, Term]:
    """For each class what is right, what was taken for it, and what is of it."""
    flat, predicted = decided(w, *bottoms)
    labels, weight, classes = flat.labels, flat.weight, w.layer.classes
    if w.layer.form == SEVERAL:
        each = weight.unsqueezed(1) * flat.valid.cast("float64")
        hits, taken, actual = ((each * one.cast("float64")).sum(0) for one in (labels * predicted, predicted, labels))
        return hits, taken, actual
    hot = one_hot(labels, classes)
    hits = of_each(hot, weight * labels.equals(predicted).cast("float64"))
    unknown = weight.sum() * 0  # NaN where one is
    return hits, of_each(one_hot(predicted, classes), weight) + unknown, of_each(hot, weight)


def matrix(w: Export, *bottoms: Value) -> Term:
    """What the positions of each label (rows) and prediction (columns) weigh: (K, K). With one NaN its row is NaN."""
    (flat, predicted), among = decided(w, *bottoms), w.layer.classes
    sums = of_each(one_hot(flat.labels * among + predicted, among * among), flat.weight)
    sums = sums.op("Reshape", sums, w.constant([among, among]))
    return where(sums.is_nan().any(1).unsqueezed(1), math.nan, sums)


@exports("Accuracy")
def accuracy(w: Export, x: Value, told: Value, weights: Value | None = None) -> list[Value]:
    """Comparisons of each score with the label's, counted by class."""
    flat, layer = positions(w, x, told, weights), w.layer
    scores, labels = flat.x, flat.labels
    if layer.form == CLASSES:
        own = scores.op("GatherElements", scores, labels.unsqueezed(1), axis=1)
        correct = (scores < own).cast("int64").sum(1) > layer.classes - 1 - layer.top_k
    else:
        correct = (scores > layer.threshold).equals(labels > 0) & ~scores.is_nan()
    if layer.form == SEVERAL:
        correct = (correct | ~flat.valid).all(1)
    right = where(correct, flat.weight, 0)
    y = [top(ratio(right.sum(), flat.weight.sum()))]
    if len(w.tops) > 1:
        hot = one_hot(labels, layer.classes)
        y.append(top(ratio(of_each(hot, right), of_each(hot, flat.weight))))
    return y


@exports("ConfusionMatrix")
def confusion_matrix(w: Export, *bottoms: Value) -> Value:
    """Each pair of label and prediction as one of K² classes, counted."""
    return top(matrix(w, *bottoms))


@exports("Precision", "Recall", "F1", "IoU", "Dice")
def share(w: Export, *bottoms: Value) -> Value:
    """What is right of each class, what was taken for it and what is of it, counted; their ratio, averaged."""
    layer, found = w.layer, counted(w, *bottoms)
    average = chosen_average(layer)
    if average == "micro":
        return top(ratio(*layer.parts(*[each.sum() for each in found])))
    each = ratio(*layer.parts(*found))
    if average == "none":
        return top(each)
    if average == "binary":
        return top(each.op("Gather", each, w.constant(1), axis=0))
    weight = found[2]
    if average == "macro":
        weight = (found[1] + found[2]).differs(0).cast("float64")
        weight = weight * 0 + 1 if layer.form == SEVERAL else weight
    return top(ratio(where(weight.equals(0), 0, each * weight).sum(), weight.sum()))


@exports("BalancedAccuracy")
def balanced_accuracy(w: Export, *bottoms: Value) -> Value:
    """What is right of each class over what is of it, counted, and the mean of the classes that occur."""
    hits, _, actual = counted(w, *bottoms)
    occurs = actual.differs(0)
    classes = occurs.cast("float64").sum()
    mean = ratio(where(occurs, ratio(hits, actual), 0).sum(), classes, math.nan)
    if not w.layer.adjusted:
        return top(mean)
    chance = ratio(classes * 0 + 1, classes)
    return top(ratio(mean - chance, 1 - chance, math.nan))


@exports("MatthewsCorrelation")
def matthews_correlation(w: Export, *bottoms: Value) -> Value:
    """Sums of what is right, predicted and actual of each class."""
    hits, predicted, actual = counted(w, *bottoms)
    right, n = hits.sum(), actual.sum()
    spread = (n * n - (predicted * predicted).sum()) * (n * n - (actual * actual).sum())
    one_class = [each.equals(0).cast("int64").sum() > w.layer.classes - 2 for each in (predicted, actual)]
    spread = where(one_class[0] | one_class[1], 0, spread)
    return top(ratio(n * right - (predicted * actual).sum(), spread.op("Sqrt", spread)))


@exports("CohenKappa")
def cohen_kappa(w: Export, *bottoms: Value) -> Value:
    """The ConfusionMatrix, and its rows times its columns."""
    found = matrix(w, *bottoms)
    expected = ratio(found.sum(1, keepdims=True) * found.sum(0), found.sum(), math.nan)
    classes = np.arange(w.layer.classes)
    apart = abs(classes[:, None] - classes)
    costs = {None: apart > 0, "linear": apart, "quadratic": apart**2}[w.layer.weights]
    cost = w.constant(costs, "float64")
    return top(1 - ratio((found * cost).sum(), (expected * cost).sum(), math.nan))


@exports("Perplexity")
def perplexity(w: Export, x: Value, told: Value, weights: Value | None = None) -> Value:
    """LogSoftmax, GatherElements at the labels, and Exp of the mean."""
    flat = positions(w, x, told, weights)
    scores = flat.x.cast("float64")
    logs = scores.op("LogSoftmax", scores, axis=1) if w.layer.from_logits else scores.op("Log", scores)
    of_label = logs.op("GatherElements", logs, flat.labels.unsqueezed(1), axis=1).flat()
    total = (flat.weight * where(flat.valid, of_label, 0)).sum()
    mean = ratio(-total, flat.weight.sum(), math.nan)
    return top(mean.op("Exp", mean))
