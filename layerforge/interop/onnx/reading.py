"""An ONNX file from outside as a graph, read by a process with limits (reading_child.py)."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.files import file_error, size_of
from ...data.reading_process import ReadingProcess, fill
from ...schema.errors import ConfigError, DataError, LayerForgeError
from ...schema.locations import Place
from ...schema.process_limits import Unreadable
from . import reading_child
from .files import demand_package
from .functions import Function, Reference, expand
from .graph import OPSET, OWN, Node, OnnxGraph, ValueInfo
from .ordering import put_in_order, subgraphs, told
from .parsing import Reading, Unsupported
from .stored import WORDS

LARGEST = 2 << 30  # bytes: what Protocol Buffers allow; larger models keep their numbers in other files
SECONDS = 4  # of processor time, to read what is small
BYTES_PER_SECOND = 20 << 20  # slower reading is taken for a damaged file
REMEDY = "onnx.checker.check_model says whether it is a good one"


@dataclass
class Reader:
    """One process that reads file after file: starting one takes longer than reading a small file.

    with Reader() as reader:
        graphs = [load_graph(path, reader) for path in paths]

    process   None before the first file, and after one that it did not survive
    """

    process: ReadingProcess | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *problem: object) -> None:
        if self.process is not None:
            self.process.end()


def load_graph(path: str | Path, reader: Reader | None = None) -> OnnxGraph:
    """The graph of an ONNX file, its nodes in an order in which they can be run, without functions of its own.

    reader   reads it; without one a process is started for this file alone

    Numbers of 16 bits whose exponent has 8 (bfloat16) become float32. What lies in other files is read from below the
    file's folder.

    Errors   DataError for a damaged file, one that wants more than it may, and one whose nodes cannot be run;
             ConfigError for what is not read, such as float8, and where the package onnx is missing
    """
    demand_package()
    size = size_of(path, REMEDY)
    if size > LARGEST:
        raise file_error(path, f"has more than {LARGEST >> 30} GiB, which no ONNX file can have", REMEDY)
    with contextlib.nullcontext(reader) if reader else Reader() as reading:
        model, arrays = _read(reading, str(path), size)
    return _whole(path, model, arrays)


def graph_of(proto: Any, path: str = "model.onnx") -> OnnxGraph:
    """The graph of an onnx.ModelProto that this program has, as `load_graph` gives it of a file.

    path   that of its file, for errors; what lies in other files is read from below its folder

    Errors   as load_graph
    """
    reading = Reading(path)
    try:
        model = reading.model(proto)
    except Unreadable as problem:
        raise _refused(path, str(problem), isinstance(problem, Unsupported)) from None
    stream = io.BytesIO()
    reading.write(stream)
    stream.seek(0)
    arrays = [_array(stream, *form) for form in reading.arrays]
    return _whole(path, json.loads(json.dumps(model)), arrays)


def _refused(path: str | Path, words: str, unsupported: bool) -> LayerForgeError:
    if unsupported:
        return ConfigError(words, place=Place(str(path), 0, 0))
    return file_error(path, words, REMEDY)


# The process ----------------------------------------------------------------------------------------------------------


def _read(reader: Reader, path: str, size: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What the process finds in a file."""
    child = reader.process or ReadingProcess(Path(reading_child.__file__))
    reader.process = None
    try:
        stream = child.ask([path, SECONDS + size // BYTES_PER_SECOND, size])
        line = stream.readline()
        if not line.endswith(b"\n"):
            raise BrokenPipeError
        answer = json.loads(line)
        arrays = [_array(stream, *form) for form in answer.get("arrays", ())]
    except BrokenPipeError:
        raise _ended(path, *child.ending()) from None
    reader.process = child  # which did not end
    if "error" in answer:
        raise _refused(path, answer["error"], answer["unsupported"])
    return answer["model"], arrays


def _array(stream: Any, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """An array of the stream. Errors   BrokenPipeError where this ends before"""
    array = np.empty(shape, _stored(dtype))
    if not fill(stream, array):
        raise BrokenPipeError
    return _finished(dtype, array)


def _stored(dtype: str) -> np.dtype:
    """The bytes of a number as they come."""
    return np.dtype("u1" if dtype == "bool" else WORDS.get(dtype, dtype) if dtype == "bfloat16" else dtype)


def _finished(dtype: str, array: np.ndarray) -> np.ndarray:
    """An array of the bytes that came."""
    if dtype == "bool":
        return array != 0
    if dtype == "bfloat16":
        return np.asarray(array.astype(np.uint32) << 16).view(np.float32)
    return array


def _ended(path: str, code: int, text: str) -> DataError:
    """What to say of a process that ended."""
    if code < 0:
        return file_error(path, "reading it crashed or did not come to an end: the file is damaged", REMEDY)
    last = (text.strip().splitlines() or ["it changed while it was read"])[-1][-200:]
    return file_error(path, f"cannot be read ({last})", REMEDY)


# From plain values ----------------------------------------------------------------------------------------------------


def _whole(path: str | Path, model: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> OnnxGraph:
    """The graph of a model: functions expanded, nodes in order."""
    versions = [each["domains"][""] for each in (model, *model["functions"]) if "" in each["domains"]]
    build = _Build(path, arrays, versions[0] if versions else OPSET)  # without one there are other operators alone
    graph = build.graph(model["graph"])
    graph.metadata, graph.producer = model["metadata"], model["producer"]
    graph.folded = model["folded"]
    graph.domains = {domain: version for domain, version in model["domains"].items() if domain}
    expand(path, graph, [build.function(each) for each in model["functions"]])
    put_in_order(path, graph)
    _demand_foreign(path, graph)
    return graph


def _demand_foreign(path: str | Path, graph: OnnxGraph) -> None:
    """Refuse the domain of operators that only patterns write: nobody has checked such a node."""
    for node in graph.nodes:
        if node.domain == OWN:
            words = f"{told(node)}: operators of the domain '{OWN}' are in no file"
            raise ConfigError(words, place=Place(str(path), 0, 0), hint="export the net again")
        for inner in subgraphs(node):
            _demand_foreign(path, inner)


class _Build:
    """Graphs of the plain values that the process gave."""

    def __init__(self, path: str | Path, arrays: Sequence[np.ndarray], opset: int) -> None:
        self.path, self.arrays, self.opset = path, arrays, opset
        self.in_function = False

    def graph(self, plain: Mapping[str, Any]) -> OnnxGraph:
        initializers = {name: self.tensor(value) for name, value in plain["initializers"].items()}
        inputs = [self.value(*each) for each in plain["inputs"]]
        return OnnxGraph(
            plain["name"],
            [self.node(each) for each in plain["nodes"]],
            [info for info in inputs if info.name not in initializers],  # old files have initializers among them
            [self.value(*each) for each in plain["outputs"]],
            initializers,
            opset=self.opset,
        )

    def function(self, plain: Mapping[str, Any]) -> Function:
        if plain["overload"]:
            words = f"function '{plain['name']}' has overloads, which are not read"
            raise ConfigError(words, place=Place(str(self.path), 0, 0))
        self.in_function = True
        nodes = [self.node(each) for each in plain["nodes"]]
        self.in_function = False
        return Function(
            plain["name"], plain["domain"], plain["inputs"], plain["outputs"], nodes, plain["attributes"],
            self.attributes(plain["defaults"]), plain["domains"],
        )  # fmt: skip

    def node(self, plain: Mapping[str, Any]) -> Node:
        attributes = self.attributes(plain["attributes"])
        return Node(plain["op"], plain["inputs"], plain["outputs"], attributes, plain["name"], plain["domain"])

    def value(self, name: str, dtype: str, shape: list[Any] | None) -> ValueInfo:
        return ValueInfo(name, dtype, None if shape is None else tuple(shape))

    def tensor(self, plain: Mapping[str, Any]) -> np.ndarray:
        if "array" in plain:
            return self.arrays[plain["array"]]
        return np.array(plain["texts"], dtype=object).reshape(plain["shape"])

    def attributes(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.attribute(*value) for name, value in plain.items()}

    def attribute(self, kind: str, value: Any) -> Any:
        if kind == "tensor":
            return self.tensor(value)
        if kind == "tensors":
            return [self.tensor(each) for each in value]
        if kind == "graph":
            return self.graph(value)
        if kind == "graphs":
            return [self.graph(each) for each in value]
        if kind == "reference":
            if not self.in_function:
                raise file_error(self.path, f"an attribute is '{value}' of a call, but lies in no function", REMEDY)
            return Reference(value)
        return value
