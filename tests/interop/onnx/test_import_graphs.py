"""Whole graphs of ONNX: what layers and blobs are called, what is learned, what stays open, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, computed, drawn, imported, judged, model, node, same
from support.tools import demand

import layerforge
from layerforge import Net
from layerforge.interop.onnx import write_folder
from layerforge.interop.onnx.model import Model
from layerforge.schema.errors import ConfigError


@pytest.fixture(autouse=True)
def _tools() -> None:
    demand("onnx")
    demand("onnxruntime")


def w(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def layers(made: Model) -> dict[str, dict[str, Any]]:
    """The layers of a model by name."""
    return {layer["name"]: layer for layer in made.config["net"]}


def types(made: Model) -> list[str]:
    return [layer["type"] for layer in made.config["net"]]


def refused(proto: Any, inputs: Any = None) -> str:
    """The words of the error."""
    with pytest.raises(ConfigError) as caught:
        imported(proto, inputs)
    return str(caught.value)


def cnn() -> Any:
    """A net as torch's exporters write it."""
    nodes = [
        node("Conv", "x conv1.weight conv1.bias", "/conv1/Conv_output_0", "/conv1/Conv", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "/conv1/Conv_output_0 bn.weight bn.bias mean var", "n", "/bn/Bn", momentum=0.8),
        node("Relu", "n", "/Relu_output_0", "/Relu"),
        node("MaxPool", "/Relu_output_0", "p", "/pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "p", "shape"),
        node("Gather", "shape zero", "samples"),
        node("Unsqueeze", "samples axis", "first"),
        node("Concat", "first rest", "target", axis=0),
        node("Reshape", "p target", "rows"),
        node("Dropout", "rows ratio", "d", "/drop/Dropout"),
        node("Gemm", "d fc.weight fc.bias", "scores", "/fc/Gemm", transB=1),
    ]
    weights = {
        **{"conv1.weight": w(4, 3, 3, 3), "conv1.bias": w(4), "bn.weight": w(4, seed=2), "bn.bias": w(4, seed=3)},
        **{"mean": w(4, seed=4), "var": abs(w(4, seed=5)) + 0.5, "fc.weight": w(5, 36), "fc.bias": w(5)},
        **{"zero": np.array(0), "axis": whole(0), "rest": whole(-1), "ratio": np.float32(0.25)},
    }
    return model(nodes, {"x": ["N", 3, 6, 6]}, ["scores"], weights)


def test_layers_are_called_as_their_parameters_and_blobs_as_values() -> None:
    made = compare(cnn(), {"x": drawn([3, 3, 6, 6])}, {"x": drawn([7, 3, 6, 6])})
    assert [(one["name"], one["type"], one.get("top")) for one in made.config["net"]] == [
        ("conv1", "Conv2d", "conv1/Conv"), ("bn", "BatchNorm", "n"), ("Relu", "ReLU", None), ("pool", "MaxPool2d", "p"),
        ("rows", "Flatten", None), ("drop/Dropout", "Dropout", "d"), ("fc", "Linear", "scores"),
    ]  # fmt: skip
    assert made.outputs == {"scores": "scores"} and made.inputs == {"x": "x"}
    assert {"params/conv1/weight", "params/fc/bias", "state/bn/running_var"} <= set(made.arrays)
    assert made.report.layers["/conv1/Conv"] == "conv1"


def test_what_training_needs_survives() -> None:
    made = imported(cnn())
    assert layers(made)["bn"]["momentum"] == 0.2 and layers(made)["drop/Dropout"]["p"] == 0.25
    net = made.net()
    x, dy = drawn([4, 3, 6, 6]), drawn([4, 5], 9)
    net.forward(phase="train", x=x)
    net.backward({"scores": dy})
    for layer, named in net.params.items():
        for name in named:
            assert np.abs(net.params[layer][name].grad).max() > 0, (layer, name)


def test_what_depends_on_the_batch_stays_open() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 four", "size", axis=0),
        node("ConstantOfShape", "size", "zeros"),
        node("Add", "x zeros", "a"),
        node("Concat", "n1 two two", "target", axis=0),
        node("Reshape", "a target", "b"),
        node("Concat", "n1 two two", "wide", axis=0),
        node("Expand", "b wide", "c"),
        node("Slice", "c starts n1", "d"),
        node("Size", "x", "count"),
        node("Div", "count n", "each"),
        node("Cast", "each", "each_real", to=1),
        node("Mul", "d each_real", "y"),
    ]
    weights = {"zero": np.array(0), "axis": whole(0), "four": whole(4), "two": whole(2), "starts": whole(0)}
    proto = model(nodes, {"x": ["N", 4]}, ["y"], weights)
    made = compare(proto, {"x": drawn([3, 4])}, {"x": drawn([7, 4])})
    assert layers(made)["b"]["shape"] == [0, 2, 2]
    assert "Expand" not in types(made) and "Index" not in types(made)


