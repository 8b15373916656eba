"""Losses of classes against labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....layers.losses.nll_loss import LEAST
from ..exporting import Export, Value, exports
from .formulas import Term, count, where
from .losses import ones_like, reduced, sigmoid, spread


@dataclass(frozen=True)
class Labels:
    """Labels (N, d1, ...) as losses need them.

    classes   the same, 0 where they are ignored
    valid     1 where they count, 0 where they are ignored; None where none is
    """

    w: Export
    classes: Term
    valid: Term | None

    @classmethod
    def of(cls, w: Export, labels: Value) -> Labels:
        """What the layer's ignore_index makes of labels."""
        term = Term(w, labels)
        if w.layer.ignore_index is None:
            return cls(w, term, None)
        counts = term.differs(w.layer.ignore_index)
        return cls(w, where(counts, term, 0), counts.real())

    def one_hot(self, count: int) -> Term:
        """1 at the class, 0 at the others: (N, K, d1, ...)."""
        values = np.array([0, 1], np.float32)
        return Term(self.w, self.w.op("OneHot", self.classes.value, count, values, axis=1, dtype="float32"))

    def of_class(self, x: Term) -> Term:
        """The element of x (N, K, d1, ...) at each class: (N, d1, ...)."""
        places = self.w.op("Unsqueeze", self.classes.value, [1])
        return x.op("GatherElements", x, places, axis=1).squeezed(1)

    def from_list(self, numbers: Any) -> Term:
        """The number of each class, of a list: (N, d1, ...)."""
        listed = self.w.constant(np.asarray(numbers, np.float32))
        return Term(self.w, self.w.op("Gather", listed, self.classes.value))

    def counted(self, term: Term) -> Term:
        """A term (N, d1, ...), 0 where labels are ignored, even if it is not finite there."""
        return term if self.valid is None else where(self.valid.equals(0), 0, term)

    def weights(self) -> Term | None:
        """The weight of each class, 0 where ignored; None where all are 1."""
        if getattr(self.w.layer, "weight", None) is None:
            return self.valid
        return self.counted(self.from_list(self.w.layer.weight))


def of_labels(w: Export, losses: Term, weights: Term | None, weight: tuple[Value, ...] = ()) -> Any:
    """The top of single losses (N, d1, ...): what `LabelLoss` divides by. weights: what each position counts, or 1."""
    layer, x = w.layer, w.bottoms[0]
    positions = (x.shape[0], *x.shape[2:])
    of_samples = spread(w, weight, len(positions))
    if layer.reduction != "mean" or layer.normalization == "none":
        return reduced(w, losses, 1.0, of_samples)
    if layer.normalization != "valid":
        return reduced(w, losses, count(w, *positions[: None if layer.normalization == "full" else 1]), of_samples)
    if weight:
        return reduced(w, losses, 1.0, of_samples, ones_like(losses) if weights is None else weights)
    return reduced(w, losses, count(w, *positions) if weights is None else weights.sum().or_one())


def log_softmax(x: Term) -> Term:
    """Logarithms of probabilities along the classes."""
    return x.op("LogSoftmax", x, axis=1)


def limited(layer: Any, log_p: Term) -> Term:
    """log p, not below that of min_probability."""
    return log_p.at_least(math.log(layer.min_probability)) if layer.min_probability else log_p


def cross_entropy(log_p: Term, a: Term) -> Term:
    """-Σ a log p along the classes; where a is 0 a probability of 0 costs nothing."""
    return -(a * where(a.equals(0), 0, log_p)).sum(1)


@exports("SoftmaxCrossEntropy")
def softmax_cross_entropy(w: Export, x: Value, t: Value, *weight: Value) -> Any:
    """LogSoftmax, times a target: OneHot of labels, or probabilities."""
    layer, classes, weights = w.layer, w.demand_fixed(x.shape[1], "classes"), None
    if t.dtype == "int64":
        labels = Labels.of(w, t)
        q, weights = labels.one_hot(classes), labels.weights()
    else:
        q = Term(w, t)
    if layer.label_smoothing:
        q = q * (1 - layer.label_smoothing) + layer.label_smoothing / classes
    if layer.weight is not None:
        q = q * np.asarray(layer.weight, np.float32).reshape(-1, *(1,) * (x.ndim - 2))
    if t.dtype == "int64" and labels.valid is not None:
        q = q * labels.valid.unsqueezed(1)
    return of_labels(w, cross_entropy(limited(layer, log_softmax(Term(w, x))), q), weights, weight)


