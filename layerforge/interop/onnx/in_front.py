"""Nodes in front of a net: what is made of raw samples before the net's own input."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from .dtypes import NUMBERS
from .graph import Node, OnnxGraph, ValueInfo, free_name
from .ordering import subgraphs


class InFront:
    """Writes nodes that come before those of a graph, for one of its inputs. Values are known by their names.

    prefix   what names of values and nodes begin with: the input's name
    """

    def __init__(self, graph: OnnxGraph, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Node] = []
        self.taken = {name for node in graph.nodes for name in (*node.inputs, *node.outputs, node.name)}
        self.taken |= {info.name for info in (*graph.inputs, *graph.outputs)} | set(graph.initializers)

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node and return its value. Inputs are values, or arrays, numbers and lists, which become constants."""
        given = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        name = self.unique(kind)
        self.nodes.append(Node(kind, given, [name], attributes, name))
        return name

    def constant(self, value: Any) -> str:
        """A constant: an array as it is, a list of integers as int64."""
        name = self.unique("constant")
        array = np.asarray(value, np.int64) if isinstance(value, list) else np.asarray(value)
        self.nodes.append(Node("Constant", [], [name], {"value": array}, name))
        return name

    def branch(self, write: Callable[[InFront], str]) -> OnnxGraph:
        """A graph within, whose one output is what `write` writes of values of this one."""
        within = copy(self)  # whose names are taken here, too
        within.nodes = []
        value = write(within)
        return OnnxGraph(self.unique("branch"), within.nodes, [], [ValueInfo(value, "float64", None)])

    def cast(self, value: str, dtype: str) -> str:
        """A value in another dtype, by NumPy's name."""
        return self.op("Cast", value, to=NUMBERS[dtype])

    def length(self, value: str, axis: int) -> str:
        """The length of an axis, as a value of one axis."""
        return self.op("Slice", self.op("Shape", value), [axis], [axis + 1])

    def unique(self, kind: str) -> str:
        return free_name(f"{self.prefix}/{kind}", self.taken)

    def put(self, graph: OnnxGraph, value: str, info: ValueInfo) -> None:
        """Let the net read a value in the place of its input, which becomes a raw one.

        info   the raw input
        """
        rename(graph, self.prefix, value)
        graph.nodes[:0] = self.nodes
        graph.inputs = [info if one.name == self.prefix else one for one in graph.inputs]


def rename(graph: OnnxGraph, old: str, new: str) -> None:
    """Let the nodes of a graph, and of those within, read another value in the place of one."""
    for node in graph.nodes:
        node.inputs = [new if name == old else name for name in node.inputs]
        for inner in subgraphs(node):
            rename(inner, old, new)