def test_a_length_that_is_given_stays_open_where_it_can() -> None:
    heads = [
        node("Shape", "x", "s"),
        node("Slice", "s zero two axis", "front"),
        node("Concat", "front parts", "target", axis=0),
        node("Reshape", "x target", "h"),
        node("Transpose", "h", "y", perm=[0, 2, 1, 3]),
    ]
    weights = {"zero": whole(0), "two": whole(2), "axis": whole(0), "parts": whole(2, 3)}
    proto = model(heads, {"x": ["N", "T", 6]}, ["y"], weights)
    told = refused(proto)
    assert "lengths that are not known: T" in told
    assert "say its shape, such as --input " in told
    made = compare(proto, {"x": drawn([3, 4, 6])}, {"x": drawn([2, 9, 6])}, inputs={"x": [2, 4, 6]})
    assert made.config["inputs"]["x"]["shape"] == [2, 4, 6]
    # The same where the length becomes a weight's: only the batch stays open.
    fixed = [node("Flatten", "x", "f"), node("Gemm", "f w", "y")]
    proto = model(fixed, {"x": ["N", "T", 6]}, ["y"], {"w": w(24, 3)})
    compare(proto, {"x": drawn([3, 4, 6])}, {"x": drawn([7, 4, 6])}, inputs={"x": [1, 4, 6]})


def test_shapes_that_do_not_fit_are_refused() -> None:
    proto = model([node("Add", "x z", "y")], {"x": ["N", 4], "z": ["N", 4]}, ["y"])
    assert "there is no input 'q'" in refused(proto, {"q": [1]})
    assert "input 'x' is (N, 4), [2, 5] is given" in refused(proto, {"x": [2, 5]})
    assert "length N is 3, and 2 elsewhere" in refused(proto, {"x": [2, 4], "z": [3, 4]})


def test_weights_that_are_used_twice_are_shared() -> None:
    nodes = [
        node("Gather", "words i", "e"), node("Transpose", "words", "turned", perm=[1, 0]),
        node("MatMul", "e turned", "y"), node("MatMul", "e w", "a"), node("MatMul", "a w", "z"),
    ]  # fmt: skip
    weights = {"words": w(7, 4), "w": w(4, 4)}
    proto = model(nodes, {"i": (["N", 3], "int64")}, ["y", "z"], weights)
    made = compare(proto, {"i": drawn([3, 3], dtype="int64", high=7)})
    shares = [layer["share"] for layer in made.config["net"] if "share" in layer]
    assert shares == [{"weight": "e.weight"}, {"weight": "a.weight"}]
    net = made.net()
    assert sum(view.data.size for named in net.params.values() for view in named.values()) >= 7 * 4 + 16


def test_constants_are_constants_and_initializers_are_learned() -> None:
    constant = node("Constant", "", "c")
    constant.attribute.extend(node("Constant", "", "c", value_floats=[1.0, 2.0, 3.0]).attribute)
    nodes = [
        constant, node("Mul", "x c", "a"), node("Mul", "a two", "b"), node("Add", "b shift", "d"),
        node("Sub", "d grid", "y"), node("Where", "mask y far", "z"),
    ]  # fmt: skip
    mask = np.arange(3) > 0
    weights = {"two": np.float32(2), "shift": w(3), "grid": w(1, 4, 3), "mask": mask, "far": np.float32(-np.inf)}
    made = compare(model(nodes, {"x": ["N", 4, 3]}, ["z"], weights), {"x": drawn([3, 4, 3])})
    assert types(made) == ["Constant", "Mul", "Pow", "Bias", "Parameter", "Sub", "Constant", "Constant", "Where"]
    assert layers(made)["grid"] == {"name": "grid", "type": "Parameter", "shape": [1, 4, 3]}
    assert any("`freeze: true` there keeps it" in note for one in made.report.entries for note in one.notes)