@exports("InfogainLoss")
def infogain(w: Export, x: Value, t: Value, *matrix: Value) -> Any:
    """LogSoftmax, times the row of each label: Gather."""
    labels = Labels.of(w, t)
    rows = matrix[0] if matrix else w.constant(np.asarray(w.layer.matrix, np.float32))
    of_each = w.op("Gather", rows, labels.classes.value)  # (N, d1, ..., K)
    a = Term(w, w.op("Transpose", of_each, perm=[0, x.ndim - 1, *range(1, x.ndim - 1)]))
    weights = labels.weights()
    if weights is not None:
        a = a * weights.unsqueezed(1)
    return of_labels(w, cross_entropy(limited(w.layer, log_softmax(Term(w, x))), a), weights)


@exports("NLLLoss", "MultinomialLogisticLoss")
def nll(w: Export, x: Value, t: Value, *weight: Value) -> Any:
    """GatherElements of the labels' log-probabilities, or of probabilities and Log."""
    labels = Labels.of(w, t)
    picked, weights = labels.counted(labels.of_class(Term(w, x))), labels.weights()
    if w.layer.type_name == "MultinomialLogisticLoss":
        picked = picked.at_least(LEAST)
        picked = picked.op("Log", picked)
    return of_labels(w, -(picked if weights is None else picked * weights), weights, weight)


@exports("HingeLoss")
def hinge(w: Export, x: Value, t: Value, *weight: Value) -> Any:
    """The margins of all classes: Relu, summed."""
    labels = Labels.of(w, t)
    sign, weights = labels.one_hot(w.demand_fixed(x.shape[1], "classes")) * 2 - 1, labels.weights()
    margin = (1 - sign * Term(w, x)).at_least(0)
    losses = (margin if w.layer.norm == "L1" else margin * margin).sum(1)
    return of_labels(w, losses if weights is None else losses * weights, weights, weight)


@exports("FocalLoss")
def focal(w: Export, x: Value, t: Value, *weight: Value) -> Any:
    """LogSoftmax of the labels, times a power of what the other classes have."""
    layer, labels = w.layer, Labels.of(w, t)
    log_p = log_softmax(Term(w, x))
    others = log_p.op("Exp", log_p) * (1 - labels.one_hot(w.demand_fixed(x.shape[1], "classes")))
    q = others.sum(1)
    small = q.at_most(0.5)
    log_rest = small.op("Atanh", -small / (2 - small)) * 2  # log(1 - q), with all digits where q is small
    log_p_t = where(q < 0.5, log_rest, labels.of_class(log_p))
    losses = -(q**layer.gamma * log_p_t)
    if isinstance(layer.alpha, list):
        alphas = labels.from_list(layer.alpha)
        losses = where(alphas.equals(0), 0, alphas * losses)
    else:
        losses = losses * layer.alpha
    return of_labels(w, labels.counted(losses), labels.valid, weight)


@exports("DiceLoss")
def dice(w: Export, x: Value, t: Value) -> Any:
    """Sums over the positions of each sample and class: what is missing from an overlap of 1."""
    layer, counts = w.layer, None
    if t.dtype == "int64":
        labels = Labels.of(w, t)
        q = labels.one_hot(w.demand_fixed(x.shape[1], "classes"))
        counts = None if labels.valid is None else labels.valid.unsqueezed(1)
        q = q if counts is None else q * counts
    else:
        q = Term(w, t)
    p = _activated(Term(w, x), layer.activation)
    p = p if counts is None else p * counts
    apart = (p - q) ** 2 if layer.squares else p * (1 - q) + q * (1 - p)
    size = _positions(p * p + q * q if layer.squares else p + q, x.ndim) + layer.smooth
    missing = _positions(apart, x.ndim) / size.or_one()
    losses = missing.sum(1) / w.demand_fixed(x.shape[1], "classes")
    return reduced(w, losses, count(w, x.shape[0]) if layer.reduction == "mean" else 1.0)


def _activated(x: Term, activation: str) -> Term:
    """Probabilities."""
    if activation == "softmax":
        return x.op("Softmax", x, axis=1)
    return sigmoid(x) if activation == "sigmoid" else x


def _positions(term: Term, ndim: int) -> Term:
    """The sums over all axes behind the classes: (N, K)."""
    for axis in reversed(range(2, ndim)):
        term = term.sum(axis)
    return term
