"""ONNX files from outside: what they hold arrives, and what is wrong with them is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tools import demand

from layerforge.interop.onnx import parsing, reading, reading_child, stored
from layerforge.interop.onnx.dtypes import NAMES, TEXTS
from layerforge.interop.onnx.files import model_bytes
from layerforge.interop.onnx.graph import Node, OnnxGraph, ValueInfo
from layerforge.interop.onnx.reading import graph_of, load_graph
from layerforge.schema.errors import ConfigError, DataError, LayerForgeError

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:  # the tests say so
    onnx = TensorProto = helper = numpy_helper = None


@pytest.fixture(autouse=True)
def package() -> None:
    demand("onnx")


def model(nodes: list[Any], arrays: dict[str, Any] | None = None, functions: Any = ()) -> Any:
    """A model of one input x and one output y."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (arrays or {}).items()]
    x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", ["N", 3]), ("y", None)))
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)


def refused(act: Callable[[], Any], kind: type[LayerForgeError] = DataError) -> str:
    with pytest.raises(kind) as error:
        act()
    assert error.type is kind
    return str(error.value)


def constant(name: str, proto: Any) -> Any:
    return helper.make_node("Constant", [], [name], value=proto)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    inner = OnnxGraph("inner", [Node("Relu", ["x"], ["r"])], outputs=[ValueInfo("r", "float32", None)])
    attributes = {"i": 3, "f": 0.5, "s": "text", "is": [1, -2], "fs": [0.25, float("inf")], "ss": ["a", "ü"]}
    nodes = [
        Node("Op", ["x", "", "w"], ["a"], {**attributes, "t": rng.normal(size=(2, 0, 3)), "g": inner}, "op"),
        Node("Add", ["a", "b"], ["y"], {}, "add"),
    ]
    arrays = {name: rng.integers(0, 2, (2, 3)).astype(name) for name in ("int8", "uint16", "int64", "bool", "float64")}
    arrays |= {"w": rng.normal(size=3).astype(np.float16), "b": np.float32(7)}
    infos = [ValueInfo("x", "float32", ("N", 3, None))], [ValueInfo("y", "float32", None)]
    graph = OnnxGraph("net", nodes, *infos, {k: np.asarray(a) for k, a in arrays.items()}, {"k": "v"}, 17, "me")
    (tmp_path / "m.onnx").write_bytes(model_bytes(graph))
    found = load_graph(tmp_path / "m.onnx")
    assert (found.name, found.inputs, found.outputs) == (graph.name, *infos)
    assert (found.metadata, found.opset, found.producer) == ({"k": "v"}, 17, "me")
    tensor, sub = found.nodes[0].attributes.pop("t"), found.nodes[0].attributes.pop("g")
    assert found.nodes[0].attributes == attributes
    assert found.nodes[0].inputs == ["x", "", "w"]
    assert np.array_equal(tensor, nodes[0].attributes["t"])
    assert sub.nodes == inner.nodes
    assert sub.outputs == inner.outputs
    assert found.initializers.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found.initializers[name].dtype == np.asarray(array).dtype
        assert np.array_equal(found.initializers[name], array), name


def test_every_way_to_store_numbers() -> None:
    wide = [1, 2, 3, 2**63 + 5]
    half = np.array([1.5, -2], np.float16)
    tensors = {
        "typed": (helper.make_tensor("typed", TensorProto.UINT64, [4], wide), np.array(wide, np.uint64)),
        "half": (helper.make_tensor("half", TensorProto.FLOAT16, [2], half), half),
        "brain": (helper.make_tensor("brain", TensorProto.BFLOAT16, [2], [1.5, -2.0]), half.astype(np.float32)),
        "small": (helper.make_tensor("small", TensorProto.INT8, [2], [-128, 127]), np.array([-128, 127], np.int8)),
        "texts": (helper.make_tensor("texts", TensorProto.STRING, [2], [b"a", b"b"]), np.array(["a", "b"], object)),
    }
    proto = model([constant(name, one) for name, (one, _) in tensors.items()] + [helper.make_node("Abs", ["x"], ["y"])])
    values = numpy_helper.from_array(np.array([5, 7], np.float32), "sparse")
    places = numpy_helper.from_array(np.array([[0, 1], [1, 2]], np.int64))
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2, 3]))
    found = graph_of(proto)
    for node in found.nodes[:-1]:
        expected = tensors[node.outputs[0]][1]
        assert node.attributes["value"].dtype == expected.dtype, node.outputs
        assert np.array_equal(node.attributes["value"], expected), node.outputs
    assert np.array_equal(found.initializers["sparse"], [[0, 5, 0], [0, 0, 7]])


