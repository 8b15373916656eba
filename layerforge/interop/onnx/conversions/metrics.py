"""Metrics, of the batch that is given. In float64, as the layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ....layers.metrics.averages import chosen_average
from ....layers.metrics.compared import CLASSES, PREDICTED, SEVERAL
from ....layers.metrics.errors import EPS
from ..exporting import REFUSED, Export, Value, exports
from .formulas import Formula

REFUSED.update(
    dict.fromkeys(
        ("AUROC", "AveragePrecision", "CalibrationError"),
        "a metric of a ranking, or of many bins, counts over a data set: a batch alone says nothing",
    )
)


class Flat(NamedTuple):
    """Positions: scores (P, K), or (P) of one score and predictions; labels (P), of several labels (P, L).

    valid   which labels count, of the labels' shape; weight is (P), in float64
    """

    x: Formula
    labels: Formula
    valid: Formula
    weight: Formula


def positions(w: Export, x: Value, labels: Value, weight: Value | None) -> Flat:
    """All positions flat; a label that does not count is 0."""
    layer = w.layer
    scores, told = Formula(w, x), Formula(w, labels).cast("int64")
    by_rows = layer.form in (CLASSES, SEVERAL)
    scores = _rows(scores, x.ndim, layer.classes) if by_rows else scores.flat()
    several = layer.form == SEVERAL
    told_rows = _rows(told, labels.ndim, layer.classes) if several else told.flat()
    ignored = layer.ignore_index
    valid = told_rows.equals(told_rows) if ignored is None else ~told_rows.equals(ignored)
    ones = valid.any(1) if several else valid
    one = ones.equals(ones).cast("float64")
    if weight is not None:
        one = one * _spread(w, weight, x, one)
    return Flat(scores, told_rows.where(valid, 0), valid, one.where(ones, 0.0) if not several else one)


def _rows(x: Formula, ndim: int, classes: int) -> Formula:
    """(N, K, d1, ...) as (P, K)."""
    if ndim > 2:
        x = x.op("Transpose", perm=[0, *range(2, ndim), 1])
    return x.op("Reshape", x.w.constant([-1, classes]))


def _spread(w: Export, weight: Value, x: Value, flat: Formula) -> Formula:
    """Weights of samples, or of positions, as one for each position."""
    given = Formula(w, weight).cast("float64")
    places = [n for i, n in enumerate(x.shape) if i != 1] if w.layer.form in (CLASSES, SEVERAL) else list(x.shape)
    if weight.shape == tuple(places) or len(places) == 1 or math.prod(n for n in places[1:] if isinstance(n, int)) == 1:
        return given.flat()
    of_sample = given.reshape([weight.shape[0], 1])
    return (flat.op("Reshape", w.shape([weight.shape[0], -1])) * of_sample).flat()


def one_hot(w: Export, classes: Formula, among: int) -> Formula:
    """(P) as booleans (P, K)."""
    return classes.unsqueeze(1).equals(np.arange(among))


def of_each(hot: Formula, weight: Formula) -> Formula:
    """How much each class weighs: (K)."""
    return weight.unsqueeze(1).op("Mul", hot.cast("float64")).where(hot, 0.0).sum(0)


def ratio(part: Formula, whole: Formula, undefined: float = 0.0) -> Formula:
    """part / whole; where the whole is 0 what is said."""
    none = whole.equals(0.0)
    quotient = part / _or(whole, none, 1.0)
    return _or(quotient, none, undefined)


def _or(x: Formula, condition: Formula, number: float) -> Formula:
    """x, but a number where the condition holds."""
    return x.where(~condition, number)


# Decisions ----------------------------------------------------------------------------------------------------------


def decided(w: Export, x: Value, told: Value, weights: Value | None = None) -> tuple[Formula, Formula, Formula, Flat]:
    """Labels and predictions, and the weight of each position, NaN where a score is."""
    flat = positions(w, x, told, weights)
    if w.layer.form == PREDICTED:
        return flat.labels, flat.x.where(flat.valid, 0), flat.weight, flat
    lost = flat.x.op("IsNaN", dtype="bool")
    if w.layer.form == CLASSES:
        predicted = flat.x.op("ArgMax", axis=1, keepdims=0, dtype="int64")
    else:
        predicted = flat.x.above(w.layer.threshold).cast("int64")
    if w.layer.form in (CLASSES, SEVERAL):
        lost = lost.any(1)
    counts = flat.valid.any(1) if w.layer.form == SEVERAL else flat.valid
    return flat.labels, predicted, _or(flat.weight, lost & counts, math.nan), flat


def counted(w: Export, *bottoms: Value) -> tuple[Formula, Formula, Formula]:
    """For each class what is right, what was taken for it, and what is of it."""
    labels, predicted, weight, flat = decided(w, *bottoms)
    if w.layer.form == SEVERAL:
        each = weight.unsqueeze(1) * flat.valid.cast("float64")
        found = (labels * predicted, predicted, labels)
        hits, taken, actual = ((each * one.cast("float64")).sum(0) for one in found)
        return hits, taken, actual
    hot, among = one_hot(w, labels, w.layer.classes), w.layer.classes
    hits = of_each(hot, weight * labels.equals(predicted).cast("float64"))
    taken = of_each(one_hot(w, predicted, among), weight) + weight.sum() * 0.0
    return hits, taken, of_each(hot, weight)


def matrix(w: Export, *bottoms: Value) -> Formula:
    """What the positions of each label (rows) and prediction (columns) weigh: (K, K). With one NaN its row is NaN."""
    labels, predicted, weight, _ = decided(w, *bottoms)
    among = w.layer.classes
    both = one_hot(w, labels * among + predicted, among * among)
    sums = of_each(both, weight).reshape([among, among])
    return _or(sums, sums.op("IsNaN", dtype="bool").any(1).unsqueeze(1), math.nan)


def top(formula: Formula) -> Value:
    """A number, or several, as a top."""
    return formula.cast("float32").value


@exports("Accuracy")
def accuracy(w: Export, x: Value, told: Value, weights: Value | None = None) -> list[Value]:
    """Comparisons of each score with the label's, counted by class."""
    flat, layer = positions(w, x, told, weights), w.layer
    labels, weight = flat.labels, flat.weight
    if layer.form == CLASSES:
        own = flat.x.op("GatherElements", labels.unsqueeze(1), axis=1)
        below = flat.x.below(own).cast("int64").sum(1)
        correct = below.above(layer.classes - 1 - layer.top_k)
    else:
        correct = flat.x.above(layer.threshold).equals(labels.equals(1)) & ~flat.x.op("IsNaN", dtype="bool")
    if layer.form == SEVERAL:
        counts = flat.valid.any(1)
        weight, correct = weight.where(counts, 0.0), (correct | ~flat.valid).all(1)
    right = weight.where(correct, 0.0)
    y = [top(ratio(right.sum(), weight.sum()))]
    if len(w.tops) > 1:
        hot = one_hot(w, labels, layer.classes)
        y.append(top(ratio(of_each(hot, right), of_each(hot, weight))))
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
        return top(each.op("Gather", w.constant(1), axis=0))
    weight = found[2]
    if average == "macro":
        occurs = ~(found[1] + found[2]).equals(0.0)
        weight = (occurs | ~occurs if layer.form == SEVERAL else occurs).cast("float64")
    return top(ratio(_or(each * weight, weight.equals(0.0), 0.0).sum(), weight.sum()))


