"""What is exported can be imported again: every layer computes the same, and a net trains to the same losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.onnx_nets import compared, examples_of, inputs_of, randomize
from support.onnx_whole import given
from support.tools import demand

from layerforge import Net, Solver
from layerforge.interop.onnx import learning
from layerforge.interop.onnx.model import of_graph
from layerforge.interop.onnx.netgraph import graph_of_net, known_types
from layerforge.interop.predicted import predicted
from layerforge.plan.planner import needed
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import LAYERS

EXPORTED = sorted(kind for kind, why in known_types().items() if not why)
REASONS = ("(Scan)", "(NonMaxSuppression)", "the places of the maxima", "depend on the sizes of the net's inputs")


@pytest.mark.parametrize("kind", EXPORTED)
def test_a_layer_is_the_same_again(kind: str) -> None:
    demand("onnx")
    example, net = next(examples_of(LAYERS.get(kind)))
    specs = {f"x{i}": spec for i, spec in enumerate(example.bottoms)}
    graph, notes = graph_of_net(net)
    try:
        model = of_graph(graph, "net.onnx")
    except ConfigError as error:  # of primitives that no layer has a counterpart for
        assert any(reason in str(error) for reason in REASONS), error
        return
    again = model.net(keep="none", engine="reference")
    for samples in (None,) if notes else (None, 6):
        given = inputs_of(specs, samples)
        names = [info.name for info in graph.outputs]
        wanted = net.forward(phase="eval", outputs=[name.removesuffix("/output") for name in names], **given)
        found = again.forward(phase="eval", **{model.inputs[name]: given[name] for name in model.inputs})
        for name in names:
            assert not compared(name, wanted[name.removesuffix("/output")], found[model.outputs[name]])


NET: list[dict[str, Any]] = [
    {"name": "fc1", "type": "Linear", "bottom": "x", "out_features": 12},
    {"name": "bn", "type": "BatchNorm", "bottom": "fc1", "momentum": 0.2, "eps": 0.001},
    {"name": "act", "type": "ReLU", "bottom": "bn"},
    {"name": "drop", "type": "Dropout", "bottom": "act", "p": 0.3},
    {"name": "fc2", "type": "Linear", "bottom": "drop", "out_features": 5},
]


def trained(config: dict[str, Any], scores: str, model: Any, arrays: Any) -> list[float]:
    """The losses of 20 steps of gradient descent on random labels."""
    inputs = {"x": {"shape": [8, 6]}, "t": {"shape": [8], "dtype": "int64"}}
    loss = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": [scores, "t"]}
    net = Net.from_config({"seed": 3, "inputs": inputs, "net": [*config["net"], loss]}, keep="none")
    net.load_arrays(net.arrays() | arrays, "test") if model is None else model.fill(net)
    rng, losses = np.random.default_rng(1), []
    for step in range(20):
        net.iteration = step
        given = {"x": rng.normal(size=(8, 6)).astype(np.float32), "t": rng.integers(0, 5, 8)}
        losses.append(float(net.forward(phase="train", **given)["loss"]))
        net.zero_grad()
        net.backward_losses()
        for layer, named in net.params.items():
            for name in named:
                view = net.params[layer][name]
                view.data = np.asarray(view.data) - 0.1 * np.asarray(view.grad)
    return losses


def test_a_net_trains_to_the_same_losses() -> None:
    demand("onnx")
    missing = {layer["type"] for layer in NET} - set(EXPORTED)
    assert not missing, f"no exports of {missing}"
    config = {"inputs": {"x": {"shape": [8, 6]}}, "net": NET}
    net = Net.from_config(config, keep="none")
    randomize(net, 5)
    model = of_graph(graph_of_net(net)[0], "net.onnx")
    assert [layer["name"] for layer in model.config["net"]] == [layer["name"] for layer in NET]
    before = trained(config, "fc2", None, net.arrays())
    after = trained(model.config, model.outputs["fc2"], model, {})
    assert before[0] != before[-1]
    assert np.abs(np.array(before) - after).max() <= 1e-5 * max(before)


CONFIGS = [p for p in sorted((Path(__file__).parents[3] / "configs").glob("*.yaml")) if p.stem != "circuit"]
SAMPLES = 2  # circuit has no solver


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_net_that_ships_trains_to_the_same_losses(path: Path) -> None:
    """With its own solver and losses; the learning rate is a hundredth, as the start is not the file's own data."""
    demand("onnx")
    net = Net.from_yaml(path, keep="none")
    graph, _ = graph_of_net(net)
    graph.metadata |= learning.told(net)
    model = of_graph(graph, "net.onnx")
    again = Net.from_config(with_losses_of(net, model.config["net"], model.outputs), keep="none")
    model.fill(again)
    specs, losses = net.graph.inputs, []
    for one in (net, again):
        solver = Solver.from_config(one, net.config.solver)
        solver.lr = 0.01 * solver.base_lr
        solver.total_iterations, solver.total_epochs = 1000, 10
        losses.append([solver.step(**given(specs, SAMPLES, step)) for step in range(20)])
    before, after = np.array(losses)
    assert np.ptp(before) > 1e-3
    assert np.abs(before - after).max() <= 1e-5 * np.abs(before).max()


def with_losses_of(net: Net, layers: list[dict[str, Any]], outputs: dict[str, str]) -> dict[str, Any]:
    """The configuration of an import with those layers of the net that the export left out: losses and metrics."""
    phase = net.graph.phases["eval"]
    wanted = {phase.current[name].index for name in predicted(net)}
    exported = {step.node.name for step in needed(phase.steps, wanted)}
    own = [
        {**node.item, "bottom": [outputs.get(name, name) for name in node.bottoms], "top": list(node.tops)}
        for node in net.graph.nodes
        if node.name not in exported
    ]
    inputs = {
        name: {"shape": list(spec.shape), **({} if spec.is_real else {"dtype": spec.dtype})}
        for name, spec in net.graph.inputs.items()
    }
    return {"seed": net.seed, "inputs": inputs, "net": [*layers, *own]}


def test_a_layer_norm_is_one_layer_again() -> None:
    demand("onnx")
    layers = [
        {"name": "one", "type": "LayerNorm", "bottom": "x", "normalized_shape": 4},
        {"name": "two", "type": "LayerNorm", "bottom": "one", "normalized_shape": [3, 4], "eps": 0.001},
    ]
    net = Net.from_config({"inputs": {"x": {"shape": [2, 3, 4]}}, "net": layers}, keep="none")
    assert of_graph(graph_of_net(net)[0], "net.onnx").config["net"] == layers
