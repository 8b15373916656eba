"""Small files that ask for much, and what a file must not say."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, imported, model, node
from support.tools import demand

from layerforge.interop.onnx import folding, importing
from layerforge.interop.onnx import model as onnx_model
from layerforge.schema.errors import ConfigError, LayerForgeError, flatten


@pytest.fixture(autouse=True)
def _tools() -> None:
    demand("onnx")


def refused(proto: Any, inputs: dict[str, list[int]] | None = None) -> str:
    with pytest.raises(LayerForgeError) as caught:
        imported(proto, inputs)
    return "\n".join(f"{one.message} = {one.hint}" for one in flatten(caught.value))


LONG = np.ones((100, 1), np.float32)
GROWING: dict[str, Callable[[], list[Any]]] = {
    "Add": lambda: [node("Transpose", "wide", "b", perm=[1, 0]), node("Add", "a b", "c")],
    "Less": lambda: [node("Transpose", "wide", "b", perm=[1, 0]), node("Less", "a b", "c")],
    "Mod": lambda: [node("Transpose", "wide", "b", perm=[1, 0]), node("Mod", "a b", "c", fmod=1)],
    "MatMul": lambda: [node("Transpose", "wide", "b", perm=[1, 0]), node("MatMul", "a b", "c")],
    "Where": lambda: [node("Transpose", "wide", "b", perm=[1, 0]), node("Where", "yes a b", "c")],
    "Gather": lambda: [node("Gather", "rows index", "c", axis=0)],
    "GatherND": lambda: [node("Unsqueeze", "index last", "i"), node("GatherND", "rows i", "c")],
    "Concat": lambda: [node("Concat", " ".join("a" * 50), "c", axis=1)],
    "EyeLike": lambda: [
        *(node("Shape", "a", "s"), node("Reshape", "index s", "r"), node("Expand", "r size", "e")),
        node("EyeLike", "e", "c"),
    ],
    "NonZero": lambda: [node("Reshape", "a deep", "b"), node("NonZero", "b", "c")],
}


@pytest.mark.parametrize("op", GROWING)
def test_no_node_makes_more_than_is_allowed(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "LARGEST", 1000)
    weights = {
        **{"a": LONG, "wide": LONG + 1, "yes": np.array(True), "rows": np.ones((1, 50), np.float32)},
        **{"index": np.zeros(100, np.int64), "last": np.array([-1]), "size": np.array([100, 50])},
        "deep": np.array([*[1] * 19, 100]),
    }
    nodes = [*GROWING[op](), node("Cast", "c", "f", to=1), node("ReduceMax", "f", "d", keepdims=0), node("Mul", "x d")]
    told = refused(model(nodes, {"x": ["N", 3]}, ["y"], weights))
    assert "is not made: up to 1000 numbers are" in told, told


def test_all_nodes_together_make_no_more_than_is_allowed() -> None:
    doubled = [node("Concat", f"c{i} c{i}", f"c{i + 1}", axis=0) for i in range(15)]
    nodes = [*doubled, node("ReduceMax", "c15", "d", keepdims=0), node("Mul", "x d")]
    start = time.process_time()
    told = refused(model(nodes, {"x": ["N", 3]}, ["y"], {"c0": np.ones(1 << 13, np.float32)}))
    assert "is not made" in told
    assert time.process_time() - start < 20


@pytest.mark.parametrize("limit", ["MOST_MADE", "MOST_WORK"])
def test_what_is_computed_is_counted(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ops = [node("Exp" if i % 2 else "Log", f"c{i}", f"c{i + 1}") for i in range(40)]
    graph = model([*ops, node("Mul", "x c40")], {"x": ["N", 100, 3]}, ["y"], {"c0": np.ones((100, 3), np.float32)})
    assert imported(graph).config
    monkeypatch.setattr(folding, limit, 1000)
    assert "more numbers than are computed here" in refused(graph)


def test_numbers_that_are_only_moved_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MOST_MADE", 10)
    turned = [node("Transpose", f"w{i}", f"w{i + 1}", perm=[1, 0]) for i in range(40)]
    imported(model([*turned, node("MatMul", "x w40")], {"x": ["N", 3]}, ["y"], {"w0": drawn((3, 20))}))


def test_tables_of_one_hot_vectors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "LARGEST_TABLE", 100)
    assert "a table of 11 one-hot vectors" in refused(model([node("Hardmax", "x")], {"x": ["N", 11]}, ["y"]))
    imported(model([node("Hardmax", "x")], {"x": ["N", 10]}, ["y"]))


def test_the_shape_that_an_error_proposes_can_be_said() -> None:
    graph = model([node("Relu", "x")], {"x": [4, "L", 3]}, ["y"])
    assert "such as --input x=4,64,3" in refused(graph)
    assert imported(graph, {"x": [4, 64, 3]}).config
    assert "such as --input x=1,64,3" in refused(model([node("Relu", "x")], {"x": ["N", "L", 3]}, ["y"]))


def test_a_file_of_other_operators_alone_needs_no_version_of_onnx_own() -> None:
    from onnx import helper

    demand("onnxruntime")
    graph = model(
        [node("Scaler", "x", domain="ai.onnx.ml", offset=[0.5], scale=[2.0])], {"x": ["N", 3]}, ["y"], domains={}
    )
    del graph.opset_import[:]
    graph.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    compare(graph, {"x": drawn((2, 3))})


def test_a_file_cannot_use_the_domain_of_what_patterns_write() -> None:
    nodes = [node("ScaledDotProductAttention", "x x x", domain="layerforge")]
    told = refused(model(nodes, {"x": ["N", 2, 3, 4]}, ["y"], domains={"layerforge": 1}))
    assert "'layerforge'" in told and "ScaledDotProductAttention" in told


def test_faults_of_the_program_are_not_told_as_those_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(site: Any) -> None:
        raise KeyError("no such thing")

    monkeypatch.setitem(importing.IMPORTS, "Tan", faulty)
    with pytest.raises(KeyError):
        imported(model([node("Tan", "x")], {"x": ["N", 3]}, ["y"]))


def test_what_does_not_fit_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="EyeLike"):
        imported(model([node("EyeLike", "x", "e"), node("Add", "x e")], {"x": [20, 3, 3]}, ["y"]))


def test_names_of_a_file_stay_in_their_place_in_the_report() -> None:
    from onnx import helper

    between = "a|b\nc"
    nodes = [helper.make_node("Relu", ["x"], [between], "one\n# two|3"), helper.make_node("Neg", [between], ["y"])]
    made = imported(model(nodes, {"x": [2, 3]}, ["y"]))
    told = made.report.markdown()
    assert "2 nodes of ONNX: 2 exact." in told
    assert "## Nodes with other names" in told and "\n# two" not in told and "\nc`" not in told
    (row,) = (line for line in told.splitlines() if "Relu" in line)
    assert row.count("|") - row.count("\\|") == 5


def test_lengths_beside_the_batch_are_fixed_only_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bool] = []

    def counted(*given: Any, only_batch: bool = False) -> Any:
        tried.append(only_batch)
        return translate(*given, only_batch=only_batch)

    translate = onnx_model.translate
    monkeypatch.setattr(onnx_model, "translate", counted)
    wrong = [node("NonZero", "x")]
    refused(model(wrong, {"x": ["N", 3]}, ["y"]))
    assert tried == [False, False]
    refused(model(wrong, {"x": ["N", "L"]}, ["y"]), {"x": [2, 3]})
    assert tried[2:] == [False, False, True, True]


def test_patterns_leave_graphs_that_cannot_be_run_to_the_translation() -> None:
    """An attention whose mask does not fit its scores; parts that cannot be joined."""
    nodes = [
        node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t", "s"), node("Add", "s mask", "m"),
        node("Softmax", "m", "p", axis=-1), node("MatMul", "p x"),
    ]  # fmt: skip
    masks = np.triu(np.full((3, 2), -np.inf, np.float32), 1)
    assert "do not broadcast" in refused(model(nodes, {"x": ["N", 2, 3, 4]}, ["y"], {"mask": masks}))
    parts = [node("Split", "x sizes", "a b", axis=2), node("Concat", "a b", axis=1)]
    assert "(Concat)" in refused(model(parts, {"x": ["N", 2, 3]}, ["y"], {"sizes": np.array([1, 2])}))


def test_invalid_graphs_are_told_of_as_such() -> None:
    gemm = model([node("Gemm", "x w")], {"x": ["N", 3]}, ["y"], {"w": np.ones((1, 3, 4), np.float32)})
    assert "B has shape (1, 3, 4)" in refused(gemm)
    shape = np.ones(64, np.int64)
    assert "cannot be expanded" in refused(model([node("Expand", "x s")], {"x": ["N", 3]}, ["y"], {"s": shape}))
    recurrent = [node("NonZero", "z", "h"), node("RNN", "x w r - - h", "y", hidden_size=2)]
    weights = {"w": np.ones((1, 2, 3), np.float32), "r": np.ones((1, 2, 2), np.float32)}
    assert "(NonZero)" in refused(model(recurrent, {"x": [4, "N", 3], "z": ["M"]}, ["y"], weights), {"x": [4, 2, 3]})
