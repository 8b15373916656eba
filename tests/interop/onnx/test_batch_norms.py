"""fold_batch_norm: each BatchNorm, and a Scale behind it, goes into the linear layer below; nothing else changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from support.onnx_nets import differences, randomize
from support.tools import demand

from layerforge import Net
from layerforge.interop.onnx.netgraph import graph_of_net

IMAGE = [2, 4, 5, 6]
CONV = {"name": "conv", "type": "Conv2d", "bottom": "x", "out_channels": 6, "kernel_size": 3}
BN = {"name": "bn", "type": "BatchNorm"}
RELU = {"name": "relu", "type": "ReLU"}
CAFFE = [
    {"name": "bn", "type": "BatchNorm", "affine": False, "bias_correction": True, "eps": 1e-3},
    {"name": "scale", "type": "Scale", "bias": True},
]

FOLDED: dict[str, tuple[list[int], list[dict[str, Any]], dict[str, int]]] = {
    "convolution": (IMAGE, [CONV, BN, RELU], {"Conv": 1, "Relu": 1}),
    "without a bias": (IMAGE, [{**CONV, "bias": False, "groups": 2}, BN], {"Conv": 1}),
    "as Caffe has it": (IMAGE, [{**CONV, "bias": False}, *CAFFE, RELU], {"Conv": 1, "Relu": 1}),
    "without affine": (IMAGE, [CONV, {**BN, "affine": False}], {"Conv": 1}),
    "a factor alone": (IMAGE, [CONV, BN, CAFFE[1], {"name": "bias", "type": "Bias"}], {"Conv": 1}),
    "along one axis": (
        [2, 4, 7],
        [{"name": "conv", "type": "Conv1d", "bottom": "x", "out_channels": 3, "kernel_size": 2}, BN],
        {"Conv": 1},
    ),
    "transposed, in groups": (
        IMAGE,
        [{**CONV, "type": "ConvTranspose2d", "groups": 2, "stride": 2}, BN],
        {"ConvTranspose": 1},
    ),
    "linear": ([3, 5], [{"name": "fc", "type": "Linear", "bottom": "x", "out_features": 4}, BN], {"Gemm": 1}),
    "linear without a bias": (
        [3, 5],
        [{"name": "fc", "type": "Linear", "bottom": "x", "out_features": 4, "bias": False}, *CAFFE],
        {"Gemm": 1},
    ),
}
LEFT: dict[str, tuple[list[dict[str, Any]], list[str] | None]] = {
    "the blob between is read": ([CONV, BN, {"name": "sum", "type": "Add", "bottom": ["conv", "bn"]}], None),
    "the blob between is wanted": ([CONV, BN], ["conv", "bn"]),
    "nothing linear below": ([{"name": "relu", "type": "ReLU", "bottom": "x"}, BN], None),
    "by the batch": ([CONV, {**BN, "use_batch_stats": True}], None),
    "the weight is shared": (
        [
            CONV,
            {**BN, "bottom": "conv"},
            {**CONV, "name": "conv2", "share": {"weight": "conv.weight"}},
            {"name": "sum", "type": "Add", "bottom": ["bn", "conv2"]},
        ],
        None,
    ),
}


def net_of(shape: list[int], layers: list[dict[str, Any]]) -> Net:
    config = {"dtype": "float32", "engine": "reference", "inputs": {"x": {"shape": shape}}, "net": layers}
    net = Net.from_config(config, keep="none")
    randomize(net)
    return net


def operators(net: Net, outputs: list[str] | None = None, **options: bool) -> Counter[str]:
    """How often each operator is in the graph, without constants."""
    return Counter(node.op for node in graph_of_net(net, outputs, **options)[0].nodes if node.op != "Constant")


@pytest.mark.parametrize("name", FOLDED)
def test_it_is_folded_and_computes_the_same(name: str) -> None:
    demand("onnxruntime")
    shape, layers, left = FOLDED[name]
    net = net_of(shape, layers)
    assert operators(net, fold_batch_norm=True) == left
    assert "BatchNormalization" in operators(net)
    assert not differences(net, net.graph.inputs, fold_batch_norm=True)


@pytest.mark.parametrize("name", LEFT)
def test_it_stays_where_it_cannot_be_folded(name: str) -> None:
    demand("onnxruntime")
    layers, outputs = LEFT[name]
    net = net_of(IMAGE, layers)
    assert operators(net, outputs, fold_batch_norm=True) == operators(net, outputs)
    assert not differences(net, net.graph.inputs, outputs, fold_batch_norm=True)


def test_only_what_is_folded_loses_its_parameters() -> None:
    net = net_of(IMAGE, [CONV, *CAFFE, {**CONV, "name": "last", "bottom": "scale"}])
    graph, _ = graph_of_net(net, fold_batch_norm=True)
    assert sorted(graph.initializers) == ["conv.bias", "conv.weight", "last.bias", "last.weight"]
    assert [node.name for node in graph.nodes] == ["conv", "last"]
    assert graph.nodes[0].outputs == ["scale"]
    assert np.array_equal(graph.initializers["last.weight"], net.params["last"]["weight"].data)
