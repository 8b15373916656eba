"""Exports of reductions, indexing and sequences where examples do not reach: drawn, and along the samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.engine_fuzz import draw
from support.onnx_nets import differences, net_of, session
from support.tools import demand

from layerforge.arrays.spec import Spec, index
from layerforge.contract.layer import Example
from layerforge.interop.onnx.netgraph import graph_of_net
from layerforge.schema.registry import LAYERS

DRAWN = (
    "AbsSum", "ArgMax", "Cumprod", "Cumsum", "Det", "Diagonal", "GRU", "LSTM", "LogDet", "LogSoftmax", "LogSumExp",
    "Max", "Mean", "Min", "MultiheadAttention", "PositionalEmbedding", "Prod", "RNN",
    "ScaledDotProductAttention", "Softmax", "Sort", "Std", "Sum", "SumSquare", "TopK", "Trace", "Var",
)  # fmt: skip
X = [Spec((4, 3, 5))]


@pytest.mark.parametrize("kind", DRAWN)
def test_drawn_hyper_parameters(kind: str) -> None:
    demand("onnxruntime")
    for number in (0, 1, 2):
        drawn = draw(number, [kind])
        assert drawn is not None
        if not any(0 in spec.shape for spec in drawn[0].example.bottoms):
            assert differing(kind, drawn[0].example) == []


def differing(kind: str, example: Example, follows: bool = False) -> list[str]:
    """What ONNX Runtime computes otherwise; `follows` demands that the graph takes any number of samples."""
    net = net_of(LAYERS.get(kind), example)
    outputs = [blob.name for blob in net.graph.phases["eval"].outputs()]
    if follows:
        assert not any("fixed" in note for note in graph_of_net(net, outputs)[1])
    return differences(net, {f"x{i}": spec for i, spec in enumerate(example.bottoms)}, outputs)


@pytest.mark.parametrize(
    ("kind", "params", "tops"),
    [
        ("Index", {"index": [-1]}, 1),
        ("Index", {"index": [[0, -1, -1], 1]}, 1),
        ("Index", {"index": [[-2, 1], ":", [0, -1]]}, 1),
        ("Index", {"index": ["::-1", "1:"]}, 1),
        ("Index", {"index": ["1:", [True, False, True]]}, 1),
        ("Index", {"index": [":-1", 0, "::2"]}, 1),
        ("ArgMax", {"dim": 0, "top_k": 2, "ties": "caffe"}, 2),
        ("ArgMax", {"top_k": 3, "ties": "caffe"}, 2),
        ("ArgMax", {"keepdim": True}, 2),
        ("Sort", {"dim": 0, "descending": True}, 2),
        ("TopK", {"dim": 0, "k": 2, "largest": False}, 2),
        ("Max", {"dim": 0}, 2),
        ("Cumsum", {"dim": 0}, 1),
        ("Cumprod", {"dim": 0}, 1),
        ("Cumprod", {"dim": 2}, 1),
        ("Var", {"dim": [0, 2], "correction": 2}, 1),
        ("Std", {}, 1),
        ("Norm", {"p": 3.5, "dim": [0, 1]}, 1),
        ("Softmax", {"dim": 0}, 1),
        ("PositionalEmbedding", {"max_len": 3}, 1),
        ("LSTM", {"hidden_size": 3, "bidirectional": True, "num_layers": 2}, 3),
    ],
)
def test_any_number_of_samples(kind: str, params: dict[str, Any], tops: int) -> None:
    demand("onnxruntime")
    assert differing(kind, Example(params, X, tops=tops), follows=True) == []


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("second", ["mask", "cont"])
def test_marks_that_are_no_run_of_ones(kind: str, second: str) -> None:
    """Steps in the middle that do not count, and sequences that begin in the middle, backwards too."""
    demand("onnxruntime")
    params = {"hidden_size": 3, "num_layers": 2, "bidirectional": True, "second_bottom": second}
    example = Example(params, [Spec((4, 6, 2)), index((4, 6), 2)], tops=2)
    assert differing(kind, example, follows=True) == []


def test_a_layer_without_marks_is_one_operator_and_with_them_a_loop() -> None:
    for second, wanted in ([], {"LSTM"}), ([index((4, 6), 2)], {"Scan"}):
        net = net_of(LAYERS.get("LSTM"), Example({"hidden_size": 3}, [Spec((4, 6, 2)), *second]))
        assert {node.op for node in graph_of_net(net)[0].nodes} & {"LSTM", "Scan"} == wanted


def test_a_stateful_layer_begins_from_zero_and_says_so() -> None:
    demand("onnxruntime")
    net = net_of(LAYERS.get("GRU"), Example({"hidden_size": 3, "stateful": True}, [Spec((4, 6, 2))]))
    graph, notes = graph_of_net(net)
    assert ["begins from zero" in note for note in notes] == [True]
    x = np.random.default_rng(0).normal(size=(4, 6, 2)).astype(np.float32)
    run = session(graph)
    first, second = (run.run(None, {"x0": x})[0] for _ in range(2))
    assert np.array_equal(first, second)
    ours = [net.forward(phase="eval", x0=x)["y0"].copy() for _ in range(2)]
    assert np.allclose(first, ours[0], atol=1e-6)
    assert not np.allclose(first, ours[1], atol=1e-3)


def test_powers_of_a_norm_do_not_overflow() -> None:
    demand("onnxruntime")
    assert differing("Norm", Example({"p": 4.0, "dim": 1}, [Spec((4, 3), low=1e20, high=1e30)])) == []


def test_the_logarithm_of_a_determinant_that_is_too_large_for_one() -> None:
    demand("onnxruntime")
    net = net_of(LAYERS.get("LogDet"), Example({}, [Spec((2, 30, 30))]))
    x = np.stack([np.eye(30) * 1e3, np.eye(30) * 1e-3]).astype(np.float32)
    found = session(graph_of_net(net)[0]).run(None, {"x0": x})[0]
    assert np.allclose(found, 30 * np.log([1e3, 1e-3]), rtol=1e-6)


def test_systems_whose_pivot_is_0_are_solved() -> None:
    """Rows come up in another order than they stand in."""
    demand("onnxruntime")
    net = net_of(LAYERS.get("Inverse"), Example({}, [Spec((2, 4, 4))]))
    orders = np.eye(4)[[[1, 2, 3, 0], [3, 2, 1, 0]]] * [2, -3, 4, 5]
    found = session(graph_of_net(net)[0]).run(None, {"x0": orders.astype(np.float32)})[0]
    assert np.allclose(found, np.linalg.inv(orders), rtol=1e-6)
