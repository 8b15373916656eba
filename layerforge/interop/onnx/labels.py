"""Outputs of classifiers that are no numbers of a net: labels, and scores by the names of classes.

scikit-learn's exporter writes a label beside the scores, and by default a mapping from classes to scores (ZipMap) in
their place. The net gives the scores; which class is which is told of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .graph import Node, OnnxGraph, ValueInfo

ML = "ai.onnx.ml"
PASSING = ("Cast", "Reshape", "Identity", "Squeeze", "Flatten")
CLASSES = ("classlabels_int64s", "classlabels_ints", "classlabels_strings")


def without_labels(graph: OnnxGraph) -> tuple[OnnxGraph, list[str]]:
    """The graph with scores alone as outputs, and what was left out, in words."""
    if not any(node.domain == ML for node in graph.nodes):
        return graph, []
    makers = {name: node for node in graph.nodes for name in node.outputs}
    outputs: list[ValueInfo] = []
    notes: list[str] = []
    for info in graph.outputs:
        node = makers.get(info.name)
        if node is not None and node.domain == ML and node.op == "ZipMap":
            outputs.append(ValueInfo(node.inputs[0], "float32", None))
            told = f"the output '{info.name}' maps classes to scores: '{node.inputs[0]}' is the scores{_of(node)}"
            notes.append(told)
        elif _is_label(info.name, makers):
            notes.append(f"the output '{info.name}', a label, is left out: it is the class of the largest score")
        else:
            outputs.append(info)
    return (replace(graph, outputs=outputs), notes) if outputs else (graph, [])


def _is_label(name: str, makers: dict[str, Node]) -> bool:
    """Whether a value is picked from the names of classes."""
    node: Any = makers.get(name)
    while node is not None and node.op in PASSING and not node.domain and node.inputs:
        name = node.inputs[0]
        node = makers.get(name)
    if node is None or node.domain != ML:
        return False
    return node.op in ("ArrayFeatureExtractor", "LabelEncoder") or ("Classifier" in node.op and name == node.outputs[0])


def _of(node: Node) -> str:
    classes: list[Any] = next((node.attributes[key] for key in CLASSES if node.attributes.get(key)), [])
    return f" of {', '.join(map(str, classes))}" if classes else ""
