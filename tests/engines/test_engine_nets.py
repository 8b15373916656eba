"""Nets on an engine: what is fused and what must not be, what runs in place, and that nothing but speed changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from layerforge import Net, Solver
from layerforge.cli.net_table import net_table
from layerforge.plan.planner import choices_of
from layerforge.schema.errors import DivergedError, LayerForgeError

IMAGE = {"x": {"shape": [4, 3, 6, 5], "grad": True}, "t": {"shape": [4], "dtype": "int64"}}
LOSS = [
    {"name": "flat", "type": "Flatten"},
    {"name": "fc", "type": "Linear", "out_features": 5},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
]
CONV = {"name": "low", "type": "Conv2d", "out_channels": 3, "kernel_size": 3, "padding": 1}
BELOW: dict[str, list[dict[str, Any]]] = {
    "Conv2d": [CONV],
    "Linear": [{"name": "low", "type": "Linear", "out_features": 6}],
    "Add": [{"name": "side", **{k: v for k, v in CONV.items() if k != "name"}},
            {"name": "low", "type": "Add", "bottom": ["side", "x"]}],
    "BatchNorm": [{"name": "low", "type": "BatchNorm"}],
}  # fmt: skip
ABOVE: dict[str, dict[str, Any]] = {
    "ReLU": {"type": "ReLU"},
    "LeakyReLU": {"type": "LeakyReLU", "negative_slope": 0.2},
    "Tanh": {"type": "Tanh"},
    "Sigmoid": {"type": "Sigmoid"},
}
PAIRS = [(b, a) for b in BELOW for a in ABOVE if b != "BatchNorm" or a == "ReLU"]


def build(layers: Sequence[Mapping[str, Any]], engine: str, keep: Any = "none", **top: Any) -> Net:
    """A net of these layers with a classifier on top, at the same weights whoever computes."""
    return Net.from_config({"inputs": IMAGE, "net": [*layers, *LOSS], "engine": engine, "seed": 3, **top}, keep=keep)


def batch(samples: int = 4, seed: int = 0) -> dict[str, Any]:
    """Random images and labels."""
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(samples, 3, 6, 5)).astype("float32"), "t": rng.integers(0, 5, samples)}


def results(net: Net, data: Mapping[str, Any], phase: str = "train") -> dict[str, np.ndarray]:
    """Loss, gradients of parameters and of the input, and running statistics after one pass."""
    net.zero_grad()
    found = {f"{k}": np.array(v) for k, v in net.forward(phase=phase, backward=True, **data).items()}
    net.backward()
    for layer, params in net.params.items():
        learned = {name: view.grad for name, view in params.items() if view.grad is not None}
        found |= {f"{layer}.{name} gradient": np.array(grad) for name, grad in learned.items()}
    if net.keep is None or "x" in net.keep:
        found["x gradient"] = np.array(net.blobs["x"].grad)
    return found | {f"{layer}.{name}": a.copy() for layer, named in net.state.items() for name, a in named.items()}


def assert_alike(mine: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], tolerance: float = 1e-4) -> None:
    """Every array agrees up to a part of its norm; where nearly all cancels, up to the rounding of what is largest."""
    assert mine.keys() == theirs.keys()
    floor = 1e-5 * max(float(np.linalg.norm(want)) for want in theirs.values())
    for name, want in theirs.items():
        off = float(np.linalg.norm(mine[name] - want))
        assert off <= tolerance * float(np.linalg.norm(want)) + floor, f"{name} is off by {off:.2e}"


def absorbed(net: Net) -> dict[str, str]:
    """Which layers became a part of which."""
    return {name: choice.into for name, choice in net.current_plan.choices.items() if choice.into}


# Fusion ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("below", "above"), PAIRS, ids=[f"{b}-{a}" for b, a in PAIRS])
@pytest.mark.parametrize("phase", ["train", "eval"])
def test_a_fused_pair_is_the_two_layers_one_after_the_other(below: str, above: str, phase: str) -> None:
    layers = [*BELOW[below], {"name": "high", **ABOVE[above]}]
    mine, theirs = build(layers, "auto", keep=["x"]), build(layers, "reference", keep=["x"])
    for seed in (0, 1):
        assert_alike(results(mine, batch(seed=seed), phase), results(theirs, batch(seed=seed), phase))
    assert absorbed(mine) == {"high": "low"}
    assert absorbed(theirs) == {}


@pytest.mark.parametrize("below", ["Conv2d", "Linear", "Add"])
@pytest.mark.parametrize("above", ["GELU", "SiLU", "ELU"])
def test_an_activation_that_needs_its_bottom_is_fused_where_no_backward_follows(below: str, above: str) -> None:
    layers = [*BELOW[below], {"name": "high", "type": above}]
    mine, theirs = build(layers, "auto"), build(layers, "reference")
    for _ in range(3):
        want = theirs.forward(phase="eval", **batch())["loss"]
        assert mine.forward(phase="eval", **batch())["loss"] == pytest.approx(want, rel=1e-5)
        assert absorbed(mine) == {"high": "low"}
        assert_alike(results(mine, batch(), "eval"), results(theirs, batch(), "eval"))
        assert absorbed(mine) == {}


def test_the_table_says_of_layers_of_eval_only_what_is_done_there() -> None:
    side = {"name": "side", "type": "Linear", "out_features": 2, "bottom": "x", "phase": "eval"}
    high = {"name": "high", "type": "GELU", "bottom": "side", "phase": "eval"}
    end = {"name": "end", "type": "Softmax", "bottom": "high", "phase": "eval"}
    net = build([side, high, end, {**CONV, "bottom": "x"}], "auto")
    net.forward(phase="eval", **batch())
    assert absorbed(net) == {"high": "side"}
    assert choices_of(net.graph, net.engine_request)["high"].into == "side"


NORM = {"name": "norm", "type": "BatchNorm"}
FOLDING: dict[str, list[dict[str, Any]]] = {
    "Conv2d": [CONV],
    "Conv2d without bias": [{**CONV, "bias": False}],
    "Conv2d by channel": [{**CONV, "groups": 3}],
    "ConvTranspose2d": [{**CONV, "type": "ConvTranspose2d"}],
    "Linear": [{"name": "flat1", "type": "Flatten"}, {"name": "low", "type": "Linear", "out_features": 7}],
}


def scores(net: Net, seed: int) -> np.ndarray:
    """Of one batch in eval, with random running statistics and parameters, those of one seed the same."""
    rng = np.random.default_rng(seed)
    for array in (net.state["norm"]["running_mean"], net.state["norm"]["running_var"]):
        array[...] = rng.uniform(0.5, 2, array.shape)
    net.parameters.data[...] = rng.normal(size=net.parameters.data.shape)
    return net.forward(phase="eval", outputs="fc", **batch())["fc"]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("below", FOLDING)
@pytest.mark.parametrize("above", [None, "ReLU", "GELU"])
def test_a_batch_norm_is_folded_where_no_backward_follows(below: str, above: str | None, affine: bool) -> None:
    high = [] if above is None else [{"name": "high", "type": above}]
    layers = [*FOLDING[below], {**NORM, "affine": affine}, *high]
    mine, theirs = build(layers, "auto"), build(layers, "reference")
    for seed in (0, 0, 0, 1, 1):  # repeated, and with other statistics in the same memory
        np.testing.assert_allclose(scores(mine, seed), scores(theirs, seed), rtol=1e-4, atol=1e-4)
        assert absorbed(mine) == dict.fromkeys(["norm", *(layer["name"] for layer in high)], "low")
    assert_alike(results(mine, batch(), "eval"), results(theirs, batch(), "eval"))
    assert "norm" not in absorbed(mine)
    fixed = build([*FOLDING[below], {**NORM, "use_running_stats": True}], "auto")
    fixed.forward(phase="train", backward=False, **batch())
    assert absorbed(fixed) == {"norm": "low"}


@pytest.mark.parametrize("below", ["Conv2d", "Linear"])
@pytest.mark.parametrize("samples", [1, 40])
def test_corrected_statistics_are_those_of_the_reference(below: str, samples: int) -> None:
    """In a train step, in a fine-tuning eval, and folded; one sample of `Linear` has one value per channel."""
    layers = [*FOLDING[below], {**NORM, "bias_correction": True, "momentum": 0.3, "eps": 0.1}, RELU]
    both = [build(layers, engine) for engine in ("auto", "reference")]
    for seed in (1, 2, 3):
        assert_alike(*(results(net, batch(samples, seed)) for net in both))
        assert_alike(*(results(net, batch(4, 9 + seed), "eval") for net in both))
        mine, theirs = (net.forward(phase="eval", outputs="fc", **batch(4, seed))["fc"] for net in both)
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
        assert absorbed(both[0]) == {"norm": "low", RELU["name"]: "low"}
    np.testing.assert_allclose(both[0].state["norm"]["correction"], 1 + 0.7 + 0.49, rtol=1e-6)


def test_a_batch_norm_stays_apart_where_it_is_not_by_channel_or_not_fixed() -> None:
    last = {"name": "low", "type": "Linear", "out_features": 6}
    for layers, options in (
        ([CONV, NORM], {"phase": "train"}),  # the statistics are the batch's
        ([last, NORM], {"phase": "eval"}),  # of (4, 3, 6, 6): the channels are not the features
        ([CONV, {**NORM, "engine": "reference"}], {"phase": "eval"}),
        ([CONV, {"name": "act", "type": "ReLU"}, NORM], {"phase": "eval"}),
    ):
        found = []
        for engine in ("auto", "reference"):
            net = build(layers, engine)
            found.append(net.forward(backward=False, **options, **batch())["loss"])
            assert "norm" not in absorbed(net)
        assert found[0] == pytest.approx(found[1], rel=1e-4)
    twice = build([CONV, NORM, {**NORM, "name": "other"}], "auto")
    twice.forward(phase="eval", **batch())
    assert absorbed(twice) == {"norm": "low"}


def test_a_mean_much_larger_than_the_spread_costs_no_digits_in_a_folded_batch_norm() -> None:
    found = []
    for engine in ("auto", "reference"):
        net = build([{**CONV, "bias": True}, NORM], engine)
        net.params["low"]["bias"].data[...] = net.state["norm"]["running_mean"][...] = 1000
        net.state["norm"]["running_var"][...] = 1e-2
        found.append(net.forward(phase="eval", outputs="fc", **batch())["fc"])
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=2e-3 * np.abs(found[1]).max())


@pytest.mark.parametrize(("below", "above"), PAIRS, ids=[f"{b}-{a}" for b, a in PAIRS])
def test_tangents_go_through_a_fused_pair(below: str, above: str) -> None:
    layers = [*BELOW[below], {"name": "high", **ABOVE[above]}]
    v = np.random.default_rng(5).normal(size=(4, 3, 6, 5)).astype("float32")
    tangents = []
    for engine in ("auto", "reference"):
        net = build(layers, engine)
        net.forward(**batch())
        tangents.append(net.jvp(x=v)["loss"])
    assert tangents[0] == pytest.approx(tangents[1], rel=1e-4)


@pytest.mark.parametrize("below", BELOW)
def test_a_tangent_in_the_memory_of_another_is_another(below: str) -> None:
    net, v = build(BELOW[below], "auto", keep="all"), np.ones((4, 3, 6, 5), "float32")
    net.forward(**batch())
    first = net.jvp(x=v)["loss"]
    v *= 2
    np.testing.assert_allclose(net.jvp(x=v)["loss"], 2 * first, rtol=1e-4)


RELU = {"name": "high", "type": "ReLU"}
APART: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "another reads the blob between": (
        [CONV, RELU, {"name": "sum", "type": "Mul", "bottom": ["high", "low"]}], {},
    ),
    "it is a part of the loss": ([{**CONV, "loss_weight": 0.1}, RELU], {}),
    "it is kept": ([CONV, RELU], {"keep": ["x", "low"]}),
    "all are kept": ([CONV, RELU], {"keep": "all"}),
    "the lower one is asked for from the reference": ([{**CONV, "engine": "reference"}, RELU], {}),
    "the upper one is asked for from the reference": ([CONV, {**RELU, "engine": "reference"}], {}),
    "the activation needs its bottom": ([CONV, {"name": "high", "type": "GELU"}], {}),
    "a normalisation takes only a plain ReLU": (
        [*BELOW["BatchNorm"], {"name": "high", "type": "ReLU", "negative_slope": 0.1}], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", APART)
def test_two_layers_stay_apart_where(why: str) -> None:
    layers, options = APART[why]
    last = [{**LOSS[0], "bottom": "sum" if layers[-1]["name"] == "sum" else "high"}, *LOSS[1:]]
    found = []
    for engine in ("auto", "reference"):
        net = Net.from_config(
            {"inputs": IMAGE, "net": [*layers, *last], "engine": engine, "seed": 3}, keep=options.get("keep", ["x"])
        )
        found.append(results(net, batch()))
        assert absorbed(net) == {}
    assert_alike(*found)


def test_an_activation_of_one_phase_only_is_fused_there_and_not_elsewhere() -> None:
    layers = [CONV, {"name": "high", "type": "ReLU", "phase": "train", "top": "low"}]
    mine, theirs = build(layers, "auto", keep=["x"]), build(layers, "reference", keep=["x"])
    for phase, into in (("train", {"high": "low"}), ("eval", {}), ("train", {"high": "low"})):
        assert_alike(results(mine, batch(), phase), results(theirs, batch(), phase))
        assert absorbed(mine) == into


def test_two_activations_in_a_row_fuse_one() -> None:
    layers = [CONV, RELU, {"name": "higher", "type": "Tanh"}]
    mine, theirs = build(layers, "auto", keep=["x"]), build(layers, "reference", keep=["x"])
    assert_alike(results(mine, batch()), results(theirs, batch()))
    assert absorbed(mine) == {"high": "low"}


@pytest.mark.parametrize("freeze", [["low"], ["fc"], ["low", "fc"]])
@pytest.mark.parametrize("grad", [True, False])
def test_frozen_layers(freeze: list[str], grad: bool) -> None:
    layers = [{**layer, "freeze": layer["name"] in freeze} for layer in (CONV,)]
    inputs = {**IMAGE, "x": {"shape": [4, 3, 6, 5], "grad": grad}}
    last = [{**layer, **({"freeze": True} if layer["name"] in freeze else {})} for layer in LOSS]
    found = []
    for engine in ("auto", "reference"):
        config = {"inputs": inputs, "net": [*layers, RELU, *last], "engine": engine, "seed": 3}
        net = Net.from_config(config, keep=["x"] if grad else "none")
        if not grad and len(freeze) == 2:
            continue
        found.append(results(net, batch()))
    if found:
        assert_alike(*found)


def test_the_output_of_a_net_may_be_a_blob_inside_of_a_fused_pair() -> None:
    mine, theirs = build([CONV, RELU], "auto"), build([CONV, RELU], "reference")
    for net in (mine, theirs):
        net.forward(**batch())
    got, want = (net.forward(outputs="low", x=batch()["x"])["low"] for net in (mine, theirs))
    np.testing.assert_allclose(got, want, atol=1e-5)


# What is not finite ---------------------------------------------------------------------------------------------------

FIRST: dict[str, list[dict[str, Any]]] = {
    "convolution": [CONV, RELU, {"name": "pool", "type": "MaxPool2d", "kernel_size": 2}],
    "fully connected": [{"name": "low", "type": "Linear", "out_features": 6}, RELU],
    "batch norm": [CONV, {"name": "bn", "type": "BatchNorm"}, RELU],
}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_a_number_in_the_data_that_is_not_finite_stops_training(first: str, value: float, engine: str) -> None:
    """The engine's ReLU and max pooling swallow a NaN before it reaches the loss; the gradients tell of it: NaN · 0."""
    net = build(FIRST[first], engine)
    solver, data = Solver(net, lr=0.1), batch()
    solver.step(**data)
    before = net.parameters.data.copy()
    data["x"][1, 2, 3, 4] = value
    with pytest.raises(DivergedError, match="diverged at iteration 1"):
        solver.step(**data)
    np.testing.assert_array_equal(net.parameters.data, before)


