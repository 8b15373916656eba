"""Layers that give arrays to a net, pass them on, silence them or take them away: by hand, and as parts of nets."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge import Net, Solver
from layerforge.arrays import philox
from layerforge.check.gradcheck import gradcheck
from layerforge.cli import main
from layerforge.run.views import BlobError
from layerforge.schema.errors import LayerForgeError

X = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])
INPUT = {"name": "x", "type": "Input", "shape": [2, 3]}
DIGITS = {"train": {"type": "Digits", "split": "train[:8]", "batch_size": 4}}

WHOLE = """\
name: plumbing
dtype: float64
inputs: {x: {shape: [4, 3, 2, 2], grad: true}}
blocks:
  noisy:
    args: {std: null}
    net:
      - {name: factor, type: Constant, value: 2}
      - {name: noise,  type: Random, bottom: input, distribution: normal, std: "${std}"}
      - {name: scaled, type: Mul, bottom: [noise, factor]}
      - {name: sum,    type: Add, bottom: [input, scaled]}
      - {name: quiet,  type: Silence, bottom: scaled}
net:
  - {name: label,   type: Input, shape: [4], role: index}
  - {name: scale,   type: Input, shape: [3], grad: true}
  - {name: channel, type: Parameter, shape: [3, 1, 1], filler: {type: gaussian, std: 0.5}}
  - {name: times,   type: Mul, bottom: [x, channel]}
  - {name: same,    type: Identity}
  - {name: jitter,  block: noisy, with: {std: 0.1}}
  - {name: drop,    type: Dropout2d, p: 0.2}
  - {name: flat,    type: Flatten}
  - {name: fc,      type: Linear, out_features: 3}
  - {name: dither,  type: Random, shape: [3], low: -0.1, high: 0.1}
  - {name: scores,  type: Add, bottom: [fc, dither, scale]}
  - {name: target,  type: Detach, bottom: scores}
  - {name: pull,    type: MSELoss, bottom: [fc, target]}
  - {name: loss,    type: SoftmaxCrossEntropy, bottom: [scores, label]}
  - {name: quiet,   type: Silence, bottom: [target, scale]}