@exports("BalancedAccuracy")
def balanced_accuracy(w: Export, *bottoms: Value) -> Value:
    """What is right of each class over what is of it, counted, and the mean of the classes that occur."""
    hits, _, actual = counted(w, *bottoms)
    occurs = ~actual.equals(0.0)
    classes = occurs.cast("float64").sum()
    mean = ratio(ratio(hits, actual).where(occurs, 0.0).sum(), classes, math.nan)
    if not w.layer.adjusted:
        return top(mean)
    chance = ratio(classes.equals(classes).cast("float64"), classes)
    return top(ratio(mean - chance, 1.0 - chance, math.nan))


@exports("MatthewsCorrelation")
def matthews_correlation(w: Export, *bottoms: Value) -> Value:
    """Sums of what is right, predicted and actual of each class."""
    hits, predicted, actual = counted(w, *bottoms)
    right, n = hits.sum(), actual.sum()
    spread = (n * n - (predicted * predicted).sum()) * (n * n - (actual * actual).sum())
    empty = [each.equals(0.0).cast("int64").sum().above(w.layer.classes - 2) for each in (predicted, actual)]
    return top(ratio(n * right - (predicted * actual).sum(), _or(spread, empty[0] | empty[1], 0.0).sqrt()))


@exports("CohenKappa")
def cohen_kappa(w: Export, *bottoms: Value) -> Value:
    """The ConfusionMatrix, and its rows times its columns."""
    found = matrix(w, *bottoms)
    expected = ratio(found.sum(1, keepdims=True) * found.sum(0), found.sum(), math.nan)
    classes = np.arange(w.layer.classes)
    apart = abs(classes[:, None] - classes).astype("float64")
    cost = {None: (apart > 0).astype("float64"), "linear": apart, "quadratic": apart**2}[w.layer.weights]
    return top(1.0 - ratio((found * cost).sum(), (expected * cost).sum(), math.nan))


