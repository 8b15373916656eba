"""Metrics against scikit-learn, on random and degenerate data: the whole set, and the set in batches of any sizes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from support.metrics import value
from support.tools import demand

DATA = ("random", "ties", "an empty class", "one class", "one sample", "never predicted", "ignored")
AVERAGES = ("macro", "micro", "weighted", "none")


@pytest.fixture(autouse=True)
def sk() -> Any:
    """scikit-learn's metrics, whose remarks on degenerate data are known."""
    demand("sklearn")
    import sklearn.metrics

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield sklearn.metrics


def some(kind: str, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (N, K), labels (N) and weights (N)."""
    rng = np.random.default_rng([seed, classes, DATA.index(kind)])
    n = 1 if kind == "one sample" else 29
    x, labels = rng.normal(size=(n, classes)), rng.integers(0, classes, n)
    x[np.arange(n), labels] += 0.7
    if kind == "ties":
        x = np.round(x)
    if kind == "an empty class":
        labels[labels == classes - 1] = 0
    if kind == "one class":
        labels[:] = classes - 1
    if kind == "never predicted":
        x[:, 0] -= 100
    if kind == "ignored":
        labels[rng.random(n) < 0.4] = -7
    return x, labels, rng.uniform(0.1, 3, n)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Both:
    """What one data set is to a metric here (`ours`) and to scikit-learn (`x`, `labels`, `sample_weight`)."""

    def __init__(self, kind: str, classes: int, weighted: bool) -> None:
        self.kind, self.weighted, self.name = kind, weighted, f"{kind}{', weighted' * weighted}"
        x, labels, weight = some(kind, classes)
        self.given = [x, labels, weight] if weighted else [x, labels]
        self.params = {"ignore_index": -7} if kind == "ignored" else {}
        kept = labels != -7
        self.x, self.labels = x[kept], labels[kept]
        self.weights = {"sample_weight": weight[kept]} if weighted else {}

    def ours(self, type_name: str, **params: Any) -> Any:
        return value(type_name, *self.given, **self.params, **params)

    def one_score(self, type_name: str, axis: bool = False, **params: Any) -> Any:
        """The second of two classes has the score."""
        x, *rest = self.given
        score = x[:, 1:] - x[:, :1]
        return value(type_name, score if axis else score[:, 0], *rest, **self.params, **params)

    def agrees(self, found: Any, wanted: Any) -> None:
        same(found, wanted, self.name)

    @property
    def score(self) -> np.ndarray:
        return self.x[:, 1] - self.x[:, 0]


def each(classes: int) -> Iterator[Both]:
    """Every kind of data, with and without weights."""
    for kind in DATA:
        for weighted in (False, True):
            yield Both(kind, classes, weighted)


def same(found: Any, wanted: Any, name: str = "") -> None:
    assert_allclose(found, wanted, rtol=1e-12, atol=1e-12, err_msg=name)


SHARES = {"Precision": "precision_score", "Recall": "recall_score", "F1": "f1_score", "Dice": "f1_score",
          "IoU": "jaccard_score"}  # fmt: skip


@pytest.mark.parametrize("name", SHARES)
def test_shares_of_classes(sk: Any, name: str) -> None:
    theirs = getattr(sk, SHARES[name])
    for both in each(4):
        predicted = both.x.argmax(axis=1)
        for average in AVERAGES[:3]:
            both.agrees(
                both.ours(name, average=average), theirs(both.labels, predicted, average=average, **both.weights)
            )
        both.agrees(
            both.ours(name, average="none"),
            theirs(both.labels, predicted, average=None, labels=range(4), **both.weights),
        )
        given = [both.given[0].argmax(axis=1), *both.given[1:]]
        of_predictions = value(name, *given, num_classes=4, **both.params)
        both.agrees(of_predictions, theirs(both.labels, predicted, average="macro", **both.weights))


@pytest.mark.parametrize("name", SHARES)
def test_shares_of_one_score(sk: Any, name: str) -> None:
    theirs = getattr(sk, SHARES[name])
    for both in each(2):
        for threshold in (0.0, 0.7):
            predicted = both.score > threshold
            wanted = theirs(both.labels, predicted, average="binary", zero_division=0, **both.weights)
            both.agrees(both.one_score(name, threshold=threshold), wanted)
            both.agrees(both.one_score(name, True, threshold=threshold, average="binary"), wanted)
        for average in AVERAGES[:3]:
            wanted = theirs(both.labels, both.score > 0, average=average, **both.weights)
            both.agrees(both.one_score(name, threshold=0, average=average), wanted)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SHARES)
def test_shares_of_several_labels(sk: Any, name: str, weighted: bool) -> None:
    rng, theirs = np.random.default_rng(3), getattr(sk, SHARES[name])
    x, labels, weight = rng.normal(size=(17, 3)), rng.integers(0, 2, (17, 3)), rng.uniform(0.1, 3, 17)
    labels[:, 2] = 0
    given, weights = ([x, labels, weight], {"sample_weight": weight}) if weighted else ([x, labels], {})
    for average in AVERAGES:
        wanted = theirs(labels, x > 0.2, average=None if average == "none" else average, zero_division=0, **weights)
        same(value(name, *given, threshold=0.2, average=average), wanted)
    same(value(name, x, labels.astype(float), threshold=0.2), value(name, x, labels, threshold=0.2, average="macro"))


def test_accuracy(sk: Any) -> None:
    for both in each(2):
        wanted = sk.accuracy_score(both.labels, both.score > 0.3, **both.weights)
        both.agrees(both.one_score("Accuracy", threshold=0.3), wanted)
        both.agrees(both.one_score("Accuracy", True, threshold=0.3), wanted)
    for both in each(4):
        if both.kind != "ties":  # which are wrong here, as in Caffe
            both.agrees(both.ours("Accuracy"), sk.accuracy_score(both.labels, both.x.argmax(axis=1), **both.weights))
            top = sk.top_k_accuracy_score(both.labels, both.x, k=2, labels=range(4), **both.weights)
            both.agrees(both.ours("Accuracy", top_k=2), top)


def test_accuracy_of_several_labels(sk: Any) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 2)), rng.integers(0, 2, (40, 2))
    same(value("Accuracy", x, labels, threshold=0), sk.accuracy_score(labels, x > 0))


@pytest.mark.parametrize("classes", [2, 5])
def test_agreement(sk: Any, classes: int) -> None:
    for both in each(classes):
        found, labels = both.x.argmax(axis=1), both.labels
        for adjusted in (False, True):
            wanted = sk.balanced_accuracy_score(labels, found, adjusted=adjusted, **both.weights)
            if adjusted and len(set(labels)) == 1:
                wanted = np.nan  # something over 0, which is an infinity to scikit-learn
            both.agrees(both.ours("BalancedAccuracy", adjusted=adjusted), wanted)
        for weights in (None, "linear", "quadratic"):
            wanted = sk.cohen_kappa_score(labels, found, weights=weights, labels=range(classes), **both.weights)
            both.agrees(both.ours("CohenKappa", weights=weights), wanted)
        if both.kind != "one class" or not both.weighted:  # of which scikit-learn makes a rounding error over another
            both.agrees(both.ours("MatthewsCorrelation"), sk.matthews_corrcoef(labels, found, **both.weights))
        wanted = sk.confusion_matrix(labels, found, labels=range(classes), **both.weights)
        both.agrees(both.ours("ConfusionMatrix", num_classes=classes), wanted)


@pytest.mark.parametrize("weighted", [False, True])
def test_agreement_of_one_score(sk: Any, weighted: bool) -> None:
    both = Both("random", 2, weighted)
    found, labels = both.score > 0.4, both.labels
    same(both.one_score("BalancedAccuracy", threshold=0.4), sk.balanced_accuracy_score(labels, found, **both.weights))
    same(both.one_score("CohenKappa", threshold=0.4), sk.cohen_kappa_score(labels, found, **both.weights))
    same(both.one_score("MatthewsCorrelation", threshold=0.4), sk.matthews_corrcoef(labels, found, **both.weights))
    wanted = sk.confusion_matrix(labels, found, **both.weights)
    same(both.one_score("ConfusionMatrix", True, threshold=0.4, num_classes=2), wanted)


RANKINGS = {"AUROC": "roc_auc_score", "AveragePrecision": "average_precision_score"}


@pytest.mark.parametrize("name", RANKINGS)
def test_rankings_of_one_score(sk: Any, name: str) -> None:
    theirs = getattr(sk, RANKINGS[name])
    for both in each(2):
        wanted = theirs(both.labels, both.score, **both.weights)
        both.agrees(both.one_score(name), wanted)
        both.agrees(both.one_score(name, True, average="binary"), wanted)
        of_probability = theirs(both.labels, softmax(both.x)[:, 1], **both.weights)
        both.agrees(both.ours(name), of_probability)


@pytest.mark.parametrize("name", RANKINGS)
def test_rankings_of_classes(sk: Any, name: str) -> None:
    theirs = getattr(sk, RANKINGS[name])
    for both in each(4):
        p, truth = softmax(both.x), np.eye(4, dtype=int)[both.labels]
        for average in AVERAGES:
            wanted = theirs(truth, p, average=None if average == "none" else average, **both.weights)
            both.agrees(both.ours(name, average=average), wanted)
        given = [softmax(both.given[0]), *both.given[1:]]
        both.agrees(
            value(name, *given, from_logits=False, **both.params), theirs(truth, p, average="macro", **both.weights)
        )
        if name == "AUROC" and both.kind == "random":
            both.agrees(
                both.ours(name), sk.roc_auc_score(both.labels, p, multi_class="ovr", labels=range(4), **both.weights)
            )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", RANKINGS)
def test_rankings_of_several_labels(sk: Any, name: str, weighted: bool) -> None:
    rng, theirs = np.random.default_rng(5), getattr(sk, RANKINGS[name])
    x, labels, weight = np.round(rng.normal(size=(21, 3)), 1), rng.integers(0, 2, (21, 3)), rng.uniform(0.1, 3, 21)
    given, weights = ([x, labels, weight], {"sample_weight": weight}) if weighted else ([x, labels], {})
    for average in AVERAGES:
        wanted = theirs(labels, x, average=None if average == "none" else average, **weights)
        same(value(name, *given, average=average), wanted)
    hidden = np.where(rng.random(labels.shape) < 0.3, -1, labels)
    wanted = [theirs(labels[keep, k], x[keep, k]) for k, keep in enumerate((hidden >= 0).T)]
    same(value(name, x, hidden, average="none", ignore_index=-1), wanted)


ERRORS = {"MAE": "mean_absolute_error", "RMSE": "root_mean_squared_error", "MAPE": "mean_absolute_percentage_error",
          "R2": "r2_score"}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(sk: Any, name: str) -> None:
    for shape in ((31,), (31, 1), (31, 3), (1, 2)):
        for kind in ("random", "constant", "met", "far", "zeros"):
            for weighted in (False, True):
                check_error(sk, name, shape, kind, weighted)


def check_error(sk: Any, name: str, shape: tuple[int, ...], kind: str, weighted: bool) -> None:
    rng, theirs = np.random.default_rng(7), getattr(sk, ERRORS[name])
    t, weight = rng.normal(size=shape), rng.uniform(0.1, 3, shape[0])
    if kind in ("constant", "met"):
        t[...] = 2.5
    if kind == "far":
        t += 1e6
    if kind == "zeros":
        t[::2] = 0
    x = t if kind == "met" else t + rng.normal(size=shape)
    given, weights = ([x, t, weight], {"sample_weight": weight}) if weighted else ([x, t], {})
    if name == "R2" and kind in ("constant", "met") and weighted:
        weights = {}  # scikit-learn's mean of equal numbers, weighted, is not exactly that number
    told = f"{shape} {kind}{', weighted' * weighted}"
    same(value(name, *given), theirs(t, x, **weights), told)
    same(value(name, *given, multioutput="raw_values"), theirs(t, x, multioutput="raw_values", **weights), told)
