"""What a graph is like: its inputs, outputs and names, for nets of several losses, phases, dtypes and wirings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_nets import differences, randomize, session
from support.tools import demand

from layerforge import Net
from layerforge.interop.onnx.graph import OnnxGraph
from layerforge.interop.onnx.netgraph import graph_of_net
from layerforge.interop.predicted import predicted
from layerforge.schema.errors import ConfigError, flatten

X = {"x": {"shape": [4, 6]}}
XT = {**X, "t": {"shape": [4], "dtype": "int64"}}


def net_of(inputs: dict[str, Any], *layers: dict[str, Any], **more: Any) -> Net:
    net = Net.from_config({"engine": "reference", "inputs": inputs, "net": list(layers), **more}, keep="none")
    randomize(net)
    return net


def linear(name: str, out: int = 3, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "Linear", "out_features": out, **more}


def ops(graph: OnnxGraph) -> list[str]:
    return [node.op for node in graph.nodes]


def same(net: Net, outputs: tuple[str, ...] | None = None) -> OnnxGraph:
    """The graph of a net that computes the same in ONNX Runtime."""
    demand("onnxruntime")
    assert differences(net, dict(net.graph.inputs), outputs) == []
    return graph_of_net(net, outputs)[0]


def test_a_classifier_gives_scores_and_takes_no_labels() -> None:
    net = net_of(
        XT,
        linear("fc"),
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
        {"name": "hits", "type": "Accuracy", "bottom": ["fc", "t"], "phase": "eval"},
    )
    assert predicted(net) == ("fc",)
    graph = same(net)
    assert [info.name for info in graph.inputs] == ["x"]
    assert [(info.name, info.shape) for info in graph.outputs] == [("fc", ("N", 3))]
    assert ops(graph) == ["Gemm"]
    assert set(graph.initializers) == {"fc.weight", "fc.bias"}


def test_losses_and_metrics_are_exported_where_they_are_asked_for() -> None:
    net = net_of(
        XT,
        linear("fc"),
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
        {"name": "hits", "type": "Accuracy", "bottom": ["fc", "t"], "phase": "eval"},
    )
    graph = graph_of_net(net, ("hits", "loss"))[0]
    assert [(info.name, info.dtype) for info in graph.inputs] == [("x", "float32"), ("t", "int64")]
    rng = np.random.default_rng(3)
    given = {"x": rng.normal(size=(9, 6)).astype(np.float32), "t": rng.integers(0, 3, 9)}
    ours = net.forward(phase="eval", **given)
    demand("onnxruntime")
    hits, loss = session(graph).run(None, given)
    assert 0 < hits < 1
    assert hits == pytest.approx(float(ours["hits"]), rel=1e-6)
    assert loss == pytest.approx(float(ours["loss"]), rel=1e-5)


def test_layers_behind_a_loss_alone_are_left_out() -> None:
    """An auxiliary classifier is not what a net predicts, its scores are."""
    net = net_of(
        {**XT, "weights": {"shape": [4]}},
        linear("fc"),
        linear("aux", bottom="x"),
        {"name": "main", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
        {"name": "side", "type": "SoftmaxCrossEntropy", "bottom": ["aux", "t"], "loss_weight": 0.3},
    )
    assert set(predicted(net)) == {"fc", "aux"}
    assert len(same(net).outputs) == 2


def test_what_is_only_prepared_to_be_a_target_is_no_prediction() -> None:
    net = net_of(
        {"x": {"shape": [4, 2, 3]}},
        {"name": "flat", "type": "Flatten"},
        {"name": "target", "type": "Square", "bottom": "flat"},
        linear("fc", bottom="flat", out=6),
        {"name": "loss", "type": "MSELoss", "bottom": ["fc", "target"]},
    )
    assert predicted(net) == ("fc",)
    assert "Mul" not in ops(same(net))


def test_layers_of_the_other_phase_are_left_out() -> None:
    net = net_of(
        XT,
        linear("fc"),
        {"name": "noise", "type": "Dropout", "p": 0.5, "top": "fc", "bottom": "fc", "phase": "train"},
        {"name": "prob", "type": "Softmax", "bottom": "fc", "phase": "eval"},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"], "phase": "train"},
    )
    assert predicted(net) == ("prob",)
    assert ops(same(net)) == ["Gemm", "Softmax"]


def test_a_blob_that_is_overwritten_keeps_its_name_for_what_it_is_in_the_end() -> None:
    net = net_of(
        X,
        linear("fc", top="y"),
        {"name": "relu", "type": "ReLU", "bottom": "y", "top": "y"},
    )
    graph = same(net)
    assert [(node.name, node.outputs) for node in graph.nodes] == [("fc", ["fc"]), ("relu", ["y"])]
    assert [info.name for info in graph.outputs] == ["y"]


def test_a_shared_parameter_is_one_initializer() -> None:
    net = net_of(
        {"a": {"shape": [4, 6]}, "b": {"shape": [4, 6]}},
        linear("one", bottom="a"),
        linear("two", bottom="b", share={"weight": "one.weight", "bias": "one.bias"}),
        {"name": "apart", "type": "Sub", "bottom": ["one", "two"]},
    )
    assert set(same(net).initializers) == {"one.weight", "one.bias"}


def test_a_net_in_float64_is_written_in_float32_and_says_so() -> None:
    net = net_of(X, linear("fc"), dtype="float64")
    graph, notes = graph_of_net(net)
    assert {array.dtype.name for array in graph.initializers.values()} == {"float32"}
    assert notes == ["the net computes in float64, the file in float32"]
    same(net)


def test_indices_are_integers_of_64_bits() -> None:
    net = net_of(
        {"words": {"shape": [4, 5], "dtype": "int64"}},
        {"name": "embed", "type": "Embedding", "num_embeddings": 7, "embedding_dim": 3},
        {"name": "best", "type": "ArgMax", "dim": 2},
    )
    graph, _ = graph_of_net(net)
    assert [(info.name, info.dtype, info.shape) for info in graph.inputs] == [("words", "int64", ("N", 5))]
    assert [(info.name, info.dtype) for info in graph.outputs] == [("best", "int64")]
    demand("onnxruntime")
    words = np.random.default_rng(0).integers(0, 7, (6, 5))
    ours = net.forward(phase="eval", words=words)["best"]
    assert np.array_equal(session(graph).run(None, {"words": words})[0], ours)


def test_several_outputs_in_the_order_that_is_asked_for() -> None:
    net = net_of(X, linear("fc"), {"name": "act", "type": "Tanh"})
    graph = same(net, ("act", "fc"))
    assert [info.name for info in graph.outputs] == ["act", "fc"]


def test_lengths_that_follow_the_batch_are_told_by_name() -> None:
    net = net_of(
        {"x": {"shape": [4, 3, 6]}},
        {"name": "rows", "type": "Reshape", "shape": [-1, 6]},
        {"name": "twice", "type": "Tile", "dims": [2, 1]},
    )
    assert [info.shape for info in same(net).outputs] == [("6*N", 6)]


def test_all_layers_without_a_counterpart_are_told_of_at_once() -> None:
    net = net_of(
        {"x": {"shape": [4, 5, 3]}, "t": {"shape": [4], "dtype": "int64"}},
        {"name": "spectrum", "type": "SVDVals", "bottom": "x"},
        {"name": "area", "type": "AUROC", "bottom": ["spectrum", "t"]},
    )
    with pytest.raises(ConfigError) as caught:
        graph_of_net(net, ("spectrum", "area"))
    told = [error.message for error in flatten(caught.value)]
    assert len(told) == 2
    assert "'spectrum' (SVDVals)" in told[0]
    assert "'area' (AUROC)" in told[1]