def test_nodes_are_put_in_order() -> None:
    names = ["d", "c", "b", "a"]
    chain = [helper.make_node("Abs", [below], [name]) for name, below in zip(["y", *names], [*names, "x"], strict=True)]
    end = [helper.make_empty_tensor_value_info("n")]
    inner = helper.make_graph([helper.make_node("Neg", ["late"], ["n"])], "in", [], end)
    loop = helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)
    found = graph_of(model([loop, *chain, helper.make_node("Exp", ["a"], ["late"])]))
    order = [node.outputs[0] for node in found.nodes]
    assert order == ["a", "b", "c", "d", "y", "late", "z"]


def test_what_cannot_be_run_is_refused() -> None:
    node = helper.make_node
    circle = [node("Abs", ["b"], ["a"], name="one"), node("Abs", ["a"], ["b"], name="two"), node("Abs", ["a"], ["y"])]
    assert "node 'one' (Abs) reads node 'two' (Abs) reads node 'one'" in refused(lambda: graph_of(model(circle)))
    twice = [node("Abs", ["x"], ["y"], name="one"), node("Exp", ["x"], ["y"], name="two")]
    words = "node 'two' (Exp): its output 'y' is made by node 'one' (Abs) already"
    assert words in refused(lambda: graph_of(model(twice)))
    assert "nobody makes 'q', which it reads" in refused(lambda: graph_of(model([node("Abs", ["q"], ["y"])])))
    assert "nobody makes the graph's output 'y'" in refused(lambda: graph_of(model([node("Abs", ["x"], ["q"])])))
    over = [node("Abs", ["x"], ["x"]), node("Abs", ["x"], ["y"])]
    assert "'x' is an input of the graph already" in refused(lambda: graph_of(model(over)))
    stored = model([node("Abs", ["x"], ["w"]), node("Abs", ["w"], ["y"])])
    stored.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(2, np.float32), "w"))
    assert "'w' is an initializer of the graph already" in refused(lambda: graph_of(stored))


def test_dtypes_have_the_numbers_of_onnx() -> None:
    words = {"FLOAT": "float32", "DOUBLE": "float64", "STRING": ""}
    types = {number: words.get(word, word.lower()) for word, number in onnx.TensorProto.DataType.items()}
    assert {number: types[number] for number in NAMES} == NAMES
    assert types[TEXTS] == ""


