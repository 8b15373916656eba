"""Metrics that scikit-learn lacks, and what it refuses, by formulas and by hand; forms, NaN, memory and dtypes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone
from support.metrics import over_batches, value

from layerforge.arrays.backend import Backend
from layerforge.check.harness import Probe
from layerforge.contract.metric import Merging, Metric
from layerforge.layers import builtin_layers
from layerforge.schema.errors import LayerForgeError

METRICS = [cls for cls in builtin_layers() if issubclass(cls, Metric)]


def some(n: int = 60, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, classes)), rng.integers(0, classes, n), rng.uniform(0.1, 3, n)


def probabilities(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


# Perplexity -----------------------------------------------------------------------------------------------------------


def test_perplexity_is_e_to_the_mean_cross_entropy() -> None:
    x, labels, weight = some()
    nll = -np.log(probabilities(x)[np.arange(60), labels])
    assert_allclose(value("Perplexity", x, labels), np.exp(nll.mean()), rtol=1e-12)
    assert_allclose(value("Perplexity", x, labels, weight), np.exp(np.average(nll, weights=weight)), rtol=1e-12)
    assert_allclose(value("Perplexity", probabilities(x), labels, from_logits=False), np.exp(nll.mean()), rtol=1e-12)
    seen = labels != 2
    assert_allclose(value("Perplexity", x, labels, ignore_index=2), np.exp(nll[seen].mean()), rtol=1e-12)
    assert_allclose(value("Perplexity", np.zeros((7, 10)), np.arange(7)), 10, rtol=1e-12)
    assert math.isnan(value("Perplexity", x, np.full(60, 2), ignore_index=2))


def test_perplexity_of_tokens() -> None:
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(6, 5, 3)), rng.integers(0, 5, (6, 3))
    flat = value("Perplexity", x.transpose(0, 2, 1).reshape(18, 5), labels.reshape(18))
    assert_allclose(value("Perplexity", x, labels), flat, rtol=1e-12)


# CalibrationError -----------------------------------------------------------------------------------------------------


def calibration(stated: np.ndarray, true: np.ndarray, weight: np.ndarray, bins: int, norm: str) -> float:
    gaps, parts = [], []
    for b in range(bins):
        inside = (stated > b / bins) & (stated <= (b + 1) / bins) | ((stated == 0) & (b == 0))
        if inside.any():
            w = weight[inside]
            gaps.append(abs(np.average(true[inside], weights=w) - np.average(stated[inside], weights=w)))
            parts.append(w.sum() / weight.sum())
    gap, part = np.array(gaps), np.array(parts)
    return {"l1": (part * gap).sum(), "l2": np.sqrt((part * gap**2).sum()), "max": gap.max()}[norm]


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_error(norm: str, bins: int) -> None:
    x, labels, weight = some()
    p, settings = probabilities(x), {"norm": norm, "n_bins": bins}
    true = p.argmax(axis=1) == labels
    wanted = calibration(p.max(axis=1), true, np.ones(60), bins, norm)
    assert_allclose(value("CalibrationError", x, labels, **settings), wanted, rtol=1e-12)
    wanted = calibration(p.max(axis=1), true, weight, bins, norm)
    assert_allclose(value("CalibrationError", p, labels, weight, from_logits=False, **settings), wanted, rtol=1e-12)
    score, binary = x[:, 0], labels % 2
    wanted = calibration(1 / (1 + np.exp(-score)), binary, np.ones(60), bins, norm)
    assert_allclose(value("CalibrationError", score, binary, from_logits=True, **settings), wanted, rtol=1e-12)
    edges = np.round(np.random.default_rng(2).random(60), 1)  # among them 0, 1 and edges of bins
    wanted = calibration(edges, binary, np.ones(60), bins, norm)
    assert_allclose(value("CalibrationError", edges, binary, from_logits=False, **settings), wanted, rtol=1e-12)


# Probabilities or scores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AUROC", "AveragePrecision", "Perplexity", "CalibrationError"])
def test_probabilities_and_scores_are_not_taken_for_each_other(name: str) -> None:
    x, labels, _ = some()
    with pytest.raises(LayerForgeError, match="holds probabilities, not scores") as caught:
        Alone(name, probabilities(x), labels).forward()
    assert (caught.value.exit_code, "from_logits: false" in str(caught.value)) == (3, True)
    with pytest.raises(LayerForgeError, match="holds no probabilities") as caught:
        Alone(name, x, labels, from_logits=False).forward()
    assert (caught.value.exit_code, "Softmax" in str(caught.value)) == (3, True)


def test_one_score_that_is_no_probability_is_refused() -> None:
    with pytest.raises(LayerForgeError, match="outside of 0 to 1"):
        Alone("CalibrationError", [0.5, 1.5], [0, 1], from_logits=False).forward()


# What counts ----------------------------------------------------------------------------------------------------------


def test_labels_that_are_real_must_be_0_or_1() -> None:
    assert value("F1", [0.2, 0.9], [[0.0], [1.0]], threshold=0.5) == 1
    with pytest.raises(LayerForgeError, match=r"label 0\.5 is neither 0 nor 1") as caught:
        Alone("F1", [0.2, 0.9], [0.5, 1.0], threshold=0.5).forward()
    assert caught.value.exit_code == 3
    assert value("F1", [0.2, 0.9], [-1.0, 1.0], threshold=0.5, ignore_index=-1) == 1


@pytest.mark.parametrize("name", ["Accuracy", "F1", "AUROC"])
def test_labels_that_are_no_class_are_refused(name: str) -> None:
    x, labels, _ = some(5)
    labels[3] = 4
    with pytest.raises(LayerForgeError, match="label 4 at position 3 is out of range for 4 classes"):
        Alone(name, x, labels).forward()


@pytest.mark.parametrize(
    ("name", "params"),
    [("F1", {}), ("AUROC", {}), ("MatthewsCorrelation", {}), ("Perplexity", {}), ("BalancedAccuracy", {}),
     ("CohenKappa", {}), ("CalibrationError", {}), ("IoU", {"average": "micro"}), ("Recall", {"average": "weighted"})],
)  # fmt: skip
def test_a_score_that_is_nan_makes_the_metric_nan(name: str, params: Any) -> None:
    x, labels, _ = some(30)
    x[7, 1] = np.nan
    with np.errstate(invalid="ignore"):
        assert math.isnan(value(name, x, labels, **params))


@pytest.mark.parametrize("name", ["Precision", "AUROC", "MAE", "R2"])
def test_one_number_that_is_nan_makes_the_metric_nan(name: str) -> None:
    params = {"threshold": 0.0} if name == "Precision" else {}
    target: Any = [0, 1, 1] if name in ("Precision", "AUROC") else [0.0, 1.0, 1.0]
    with np.errstate(invalid="ignore"):
        assert math.isnan(value(name, [0.3, np.nan, -1.0], target, **params))


@pytest.mark.parametrize("name", ["Accuracy", "F1", "AUROC", "MAE"])
def test_a_negative_weight_is_refused(name: str) -> None:
    x, labels, weight = some(5)
    weight[2] = -1
    arrays = (x, x, weight) if name == "MAE" else (x, labels, weight)
    with pytest.raises(LayerForgeError, match="a weight is negative"):
        Alone(name, *arrays).forward()


@pytest.mark.parametrize("name", ["F1", "Accuracy", "AUROC", "MAE", "R2"])
def test_whole_weights_are_repeated_samples(name: str) -> None:
    x, labels, _ = some(20)
    times = np.random.default_rng(3).integers(0, 4, 20)
    given = (x, x[:, ::-1]) if name in ("MAE", "R2") else (x, labels)
    again = [np.repeat(a, times, axis=0) for a in given]
    assert_allclose(value(name, *given, times.astype(float)), value(name, *again), rtol=1e-12)


def test_positions_of_images_are_samples() -> None:
    rng = np.random.default_rng(4)
    x, labels, weight = rng.normal(size=(5, 3, 2, 4)), rng.integers(0, 3, (5, 2, 4)), rng.uniform(0.1, 2, 5)
    flat, right = x.transpose(0, 2, 3, 1).reshape(-1, 3), labels.reshape(-1)
    for name in ("IoU", "AUROC", "MatthewsCorrelation"):
        assert_allclose(value(name, x, labels), value(name, flat, right), rtol=1e-12)
        assert_allclose(value(name, x, labels, weight), value(name, flat, right, np.repeat(weight, 8)), rtol=1e-12)
        one = x[:, :1] if name == "AUROC" else x[:, :1] > 0
        params = {} if name == "AUROC" else {"threshold": 0.0}
        binary = value(name, one * 1.0 - 0.5 * (name != "AUROC"), labels % 2, **params)
        assert_allclose(binary, value(name, x[:, 0].reshape(-1), (labels % 2).reshape(-1), **params), rtol=1e-12)


def test_a_constant_that_is_no_binary_fraction_has_no_spread() -> None:
    t = np.full(23, 0.1)
    assert value("R2", t + 1, t, np.full(23, 0.7)) == 0
    assert value("R2", t, t) == 1


# Merging --------------------------------------------------------------------------------------------------------------


def tallies(metric: Any, count: int) -> list[Any]:
    """What is counted of batches of another size each, and the probe's own."""
    found, probe = [], metric
    for stream in range(count):
        probe.forward(probe.draw_bottoms(stream + 10))
        found.append(probe.layer.tally)
    return found


