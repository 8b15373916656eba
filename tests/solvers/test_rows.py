"""Sparse gradients: an Embedding whose solver updates the rows that occur, and leaves all others alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from layerforge import Net, Solver
from layerforge.run.derivatives import jacobian
from layerforge.run.parameters import l2_norm
from layerforge.schema.errors import ConfigError, DivergedError

WORDS, WIDTH = 50, 3


def build(sparse: bool = True, dtype: str = "float64", **layer: Any) -> Net:
    embedding = {"type": "Embedding", "bottom": "x", "num_embeddings": WORDS, "embedding_dim": WIDTH, "sparse": sparse}
    layers = [
        {"name": "emb", "decay_mult": 0, **embedding, **layer},
        {"name": "flat", "type": "Flatten"},
        {"name": "fc", "type": "Linear", "out_features": 2},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
    ]
    inputs = {"x": {"shape": [4, 5], "dtype": "int64"}, "t": {"shape": [4], "dtype": "int64"}}
    return Net.from_config({"dtype": dtype, "engine": "reference", "inputs": inputs, "net": layers}, keep="none")


def batch(seed: int, words: Any = range(WORDS)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.choice(np.array(words), (4, 5)), "t": rng.integers(0, 2, 4)}


def weight(net: Net) -> np.ndarray:
    return net.params["emb"]["weight"].data


@pytest.mark.parametrize(
    "options",
    [
        {"type": "SGD", "lr": 0.3},
        {"type": "AdaGrad", "lr": 0.3},
        {"type": "SGD", "lr": 0.3, "clip_grad_norm": 0.2},
        {"type": "SGD", "lr": 0.3, "clip_grad_value": 0.01},
        {"type": "AdaGrad", "lr": 0.3, "weight_decay": 0.1},  # of the other parameters
    ],
)
def test_rules_in_which_a_zero_gradient_does_nothing_are_as_with_a_dense_one(options: dict[str, Any]) -> None:
    sparse, dense = build(), build(False)
    solvers = [Solver(net, **options) for net in (sparse, dense)]
    for step in range(6):
        for solver in solvers:
            solver.step(**batch(step))
        assert solvers[0].grad_norm == pytest.approx(solvers[1].grad_norm, rel=1e-12)
        for name in ("emb", "fc"):
            ours, theirs = (net.params[name]["weight"].data for net in (sparse, dense))
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["SGD", "Nesterov"])
def test_momentum_waits_for_the_rows_that_do_not_occur(kind: str) -> None:
    net = build()
    solver = Solver(net, type=kind, lr=0.1, momentum=0.9)
    w, v = weight(net).copy(), np.zeros((WORDS, WIDTH))
    for step in range(6):
        given = batch(step)
        occurs = np.unique(given["x"])
        solver.step(**given)
        g = net.params["emb"]["weight"].grad[occurs]
        before = v[occurs]
        v[occurs] = 0.9 * before + 0.1 * g
        w[occurs] -= v[occurs] if kind == "SGD" else 0.9 * v[occurs] + 0.1 * g
        np.testing.assert_allclose(weight(net), w, rtol=1e-12, atol=1e-15)


def test_rows_that_do_not_occur_are_neither_read_nor_written() -> None:
    net = build()
    solver = Solver(net, type="SGD", lr=0.1, momentum=0.9, clip_grad_norm=0.1)
    others = np.arange(10, WORDS)
    flat = net.parameters.slots["emb", "weight"]
    for array in (net.parameters.data, net.parameters.grad, *solver.history):
        flat.view(array)[others] = np.nan
    for step in range(3):
        solver.step(**batch(step, range(10)))
    assert np.isfinite(solver.grad_norm or np.nan)
    for array in (net.parameters.data, net.parameters.grad, *solver.history):
        assert np.isnan(flat.view(array)[others]).all()
        assert np.isfinite(flat.view(array)[:10]).all()


def test_micro_batches_add_up_and_a_step_begins_from_zero() -> None:
    whole, parts = build(), build()
    solvers = [Solver(net, lr=0.2) for net in (whole, parts)]
    for step in range(3):
        given = batch(step)
        solvers[0].step(**given)
        for rows in (slice(0, 1), slice(1, 4)):
            solvers[1].accumulate(**{name: array[rows] for name, array in given.items()})
        solvers[1].update()
        np.testing.assert_allclose(weight(parts), weight(whole), rtol=1e-12)
    assert l2_norm(np, whole.parameters.grad) * solvers[0].average == pytest.approx(solvers[0].grad_norm)


def test_two_layers_share_a_weight() -> None:
    layers = [
        {"name": name, "type": "Embedding", "bottom": name[0], "num_embeddings": 9, "embedding_dim": 2, "sparse": True}
        for name in ("a_words", "b_words")
    ]
    layers[1]["share"] = {"weight": "a_words.weight"}
    layers.append({"name": "loss", "type": "MSELoss", "bottom": ["a_words", "b_words"]})
    inputs = {name: {"shape": [2], "dtype": "int64"} for name in "ab"}
    net = Net.from_config({"inputs": inputs, "net": layers})
    before = net.params["a_words"]["weight"].data.copy()
    Solver(net, lr=0.5).step(a=np.array([1, 2]), b=np.array([3, 2]))
    moved = (net.params["a_words"]["weight"].data != before).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [1, 3]
    layers[1]["sparse"] = False
    with pytest.raises(ConfigError, match="the gradient of 'weight', which is shared, is dense at"):
        Net.from_config({"inputs": inputs, "net": layers})


def test_a_copy_in_the_middle_of_a_step_and_history_from_a_checkpoint() -> None:
    net = build()
    solver = Solver(net, type="SGD", lr=0.1, momentum=0.9)
    solver.step(**batch(0))
    state, arrays, weights = solver.state(), solver.arrays(), net.arrays()
    solver.accumulate(**batch(1))
    other = copy.deepcopy(solver)
    for each in (solver, other):
        each.accumulate(**batch(2))
        each.update()
    np.testing.assert_array_equal(weight(other.net), weight(net))
    resumed = build()
    resumed.load_arrays(weights, "the checkpoint")
    again = Solver(resumed, type="SGD", lr=0.1, momentum=0.9)
    again.load_state(state, arrays)
    again.accumulate(**batch(1))
    again.accumulate(**batch(2))
    again.update()
    np.testing.assert_array_equal(weight(resumed), weight(net))


def test_what_looks_at_gradients_leaves_the_rows_as_they_were() -> None:
    net, untouched = build(), build()
    solvers = [Solver(each, type="SGD", lr=0.1, momentum=0.9) for each in (net, untouched)]
    for solver in solvers:
        solver.step(**batch(0))
        solver.accumulate(**batch(1, range(5)))
    net.forward(**batch(2))
    jacobian(net, "loss", "fc.bias")
    for solver in solvers:
        solver.update()
    np.testing.assert_array_equal(weight(net), weight(untouched))


def test_a_gradient_that_is_assigned_counts_in_all_rows() -> None:
    net = build()
    solver, before = Solver(net, lr=1.0), weight(net).copy()
    net.params["emb"]["weight"].grad = np.full((WORDS, WIDTH), 0.5)
    solver.update()
    np.testing.assert_allclose(weight(net), before - 0.5)


def test_frozen_and_learning_again() -> None:
    net = build()
    solver, before = Solver(net, lr=0.1), weight(net).copy()
    solver.step(**batch(0))
    moved = weight(net).copy()
    assert (moved != before).any()
    net.layers["emb"].freeze = True
    solver.step(**batch(1))
    np.testing.assert_array_equal(weight(net), moved)
    net.layers["emb"].freeze = False
    solver.step(**batch(1, [4]))
    assert np.flatnonzero((weight(net) != moved).any(axis=1)).tolist() == [4]
    late = build(freeze=True)
    other = Solver(late, lr=0.1)
    late.layers["emb"].freeze = False
    start = weight(late).copy()
    other.step(**batch(1, [7]))
    assert np.flatnonzero((weight(late) != start).any(axis=1)).tolist() == [7]


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RMSProp", "AdaDelta", "LARS"])
def test_rules_that_move_every_number_are_refused_by_name(kind: str) -> None:
    words = f"the gradient of 'emb.weight' is sparse, and solver {kind} does not.*\n.*AdaGrad, Nesterov, SGD do"
    with pytest.raises(ConfigError, match=words):
        Solver(build(), type=kind, lr=0.1)
    Solver(build(freeze=True), type=kind, lr=0.1)


def test_weight_decay_is_refused_whenever_it_comes() -> None:
    words = r"'emb.weight' is sparse, and weight_decay would act.*\n.*layer 'emb' `decay_mult: 0`"
    with pytest.raises(ConfigError, match=words):
        Solver(build(decay_mult=1), lr=0.1, weight_decay=0.1)
    net = build()
    solver = Solver(net, lr=0.1, weight_decay=0.1)
    net.layers["emb"].decay_mult = 1
    with pytest.raises(ConfigError, match=words):
        solver.step(**batch(0))
    late = Solver(build(decay_mult=1), lr=0.1)
    with pytest.raises(ConfigError, match=words):
        late.weight_decay = 0.1


def test_a_refused_step_leaves_weights_and_begins_anew() -> None:
    net = build(dtype="float32")
    solver = Solver(net, lr=0.1, momentum=0.9)
    solver.step(**batch(0))
    kept, good = weight(net).copy(), net.params["fc"]["weight"].data.copy()
    net.params["fc"]["weight"].data = np.inf
    with pytest.raises(DivergedError):
        solver.step(**batch(1))
    solver.skip()
    np.testing.assert_array_equal(weight(net), kept)
    net.params["fc"]["weight"].data = good
    solver.step(**batch(2, [3]))
    assert np.flatnonzero((weight(net) != kept).any(axis=1)).tolist() == [3]