def test_many_constant_numbers_are_no_text() -> None:
    import onnx

    table = w(2, 400)
    constant = onnx.helper.make_node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(table))
    made = compare(model([constant, node("Sub", "x c", "y")], {"x": ["N", 2, 400]}, ["y"]), {"x": drawn([3, 2, 400])})
    (held,) = (layer for layer in made.config["net"] if layer["type"] == "Parameter")
    assert held["freeze"] is True
    assert len(made.arrays) == 1


def test_outputs_that_are_read_or_given_have_layers_of_their_own() -> None:
    nodes = [node("Relu", "x", "h"), node("Neg", "h", "y"), node("Identity", "h", "again")]
    proto = model([*nodes, node("Split", "x", "a b", axis=1)], {"x": ["N", 4]}, ["h", "y", "again", "b"])
    made = compare(proto, {"x": drawn([3, 4])})
    assert types(made)[-1] == "Silence"
    assert len(set(made.outputs.values())) == 4
    compare(model([node("Identity", "x", "y")], {"x": ["N", 4]}, ["y"]), {"x": drawn([3, 4])})


def test_what_no_output_needs_is_left_out() -> None:
    nodes = [node("Relu", "x", "y"), node("NonZero", "z", "q")]
    made = imported(model(nodes, {"x": ["N", 4], "z": ["N", 4]}, ["y"]))
    assert types(made) == ["ReLU"]
    assert made.report.notes == ["the input 'z' is not needed"]


def test_branches_whose_condition_is_known() -> None:
    from onnx import TensorProto, helper

    def branch(op: str, name: str) -> Any:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], [name])], name, [], [out])

    def chosen(nodes: list[Any]) -> Any:
        both = {"then_branch": branch("Relu", "t"), "else_branch": branch("Neg", "e")}
        nodes = [*nodes, helper.make_node("If", ["c"], ["b"], **both), node("Exp", "b", "y")]
        return model(nodes, {"x": ["N", 4]}, ["y"], {"three": np.array(2), "nothing": np.float32(0)})

    known = [node("Shape", "x", "s"), node("Size", "s", "n"), node("Equal", "n three", "c")]
    assert types(compare(chosen(known), {"x": drawn([3, 4])})) == ["ReLU", "Exp"]
    by_value = [node("ReduceSum", "x", "r", keepdims=0), node("Greater", "r nothing", "c")]
    assert "the net computes the condition" in refused(chosen(by_value))


def test_everything_that_is_wrong_is_told_of_at_once() -> None:
    nodes = [
        node("NonZero", "x", "a", "places"), node("Conv", "x k", "b", "dynamic"), node("Foo", "b", "c", "foo"),
        node("Relu", "c", "y", "fine"), node("Softmax", "x", "z", "soft", axis=5),
        node("Elu", "x", "q", "elu", beta=1.0),
    ]  # fmt: skip
    told = refused(model(nodes, {"x": ["N", 3, 4], "k": [2, 3, 3]}, ["a", "y", "z", "q"]))
    for words in (
        "node 'places' (NonZero): this operator is not supported",
        "how much it gives depends on the numbers of its input",
        "node 'dynamic' (Conv): its weight is computed by the net: it must be constant",
        "node 'foo' (Foo): this operator is not supported",
        "node 'soft' (Softmax): axis 5 of a value of 3 axes",
        "node 'elu' (Elu): the attribute beta is not supported",
    ):
        assert words in told, told
    assert "fine" not in told


@pytest.mark.parametrize("opset", [6, 24])
def test_other_versions_are_refused(opset: int) -> None:
    told = refused(model([node("Relu", "x", "y")], {"x": ["N", 4]}, ["y"], opset=opset))
    assert f"version {opset} of ONNX's operators" in told and "versions 7 to 23 are read" in told