@pytest.mark.parametrize("cls", METRICS, ids=lambda cls: cls.type_name)
def test_merging_is_associative_and_leaves_what_it_merges(cls: type[Metric], device_backend: Backend) -> None:
    for example in cls.examples:
        if example.bottoms[0].shape[0] == 0:
            continue
        for backend in (None, device_backend):
            probe = Probe(cls, example, **({"backend": backend} if backend else {}))
            a, b, c = tallies(probe, 3)
            before = {name: probe.host(array).copy() for name, array in a.items()}
            merge = probe.layer.merge
            left, right = merge(merge(a, b), c), merge(a, merge(b, c))
            assert left.keys() == a.keys()
            for name in left:
                assert_allclose(probe.host(left[name]), probe.host(right[name]), rtol=1e-12, atol=1e-12)
                assert_array_equal(probe.host(a[name]), before[name])
                assert probe.host(left[name]).dtype == before[name].dtype
            for x, y in zip(probe.layer.computed(left), probe.layer.computed(right), strict=True):
                assert_allclose(probe.host(x), probe.host(y), rtol=1e-12, atol=1e-12)
                assert probe.host(x).dtype == np.float64


@pytest.mark.parametrize("cls", METRICS, ids=lambda cls: cls.type_name)
def test_the_second_backend_computes_the_same(cls: type[Metric], device_backend: Backend) -> None:
    for example in cls.examples:
        values = []
        for options in ({}, {"backend": device_backend}):
            probe = Probe(cls, example, **options)
            merging = Merging(probe.layer)
            for tally in tallies(probe, 3):
                merging.add(tally)
            values.append([probe.host(top) for top in merging.value()])
        for a, b in zip(*values, strict=True):
            assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_tally_of_every_sample_is_copied_a_few_times_only() -> None:
    """64 batches are merged in 63 steps, which copy each score 6 times and not up to 63."""
    x, labels, _ = some(64, 2)
    alone, copied = Alone("AUROC", x, labels), []

    class Counting(type(alone.layer)):  # type: ignore[misc]
        examples = type(alone.layer).examples

        def merge(self, first: Any, second: Any) -> Any:
            copied.append(len(first["labels"]) + len(second["labels"]))
            return super().merge(first, second)

    alone.layer.__class__ = Counting
    merging = Merging(alone.layer)
    for i in range(64):
        merging.add(alone.layer.update(x[i : i + 1], labels[i : i + 1]))
    merging.value()
    assert sum(copied) == 64 * 6