"""


def make(*layers: Any, **more: Any) -> Net:
    return Net.from_config({"dtype": "float64", "net": list(layers), **more})


def refused(*layers: Any, **more: Any) -> str:
    with pytest.raises(LayerForgeError) as caught:
        make(*layers, **more)
    assert caught.value.exit_code == 2
    return str(caught.value)


# All of them in one net -----------------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole.yaml"
    path.write_text(WHOLE)
    return path


def batch(n: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(n, 3, 2, 2)), "label": rng.integers(0, 3, n), "scale": rng.normal(size=3)}


def test_a_net_of_all_of_them_learns(whole: Path) -> None:
    net = Net.from_yaml(whole)
    assert list(net.graph.inputs) == ["x", "label", "scale"]
    assert set(net.forward(**batch())) == {"pull", "loss"}, "what Silence reads is no output"
    solver = Solver(net, lr=0.05)
    before = {name: array.copy() for name, array in net.arrays().items()}
    losses = [solver.step(**batch()) for _ in range(2)]
    assert np.isfinite(losses).all()
    assert {name.split("/")[1] for name in before} == {"channel", "fc"}
    assert all(not np.array_equal(before[name], array) for name, array in net.arrays().items())
    assert net.forward(**batch(7))["loss"].shape == (), "another batch size"


def test_its_gradients_are_right(whole: Path) -> None:
    report = gradcheck(str(whole))
    assert report.ok, report
    learned = {("channel (Parameter)", "weight"), ("fc (Linear)", "weight"), ("fc (Linear)", "bias")}
    assert {(row.owner, row.blob) for row in report.rows} == learned | {("input", "x"), ("input", "scale")}


def test_the_commands_take_it(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(whole), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)["files"][0]["net"]
    assert [blob["name"] for blob in about["inputs"]] == ["x", "label", "scale"]
    types = {layer["type"]: layer for layer in about["layers"]}
    assert {"Parameter", "Constant", "Random", "Identity", "Detach", "Silence", "Dropout2d"} <= set(types)
    assert "Input" not in types
    assert (types["Parameter"]["bottoms"], types["Parameter"]["parameters"], types["Parameter"]["flops"]) == ([], 3, 0)
    assert types["Silence"]["tops"] == types["Silence"]["shapes"] == []
    for command in (["check"], ["test"], ["time", "--iterations", "2"], ["config"]):
        assert main([command[0], str(whole), *command[1:]]) == 0
    assert "jitter.noise" in capsys.readouterr().out


def test_a_backward_that_was_forgotten_is_not_taken_for_detach() -> None:
    from layerforge import Example, Layer, Spec, register
    from layerforge.schema.registry import LAYERS

    class Unfinished(Layer):
        examples = [Example({}, [Spec((2,))])]

        def setup(self, x: Spec) -> Spec:
            return x

        def forward(self, x: Any) -> Any:
            return 2 * x

    register(Unfinished)
    try:
        fc, loss = {"name": "fc", "type": "Linear", "out_features": 2}, {"name": "loss", "type": "SumSquare"}
        for kind, ok in (("Unfinished", False), ("Detach", True)):
            middle = [{"name": "u", "type": kind}, {"name": "sum", "type": "Add", "bottom": ["fc", "u"]}]
            net = {"net": [INPUT, fc, *middle, {**loss, "loss_weight": 1}]}
            assert gradcheck(net).ok == ok, kind
    finally:
        LAYERS.remove("Unfinished")


# Input ----------------------------------------------------------------------------------------------------------------


def test_an_input_layer_is_an_entry_of_inputs() -> None:
    net = make(INPUT, {"name": "y", "type": "Square"})
    entry = make({"name": "y", "type": "Square"}, inputs={"x": {"shape": [2, 3]}})
    assert net.graph.inputs == entry.graph.inputs
    assert list(net.layers) == ["y"]
    assert_array_equal(net.forward(x=X)["y"], X**2)
    assert_array_equal(net.forward(x=X[:1])["y"], X[:1] ** 2)


def test_it_is_fed_under_the_name_of_its_top() -> None:
    net = make({**INPUT, "name": "layer", "top": "x"}, {"name": "y", "type": "Square"})
    assert_array_equal(net.forward(x=X)["y"], X**2)
    with pytest.raises(LayerForgeError, match="the net has no input 'layer'"):
        net.forward(layer=X)
    with pytest.raises(LayerForgeError, match=r"forward needs the input\(s\) x"):
        net.forward()


def test_its_gradient_is_computed_where_it_says_so() -> None:
    for grad in (False, True):
        net = make({**INPUT, "grad": grad}, {"name": "y", "type": "Square"})
        net.forward(x=X)
        if grad:
            net.backward(y=np.ones_like(X))
            assert_array_equal(net.blobs["x"].grad, 2 * X)
        else:
            with pytest.raises(BlobError, match="nothing below blob 'y' wants a gradient"):
                net.backward(y=np.ones_like(X))
            with pytest.raises(BlobError):
                _ = net.blobs["x"].grad


def test_labels_are_an_index_and_take_integers() -> None:
    net = make({"name": "t", "type": "Input", "shape": [3], "role": "index"}, {"name": "y", "type": "Identity"})
    assert net.forward(t=np.array([2, 0, 1]))["y"].dtype == np.int64
    with pytest.raises(LayerForgeError, match="takes integers"):
        net.forward(t=np.array([0.5, 1.0, 2.0]))


def test_it_repeats_a_blob_of_the_data_section() -> None:
    flat = {"name": "flat", "type": "Flatten", "bottom": "image"}
    image = {"name": "image", "type": "Input", "shape": [64, 1, 28, 28], "grad": True}
    label = {"name": "label", "type": "Input", "shape": [64], "role": "index"}
    net = make(image, label, flat, data=DIGITS)
    assert net.graph.inputs["image"].shape == (4, 1, 28, 28), "the batch size is the data's"
    assert net.graph.input_grads == {"image"}
    wrong = {**image, "shape": [4, 28, 28]}
    assert "the data section gives (4, 1, 28, 28) float64" in refused(wrong, flat, data=DIGITS)
    assert "the data section gives (4) int64" in refused({**label, "role": "real"}, flat, data=DIGITS)
    misspelt = refused({**image, "name": "imege"}, flat, data=DIGITS)
    assert "the data section gives no 'imege'" in misspelt
    assert "did you mean 'image'?" in misspelt


def test_what_an_input_layer_may_not_say() -> None:
    y = {"name": "y", "type": "Square", "bottom": "x"}
    twice = refused(INPUT, y, inputs={"x": {"shape": [2, 3]}})
    assert "the net already has an input 'x'" in twice
    assert "the net already has an input 'x'" in refused(INPUT, {**INPUT, "name": "again", "top": "x"}, y)
    assert "two layers are called 'x'" in refused(INPUT, INPUT, y)
    assert "an input has no 'phase'" in refused({**INPUT, "phase": "train"}, y)
    assert "an input has no 'loss_weight'" in refused({**INPUT, "loss_weight": 1}, y)
    assert "an input cannot be called 'outputs'" in refused({**INPUT, "name": "outputs"}, {**y, "bottom": "outputs"})
    assert "an input has no 'bottom'" in refused(INPUT, {**INPUT, "name": "z", "bottom": "x"}, y)
    other = {"name": "z", "type": "Exp", "bottom": "other", "top": "x"}
    assert "top 'x' is already made by an input" in refused(INPUT, other, inputs={"other": {"shape": [2]}})


# Parameter ------------------------------------------------------------------------------------------------------------


def test_a_parameter_gets_the_gradient_of_its_top_added() -> None:
    layer = Alone("Parameter", shape=[2, 3])
    layer.layer.params.weight[...] = X
    assert_array_equal(layer.top(), X)
    assert_array_equal(layer.vjp(2 * X)["weight"], 2 * X)


def test_a_net_without_inputs_learns() -> None:
    """min (w - 3)²: w ← w - lr 2 (w - 3), hence w = 3 - 3 (1 - 2 lr)^k."""
    net = make(
        {"name": "w", "type": "Parameter", "shape": []},
        {"name": "three", "type": "Constant", "value": 3},
        {"name": "off", "type": "Sub", "bottom": ["w", "three"]},
        {"name": "loss", "type": "Square", "loss_weight": 1},
    )
    assert net.forward()["loss"] == 9
    assert net.batch_size == 1
    solver = Solver(net, lr=0.1)
    losses = [solver.step() for _ in range(4)]
    assert_allclose(losses, [9 * 0.8 ** (2 * k) for k in range(4)])
    assert net.params["w"]["weight"].data == pytest.approx(3 - 3 * 0.8**4)


def test_a_parameter_alone_may_be_a_loss() -> None:
    five = {"type": "constant", "value": 5}
    net = make({"name": "w", "type": "Parameter", "shape": [], "filler": five, "loss_weight": 2})
    solver = Solver(net, lr=0.25)
    assert solver.step() == 10
    assert net.params["w"]["weight"].data == 4.5
    assert net.metric_counts() == {"w": 1}


def test_what_runs_in_place_on_a_parameters_top_leaves_it_alone() -> None:
    net = make(
        {"name": "w", "type": "Parameter", "shape": [3], "filler": {"type": "constant", "value": -1}},
        {"name": "act", "type": "ReLU", "bottom": "w", "top": "w"},
    )
    for _ in range(2):
        assert_array_equal(net.forward()["w"], [0, 0, 0])
    assert_array_equal(net.params["w"]["weight"].data, [-1, -1, -1])


def test_parameters_are_shared_and_frozen_like_any_other() -> None:
    net = make(
        {"name": "a", "type": "Parameter", "shape": [2]},
        {"name": "b", "type": "Parameter", "shape": [2], "share": {"weight": "a.weight"}},
        {"name": "c", "type": "Parameter", "shape": [2], "freeze": True},
        {"name": "y", "type": "Add", "bottom": ["a", "b", "c"]},
    )
    net.forward()
    net.backward(y=np.array([1.0, 2.0]))
    assert_array_equal(net.params["a"]["weight"].grad, [2, 4])
    assert not net.graph.phases["train"].steps[2].runs_backward


# Constant and Random --------------------------------------------------------------------------------------------------


def test_constants() -> None:
    assert_array_equal(Alone("Constant", value=2.5, shape=[2, 2]).top(), [[2.5, 2.5], [2.5, 2.5]])
    assert_array_equal(Alone("Constant", value=[1, 2, 3, 4, 5, 6], shape=[3, 2]).top(), [[1, 2], [3, 4], [5, 6]])
    assert Alone("Constant", value=7).top().shape == ()


def test_what_runs_in_place_on_a_constant_leaves_it_alone() -> None:
    net = make({"name": "c", "type": "Constant", "value": [-1, 2]}, {"name": "act", "type": "ReLU", "top": "c"})
    for _ in range(2):
        assert_array_equal(net.forward()["c"], [0, 2])


def test_random_numbers_follow_the_formulas() -> None:
    u, v = (philox.uniform(np, philox.stream_key(0, "r", draw), (4, 3), iteration=2) for draw in (0, 1))
    for hyper, wanted in (
        ({"low": -1, "high": 3}, 4 * u.astype(float) - 1),
        ({"distribution": "normal", "mean": 5, "std": 2},
         5 + 2 * np.sqrt(-2 * np.log(1 - u.astype(float))) * np.cos(2 * math.pi * v.astype(float))),
    ):  # fmt: skip
        net = make({"name": "r", "type": "Random", "shape": [4, 3], **hyper})
        net.iteration = 2
        assert_allclose(net.forward()["r"], wanted, rtol=1e-14)
        assert_array_equal(net.forward(phase="eval")["r"], net.forward()["r"])


def test_normal_numbers_are_normal() -> None:
    r = Alone("Random", shape=[20_000], distribution="normal", mean=1, std=3).top()
    assert abs(r.mean() - 1) < 0.1
    assert abs(r.std() - 3) < 0.1
    within = [(np.abs(r - 1) < 3 * k).mean() for k in (1, 2, 3)]
    assert_allclose(within, [0.6827, 0.9545, 0.9973], atol=0.01)


def test_every_iteration_and_every_layer_draws_its_own() -> None:
    net = make({"name": "a", "type": "Random", "shape": [9]}, {"name": "b", "type": "Random", "shape": [9]})
    first, same = net.forward(), net.forward()
    net.iteration += 1
    later = net.forward()
    for name in ("a", "b"):
        assert_array_equal(first[name], same[name])
        assert not np.isin(later[name], first[name]).any()
    assert not np.isin(first["a"], first["b"]).any()


def test_parts_of_a_batch_see_the_numbers_of_the_whole() -> None:
    """Each sample its own with a bottom, all samples the same without."""
    rows = {"name": "rows", "type": "Random", "bottom": "x", "shape": [2]}
    row = {"name": "row", "type": "Random", "shape": [2]}
    net = make({"name": "x", "type": "Input", "shape": [6, 1]}, rows, row)
    whole = net.forward(x=np.zeros((6, 1)))
    assert whole["rows"].shape == (6, 2)
    assert len(np.unique(whole["rows"])) == 12
    net.first_sample = 4
    part = net.forward(x=np.zeros((2, 1)))
    assert_array_equal(part["rows"], whole["rows"][4:])
    assert_array_equal(part["row"], whole["row"])


def test_micro_batches_give_the_step_of_the_whole_batch() -> None:
    layers = [
        {"name": "x", "type": "Input", "shape": [4, 3]},
        {"name": "noise", "type": "Random", "bottom": "x"},
        {"name": "shift", "type": "Random", "shape": [3], "distribution": "normal"},
        {"name": "sum", "type": "Add", "bottom": ["x", "noise", "shift"]},
        {"name": "fc", "type": "Linear", "out_features": 2},
        {"name": "zero", "type": "Constant", "value": 0, "shape": [1, 2]},
        {"name": "off", "type": "Sub", "bottom": ["fc", "zero"]},
        {"name": "square", "type": "Square"},
        {"name": "loss", "type": "Mean", "dim": [0, 1], "loss_weight": 1},
    ]
    x, weights = np.arange(12.0).reshape(4, 3) / 10, []
    for parts in ([x], [x[:3], x[3:]]):
        net = make(*layers)
        solver = Solver(net, lr=0.1)
        for part in parts:
            solver.accumulate(x=part)
        solver.update()
        weights.append(net.params["fc"]["weight"].data.copy())
    assert_allclose(weights[1], weights[0], rtol=1e-12)


def test_random_needs_to_know_its_shape() -> None:
    x = {"name": "x", "type": "Input", "shape": [2, 3]}
    assert "without a bottom it needs a shape" in refused(x, {"name": "r", "type": "Random"})
    like = make(x, {"name": "r", "type": "Random", "bottom": "x"}).forward(x=X)["r"]
    assert like.shape == (2, 3)


# Identity, Detach, Silence --------------------------------------------------------------------------------------------


def test_identity_is_another_name() -> None:
    layer = Alone("Identity", X)
    assert_array_equal(layer.top(), X)
    assert_array_equal(layer.vjp(3 * X)["bottom[0]"], 3 * X)


def test_nothing_below_detach_is_differentiated() -> None:
    net = make(
        {**INPUT, "grad": True},
        {"name": "below", "type": "Linear", "out_features": 2},
        {"name": "cut", "type": "Detach"},
        {"name": "above", "type": "Linear", "out_features": 2},
        {"name": "loss", "type": "SumSquare", "loss_weight": 1},
    )
    net.forward(x=X)
    net.backward()
    assert_array_equal(net.params["below"]["weight"].grad, np.zeros((2, 3)))
    assert net.params["above"]["weight"].grad.any()
    runs = {step.node.name: step.runs_backward for step in net.graph.phases["train"].steps}
    assert runs == {"below": True, "cut": False, "above": True, "loss": True}
    assert net.graph.phases["train"].steps[3].needs_grad == (True,)
    assert net.graph.phases["train"].steps[2].needs_grad == (False,), "above wastes no work on its bottom's gradient"
    with pytest.raises(BlobError):
        _ = net.blobs["x"].grad


def test_a_straight_through_estimator() -> None:
    """y = x + detach(sign x - x) is sign x, with the gradient of x."""
    net = make(
        {**INPUT, "grad": True},
        {"name": "sign", "type": "Sign"},
        {"name": "step", "type": "Sub", "bottom": ["sign", "x"]},
        {"name": "cut", "type": "Detach"},
        {"name": "y", "type": "Add", "bottom": ["x", "cut"]},
    )
    assert_array_equal(net.forward(x=X)["y"], np.sign(X))
    net.backward(y=X)
    assert_array_equal(net.blobs["x"].grad, X)
    assert_array_equal(net.jvp(x=X)["y"], X)


def test_a_view_may_not_be_overwritten_where_its_origin_is_read() -> None:
    for kind in ("Identity", "Detach"):
        text = refused(
            {**INPUT, "grad": True},
            {"name": "square", "type": "Square"},
            {"name": "exp", "type": "Square", "bottom": "square"},
            {"name": "same", "type": kind, "bottom": "square"},
            {"name": "act", "type": "ReLU", "top": "same"},
        )
        assert "the backward of 'exp' reads 'square'" in text


def test_silence_takes_outputs_away_and_nothing_else() -> None:
    layers = [INPUT, {"name": "a", "type": "Square"}, {"name": "b", "type": "Exp", "bottom": "x"}]
    assert set(make(*layers).forward(x=X)) == {"a", "b"}
    net = make(*layers, {"name": "quiet", "type": "Silence", "bottom": ["a", "x"]})
    assert set(net.forward(x=X)) == {"b"}
    assert_array_equal(net.forward(outputs="a", x=X)["a"], X**2)
    assert net.layers["quiet"].type_name == "Silence"
    assert "makes 0 top(s), 1 are named" in refused(*layers, {"name": "q", "type": "Silence", "top": "y"})


def test_what_follows_silence_reads_the_layer_above_it() -> None:
    net = make(
        INPUT, {"name": "a", "type": "Square"}, {"name": "q", "type": "Silence"}, {"name": "y", "type": "Neg"}
    )
    assert_array_equal(net.forward(x=X)["y"], -(X**2))


def test_blocks_that_begin_without_bottoms_and_end_without_tops() -> None:
    scaled = [
        {"name": "factor", "type": "Parameter", "shape": [], "filler": {"type": "constant", "value": 2}},
        {"name": "y", "type": "Mul", "bottom": ["input", "factor"]},
        {"name": "quiet", "type": "Silence", "bottom": "factor"},
    ]
    net = make(
        INPUT,
        {"name": "s", "block": "scaled", "repeat": 3},
        {"name": "out", "type": "Neg", "bottom": "s"},
        blocks={"scaled": {"net": scaled}},
    )
    assert_array_equal(net.forward(x=X)["out"], -8 * X)
    assert list(net.params) == ["s.0.factor", "s.1.factor", "s.2.factor"]


def test_an_input_inside_of_a_block_has_the_name_of_its_use() -> None:
    body = [
        {"name": "t", "type": "Input", "shape": [2, 3]},
        {"name": "y", "type": "Add", "bottom": ["input", "t"]},
    ]
    net = make(INPUT, {"name": "b", "block": "plus"}, blocks={"plus": {"net": body}})
    assert_array_equal(net.forward(**{"x": X, "b.t": X})["b.y"], 2 * X)


def test_a_layer_that_returns_nothing_makes_no_top() -> None:
    from layerforge import Example, Layer, Spec, register
    from layerforge.schema.registry import LAYERS

    class Forgets(Layer):
        examples = [Example({}, [Spec((2,))])]

        def setup(self, x: Spec) -> Spec:
            return x

        def forward(self, x: Any) -> Any:
            """Nothing."""

    register(Forgets)
    try:
        with pytest.raises(LayerForgeError, match="forward returned 0 tops"):
            make(INPUT, {"name": "f", "type": "Forgets"}).forward(x=X)
    finally:
        LAYERS.remove("Forgets")


# Names ----------------------------------------------------------------------------------------------------------------


def test_what_another_framework_calls_them() -> None:
    for name, ours in (("DummyData", "Constant"), ("StopGradient", "Detach"), ("SpatialDropout2D", "Dropout2d"),
                       ("Placeholder", "Input")):  # fmt: skip
        assert f"did you mean {ours}" in refused({"name": "x", "type": name})