BAD = [
    (node_args, words)
    for node_args, words in [
        (("Reshape", "x bad", "y", {}), "do not fit the shape"),
        (("Transpose", "x", "y", {"perm": [0, 0]}), "(Transpose)"),
        (("Concat", "x", "y", {"axis": 9}), "(Concat)"),
        (("Gemm", "x w", "y", {}), "(Gemm)"),
        (("Add", "x w", "y", {}), "do not broadcast"),
        (("MaxPool", "x", "y", {"kernel_shape": [2, 2]}), "(MaxPool)"),
        (("Gather", "x bad", "y", {"axis": 1}), "(Gather)"),
        (("LeakyRelu", "x", "y", {"alpha": "a"}), "attribute alpha must be a number"),
        (("Conv", "x bad", "y", {}), "(Conv)"),
        (("Einsum", "x x", "y", {"equation": "ab"}), "(Einsum)"),
        (("Slice", "x bad bad", "y", {}), "(Slice)"),
        (("Relu", "q", "y", {}), "q"),
    ]
]


@pytest.mark.parametrize(("told", "words"), BAD, ids=lambda one: str(one)[:30])
def test_graphs_that_are_no_valid_ones(told: Any, words: str) -> None:
    from layerforge.interop.onnx.graph import Node, OnnxGraph, ValueInfo
    from layerforge.interop.onnx.model import of_graph

    op, inputs, output, attributes = told
    graph = OnnxGraph("g", [Node(op, inputs.split(), [output], attributes, "n")], [ValueInfo("x", "float32", ("N", 4))])
    graph.outputs, graph.initializers = [ValueInfo("y", "float32", None)], {"w": w(3, 5), "bad": whole(7, 9, 11)}
    with pytest.raises(ConfigError) as caught:
        of_graph(graph, "g.onnx")
    assert words in str(caught.value)


def test_a_model_is_written_as_a_folder(tmp_path: Path) -> None:
    made = imported(cnn())
    folder = write_folder(made, tmp_path / "net")
    x = drawn([5, 3, 6, 6])
    wanted = computed(made, {"x": x})["scores"]
    net = Net.from_yaml(folder / "net.yaml")
    net.load(folder / "weights.h5")
    same(net.forward(phase="eval", x=x)["scores"], wanted)
    same(np.asarray(layerforge.load_model(folder).predict(x)), wanted)
    told = (folder / "net.yaml").read_text()
    assert "# node /conv1/Conv is conv1" in told
    assert "| `/conv1/Conv` | Conv | Conv2d `conv1` | exact |" in (folder / "fidelity.md").read_text()
    assert (folder / "fidelity.json").exists()


def sklearn_net(zipped: bool, post: str = "SOFTMAX") -> Any:
    """What scikit-learn's exporter writes for a scaler and a logistic regression of three classes."""
    ml = "ai.onnx.ml"
    nodes = [
        node("Scaler", "x", "scaled", domain=ml, offset=[0.5, -0.5, 0.1, 0.0], scale=[2.0, 1.0, 0.5, 3.0]),
        node("LinearClassifier", "scaled", "label raw", domain=ml, classlabels_ints=[3, 5, 8],
             coefficients=[float(n) for n in w(12)], intercepts=[0.1, 0.2, -0.3], multi_class=1, post_transform=post),
        node("Cast", "label", "output_label", to=7),
        node("Normalizer", "raw", "probabilities", domain=ml, norm="L1"),
    ]  # fmt: skip
    if zipped:
        nodes.append(node("ZipMap", "probabilities", "output_probability", domain=ml, classlabels_int64s=[3, 5, 8]))
    output = "output_probability" if zipped else "probabilities"
    return model(nodes, {"x": [None, 4]}, ["output_label", output], domains={ml: 1})


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("post", ["SOFTMAX", "LOGISTIC"])
def test_classifiers_of_scikit_learn(zipped: bool, post: str) -> None:
    made, x = imported(sklearn_net(zipped, post)), drawn([6, 4])
    wanted = judged(sklearn_net(False, post), {"x": x})["probabilities"]
    assert list(made.outputs) == ["probabilities"]
    same(computed(made, {"x": x})["probabilities"], wanted)
    assert any("'output_label', a label, is left out" in note for note in made.report.notes)
    assert any("3, 5, 8" in note for one in made.report.entries for note in one.notes)
    assert layers(made)["scaled"]["freeze"] is True


