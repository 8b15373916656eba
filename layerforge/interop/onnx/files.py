"""An OnnxGraph as a file of ONNX. Needs the package `onnx` (extra onnx)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...schema.optional import require
from .graph import IR, Node, OnnxGraph, ValueInfo


def package() -> Any:
    """The package onnx. Errors: ConfigError with the line that installs it."""
    return require("onnx", extra="onnx", why="the format ONNX")


def model_bytes(graph: OnnxGraph) -> bytes:
    """A model as the bytes of a file."""
    onnx = package()
    helper = onnx.helper
    model = helper.make_model(
        _graph_proto(onnx, graph),
        opset_imports=[helper.make_opsetid("", graph.opset)],
        ir_version=IR,
        producer_name=graph.producer,
    )
    for key, value in graph.metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _graph_proto(onnx: Any, graph: OnnxGraph) -> Any:
    helper = onnx.helper
    nodes = []
    for node in graph.nodes:
        attributes = {key: _attribute(onnx, value) for key, value in node.attributes.items()}
        nodes.append(
            helper.make_node(node.op, node.inputs, node.outputs, name=node.name, domain=node.domain, **attributes)
        )
    return helper.make_graph(
        nodes,
        graph.name,
        [_value_info(onnx, info) for info in graph.inputs],
        [_value_info(onnx, info) for info in graph.outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in graph.initializers.items()],
    )


def _attribute(onnx: Any, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return onnx.numpy_helper.from_array(value)
    if isinstance(value, OnnxGraph):
        return _graph_proto(onnx, value)
    return value


def _value_info(onnx: Any, info: ValueInfo) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype))
    return onnx.helper.make_tensor_value_info(info.name, kind, info.shape)


def graph_of(proto: Any) -> OnnxGraph:
    """A ModelProto as a graph; its own functions are inlined. Errors: Unsupported for values that are no tensors."""
    onnx = package()
    if len(proto.functions):
        proto = onnx.inliner.inline_local_functions(proto)
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    graph = _read_graph(onnx, proto.graph)
    graph.opset = versions.get("", versions.get("ai.onnx", 1))
    graph.producer = f"{proto.producer_name} {proto.producer_version}".strip()
    graph.metadata = {entry.key: entry.value for entry in proto.metadata_props}
    return graph


def _read_graph(onnx: Any, proto: Any) -> OnnxGraph:
    graph = OnnxGraph(proto.name)
    graph.initializers = {tensor.name: _array(onnx, tensor) for tensor in proto.initializer}
    graph.inputs = [_read_info(onnx, info) for info in proto.input if info.name not in graph.initializers]
    graph.outputs = [_read_info(onnx, info) for info in proto.output]
    for node in proto.node:
        attributes = {one.name: _value(onnx, one) for one in node.attribute}
        domain = "" if node.domain == "ai.onnx" else node.domain
        graph.nodes.append(Node(node.op_type, list(node.input), list(node.output), attributes, node.name, domain))
    return graph


def _value(onnx: Any, attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, onnx.TensorProto):
        return _array(onnx, value)
    if isinstance(value, onnx.GraphProto):
        return _read_graph(onnx, value)
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [one.decode("utf-8", errors="replace") for one in value]
    return list(value) if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS) else value


def _array(onnx: Any, tensor: Any) -> np.ndarray:
    array: np.ndarray = onnx.numpy_helper.to_array(tensor)
    return array.astype(np.float32) if array.dtype.name in ("bfloat16", "float16") else array


def _read_info(onnx: Any, info: Any) -> ValueInfo:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        return ValueInfo(info.name, info.type.WhichOneof("value") or "unknown", None)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "float32"
    if not kind.HasField("shape"):
        return ValueInfo(info.name, dtype, None)
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
    return ValueInfo(info.name, dtype, tuple(shape))