def test_functions_become_their_nodes() -> None:
    node, own = helper.make_node, [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    leaky = node("LeakyRelu", ["p"], ["q"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    inner = helper.make_function("own", "Inner", ["p"], ["q"], [leaky], own, attributes=["slope"])
    calls = [node("Inner", ["a"], ["t"], domain="own", slope=0.25), node("Add", ["t", "a"], ["o"])]
    outer = helper.make_function("own", "Outer", ["a"], ["o"], calls, own)
    twice = [node("Outer", ["x"], ["m"], "first", domain="own"), node("Outer", ["m"], ["y"], "second", domain="own")]
    found = graph_of(model(twice, functions=[outer, inner]))
    assert [(n.op, n.inputs, n.outputs, n.attributes) for n in found.nodes] == [
        ("LeakyRelu", ["x"], ["first/t"], {"alpha": 0.25}),
        ("Add", ["first/t", "x"], ["m"], {}),
        ("LeakyRelu", ["m"], ["second/t"], {"alpha": 0.25}),
        ("Add", ["second/t", "m"], ["y"], {}),
    ]
    usual = helper.make_function("own", "Inner", ["p"], ["q"], [leaky], own)
    usual.attribute_proto.append(helper.make_attribute("slope", 0.5))
    two = [node("Inner", ["x"], ["m"], domain="own"), node("Inner", ["m"], ["y"], domain="own", slope=0.75)]
    assert [n.attributes for n in graph_of(model(two, functions=[usual])).nodes] == [{"alpha": 0.5}, {"alpha": 0.75}]
    itself = helper.make_function("own", "Outer", ["a"], ["o"], [node("Outer", ["a"], ["o"], domain="own")], own)
    assert "the function calls itself" in refused(lambda: graph_of(model(twice, functions=[itself])))
    older = helper.make_function(
        "own", "Outer", ["a"], ["o"], [node("Abs", ["a"], ["o"])], [helper.make_opsetid("", 12)]
    )
    told = refused(lambda: graph_of(model(twice, functions=[older])), ConfigError)
    assert "is written in opset 12, the graph in opset 17" in told
    doubling = []
    for k in range(20):
        calls = [node(f"D{k + 1}", ["a"], [name], domain="own") for name in "qrsto"]
        doubling.append(helper.make_function("own", f"D{k}", ["a"], ["o"], calls, own))
    bomb = model([node("D0", ["x"], ["y"], domain="own")], functions=doubling)
    assert "more than 300000 nodes" in refused(lambda: graph_of(bomb))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.dims.append(2), "wants 48"),
        (lambda t: t.dims.__setitem__(0, -2), "out of range"),
        (lambda t: t.dims.__setitem__(0, 2**62), "out of range"),
        (lambda t: t.dims.extend([1] * 40), "more than 32 axes"),
        (lambda t: t.ClearField("raw_data"), "has 0 numbers"),
        (lambda t: setattr(t, "raw_data", b""), "has 0 bytes"),
        (lambda t: setattr(t.segment, "begin", 0), "stored in segments"),
        (lambda t: setattr(t, "data_type", 17), "holds float8e4m3fn, which is not read"),
        (lambda t: setattr(t, "data_type", 14), "holds complex64"),
        (lambda t: setattr(t, "data_type", 99), "the unknown type 99"),
        (lambda t: setattr(t, "data_type", 8), "has 0 texts"),
    ],
)
def test_tensors_that_are_not_what_they_say(change: Callable[[Any], Any], words: str) -> None:
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], {"w": np.ones((2, 3), np.float32)})
    change(proto.graph.initializer[0])
    unsupported = "not read" in words or "segments" in words or "type" in words or "complex" in words
    told = refused(lambda: graph_of(proto, "a.onnx"), ConfigError if unsupported else DataError)
    assert "initializer 'w'" in told
    assert words in told
    assert told.startswith("a.onnx")


def test_damaged_files(tmp_path: Path) -> None:
    content = model(
        [helper.make_node("Add", ["x", "w"], ["y"])], {"w": np.ones((20, 3), np.float32)}
    ).SerializeToString()
    path = tmp_path / "m.onnx"
    with reading.Reader() as reader:
        for spoilt, words in (
            (b"", "the file is empty"),
            (b"no model", "no ONNX file, or damaged"),
            (content[:-40], "no ONNX file, or damaged"),
            (b"\x08\x08", "has no graph"),
            (content.replace(b"Add", b"\xff\xfe\xfd"), "no ONNX file|not UTF-8"),
        ):
            path.write_bytes(spoilt)
            told = refused(lambda: load_graph(path, reader))
            assert str(path) in told
            assert any(each in told for each in words.split("|")), told
        path.write_bytes(content)
        assert load_graph(path, reader).initializers["w"].shape == (20, 3)
    assert "there is no such file" in refused(lambda: load_graph(tmp_path / "none.onnx"))
    assert "is a folder" in refused(lambda: load_graph(tmp_path))


