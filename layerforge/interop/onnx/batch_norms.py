"""BatchNormalization multiplied into what is below it.

    Conv, ConvTranspose or Gemm     y = W x + b
    BatchNormalization              z = a (y - mean) + bias,  a = scale / √(var + epsilon)      for each channel
    becomes                         z = (a W) x + a (b - mean) + bias

where nothing else reads y; and so on with a Mul and an Add by channel behind it, which are Caffe's Scale. Computed in
float64, kept in float32.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from .graph import Node, OnnxGraph
from .ordering import used_within

LINEAR = ("Conv", "ConvTranspose", "Gemm")
Affine = tuple[np.ndarray, np.ndarray]  # factor and summand of each channel


def fold_batch_norms(graph: OnnxGraph) -> int:
    """Fold all that can be, in place; returns how many there were."""
    folding = _Folding(graph)
    return sum(folding.fold(node) for node in list(graph.nodes) if node.op in LINEAR)


class _Folding:
    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.arrays = dict(graph.initializers)
        self.arrays |= {node.outputs[0]: node.attributes["value"] for node in graph.nodes if node.op == "Constant"}
        self.read = _reads(graph)
        self.readers = {name: node for node in graph.nodes for name in node.inputs}
        self.outputs = {info.name for info in graph.outputs}

    def fold(self, node: Node) -> bool:
        """Fold what is behind a linear map, if that begins with a BatchNormalization."""
        weight = node.inputs[1]
        if self.read[weight] != 1 or weight not in self.graph.initializers:
            return False  # a weight that others share stays what it is
        array, groups = self.graph.initializers[weight].astype(np.float64), node.attributes.get("group", 1)
        channels = len(array) if node.op != "ConvTranspose" else array.shape[1] * groups
        factor, summand = np.ones(channels), self._bias(node, channels)
        gone: list[Node] = []
        while (above := self._above(node.outputs[0])) is not None:
            found = self._affine(above, node.outputs[0], (channels, *(1,) * (array.ndim - 2)), bool(gone))
            if found is None:
                break
            factor, summand = factor * found[0], summand * found[0] + found[1]
            node.outputs, gone = list(above.outputs), [*gone, above]
        if not gone:
            return False
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        if self.read[bias] != 1 or bias not in self.graph.initializers:
            bias = self._free(f"{weight.rpartition('.')[0]}.bias")
            node.inputs = [*node.inputs[:2], bias]
        self.graph.initializers[weight] = scaled(array, factor, node.op, groups).astype(np.float32)
        self.graph.initializers[bias] = summand.astype(np.float32)
        self._remove(gone)
        return True

    def _bias(self, node: Node, channels: int) -> np.ndarray:
        named = node.inputs[2] if len(node.inputs) > 2 else ""
        return self.arrays[named].astype(np.float64) if named else np.zeros(channels)

    def _above(self, name: str) -> Node | None:
        """The one node that reads a value, where it is no output of the graph."""
        return self.readers.get(name) if self.read[name] == 1 and name not in self.outputs else None

    def _affine(self, node: Node, x: str, aligned: tuple[int, ...], begun: bool) -> Affine | None:
        """What a node does with each channel of x, if that is a factor and a summand."""
        if node.op == "BatchNormalization" and node.inputs[0] == x:
            scale, bias, mean, var = (self.arrays[name].astype(np.float64) for name in node.inputs[1:5])
            factor = scale / np.sqrt(var + node.attributes["epsilon"])
            return factor, bias - mean * factor
        if not begun or node.op not in ("Mul", "Add"):
            return None
        other = node.inputs[1 - node.inputs.index(x)]
        if other not in self.arrays or self.arrays[other].shape != aligned:
            return None
        numbers = self.arrays[other].astype(np.float64).reshape(-1)
        return (numbers, np.zeros_like(numbers)) if node.op == "Mul" else (np.ones_like(numbers), numbers)

    def _free(self, name: str) -> str:
        taken = {*self.read, *self.outputs, *self.graph.initializers}
        return next(one for one in (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))) if one not in taken)

    def _remove(self, gone: list[Node]) -> None:
        """Take nodes out of the graph, and parameters and constants that they alone have read."""
        for node in gone:
            self.read.subtract(node.inputs)
        unread = {name for node in gone for name in node.inputs if not self.read[name]}
        for name in unread:
            self.graph.initializers.pop(name, None)
        self.graph.nodes[:] = [
            node
            for node in self.graph.nodes
            if not any(node is one for one in gone) and not (node.op == "Constant" and node.outputs[0] in unread)
        ]


def scaled(weight: np.ndarray, factor: np.ndarray, op: str, groups: int) -> np.ndarray:
    """A weight with each output channel times its factor. ConvTranspose's is (C, O/groups, ...), others' (O, ...)."""
    if op != "ConvTranspose":
        return weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
    parts = weight.reshape(groups, -1, *weight.shape[1:])
    return (parts * factor.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))).reshape(weight.shape)


def _reads(graph: OnnxGraph) -> Counter[str]:
    """How often each value is read, by graphs inside of nodes, too."""
    return Counter(name for node in graph.nodes for name in (*node.inputs, *used_within(node)))
