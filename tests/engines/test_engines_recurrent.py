"""LSTM, GRU and RNN on the engine, beyond the contract of its layers: real sizes, every way through, whole nets.

Like test_engines.py, no part of the suite where the engine cannot be had.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.check.engines import refusal
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example
from layerforge.engines.onednn import table
from layerforge.schema.registry import LAYERS

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import compare_engine

KINDS = ["LSTM", "GRU", "RNN"]
Arrays = dict[str, np.ndarray]


def probe(kind: str, shape: tuple[int, ...], *, engine: bool = True, tops: int = 1, **params: Any) -> Probe:
    """A layer whose next forward is one to be differentiated."""
    cls = table.LAYERS[kind] if engine else LAYERS.get(kind)
    made = Probe(cls, Example(params, [Spec(shape)], tops=tops), dtype="float32")
    made.layer.run.keep = True
    return made


def all_tops(kind: str) -> int:
    """y and the last states."""
    return LAYERS.get(kind).tops[1]


def outcome(made: Probe, **given: bool) -> Arrays:
    """Tops and gradients, with the parameters named frozen."""
    for key in given:
        made.layer.needs_param_grad.bind(key, False)
    tops = made.forward()
    results = {f"top {i}": np.array(t) for i, t in enumerate(tops)}
    gradients = made.gradients(made.draw_cotangents(tops))
    return results | {key: np.array(g) for key, g in gradients.items() if g is not None}


def assert_close(got: Arrays, want: Arrays, tolerance: float = 1e-5) -> None:
    assert got.keys() == want.keys()
    for key, value in want.items():
        assert np.abs(got[key] - value).max() <= tolerance * np.abs(value).max() + 1e-12, key


def assert_same(got: Arrays, want: Arrays) -> None:
    assert got.keys() == want.keys()
    for key, value in want.items():
        np.testing.assert_array_equal(got[key], value, key)


# What it computes -----------------------------------------------------------------------------------------------------

ALL_OF_A_PASS = tuple(f"{kind}_{of}_l0" for kind in ("weight", "bias") for of in ("ih", "hh"))


@pytest.mark.parametrize("frozen", [(), ("weight_hh_l0", "bias_ih_l0"), ALL_OF_A_PASS], ids=len)
@pytest.mark.parametrize("tops", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_two_layers_in_two_directions(kind: str, tops: int, frozen: tuple[str, ...]) -> None:
    params = {"hidden_size": 24, "num_layers": 2, "bidirectional": True, "tops": min(tops, all_tops(kind))}
    got, want = (outcome(probe(kind, (33, 9, 7), engine=e, **params), **dict.fromkeys(frozen, True)) for e in (1, 0))
    assert_close(got, want)
    assert not any(got[key].any() for key in frozen)
    assert got["weight_ih_l1"].any()


@pytest.mark.parametrize("shape", [(1, 28, 28), (5, 1, 3), (130, 3, 1)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_one_sample_one_step_one_feature(kind: str, shape: tuple[int, ...]) -> None:
    got, want = (outcome(probe(kind, shape, engine=e, hidden_size=33, tops=all_tops(kind))) for e in (True, False))
    assert_close(got, want)


@pytest.mark.parametrize("kind", KINDS)
def test_without_biases(kind: str) -> None:
    params = {"hidden_size": 20, "num_layers": 2, "bias": False}
    got, want = (outcome(probe(kind, (6, 5, 4), engine=e, **params)) for e in (True, False))
    assert "bias_ih_l0" not in got
    assert_close(got, want)


def test_rectified_states_are_left_to_the_reference() -> None:
    """oneDNN's ReLU inside makes 0 of NaN."""
    theirs = probe("RNN", (16, 6, 5), engine=False, hidden_size=24, nonlinearity="relu", bidirectional=True)
    assert "NaN" in refusal(table.LAYERS["RNN"], theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bottom_with_its_steps_one_behind_the_other_is_taken_as_it_is(kind: str) -> None:
    plain, turned = (probe(kind, (9, 8, 7), hidden_size=16) for _ in range(2))
    turned.bottoms = [np.ascontiguousarray(b.swapaxes(0, 1)).swapaxes(0, 1) for b in plain.bottoms]
    assert_same(outcome(turned), outcome(plain))
    assert "x copied" in plain.layer.memory.arrays
    assert "x copied" not in turned.layer.memory.arrays


# As often as asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_repeats_bit_for_bit(kind: str) -> None:
    params = {"hidden_size": 128, "bidirectional": True, "tops": all_tops(kind)}
    made = probe(kind, (64, 6, 28), **params)
    first = outcome(made)
    assert_same(outcome(made), first)
    assert_same(outcome(probe(kind, (64, 6, 28), **params)), first)


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_backward_follows_is_the_same_up_to_rounding(kind: str) -> None:
    made = probe(kind, (17, 9, 7), hidden_size=32, bidirectional=True, tops=all_tops(kind))
    kept = {f"top {i}": np.array(t) for i, t in enumerate(made.forward())}
    made.layer.run.keep = False
    for _ in range(2):
        assert_close({f"top {i}": np.array(t) for i, t in enumerate(made.forward())}, kept)
    made.layer.run.keep = True
    assert_same({f"top {i}": np.array(t) for i, t in enumerate(made.forward())}, kept)


@pytest.mark.parametrize("kind", KINDS)
def test_only_training_needs_a_workspace(kind: str) -> None:
    made = probe(kind, (17, 9, 7), hidden_size=32)
    made.layer.run.keep = False
    made.forward()
    assert not [name for name in made.layer.memory.arrays if "workspace" in name]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_added_and_backward_may_come_again(kind: str) -> None:
    made = probe(kind, (9, 8, 7), hidden_size=16, num_layers=2, bidirectional=True, tops=all_tops(kind))
    cotangents = made.draw_cotangents(made.forward())
    once = made.gradients(cotangents)
    again = made.named(made.backward(cotangents))  # on top of what is there, after the same forward
    np.testing.assert_array_equal(again["bottom[0]"], once["bottom[0]"])
    assert_same({k: again[k] for k in made.layer.param_decls}, {k: 2 * once[k] for k in made.layer.param_decls})


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_may_be_set_instead(kind: str) -> None:
    made = probe(kind, (9, 8, 7), hidden_size=16, bidirectional=True)
    cotangents = made.draw_cotangents(made.forward())
    want = made.gradients(cotangents)
    for _, grad in made.layer.grads.items():
        grad[...] = np.nan
    made.layer.overwrites_grad = True
    assert_same(made.named(made.backward(cotangents)), want)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_nobody_wants_is_not_set(kind: str) -> None:
    made = probe(kind, (9, 8, 7), hidden_size=16)
    want = outcome(made)
    made.layer.needs_param_grad.bind("weight_hh_l0", False)
    for _, grad in made.layer.grads.items():
        grad[...] = 7
    made.layer.overwrites_grad = True
    got = made.named(made.backward(made.draw_cotangents(made.forward())))
    assert (got["weight_hh_l0"] == 7).all()
    np.testing.assert_array_equal(got["weight_ih_l0"], want["weight_ih_l0"])


# Nets -----------------------------------------------------------------------------------------------------------------

N, T, D = 16, 7, 5


def net(kind: str, engine: str = "auto", keep: Any = "none") -> Net:
    """Two recurrent layers, between them a ReLU that would run in place if it might, and a loss of y and the last h."""
    inputs = {"x": {"shape": [N, T, D], "grad": True}, "t": {"shape": [N], "dtype": "int64"}}
    layers = [
        {"name": "low", "type": kind, "bottom": "x", "hidden_size": 12},
        {"name": "relu", "type": "ReLU", "engine": "reference"},
        {"name": "high", "type": kind, "top": ["y", "h"], "hidden_size": 8, "num_layers": 2, "bidirectional": True},
        {"name": "fc_y", "type": "Linear", "bottom": "y", "out_features": 4},
        {"name": "mean", "type": "Mean", "dim": 1},
        {"name": "flat", "type": "Flatten", "bottom": "h"},
        {"name": "fc_h", "type": "Linear", "out_features": 4},
        {"name": "sum", "type": "Add", "bottom": ["mean", "fc_h"]},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["sum", "t"]},
    ]
    return Net.from_config({"inputs": inputs, "net": layers, "engine": engine, "seed": 3}, keep=keep)