def test_regressors_of_scikit_learn() -> None:
    ml = "ai.onnx.ml"
    numbers = {"coefficients": [float(n) for n in w(8)], "intercepts": [0.5, -1.0], "targets": 2}
    nodes = [node("Normalizer", "x", "n", domain=ml, norm="L2")]
    nodes.append(node("LinearRegressor", "n", "y", domain=ml, **numbers))
    compare(model(nodes, {"x": [None, 4]}, ["y"], domains={ml: 1}), {"x": drawn([6, 4])})


def test_zeros_that_are_made_of_a_single_stored_number_are_constant() -> None:
    """As torch.export writes the first state of an RNN: of h₀ W + b, b is the same as in later steps."""
    nodes = [
        node("Expand", "zero shape", "first"),
        *(node("MatMul", "first w", "m0"), node("Add", "m0 b", "a0"), node("Add", "a0 x", "h0")),
        *(node("MatMul", "h0 w", "m1"), node("Add", "m1 b", "a1"), node("Add", "a1 x", "h1")),
    ]
    arrays = {"zero": np.float32(0), "shape": whole(2, 3), "w": w(3, 3), "b": w(3)}
    made = compare(model(nodes, {"x": [2, 3]}, ["h1"], arrays), {"x": w(2, 3, seed=2)})
    assert "Matmul" not in [item["type"] for item in made.config["net"]]
    net, dy = made.net(), w(2, 3, seed=3)
    net.forward(phase="eval", backward=True, x=w(2, 3, seed=2))
    net.backward({"h1": dy})
    owned = {item["name"]: item.get("share", {}) for item in made.config["net"]}
    grads = [
        layer.grads[name]
        for layer in net.layers.values()
        for name, values in layer.params.items()
        if np.array_equal(values, arrays["b"]) and name not in owned[layer.name]
    ]
    assert len(grads) == 1
    assert np.allclose(grads[0], (dy + dy @ arrays["w"].T).sum(0), atol=1e-5)


def test_a_bias_of_one_number_learns() -> None:
    arrays = {"w": w(1, 3), "b": w(1)}
    made = compare(model([node("Gemm", "x w b", transB=1)], {"x": ["N", 3]}, ["y"], arrays), {"x": w(2, 3, seed=2)})
    (layer,) = made.config["net"]
    assert not {"freeze", "lr_mult"} & set(layer)


def test_what_is_constant_does_not_learn() -> None:
    import onnx

    def constant(name: str, array: np.ndarray) -> Any:
        return onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array))

    nodes = [
        constant("k", w(4, 3, 2, 2)), constant("ones", np.ones(4, np.float32)),
        constant("zeros", np.zeros(4, np.float32)), node("Conv", "x k b", "c"),
        node("InstanceNormalization", "c ones zeros", "y"),
    ]  # fmt: skip
    made = compare(model(nodes, {"x": ["N", 3, 5, 5]}, ["y"], {"b": w(4)}), {"x": drawn([3, 3, 5, 5])})
    assert layers(made)["c"]["lr_mult"] == {"weight": 0}
    assert layers(made)["y"] == {"name": "y", "type": "InstanceNorm", "bottom": "c"}
    # An old file keeps all its numbers in such nodes: they are learned.
    old = model([constant("k", w(4, 3, 2, 2)), node("Conv", "x k", "y")], {"x": ["N", 3, 5, 5]}, ["y"])
    assert "lr_mult" not in layers(imported(old))["y"]


def test_a_factor_and_a_summand_for_each_channel_are_a_scale() -> None:
    nodes = [node("Mul", "x s", "m"), node("Add", "m b", "y")]
    proto = model(nodes, {"x": ["N", 4, 5, 5]}, ["y"], {"s": w(4, 1, 1), "b": w(1, 4, 1, 1)})
    made = compare(proto, {"x": drawn([3, 4, 5, 5])})
    assert made.config["net"] == [{"name": "m", "type": "Scale", "bottom": "x", "top": "y", "bias": True}]
