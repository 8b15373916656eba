"""Exports where the examples of the layers do not reach: other hyper-parameters, axes that follow the batch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from support.engine_fuzz import draw
from support.onnx_nets import differences, net_of
from support.tools import demand

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.contract.layer import Example
from layerforge.interop.onnx.conversions.one_operator import TABLE
from layerforge.interop.onnx.netgraph import graph_of_net
from layerforge.schema.errors import ConfigErrors, LayerForgeError
from layerforge.schema.registry import LAYERS

# Types whose hyper-parameters and shapes are drawn at random ----------------------------------------------------------
WINDOWS = (
    "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "Conv1d", "Conv2d", "Conv3d",
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "LPPool2d", "LocalResponseNorm", "MaxPool1d", "MaxPool2d",
    "MaxPool3d", "PixelShuffle", "SpatialPyramidPool", "StochasticPool2d", "Unfold", "Unfold1d", "Unfold3d", "Upsample",
)  # fmt: skip
OTHERS = (
    "Add", "Bias", "CELU", "Clamp", "ELU", "Exp", "Expand", "Flatten", "Flip", "GELU", "GLU", "GroupNorm",
    "InstanceNorm", "LayerNorm", "MVN", "Pad", "Permute", "PReLU", "RMSNorm", "ReLU", "Repeat",
    "RepeatInterleave", "Reshape", "Scale", "SiLU", "Softplus", "Squeeze", "Stack", "Threshold", "Tile", "Transpose",
    "Unsqueeze",
)  # fmt: skip
DRAWS = 3  # of each type


@pytest.mark.parametrize("kind", WINDOWS + OTHERS)
def test_drawn_hyper_parameters(kind: str) -> None:
    demand("onnxruntime")
    found = []
    for number in range(DRAWS):
        drawn = draw(number, [kind])
        if drawn is not None and not any(0 in spec.shape for spec in drawn[0].example.bottoms):
            found += wrong(kind, drawn[0].example)
    assert not found, "\n".join(found)


def wrong(kind: str, example: Example) -> list[str]:
    """What ONNX Runtime computes otherwise than a layer."""
    net = net_of(LAYERS.get(kind), example)
    specs = {f"x{i}": spec for i, spec in enumerate(example.bottoms)}
    outputs = [blob.name for blob in net.graph.phases["eval"].outputs()]
    found = differences(net, specs, outputs)
    return [f"{kind} {example.params} on {[*map(str, specs.values())]}: {one}" for one in found]


# Chosen corners: hyper-parameters, bottoms, how many tops, and an operator that shows which way was taken -------------
FAR = Spec((4, 3), low=-1e30, high=1e30)
OVERHANGING = {"kernel_size": 3, "stride": [4, 2], "ceil_mode": True}
CORNERS: list[tuple[str, dict[str, Any], list[Spec], int, str]] = [
    ("Upsample", {"scale_factor": 1.3}, [Spec((2, 3, 10, 11))], 1, "Resize"),
    ("Upsample", {"scale_factor": [3.8, 3.174]}, [Spec((2, 2, 15, 12))], 1, "MatMul"),
    ("Upsample", {"size": [16, 21]}, [Spec((2, 2, 14, 2))], 1, "MatMul"),
    ("Upsample", {"size": [7, 22], "mode": "bilinear"}, [Spec((2, 2, 5, 11))], 1, "Resize"),
    ("MaxPool2d", {"kernel_size": 2, "stride": 3, "ceil_mode": True}, [Spec((2, 3, 6, 7))], 1, "MaxPool"),
    (
        "MaxPool2d",
        {"kernel_size": [2, 3], "stride": [3, 2], "ceil_mode": True, "dilation": [1, 3]},
        [Spec((2, 3, 6, 12))],
        2,
        "Mod",
    ),
    (
        "MaxPool2d",
        {"kernel_size": [1, 2], "stride": [3, 4], "ceil_mode": True, "dilation": [1, 3]},
        [Spec((2, 3, 6, 9))],
        1,
        "Pad",
    ),
    ("AvgPool2d", {**OVERHANGING, "padding": 1}, [Spec((2, 3, 7, 6))], 1, "Pad"),
    ("AvgPool2d", {**OVERHANGING, "padding": 1, "count_include_pad": False}, [Spec((2, 3, 7, 6))], 1, "AveragePool"),
    (
        "ConvTranspose2d",
        {"out_channels": 2, "kernel_size": 2, "stride": 2, "padding": 1, "dilation": 4, "output_padding": 3},
        [Spec((2, 3, 4, 4))],
        1,
        "Pad",
    ),
    (
        "ConvTranspose2d",
        {"out_channels": 2, "kernel_size": 2, "stride": 2, "padding": 3, "dilation": 4, "output_padding": 3},
        [Spec((2, 3, 6, 6))],
        1,
        "ConvTranspose",
    ),
    ("LocalResponseNorm", {"size": 3, "beta": 0.0}, [Spec((2, 4, 3, 3))], 1, "AveragePool"),
    (
        "GridSample",
        {"padding_mode": "reflection"},
        [Spec((2, 3, 2, 3, 4)), Spec((2, 2, 2, 3, 3), low=-5, high=5)],
        1,
        "GatherND",
    ),
    # axes that follow the batch
    ("Slice", {"dim": 0, "points": [1]}, [Spec((4, 3))], 2, "Slice"),
    ("Crop", {"dim": 0}, [Spec((4, 3, 5)), Spec((4, 2, 5))], 1, "Slice"),
    ("Concat", {"dim": 0}, [Spec((4, 3)), Spec((4, 3)), Spec((2, 3))], 1, "Concat"),
    ("Tile", {"dims": [2, 1]}, [Spec((4, 3))], 1, "Tile"),
    ("RepeatInterleave", {"repeats": 3}, [Spec((4, 3))], 1, "Reshape"),
    ("Reshape", {"shape": [2, -1, 3]}, [Spec((4, 6))], 1, "Reshape"),
    ("Pad", {"padding": [0, 0, 1, 2]}, [Spec((4, 3))], 1, "Pad"),
    # beyond what squares of float32 hold, and below
    ("LPPool2d", {"kernel_size": 2, "norm_type": 2}, [Spec((2, 3, 4, 4), low=-1e30, high=1e30)], 1, "ReduceMax"),
    ("TripletMarginLoss", {"reduction": "none"}, [FAR] * 3, 1, "ReduceMax"),
    ("SoftmaxCrossEntropy", {}, [FAR, Spec((4,), role="index", high=3)], 1, "LogSoftmax"),
    ("BCEWithLogitsLoss", {}, [FAR, Spec((4, 3), low=0, high=1)], 1, "Softplus"),
    ("Softplus", {"beta": 2.0}, [Spec((4, 3), low=-1e38, high=1e38)], 1, "Softplus"),
]


@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: f"{corner[0]} {corner[1]}")
def test_corners(corner: tuple[str, dict[str, Any], list[Spec], int, str]) -> None:
    demand("onnxruntime")
    kind, params, bottoms, tops, operator = corner
    example = Example(params, bottoms, tops=tops)
    assert operator in operators(net_of(LAYERS.get(kind), example))
    assert not wrong(kind, example)


def operators(net: Net) -> Counter[str]:
    outputs = [blob.name for blob in net.graph.phases["eval"].outputs()]
    return Counter(node.op for node in graph_of_net(net, outputs)[0].nodes)


def test_large_values_of_small_spread_are_normalised() -> None:
    demand("onnxruntime")
    bottom = [Spec((2, 4, 6), low=3000, high=3001)]
    params = {"LayerNorm": {"normalized_shape": 6}, "GroupNorm": {"num_groups": 2}, "InstanceNorm": {}}
    for kind, given in params.items():
        assert not wrong(kind, Example(given, bottom))


# What else is to hold -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.type} {row.op}")
def test_a_row_of_the_table_says_all_of_a_layer_in_words_of_onnx(row: Any) -> None:
    demand("onnx")
    import onnx

    known = set(onnx.defs.get_schema(row.op, 17).attributes)
    assert {*row.attributes.values(), *row.fixed} <= known
    backward_alone = {"ties"}
    assert set(LAYERS.get(row.type).fields) - backward_alone == {*row.attributes, *row.when}


def net(layers: list[dict[str, Any]], shape: tuple[int, ...] = (3, 4)) -> Net:
    config = {"dtype": "float32", "engine": "reference", "inputs": {"x": {"shape": list(shape)}}, "net": layers}
    return Net.from_config(config, keep="none")


def test_all_that_cannot_be_exported_is_named() -> None:
    layers = [
        {"name": "noise", "type": "Random", "bottom": "x"},
        {"name": "sum", "type": "Add", "bottom": ["x", "noise"]},
        {"name": "more", "type": "Random", "bottom": "x"},
        {"name": "product", "type": "Mul", "bottom": ["sum", "more"]},
    ]
    with pytest.raises(ConfigErrors) as raised:
        graph_of_net(net(layers))
    assert "noise" in str(raised.value) and "more" in str(raised.value)
    assert str(raised.value).count("random numbers") == 2


def test_ceil_mode_stays_a_word_where_onnx_has_as_many_windows() -> None:
    pool = {"name": "pool", "type": "MaxPool2d", "bottom": "x", "kernel_size": 2, "ceil_mode": True}
    [node] = graph_of_net(net([pool], (2, 3, 5, 6)))[0].nodes
    assert node.attributes == {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0], "ceil_mode": 1}


def test_silence_is_left_out() -> None:
    layers = [{"name": "y", "type": "ReLU", "bottom": "x"}, {"name": "quiet", "type": "Silence", "bottom": "x"}]
    assert [node.op for node in graph_of_net(net(layers))[0].nodes] == ["Relu"]


def test_dropout_keeps_its_ratio() -> None:
    graph, notes = graph_of_net(net([{"name": "drop", "type": "Dropout", "bottom": "x", "p": 0.25}]))
    [constant, dropout] = graph.nodes
    assert dropout.op == "Dropout" and dropout.name == "drop" and dropout.inputs == ["x", constant.outputs[0]]
    assert constant.attributes["value"] == 0.25 and constant.attributes["value"].shape == ()
    assert not notes


def test_dropout_of_channels_is_told_of() -> None:
    _, notes = graph_of_net(net([{"name": "drop", "type": "Dropout2d", "bottom": "x"}]))
    assert "channels" in notes[0] and "drop" in notes[0]


def test_a_shared_parameter_is_one_initializer() -> None:
    demand("onnxruntime")
    layers = [
        {"name": "a", "type": "PReLU", "bottom": "x"},
        {"name": "b", "type": "PReLU", "share": {"weight": "a.weight"}},
        {"name": "c", "type": "Scale"},
    ]
    made = net(layers)
    assert sorted(graph_of_net(made)[0].initializers) == ["a.weight", "c.weight"]
    assert not differences(made, made.graph.inputs)


def test_a_size_that_follows_the_batch_is_refused_where_onnx_has_to_know_it() -> None:
    layers = [
        {"name": "turned", "type": "Transpose", "bottom": "x", "dim0": 0, "dim1": 3},
        {"name": "pooled", "type": "MaxPool2d", "kernel_size": 1},
    ]
    with pytest.raises(LayerForgeError, match="follows the number of samples"):
        graph_of_net(net(layers, (2, 3, 4, 5)))
