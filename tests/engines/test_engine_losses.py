"""The engine's losses: what is below them is repeated, and their numbers are the reference's in every pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.engine_pairs import pair

from layerforge import Net, Solver
from layerforge.engines.onednn import sums, table
from layerforge.engines.onednn.cross_entropy import FEW, OneDnnSoftmaxCrossEntropy
from layerforge.plan.engines import FAST
from layerforge.run.observer import Observer
from layerforge.schema.errors import LayerError
from layerforge.schema.registry import LAYERS

N, D, K = 6, 8, 3
REAL, PROBABILITY, CLASS = {"shape": [N, K]}, "probability", "class"
# Layers between the scores and the loss, the loss, what its targets are, and whether samples are weighted.
LOSSES: dict[str, tuple[list[str], dict[str, Any], Any, bool]] = {
    "mse": ([], {"type": "MSELoss"}, REAL, False),
    "mse of weighted samples": ([], {"type": "MSELoss"}, REAL, True),
    "euclidean": ([], {"type": "EuclideanLoss"}, REAL, False),
    "l1": ([], {"type": "L1Loss", "reduction": "sum"}, REAL, False),
    "smooth l1": ([], {"type": "SmoothL1Loss", "beta": 0.5}, REAL, False),
    "huber": ([], {"type": "HuberLoss", "reduction": "batchmean"}, REAL, False),
    "bce": (["Sigmoid"], {"type": "BCELoss"}, PROBABILITY, False),
    "bce of scores": ([], {"type": "BCEWithLogitsLoss", "pos_weight": [1.0, 2.0, 3.0]}, PROBABILITY, False),
    "kl": (["LogSoftmax"], {"type": "KLDivLoss", "reduction": "batchmean"}, PROBABILITY, False),
    "sigmoid focal": ([], {"type": "SigmoidFocalLoss"}, PROBABILITY, False),
    "nll": (["LogSoftmax"], {"type": "NLLLoss", "weight": [1.0, 2.0, 0.5]}, CLASS, False),
    "hinge": ([], {"type": "HingeLoss", "norm": "L2"}, CLASS, False),
    "focal": ([], {"type": "FocalLoss"}, CLASS, True),
    "cross entropy": ([], {"type": "SoftmaxCrossEntropy"}, CLASS, False),
    "smoothed": ([], {"type": "SoftmaxCrossEntropy", "label_smoothing": 0.1}, CLASS, False),
    "some ignored": ([], {"type": "SoftmaxCrossEntropy", "ignore_index": 1}, CLASS, False),
    "weights of classes": ([], {"type": "SoftmaxCrossEntropy", "weight": [1.0, 2.0, 0.5]}, CLASS, False),
    "weights of samples": ([], {"type": "SoftmaxCrossEntropy"}, CLASS, True),
    "probabilities": ([], {"type": "SoftmaxCrossEntropy"}, PROBABILITY, False),
}


def config(name: str) -> dict[str, Any]:
    """Two Linears, and that loss of what they say."""
    between, loss, target, weighted = LOSSES[name]
    inputs: dict[str, Any] = {"x": {"shape": [N, D]}}
    inputs["t"] = {"shape": [N], "dtype": "int64"} if target == CLASS else {"shape": [N, K]}
    if weighted:
        inputs["omega"] = {"shape": [N]}
    net: list[dict[str, Any]] = [
        {"name": "fc1", "type": "Linear", "bottom": "x", "out_features": 7},
        {"name": "middle", "type": "Tanh"},
        {"name": "fc2", "type": "Linear", "out_features": K},
        *({"name": f"l{i}", "type": kind} for i, kind in enumerate(between)),
    ]
    last = net[-1]["name"]
    return {
        "seed": 1,
        "inputs": inputs,
        "net": [*net, {"name": "loss", **loss, "bottom": [last, "t", *(["omega"] if weighted else [])]}],
    }


def batch(name: str, seed: int) -> dict[str, np.ndarray]:
    rng, target = np.random.default_rng(seed), LOSSES[name][2]
    draws = {CLASS: lambda: rng.integers(0, K, N), PROBABILITY: lambda: rng.dirichlet(np.ones(K), N).astype("float32")}
    t = draws[target]() if isinstance(target, str) else rng.standard_normal((N, K), "float32")
    more = {"omega": rng.uniform(0.5, 2, N).astype("float32")} if LOSSES[name][3] else {}
    return {"x": rng.standard_normal((N, D), "float32"), "t": t, **more}


class Asked(Observer):
    """The layers that are called."""

    every_step = False

    def __init__(self) -> None:
        self.names: set[str] = set()

    def before_forward(self, number: int, step: Any, bottoms: Any, again: bool) -> None:
        self.names.add(step.node.name)

    def before_backward(self, number: int, step: Any, dtops: Any) -> None:
        self.names.add(step.node.name)


def test_every_loss_has_a_layer_of_the_engine() -> None:
    losses = {name for name in LAYERS.names() if LAYERS.get(name).__module__.startswith("layerforge.layers.losses.")}
    assert losses <= set(table.LAYERS)


@pytest.mark.parametrize("name", LOSSES)
def test_a_training_is_the_references_and_is_repeated_as_a_whole(name: str) -> None:
    fast, plain = (Net.from_config({**config(name), "engine": engine}, keep="none") for engine in (FAST, "reference"))
    solvers = [Solver(net, lr=0.05, momentum=0.9) for net in (fast, plain)]
    for number in range(4):
        losses = [solver.step(**batch(name, number)) for solver in solvers]
        assert losses[0] == pytest.approx(losses[1], rel=2e-5)
    asked = Asked()
    fast.observe(asked)
    for number in range(4, 7):
        losses = [solver.step(**batch(name, number)) for solver in solvers]
        assert losses[0] == pytest.approx(losses[1], rel=2e-5)
        np.testing.assert_allclose(fast.parameters.grad, plain.parameters.grad, rtol=1e-4, atol=1e-6)
    assert asked.names == set()
    layout = fast.passes.current.layout
    assert layout is not None and layout.exempt == ()


@pytest.mark.parametrize("name", ["mse", "l1", "kl", "some ignored", "probabilities"])
def test_a_jvp_between_two_steps_changes_neither(name: str) -> None:
    """Even where the targets move, which need no gradient, or the targets alone."""
    nets = [Net.from_config({**config(name), "engine": engine}, keep="none") for engine in (FAST, "reference")]
    tangents = {n: np.random.default_rng(5).standard_normal(a.shape) for n, a in batch(name, 0).items()}
    if LOSSES[name][2] == CLASS:
        del tangents["t"]
    for number in range(6):
        found = []
        for net in nets:
            net.zero_grad()
            net.forward(phase="train", backward=True, **batch(name, number))
            moving = ["t"] if number % 2 and "t" in tangents else tangents
            found.append(net.jvp(**{n: tangents[n].astype("float32") for n in moving})["loss"])
            net.backward()
        assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)
        np.testing.assert_allclose(*(net.parameters.grad for net in nets), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["nll", "hinge", "cross entropy", "some ignored", "weights of classes"])
def test_a_bad_label_of_a_repeated_pass_names_the_loss(name: str) -> None:
    net = Net.from_config({**config(name), "engine": FAST}, keep="none")
    solver = Solver(net, lr=0.05)
    for number in range(4):
        solver.step(**batch(name, number))
    for label in (-1, K):
        bad = batch(name, 4)
        bad["t"][2] = label
        with pytest.raises(LayerError, match=f"layer 'loss'.*label {label} at position 2 is out of range for {K}"):
            solver.step(**bad)
    assert np.isfinite(solver.step(**batch(name, 5)))


# Cross entropy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [5, FEW + 2])
@pytest.mark.parametrize("last", [True, False], ids=["classes last", "classes second"])
@pytest.mark.parametrize("params", [{}, {"ignore_index": 2}, {"label_smoothing": 0.2, "ignore_index": 2}], ids=str)
def test_sequences_of_labels_however_their_scores_are_stored(classes: int, last: bool, params: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, classes, 4, 2)).astype("float32")
    probes = pair(OneDnnSoftmaxCrossEntropy, params, x, rng.integers(0, 5, (3, 4, 2)))
    for probe in probes:
        probe.layer.needs_grad = True, False
        if last:
            probe.bottoms[0] = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    theirs, mine = ((p.forward()[0], p.backward([np.array(0.7, "float32")])[0]) for p in probes)
    assert mine[0] == pytest.approx(theirs[0], rel=1e-6)
    np.testing.assert_allclose(mine[1], theirs[1], atol=1e-7)
    assert mine[1].strides == probes[1].bottoms[0].strides


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint64"])
@pytest.mark.parametrize("ignored", [-100, 1, 255])
def test_ignored_labels_of_any_integer_type(dtype: str, ignored: int) -> None:
    info = np.iinfo(dtype)
    labels = np.array([0, 2, 1 if not info.min <= ignored <= info.max else ignored, 1, 0, 2], dtype)
    x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    theirs, mine = pair(OneDnnSoftmaxCrossEntropy, {"ignore_index": ignored}, x, labels)
    assert mine.forward()[0] == pytest.approx(theirs.forward()[0], rel=1e-6)
    up = [np.array(0.7, "float32")]
    np.testing.assert_allclose(mine.backward(up)[0], theirs.backward(up)[0], atol=1e-7)


def test_where_no_position_counts_the_loss_is_zero() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    _, mine = pair(OneDnnSoftmaxCrossEntropy, {"ignore_index": 1}, x, np.ones(4, "int64"))
    assert str(mine.forward()[0]) == "0.0"
    np.testing.assert_array_equal(mine.backward([np.array(2.0, "float32")])[0], 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "params", [{"ignore_index": 1}, {"weight": [1.0, 0.0, 2.0]}, {"label_smoothing": 0.1}], ids=str
)
def test_what_is_not_finite_shows_where_the_references_does(value: float, params: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    labels = np.array([1, 0, 2, 0])
    for sample in (0, 1):  # the first counts nothing, or is like any other
        x_bad = x.copy()
        x_bad[sample, 2] = value
        probes = pair(OneDnnSoftmaxCrossEntropy, params, x_bad, labels)
        with np.errstate(all="ignore"):
            theirs, mine = ((p.forward()[0], p.backward([np.array(0.7, "float32")])[0]) for p in probes)
        np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-6)
        np.testing.assert_allclose(mine[1], theirs[1], atol=1e-7)


# Squares --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 127, 128, 1000, 300_000])
@pytest.mark.parametrize("value", [None, 0.1])
def test_sum_of_squares(size: int, value: float | None) -> None:
    x = np.random.default_rng(0).normal(size=size) if value is None else np.full(size, value)
    x = x.astype("float32")
    assert sums.sum_of_squares(x) == pytest.approx(float((x.astype("float64") ** 2).sum()), rel=1e-6)


def test_a_squared_difference_far_from_zero_keeps_its_digits() -> None:
    rng = np.random.default_rng(0)
    x, t = (1e4 + rng.normal(size=(50, 40)).astype("float32") for _ in range(2))
    theirs, mine = pair(table.LAYERS["MSELoss"], {}, x, t)
    assert mine.forward()[0] == pytest.approx(theirs.forward()[0], rel=1e-6)
    for got, want in zip(*(p.backward([np.array(0.7, "float32")]) for p in (mine, theirs)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
