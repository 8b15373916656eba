"""Functions that a file brings along: their nodes in the place of each call."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...data.files import file_error
from ...schema.errors import ConfigError
from ...schema.locations import Place
from .graph import Node, OnnxGraph, ValueInfo
from .ordering import outer, subgraphs, told

DEEPEST = 32  # calls within calls
MOST = 300_000  # nodes, values and attributes that calls become
MOST_TEXT = 16 << 20  # characters of their names
REMEDY = "onnx.inliner.inline_local_functions may write a file without functions"


@dataclass(frozen=True)
class Reference:
    """An attribute of a node in a function: that of the call."""

    name: str


@dataclass
class Function:
    """A function of a file.

    attributes   names of those that a call may give
    defaults     values of those that it need not give
    domains      the versions of the operators that its nodes are of
    """

    name: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    nodes: list[Node]
    attributes: list[str] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    domains: dict[str, int] = field(default_factory=dict)


def expand(path: Any, graph: OnnxGraph, functions: Sequence[Function]) -> None:
    """Put the nodes of functions in the place of the calls, in the graphs within, too.

    A value within a function is called as the node that calls it, "/" and its own name.

    Errors   DataError for a function that calls itself; ConfigError for one whose operators have another version
    """
    if functions:
        _Expansion(path, graph, functions).run(graph, frozenset(), 0)


class Copying:
    """Graphs from within others, and what takes the place of a call, with names that no value has.

    path      the file, for errors
    written   in what is copied, for errors
    """

    written = "branches"

    def __init__(self, path: Any, graph: OnnxGraph) -> None:
        self.path = path
        self.taken = dict.fromkeys(_own_names(graph), 1)
        self.characters = MOST_TEXT

    def put(self, graph: OnnxGraph) -> OnnxGraph:
        """A graph from within, as part of the one around it: its values keep their names where they are free."""
        return self.copied(graph, "", {name: name for name in outer(graph)}, {})

    def copy(self, node: Node, prefix: str, values: MutableMapping[str, str], given: Mapping[str, Any]) -> Node:
        """A node of a function with its values renamed."""
        inputs = [self.renamed(name, prefix, values) for name in node.inputs]
        attributes = {}
        for key, value in node.attributes.items():
            if isinstance(value, Reference):
                if value.name in given:
                    attributes[key] = given[value.name]
            elif isinstance(value, OnnxGraph):
                attributes[key] = self.copied(value, prefix, values, given)
            elif isinstance(value, list) and value and isinstance(value[0], OnnxGraph):
                attributes[key] = [self.copied(each, prefix, values, given) for each in value]
            else:
                attributes[key] = value
        outputs = [self.renamed(name, prefix, values) for name in node.outputs]
        name = f"{prefix}/{node.name}" if prefix and node.name else node.name
        return Node(node.op, inputs, outputs, attributes, name, node.domain)

    def copied(
        self, graph: OnnxGraph, prefix: str, values: MutableMapping[str, str], given: Mapping[str, Any]
    ) -> OnnxGraph:
        """A graph within a function with its values renamed; those of its own do not leave it."""
        inner = ChainMap({}, values)
        for name in (*(info.name for info in graph.inputs), *graph.initializers):
            inner[name] = self._own(prefix, name)

        def infos(those: list[ValueInfo]) -> list[ValueInfo]:
            return [ValueInfo(self.renamed(info.name, prefix, inner), info.dtype, info.shape) for info in those]

        return OnnxGraph(
            graph.name,
            [self.copy(node, prefix, inner, given) for node in graph.nodes],
            infos(graph.inputs),
            infos(graph.outputs),
            {inner[name]: array for name, array in graph.initializers.items()},
            opset=graph.opset,
        )

    def renamed(self, name: str, prefix: str, values: MutableMapping[str, str]) -> str:
        if not name:
            return ""
        if name not in values:
            values[name] = self._own(prefix, name)
        return values[name]

    def _own(self, prefix: str, name: str) -> str:
        return self.unique(f"{prefix}/{name}" if prefix else name)

    def unique(self, name: str) -> str:
        """A name that no value has."""
        made = name
        while made in self.taken:
            self.taken[name] += 1
            made = f"{name}_{self.taken[name]}"
        self.taken[made] = 1
        self.characters -= len(made)
        if self.characters < 0:
            raise file_error(self.path, f"its {self.written} become names of more than {MOST_TEXT} characters", REMEDY)
        return made


class _Expansion(Copying):
    written = "functions"

    def __init__(self, path: Any, graph: OnnxGraph, functions: Sequence[Function]) -> None:
        super().__init__(path, graph)
        self.opset = graph.opset
        self.known = {(each.domain, each.name): each for each in functions}
        self.taken = dict.fromkeys(_names(graph), 1)
        self.left = MOST
        self.sizes = {key: _size(each.nodes) + len(each.inputs) + len(each.outputs) for key, each in self.known.items()}

    def run(self, graph: OnnxGraph, above: frozenset[tuple[str, str]], depth: int) -> None:
        graph.nodes = [made for node in graph.nodes for made in self.node(node, above, depth)]

    def node(self, node: Node, above: frozenset[tuple[str, str]], depth: int) -> list[Node]:
        """What a node becomes: itself, or the nodes of the function that it calls."""
        key = (node.domain, node.op)
        for inner in subgraphs(node):
            self.run(inner, above, depth)
        function = self.known.get(key)
        if function is None:
            return [node]
        if key in above:
            raise file_error(self.path, f"{told(node)}: the function calls itself", REMEDY)
        if depth >= DEEPEST:
            raise file_error(self.path, f"{told(node)}: functions call one another more than {DEEPEST} deep", REMEDY)
        self._demand(node, function)
        return [made for each in self.called(node, function) for made in self.node(each, above | {key}, depth + 1)]

    def _demand(self, node: Node, function: Function) -> None:
        self.left -= self.sizes[node.domain, node.op]
        if self.left < 0:
            raise file_error(self.path, f"its functions become more than {MOST} nodes and values", REMEDY)
        if len(node.inputs) > len(function.inputs) or len(node.outputs) > len(function.outputs):
            raise file_error(self.path, f"{told(node)}: the function has not so many inputs or outputs", REMEDY)
        opset = function.domains.get("", self.opset)
        if opset != self.opset:
            words = f"{told(node)}: the function is written in opset {opset}, the graph in opset {self.opset}"
            raise ConfigError(words, place=Place(str(self.path), 0, 0), hint=REMEDY)

    def called(self, node: Node, function: Function) -> list[Node]:
        """The nodes of a function with the values and attributes of a call."""
        prefix = node.name or next(filter(None, node.outputs), node.op)
        values = dict(zip(function.inputs, [*node.inputs, *[""] * len(function.inputs)], strict=False))
        passed = [name for name in function.outputs if name in values]  # an output that is an input
        for inner, out in zip(function.outputs, node.outputs, strict=False):
            if out and inner not in values:
                values[inner] = out
        given = {**function.defaults, **{k: v for k, v in node.attributes.items() if k in function.attributes}}
        given |= {k: v for k, v in node.attributes.items() if k in function.defaults}
        nodes = [self.copy(each, prefix, values, given) for each in function.nodes]
        for inner, out in zip(function.outputs, node.outputs, strict=False):
            if out and inner in passed:
                nodes.append(Node("Identity", [values[inner]], [out], {}, self.unique(f"{prefix}/{inner}")))
        return nodes


def _size(nodes: Sequence[Node]) -> int:
    """Nodes, values and attributes, also of the graphs within."""
    own = sum(1 + len(node.inputs) + len(node.outputs) + len(node.attributes) for node in nodes)
    inner = [graph for node in nodes for graph in subgraphs(node)]
    return own + sum(_size(g.nodes) + len(g.inputs) + len(g.outputs) + len(g.initializers) for g in inner)


def _own_names(graph: OnnxGraph) -> list[str]:
    """All names of values in a graph."""
    infos = (info.name for info in (*graph.inputs, *graph.outputs))
    return [*graph.initializers, *infos, *(name for node in graph.nodes for name in (*node.inputs, *node.outputs))]


def _names(graph: OnnxGraph) -> list[str]:
    """All names of values in a graph and those within."""
    inner = (each for node in graph.nodes for each in subgraphs(node))
    return [*_own_names(graph), *(name for each in inner for name in _names(each))]