@pytest.mark.parametrize("cls", METRICS, ids=lambda cls: cls.type_name)
def test_a_float32_net_is_scored_in_float64(cls: type[Metric]) -> None:
    """What the metric makes of float32 numbers is what it makes of the same numbers in float64."""
    example = next(e for e in cls.examples if e.bottoms[0].shape[0] > 1)
    narrow, wide = Probe(cls, example, dtype="float32"), Probe(cls, example)
    bottoms = narrow.bottoms
    found = narrow.layer.computed(narrow.layer.update(*bottoms))
    as_wide = [b.astype("float64") if b.dtype.kind == "f" else b for b in bottoms]
    for a, b in zip(found, wide.layer.computed(wide.layer.update(*as_wide)), strict=True):
        assert a.dtype == np.float64
        assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert narrow.forward(bottoms)[0].dtype == np.float32


def test_what_is_counted_is_exact_beyond_float32() -> None:
    """20 million samples: float32 stops counting at 2**24."""
    one, weight = np.ones(1000, dtype="int64"), np.full(1000, 20_000, dtype="float32")
    layer = Alone("F1", one, one, weight, num_classes=2, dtype="float32").layer
    tally = layer.merge(layer.update(one, one, weight), layer.update(one[:1], one[:1]))
    assert tally["hits"][1] == 20_000_001


def test_without_positions() -> None:
    """What is a share of nothing is 0, as Accuracy is; an error of nothing is none."""
    x, labels = np.zeros((0, 3)), np.zeros(0, int)
    for name, wanted in (("F1", 0.0), ("Accuracy", 0.0), ("MatthewsCorrelation", 0.0), ("AUROC", np.nan),
                         ("Perplexity", np.nan), ("BalancedAccuracy", np.nan), ("CohenKappa", np.nan),
                         ("CalibrationError", np.nan), ("AveragePrecision", np.nan)):  # fmt: skip
        assert_array_equal(Alone(name, x, labels).top(), wanted, err_msg=name)
    for name in ("MAE", "RMSE", "MAPE", "R2"):
        assert_array_equal(Alone(name, x, x).top(), np.nan)
    assert_array_equal(over_batches("F1", *some(3), sizes=[3], average="none", ignore_index=1).shape, (4,))