# In place -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", BELOW)
def test_what_a_fused_activation_needs_in_backward_is_not_overwritten(below: str) -> None:
    """Backward derives the activation from its result, so a layer above that runs in place must find another place."""
    layers = [*BELOW[below], RELU, {"name": "half", "type": "Dropout", "p": 0.5}, {"name": "sq", "type": "Tanh"}]
    for engines in ({}, {"engine": "reference"}):
        tall = [*layers[:-1], {**layers[-1], **engines}]
        mine, theirs = build(tall, "auto", keep=["x"]), build(tall, "reference", keep=["x"])
        assert_alike(results(mine, batch()), results(theirs, batch()))


@pytest.mark.parametrize("above", ABOVE)
@pytest.mark.parametrize("below", BELOW)
def test_an_activation_that_is_told_to_run_in_place(below: str, above: str) -> None:
    layers = [*BELOW[below], {"name": "high", "top": "low", **ABOVE[above]}]
    mine, theirs = build(layers, "auto", keep=["x"]), build(layers, "reference", keep=["x"])
    assert_alike(results(mine, batch()), results(theirs, batch()))


SAME_SHAPE: dict[str, dict[str, Any]] = {
    "Conv2d": {"out_channels": 3, "kernel_size": 3, "padding": 1},
    "BatchNorm": {},
    "ReLU": {},
    "LeakyReLU": {},
    "Tanh": {},
    "Sigmoid": {},
    "ELU": {},
    "GELU": {},
    "SiLU": {},
    "Dropout": {},
    "MaxPool2d": {"kernel_size": 3, "stride": 1, "padding": 1},
    "AvgPool2d": {"kernel_size": 3, "stride": 1, "padding": 1},
    "LocalResponseNorm": {"size": 3},
    "LayerNorm": {"normalized_shape": 5},
    "Linear": {"out_features": 5},
    "Softmax": {},
    "Scale": {},
    "Abs": {},
    "Sub": {},
    "Add": {},
    "Flip": {"dim": 3},
}


