"""Branches of an If, calls of functions, and what several nodes share, as parts of a net."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, imported, model, node
from support.tools import demand

from layerforge.schema.errors import DataError


@pytest.fixture(autouse=True)
def _tools() -> None:
    demand("onnx")
    demand("onnxruntime")


def branch(nodes: list[Any], output: str, weights: dict[str, np.ndarray] | None = None) -> Any:
    from onnx import helper, numpy_helper

    arrays = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    return helper.make_graph(nodes, "branch", [], [helper.make_empty_tensor_value_info(output)], arrays)


def choice(output: str, then: Any, otherwise: Any) -> Any:
    from onnx import helper

    return helper.make_node("If", ["yes"], [output], then_branch=then, else_branch=otherwise)


def copy(output: str) -> Any:
    return branch([node("Identity", "x", output)], output)


def test_two_branches_may_call_their_values_alike() -> None:
    def scaled(op: str, weight: np.ndarray) -> Any:
        return branch([node(op, "x", "t"), node("Mul", "t w", "u"), node("Neg", "u", "r")], "r", {"w": weight})

    nodes = [
        choice("a", scaled("Relu", drawn((3,), 1)), copy("q")),
        choice("b", scaled("Sigmoid", drawn((3,), 2)), copy("q")),
        node("Add", "a b"),
    ]
    compare(model(nodes, {"x": ["N", 3]}, ["y"], {"yes": np.array(True)}), {"x": drawn((4, 3))})


def test_a_branch_within_a_branch_reads_what_is_around_both() -> None:
    inner = branch([node("Mul", "t k", "v"), node("Add", "v x", "r")], "r", {"k": drawn((3,), 3)})
    outer = branch([node("Exp", "x", "t"), choice("s", inner, copy("q")), node("Neg", "s", "r")], "r")
    nodes = [choice("a", outer, copy("q")), choice("b", outer, copy("q")), node("Sub", "a b", "d"), node("Abs", "d")]
    compare(model(nodes, {"x": ["N", 3]}, ["y", "a"], {"yes": np.array(True)}), {"x": drawn((4, 3))})


def test_of_a_branch_only_what_it_gives_is_imported() -> None:
    taken = branch([node("NonZero", "x", "places"), node("Relu", "x", "r")], "r")
    made = compare(
        model([choice("y", taken, copy("q"))], {"x": ["N", 3]}, ["y"], {"yes": np.array(True)}), {"x": drawn((4, 3))}
    )
    assert [layer["type"] for layer in made.config["net"]] == ["ReLU"]


def test_the_weights_of_a_branch_are_learned_as_those_beside_it() -> None:
    taken = branch([node("MatMul", "h fc.weight", "r")], "r", {"fc.weight": drawn((4, 2), 1)})
    nodes = [node("MatMul", "x w", "h"), choice("y", taken, branch([node("Relu", "h", "q")], "q"))]
    weights = {"yes": np.array(True), "w": drawn((3, 4), 2)}
    made = compare(model(nodes, {"x": ["N", 3]}, ["y"], weights), {"x": drawn((5, 3))})
    last = made.config["net"][-1]
    assert last["name"] == "fc" and "freeze" not in last and "lr_mult" not in last


def test_an_initializer_that_two_layers_learn_apart_is_told_of() -> None:
    nodes = [node("MatMul", "x w", "h"), node("Gemm", "h w", alpha=0.5)]
    made = compare(model(nodes, {"x": ["N", 3]}, ["y"], {"w": drawn((3, 3))}), {"x": drawn((5, 3))})
    notes = [note for entry in made.report.entries for note in entry.notes]
    assert any("copies of the one initializer 'w'" in note for note in notes), notes
    shared = [node("MatMul", "x w", "h"), node("Relu", "h", "r"), node("MatMul", "r w")]
    made = compare(model(shared, {"x": ["N", 3]}, ["y"], {"w": drawn((3, 3))}), {"x": drawn((5, 3))})
    assert not any("copies" in note for entry in made.report.entries for note in entry.notes)


def test_parts_of_an_initializer_are_no_copies() -> None:
    nodes = [
        node("Split", "w", "a b", axis=1),
        node("MatMul", "x a", "p"),
        node("MatMul", "x b", "q"),
        node("Concat", "p q", axis=1),
    ]
    made = compare(model(nodes, {"x": ["N", 3]}, ["y"], {"w": drawn((3, 8))}), {"x": drawn((5, 3))})
    assert not any("copies" in note for entry in made.report.entries for note in entry.notes)


def test_functions_that_call_one_another_too_deep_do_not_call_themselves() -> None:
    from onnx import helper

    versions = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    calls = [node(f"F{i + 1}", "a", "b", domain="own") for i in range(33)] + [node("Relu", "a", "b")]
    proto = model([node("F0", "x", domain="own")], {"x": ["N", 3]}, ["y"], domains={"own": 1})
    proto.functions.extend(
        helper.make_function("own", f"F{i}", ["a"], ["b"], [call], versions) for i, call in enumerate(calls)
    )
    with pytest.raises(DataError, match="functions call one another more than 32 deep"):
        imported(proto)
