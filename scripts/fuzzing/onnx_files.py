"""Small ONNX files, ways to spoil them field by field, and the program's way to open them."""

from __future__ import annotations

import importlib.util
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from layerforge.interop.onnx import reading
from layerforge.interop.onnx.model import load_model

from .mutations import NUMBERS

LIMITS: dict[str, Any] = {"memory": 500 << 20, "seconds": 5.0}
WORDS = (
    b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a", b"\x3a", b"\x42", b"\x4a", b"\x08\x01", b"\x10\x07", b"axes",
    b"\xff" * 9 + b"\x01", b"\x80" * 10 + b"\x01", b"\x0b", b"\x0c", b"\x0a\x00", b"\x0a\x0a" * 60, b"Relu", b"Gemm",
    b"Reshape", b"Constant", b"If", b"x", b"y", b"w", b"\x70\x01", b"location\x12\x05../../etc/passwd", b"perm",
    b"\x08\xff\xff\x03",
)  # fmt: skip
HUGE = (*NUMBERS, -1, -2, 2**20, 2**24, 2**40, 10**6)
FLOATS = (0.0, -1.0, 1e30, -1e-30, float("inf"), float("nan"))


class Reader:
    """Opens a file as `layerforge import onnx` does; one process reads them all."""

    def __init__(self) -> None:
        self.reader = reading.Reader()

    def __call__(self, path: Path) -> object:
        if self.reader.process is None and not path.exists():
            self._begin()
        return load_model(path, reader=self.reader).net(keep="none")

    def _begin(self) -> None:
        """Start the process, and load what is loaded late: none of this belongs to a file."""
        with tempfile.TemporaryDirectory() as folder:
            for good in models():
                path = Path(folder, "m.onnx")
                path.write_bytes(good)
                self(path)


def models() -> list[bytes]:
    """A perceptron, a convolutional net, one with shapes that are computed, one with graphs within and a function."""
    if importlib.util.find_spec("onnx") is None:
        return []
    return [each.SerializeToString() for each in (_perceptron(), _convolutional(), _reshaping(), _nested())]


def _model(nodes: list[Any], inputs: dict[str, Any], arrays: dict[str, Any], output: str, **more: Any) -> Any:
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(output, 1, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def _perceptron() -> Any:
    from onnx import helper

    node = helper.make_node
    made = _model(
        [node("Gemm", ["x", "w", "b"], ["h"], "fc", transB=1, alpha=1.0), node("Relu", ["h"], ["r"], "relu"),
         node("MatMul", ["r", "v"], ["m"]), node("Add", ["m", "c"], ["a"]), node("Softmax", ["a"], ["y"], axis=-1)],
        {"x": ["N", 3]}, {"w": _numbers(4, 3), "b": _numbers(4), "v": _numbers(4, 2)}, "y",
    )  # fmt: skip
    made.graph.initializer.append(helper.make_tensor("c", 1, [2], [0.5, -1.0]))
    made.metadata_props.add(key="classes", value='["a", "b"]')
    return made


def _convolutional() -> Any:
    from onnx import helper

    node = helper.make_node
    arrays = {"w": _numbers(4, 2, 3, 3), "b": _numbers(4), **{n: np.abs(_numbers(4)) for n in ("s", "o", "m", "v")}}
    return _model(
        [node("Conv", ["x", "w", "b"], ["c"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 1], group=1),
         node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"], "bn", epsilon=1e-4, momentum=0.8),
         node("Clip", ["n", "low", "high"], ["r"]),
         node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
         node("GlobalAveragePool", ["p"], ["g"]), node("Flatten", ["g"], ["y"], axis=1)],
        {"x": ["N", 2, 8, 8]}, {**arrays, "low": np.float32(0), "high": np.float32(6)}, "y",
    )  # fmt: skip


def _reshaping() -> Any:
    from onnx import helper, numpy_helper

    node = helper.make_node

    def constant(name: str, value: Any) -> Any:
        return node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))

    return _model(
        [node("Shape", ["x"], ["s"]), constant("zero", [0]), node("Gather", ["s", "zero"], ["n"]),
         constant("rest", [6]), node("Concat", ["n", "rest"], ["shape"], axis=0),
         node("Reshape", ["x", "shape"], ["flat"]),
         node("Transpose", ["flat"], ["t"], perm=[1, 0]), node("Transpose", ["t"], ["u"], perm=[1, 0]),
         constant("axes", [2]), node("Unsqueeze", ["u", "axes"], ["v"]), constant("begin", [1]), constant("end", [5]),
         constant("axis", [1]), node("Slice", ["v", "begin", "end", "axis"], ["cut"]),
         node("ReduceMean", ["cut"], ["mean"], axes=[1], keepdims=1), node("Sub", ["cut", "mean"], ["d"]),
         constant("big", [1, 4, 3]), node("Expand", ["d", "big"], ["e"]), constant("pads", [0, 0, 1, 0, 0, 1]),
         node("Pad", ["e", "pads"], ["q"]), node("Tile", ["q", "ones"], ["y"])],
        {"x": ["N", 2, 3]}, {"ones": np.array([1, 1, 2])}, "y",
    )  # fmt: skip