def batch(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(N, T, D)).astype("float32"), "t": rng.integers(0, 4, N)}


def pass_through(made: Net, seed: int) -> Arrays:
    """The loss and all gradients."""
    made.zero_grad()
    found = {name: np.array(value) for name, value in made.forward(**batch(seed)).items()}
    made.backward()
    for layer, params in made.params.items():
        found |= {f"{layer}.{name}": np.array(view.grad) for name, view in params.items()}
    return found | {"x": np.array(made.blobs["x"].grad)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_net_that_reuses_memory_is_the_net_that_keeps_all(kind: str) -> None:
    planned, kept, reference = net(kind, keep=["x"]), net(kind, keep="all"), net(kind, "reference", keep=["x"])
    for seed in (0, 1, 2, 2):
        found = pass_through(planned, seed)
        assert_same(found, pass_through(kept, seed))
        assert_close(found, pass_through(reference, seed), 1e-4)
    assert planned.passes.current.layout is not None
    assert {planned.current_plan.choices[name].engine for name in ("low", "high")} == {"onednn"}


@pytest.mark.parametrize("kind", KINDS)
def test_tangents(kind: str) -> None:
    v, tangents = np.random.default_rng(5).normal(size=(N, T, D)).astype("float32"), []
    for engine in ("auto", "reference"):
        made = net(kind, engine, keep="all")
        made.forward(**batch(0))
        tangents.append(made.jvp(x=v)["loss"])
    assert tangents[0] == pytest.approx(tangents[1], rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_is_the_references_step(kind: str) -> None:
    layers = [
        {"name": "rec", "type": kind, "bottom": "x", "top": ["y", "h"], "hidden_size": 32, "bidirectional": True},
        {"name": "flat", "type": "Flatten", "bottom": "h"},
        {"name": "fc", "type": "Linear", "out_features": 10},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
    ]
    inputs = {"x": {"shape": [16, 9, 8]}, "label": {"shape": [16], "dtype": "int64"}}
    config = {"inputs": inputs, "net": layers, "solver": {"lr": 0.1, "momentum": 0.9}}
    differences, _, weights = compare_engine.compare(config, steps=9, every=4, samples=16)
    assert [d for d in differences if not d.ok] == []
    *_, again = compare_engine.compare(config, steps=9, every=0, samples=16)
    np.testing.assert_array_equal(weights, again)


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused(kind: str) -> None:
    def why(*bottoms: Spec) -> str | None:
        made = Probe(LAYERS.get(kind), Example({"hidden_size": 2}, bottoms), dtype="float32")
        return table.LAYERS[kind].refuses(made.layer, made.bottom_specs, made.top_specs)

    assert why(Spec((32, 3, 4))) is why(Spec((1, 3, 4))) is None
    assert "second bottom" in (why(Spec((32, 3, 4)), Spec((32, 3), low=1, high=2)) or "")
    assert "empty" in (why(Spec((32, 0, 4))) or "")