def test_data_outside_lie_below_the_folder(tmp_path: Path) -> None:
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight})
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    path = folder / "m.onnx"
    (folder / "deep/w.bin").write_bytes(b"1234" + weight.tobytes())
    (tmp_path / "w.bin").write_bytes(weight.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "up").symlink_to(tmp_path)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL

    def load(location: str, **more: Any) -> OnnxGraph:
        del tensor.external_data[:]
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=str(value))
        path.write_bytes(proto.SerializeToString())
        return load_graph(path, reader)

    with reading.Reader() as reader:
        assert np.array_equal(load("deep/w.bin", offset=4, length=48).initializers["w"], weight)
        assert np.array_equal(graph_of(proto, str(path)).initializers["w"], weight)
        assert np.array_equal(load("./deep/w.bin", offset=4).initializers["w"], weight)
        for location in ("", "../w.bin", "deep/../../w.bin", "..\\w.bin", str(tmp_path / "w.bin"), "C:/w.bin"):
            assert "which is no path below the file's folder" in refused(lambda location=location: load(location))
        for location in ("link.bin", "up/w.bin"):
            assert "a link that leads out" in refused(lambda location=location: load(location))
        assert "No such file" in refused(lambda: load("none.bin"))
        assert "no ordinary file" in refused(lambda: load("deep"))
        for more in ({"offset": 8}, {"length": 52}, {"offset": -4}, {"offset": "x"}, {"offset": 4, "length": 44}):
            assert "its shape wants 48" in refused(lambda more=more: load("deep/w.bin", **more))


def test_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    node = helper.make_node
    chain = model([node("Abs", ["x"], ["a"]), node("Abs", ["a"], ["y"], floats=[1.0] * 9)], {"w": np.ones(3)})
    for name, most in (("NODES", 1), ("TENSORS", 0), ("TEXT", 5), ("NUMBERS", 8)):
        with monkeypatch.context() as patch:
            patch.setattr(stored, f"MOST_{name}", most)
            assert "holds more than" in refused(lambda: graph_of(chain))
    graph = helper.make_graph([node("Abs", ["x"], ["r"])], "g", [], [helper.make_empty_tensor_value_info("r")])
    for _ in range(parsing.DEEPEST + 1):
        graph = helper.make_graph([node("Loop", ["x", "x"], ["r"], body=graph)], "g", [], graph.output)
    told = refused(lambda: graph_of(model([node("Loop", ["x", "x"], ["y"], body=graph)])))
    assert "graphs lie within graphs more than 16 deep" in told


def test_a_reader_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is made to loop, and to take memory; the limits are the process's, not ours."""
    path = tmp_path / "m.onnx"
    path.write_bytes(model([helper.make_node("Abs", ["x"], ["y"])]).SerializeToString())
    text = Path(reading_child.__file__).read_text()
    spoilt = tmp_path / "reading_child.py"
    monkeypatch.setattr(reading_child, "__file__", str(spoilt))
    monkeypatch.setattr(reading, "SECONDS", 1)
    spoilt.write_text(text.replace("    proto = onnx.ModelProto()\n", "    while True: pass\n"))
    assert "crashed or did not come to an end" in refused(lambda: load_graph(path))
    spoilt.write_text(text.replace("    proto = onnx.ModelProto()\n", "    bytearray(1 << 30)\n"))
    assert "MemoryError" in refused(lambda: load_graph(path))


def test_operators_have_their_inputs_and_attributes() -> None:
    node = helper.make_node
    for wrong, words in (
        (node("Add", ["x"], ["y"], "sum"), "node 0 (Add 'sum'): Add has 2 inputs, this one has 1"),
        (node("Add", ["x", "x", "x"], ["y"]), "Add has 2 inputs, this one has 3"),
        (node("Relu", ["x"], ["y", "z"]), "Relu has 1 outputs, this one has 2"),
        (node("Conv", ["x"], ["y"]), "Conv has 2 to 3 inputs, this one has 1"),
        (node("Concat", [], ["y"], axis=0), "Concat has 1 or more inputs"),
        (node("Concat", ["x"], ["y"]), "Concat has no 'axis', which it must have"),
        (node("Softmax", ["x"], ["y"], axis=1.5), "'axis' of Softmax is of the kind FLOAT, expected is INT"),
    ):
        assert words in refused(lambda wrong=wrong: graph_of(model([wrong])))
    assert graph_of(model([node("Unheard", ["x"], ["y"], anything=3)])).nodes[0].op == "Unheard"