def _nested() -> Any:
    from onnx import helper

    node, opsets = helper.make_node, [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    leaky = node("LeakyRelu", ["p"], ["q"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=1)
    function = helper.make_function(
        "own", "F", ["p"], ["o"], [leaky, node("Mul", ["q", "p"], ["o"])], opsets, ["slope"]
    )
    end = [helper.make_tensor_value_info("r", 1, None)]
    branch = helper.make_graph([node("Neg", ["h"], ["r"])], "then", [], end)
    other = helper.make_graph([node("Identity", ["h"], ["r"])], "else", [], end)
    made = _model(
        [node("F", ["x"], ["h"], "call", domain="own", slope=0.25),
         node("If", ["yes"], ["i"], then_branch=branch, else_branch=other),
         node("LayerNormalization", ["i", "g", "z"], ["y"], axis=-1)],
        {"x": ["N", 3]}, {"yes": np.array(True), "g": _numbers(3)}, "y", functions=[function],
    )  # fmt: skip
    values = helper.make_tensor("z", 1, [1], [2.0])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, helper.make_tensor("i", 7, [1], [1]), [3]))
    return made


# Spoiling fields ------------------------------------------------------------------------------------------------------


def same(content: bytes) -> bytes:
    return content


def spoilt(rng: random.Random, good: bytes, content: bytes) -> bytes:
    """A good file with one to four fields changed: numbers, names in each other's place, messages twice or gone."""
    import onnx

    proto = onnx.ModelProto()
    proto.ParseFromString(good)
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
        places = list(_places(proto))
        _change(rng, places, *rng.choice(places))
    return proto.SerializeToString()


def _places(message: Any) -> Any:
    """Every message and field that is set, at all depths."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for each in value if _repeated(field) else [value]:
                yield from _places(each)


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _change(rng: random.Random, places: list[Any], message: Any, field: Any) -> None:
    """Change a field; it stays as it is where the message does not take the value."""
    alike = [(m, f) for m, f in places if f.cpp_type == field.cpp_type and _repeated(f) == _repeated(field)]
    try:
        if rng.random() < 0.1:
            message.ClearField(field.name)
        elif field.message_type is not None:
            _change_message(rng, [(m, f) for m, f in alike if f.message_type == field.message_type], message, field)
        elif _repeated(field):
            values = getattr(message, field.name)
            at = rng.randrange(len(values))
            if rng.random() < 0.2:
                values.extend([values[at]] * rng.choice((1, 2, 1000)))
            elif rng.random() < 0.2:
                del values[at]
            else:
                values[at] = _value(rng, alike, field)
        else:
            setattr(message, field.name, _value(rng, alike, field))
    except (ValueError, TypeError, OverflowError):
        return


def _change_message(rng: random.Random, alike: list[Any], message: Any, field: Any) -> None:
    other, their = rng.choice(alike)
    if not _repeated(field):
        taken = type(getattr(other, their.name))()
        taken.CopyFrom(getattr(other, their.name))
        getattr(message, field.name).CopyFrom(taken)
        return
    mine, theirs = getattr(message, field.name), getattr(other, their.name)
    at, kind = rng.randrange(len(mine)), rng.random()
    if kind < 0.3:
        del mine[at]
    elif kind < 0.6:
        mine.add().CopyFrom(rng.choice(list(theirs)))
    else:
        first, second = mine[at], mine[rng.randrange(len(mine))]
        kept = type(first)()
        kept.CopyFrom(first)
        first.CopyFrom(second)
        second.CopyFrom(kept)


def _value(rng: random.Random, alike: list[Any], field: Any) -> Any:
    """Another value for a field: that of one alike, or a hard one."""
    other, their = rng.choice(alike)
    found = getattr(other, their.name)
    borrowed = rng.choice(list(found)) if _repeated(their) else found
    if rng.random() < 0.5:
        return borrowed
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.cpp_type == field.CPPTYPE_STRING:
        text = rng.choice(("", "x", "N", "a" * 5000, "\0", "Reshape", "Constant", "Gemm", "../w.bin"))
        return text.encode() if isinstance(borrowed, bytes) else text
    return rng.choice(HUGE)