# Errors and likelihoods ---------------------------------------------------------------------------------------------


def _samples(w: Export, x: Value, t: Value, weight: Value | None) -> tuple[Formula, Formula, Formula]:
    """Numbers and targets (N, D), weights (N, 1)."""
    flat = [Formula(w, one).cast("float64").reshape([x.shape[0], _outputs(x)]) for one in (x, t)]
    if weight is None:
        one = flat[1].op("Slice", w.constant([0]), w.constant([1]), w.constant([1]))
        return flat[0], flat[1], one.equals(one).cast("float64") * 0.0 + 1.0
    return flat[0], flat[1], Formula(w, weight).cast("float64").reshape([x.shape[0], 1])


def _outputs(x: Value) -> int:
    return math.prod(length for length in x.shape[1:] if isinstance(length, int))


def _over_outputs(w: Export, each: Formula) -> Value:
    return top(each if w.layer.multioutput == "raw_values" else each.mean())


ERRORS: dict[str, Callable[[Formula, Formula], Formula]] = {
    "MAE": lambda x, t: (x - t).abs(),
    "RMSE": lambda x, t: (x - t) * (x - t),
    "MAPE": lambda x, t: (x - t).abs() / t.abs().op("Max", EPS),
}


@exports(*ERRORS)
def mean_error(w: Export, x: Value, t: Value, weight: Value | None = None) -> Value:
    """The error of each number, and its mean over the samples."""
    numbers, targets, weights = _samples(w, x, t, weight)
    mean = ratio((weights * ERRORS[w.layer.type_name](numbers, targets)).sum(0), weights.sum(), math.nan)
    return _over_outputs(w, mean.sqrt() if w.layer.type_name == "RMSE" else mean)


@exports("R2")
def r2(w: Export, x: Value, t: Value, weight: Value | None = None) -> Value:
    """Weighted sums of squares: of the errors, and of the targets less their mean."""
    numbers, targets, weights = _samples(w, x, t, weight)
    mean = ratio((weights * targets).sum(0), weights.sum())
    apart, missed = targets - mean, numbers - targets
    spread, error = (weights * apart * apart).sum(0), (weights * missed * missed).sum(0)
    constant = _or(error.equals(0.0).cast("float64"), error.op("IsNaN", dtype="bool"), math.nan)
    each = constant.where(spread.equals(0.0), 1.0 - ratio(error, spread))
    samples = weights.equals(weights).cast("int64").sum()
    return _over_outputs(w, _or(each, samples.below(2), math.nan))


@exports("Perplexity")
def perplexity(w: Export, x: Value, labels: Value, weight: Value | None = None) -> Value:
    """LogSoftmax, GatherElements at the labels, and Exp of the mean."""
    flat = positions(w, x, labels, weight)
    scores = flat.x.cast("float64")
    logs = scores.op("LogSoftmax", axis=1) if w.layer.from_logits else scores.op("Log")
    of_label = logs.op("GatherElements", flat.labels.unsqueeze(1), axis=1).flat()
    total = (flat.weight * of_label.where(flat.valid, 0.0)).sum()
    return top(ratio(0.0 - total, flat.weight.sum(), math.nan).op("Exp"))