def random_layers(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Layers that read any blob above them, some in place, some for one phase only, some by the reference."""
    layers: list[dict[str, Any]] = []
    blobs = ["x"]
    for i in range(int(rng.integers(3, 12))):
        kind = str(rng.choice(list(SAME_SHAPE)))
        recent = blobs[-1] if rng.random() < 0.7 else str(rng.choice(blobs))
        bottoms = [recent, str(rng.choice(blobs))] if kind in ("Add", "Sub") else recent
        layer = {"name": f"l{i}", "type": kind, "bottom": bottoms, **SAME_SHAPE[kind]}
        if rng.random() < 0.15:
            layer["engine"] = "reference"
        if rng.random() < 0.2 and recent != "x" and kind in ("ReLU", "Tanh", "Dropout", "BatchNorm", "Add"):
            layer["top"] = recent
        else:
            blobs.append(f"l{i}")
        layers.append(layer)
    return [*layers, {**LOSS[0], "bottom": layers[-1].get("top", layers[-1]["name"])}, *LOSS[1:]]


@pytest.mark.parametrize("seed", range(40))
def test_random_nets_are_what_they_are_on_the_reference(seed: int) -> None:
    """Fusion, places in place, layouts and planned memory, in nets that nobody would draw."""
    rng = np.random.default_rng(seed)
    layers = random_layers(rng)
    config = {"inputs": IMAGE, "net": layers, "seed": seed}
    try:
        theirs = Net.from_config({**config, "engine": "reference"})
    except LayerForgeError:  # an in-place top that is not safe: the next seed
        return
    mine = Net.from_config({**config, "engine": "auto"}, keep=["x"])
    for turn, samples in enumerate((4, 4, 3, 4)):
        data, phase = batch(samples, seed=seed + turn), "eval" if turn == 2 else "train"
        assert_alike(results(mine, data, phase), results(theirs, data, phase), 2e-3)


# What is said of it ---------------------------------------------------------------------------------------------------


def test_the_table_says_who_computes_each_layer_and_why_not_the_engine() -> None:
    layers = [{**CONV, "engine": "reference"}, {"name": "bn", "type": "BatchNorm", "track_running_stats": False},
              {"name": "high", "type": "Conv2d", "out_channels": 3, "kernel_size": 1}, {"name": "act", "type": "ReLU"},
              {"name": "drop", "type": "Sub", "bottom": ["act", "bn"]}]  # fmt: skip
    lines = {line.split()[0]: line for line in net_table(build(layers, "auto")).splitlines() if line}
    assert " reference " in lines["low"] and lines["low"].endswith("asked for")
    assert lines["bn"].endswith("reference  without running statistics")
    assert "  onednn  " in lines["high"]
    assert lines["act"].endswith("in high")
    assert lines["drop"].endswith("reference")
    assert lines["engine"].startswith("engine      oneDNN 3.")
