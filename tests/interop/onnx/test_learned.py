"""Which numbers of a file are learned by the net that it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, imported, model, node
from support.tools import demand

from layerforge.schema.errors import ConfigError

SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"
FOLDED = "pkg.onnxscript.optimizer.folded_from"


def w(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def graph(
    nodes: Sequence[Any],
    weights: Mapping[str, Any],
    shape: Sequence[Any] = ("N", 6),
    producer: str = "",
    said: str = "",
) -> Any:
    demand("onnx")
    demand("onnxruntime")
    proto = model(nodes, {"x": shape}, ["y"], weights)
    proto.producer_name = producer
    if said:
        proto.graph.metadata_props.add(key=SIGNATURE, value=said)
    return proto


def learnable(made: Any) -> set[str]:
    """The parameters that a solver changes."""
    net = made.net()
    frozen = {key for key, its in net.graph.multipliers().items() if its.freeze or its.lr == 0}
    return {f"{layer}.{name}" for layer, its in net.params.items() for name in its if (layer, name) not in frozen}


def test_numbers_that_are_not_finite_are_not_learned() -> None:
    mask = np.where(np.arange(36).reshape(6, 6) % 6 <= np.arange(6)[:, None], 0, -np.inf).astype(np.float32)
    big = np.where(np.arange(400).reshape(20, 20) % 3, 0, -np.inf).astype(np.float32)
    for array in (mask, big):
        n = len(array)
        nodes = [node("Add", "x mask", "a"), node("Softmax", "a", "y")]
        made = compare(graph(nodes, {"mask": array}, ("N", n, n)), {"x": drawn((2, n, n))})
        assert not learnable(made)
        assert "not learned, as not finite: 'mask'" in made.report.notes


def test_a_parameter_that_is_expanded_over_the_batch_is_learned() -> None:
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Concat", "n rest", "to", axis=0),
        node("Expand", "cls to", "c"), node("Concat", "c x", "y", axis=1),
    ]  # fmt: skip
    weights = {"cls": w(1, 1, 4), "zero": np.array([0]), "rest": np.array([1, 4])}
    made = compare(graph(nodes, weights, ("N", 3, 4)), {"x": drawn((2, 3, 4))}, {"x": drawn((5, 3, 4))})
    assert learnable(made) == {"cls.weight"}
    net = made.net()
    net.forward(phase="eval", x=drawn((5, 3, 4)), backward=True)
    grad = drawn((5, 4, 4), 3)
    net.backward({"y": grad})
    assert np.allclose(net.params["cls"]["weight"].grad, grad[:, :1].sum(0, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize(("producer", "name", "is_learned"), [
    ("pytorch", "temperature", True), ("pytorch", "head.scale", True), ("pytorch", "onnx::Mul_4", False),
    ("pytorch", "val_7", False), ("tf2onnx", "const_scale", False),
])  # fmt: skip
def test_a_single_number_is_learned_where_torch_names_it(producer: str, name: str, is_learned: bool) -> None:
    for shape in ((), (1,)):
        proto = graph([node("Mul", f"x {name}")], {name: w(*shape)}, producer=producer)
        made = compare(proto, {"x": drawn((3, 6))})
        assert bool(learnable(made)) == is_learned
        assert is_learned or any(f"'{name}'" in note for note in made.report.notes)


INVENTED = ["onnx::Add_4", "val_3", "_tensor_constant0", "c_lifted_tensor_0", "17", "unsqueeze_1"]


@pytest.mark.parametrize("name", INVENTED)
def test_what_an_exporter_names_is_constant_unless_it_is_a_parameter_of_an_operator(name: str) -> None:
    table = compare(graph([node("Add", f"x {name}")], {name: w(6, 6)}, ("N", 6, 6), "pytorch"), {"x": drawn((2, 6, 6))})
    assert not learnable(table)
    assert f"not learned, as named by an exporter: '{name}'" in table.report.notes
    weight = compare(graph([node("MatMul", f"x {name}")], {name: w(6, 4)}, producer="pytorch"), {"x": drawn((2, 6))})
    assert len(learnable(weight)) == 1
    nodes = [node("MatMul", "x w", "a"), node("Add", f"a {name}")]
    bias = compare(graph(nodes, {"w": w(6, 4), name: w(4)}, producer="pytorch"), {"x": drawn((2, 6))})
    assert len(learnable(bias)) == 2


def test_ones_and_zeros_that_an_exporter_names_are_no_scale_and_bias() -> None:
    nodes = [node("InstanceNormalization", "x val_1 val_2")]
    ones = {"val_1": np.ones(4, np.float32), "val_2": np.zeros(4, np.float32)}
    made = compare(graph(nodes, ones, ("N", 4, 5)), {"x": drawn((2, 4, 5))})
    assert not learnable(made)
    made = compare(graph(nodes, {**ones, "val_1": w(4)}, ("N", 4, 5)), {"x": drawn((2, 4, 5))})
    assert learnable(made)


def test_what_torch_says_of_parameters_and_buffers_is_believed() -> None:
    demand("onnx")
    from onnx import helper

    said = "# inputs\np_w: PARAMETER target='w'\nb_mu: BUFFER target='mu' persistent=True\na_0: USER_INPUT\n"
    nodes = [
        node("Sub", "x mu", "a"), node("Mul", "a unsqueeze", "b"), node("Add", "b mul_1", "c"), node("Add", "c w", "y"),
    ]  # fmt: skip
    weights = {"mu": w(6), "unsqueeze": w(6, seed=2), "mul_1": w(6, seed=3), "w": w(6, seed=4)}
    proto = graph(nodes, weights, producer="pytorch", said=said)
    for name, sources in {"unsqueeze": "['w', 'view']", "mul_1": "['mu', 'arange']"}.items():
        info = helper.make_tensor_value_info(name, 1, [6])
        info.metadata_props.add(key=FOLDED, value=sources)
        proto.graph.value_info.append(info)
    made = compare(proto, {"x": drawn((3, 6))})
    assert len(learnable(made)) == 2
    assert "not learned, as no parameter in torch: 'mu', 'mul_1'" in made.report.notes
    assert "learned, though the file computes them of its parameters: 'unsqueeze'" in made.report.notes


def test_a_weight_that_is_not_finite_is_constant() -> None:
    weight = w(2, 3, 3)
    weight[0, 0, 0] = np.nan
    made = imported(graph([node("Conv", "x w")], {"w": weight}, ("N", 3, 8)))
    assert not learnable(made)
    assert "not learned, as not finite: 'w'" in made.report.notes


def test_batch_norm_in_the_form_of_training_normalises_by_the_batch() -> None:
    weights = {"s": w(3), "b": w(3, seed=2), "m": w(3, seed=3), "v": abs(w(3, seed=4)) + 1}
    nodes = [node("BatchNormalization", "x s b m v", "y mean var saved_mean saved_var")]
    demand("onnx")
    made = imported(model(nodes, {"x": ("N", 3, 5)}, ["y"], weights, 9))
    x = drawn((4, 3, 5))
    net = made.net()
    net.forward(phase="eval", x=x)
    z = (x - x.mean((0, 2), keepdims=True)) / np.sqrt(x.var((0, 2), keepdims=True) + 1e-5)
    assert np.allclose(net.blobs["y"].data, z * weights["s"][:, None] + weights["b"][:, None], rtol=1e-4, atol=1e-5)


def test_states_that_start_from_zeros_for_each_sample_are_computed_with() -> None:
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Concat", "n rest", "to", axis=0),
        node("ConstantOfShape", "to", "h"), node("MatMul", "h w", "a"), node("Add", "a b", "c"), node("Tanh", "c", "d"),
        node("MatMul", "x w", "e"), node("Add", "e b", "f"), node("Concat", "d f", "y", axis=1),
    ]  # fmt: skip
    weights = {"w": w(4, 4), "b": w(4), "zero": np.array([0]), "rest": np.array([4])}
    compare(graph(nodes, weights, ("N", 4)), {"x": drawn((2, 4))}, {"x": drawn((5, 4))})


ROWS = {"w": w(1, 20, 5), "r": w(1, 20, 5, seed=2), "b": np.zeros((1, 40), np.float32)}


@pytest.mark.parametrize("zeros", [False, True])
def test_learned_states_of_a_recurrent_layer_are_learned_from_zeros_on_too(zeros: bool) -> None:
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Concat", "one n five", "to", axis=0),
        node("Expand", "h0 to", "hh"), node("Expand", "c0 to", "cc"),
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("LSTM", "t w r b - hh cc", "z", hidden_size=5),
        node("Transpose", "z", "y", perm=[2, 0, 1, 3]),
    ]  # fmt: skip
    states = {name: w(1, 1, 5, seed=seed) * (not zeros) for seed, name in enumerate(("h0", "c0"))}
    weights = {**ROWS, **states, "zero": np.array([0]), "one": np.array([1]), "five": np.array([5])}
    made = compare(graph(nodes, weights, ("N", 4, 5)), {"x": drawn((2, 4, 5))}, {"x": drawn((3, 4, 5))})
    assert {"h0.weight", "c0.weight"} <= learnable(made)


def refused(proto: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        imported(proto)
    return f"{caught.value} {caught.value.hint}"


def test_initial_states_of_another_shape_are_refused() -> None:
    weights = {**ROWS, "h": np.zeros((1, 9, 5), np.float32)}
    proto = graph([node("LSTM", "x w r b - h", "y", hidden_size=5)], weights, (4, 2, 5), "pytorch")
    assert "an initial state has shape (1, 9, 5), expected (1, 2, 5)" in refused(proto)
    weights = {**ROWS, "val_1": weights["h"]}  # which nobody learns
    proto = graph([node("LSTM", "x w r b - val_1", "y", hidden_size=5)], weights, (4, 2, 5), "pytorch")
    assert "an initial state has shape" in refused(proto)


def test_a_weight_that_the_net_computes_names_the_remedy() -> None:
    nodes = [node("ReduceMean", "x", "m", axes=[0], keepdims=1), node("Mul", "w m", "v"), node("Conv", "x v")]
    told = refused(graph(nodes, {"w": w(2, 3, 3)}, (2, 3, 3)))
    assert "its weight is computed by the net" in told
    assert "remove_weight_norm" in told
    assert "do_constant_folding=True" in told


def test_what_cannot_be_computed_is_told_in_words_of_the_graph() -> None:
    whole = {"a": np.array([4]), "b": np.array([0]), "c": np.array([-3, 4])}
    assert "an integer is divided by 0" in refused(graph([node("Div", "a b", "s"), node("Reshape", "x s")], whole))
    told = refused(graph([node("ConstantOfShape", "c", "s"), node("Add", "x s")], whole))
    assert "the shape (-3, 4) has a negative length" in told
    floats = {"a": w(3), "b": w(4), "c": w(3)}
    told = refused(graph([node("Range", "a b c", "s"), node("Add", "x s")], floats))
    assert "unpack" not in told


def test_a_graph_without_outputs_says_so() -> None:
    proto = graph([node("Relu", "x")], {})
    del proto.graph.output[:]
    assert "the graph has no outputs" in refused(proto)
