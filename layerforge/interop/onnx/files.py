"""An OnnxGraph as a file of ONNX. Needs the package `onnx` (extra onnx)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...schema.optional import require, require_soon
from .graph import IR, OnnxGraph, ValueInfo

WHY = "the format ONNX"


def package() -> Any:
    """The package onnx. Errors: ConfigError with the line that installs it."""
    return require("onnx", extra="onnx", why=WHY)


def demand_package() -> None:
    """Refuse early where the package onnx is missing. Errors: as `package`."""
    require_soon("onnx", extra="onnx", why=WHY)


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
