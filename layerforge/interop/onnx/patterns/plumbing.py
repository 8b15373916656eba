"""Nodes that do nothing: what reads their output reads their input instead."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Node, OnnxGraph
from ..ordering import outer, subgraphs
from ..values import NARROW, Value


def bypassed(graph: OnnxGraph, values: dict[str, Value]) -> None:
    """Leave out each Identity, and each Cast between dtypes that are one here, such as float16 and float32.

    A Cast to integers with other limits than int64 stays, as it may change them.
    """
    outputs = {value.name for value in graph.outputs}
    fixed = outputs | {name for node in graph.nodes for inner in subgraphs(node) for name in outer(inner)}
    instead: dict[str, str] = {}
    kept = []
    for node in graph.nodes:
        if any(name in instead for name in node.inputs):
            node = replace(node, inputs=[instead.get(name, name) for name in node.inputs])
        if _is_nothing(node, values) and node.outputs[0] not in fixed:
            instead[node.outputs[0]] = node.inputs[0]
        else:
            kept.append(node)
    graph.nodes = kept


def _is_nothing(node: Node, values: dict[str, Value]) -> bool:
    if node.domain or node.op not in ("Identity", "Cast") or not node.inputs or not node.outputs:
        return False
    if node.op == "Cast" and node.attributes.get("to") in NARROW:
        return False
    before, after = values.get(node.inputs[0]), values.get(node.outputs[0])
    return node.op == "Identity" or (before is not None and after is not None and before.dtype == after.dtype)
