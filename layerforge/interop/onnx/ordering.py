"""The nodes of a graph in an order in which they can be run; what cannot be run is refused."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Sequence
from typing import Any

from ...data.files import file_error
from ...schema.errors import DataError
from .graph import Node, OnnxGraph

REMEDY = "onnx.checker.check_model says more of it"


def told(node: Node) -> str:
    """What errors call a node."""
    kind = f"{node.domain}.{node.op}" if node.domain else node.op
    return f"node '{node.name}' ({kind})" if node.name else f"the {kind} that makes '{next(iter(made(node)), '')}'"


def made(node: Node) -> list[str]:
    """The values that a node makes."""
    return [name for name in node.outputs if name]


def subgraphs(node: Node) -> Iterator[OnnxGraph]:
    """The graphs in a node's attributes."""
    for value in node.attributes.values():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, OnnxGraph):
                yield each


def used(node: Node) -> list[str]:
    """The values that a node needs: its inputs, and what its graphs take from outside."""
    return list(dict.fromkeys([*(name for name in node.inputs if name), *used_within(node)]))


def used_within(node: Node) -> list[str]:
    """The values that each graph in a node takes from outside."""
    return [name for graph in subgraphs(node) for name in outer(graph)]


def needed(graph: OnnxGraph) -> list[Node]:
    """The nodes that an output depends on."""
    wanted = {info.name for info in graph.outputs}
    found = []
    for node in reversed(graph.nodes):
        if wanted.intersection(made(node)):
            found.append(node)
            wanted.update(used(node))
    return found[::-1]


def outer(graph: OnnxGraph) -> list[str]:
    """The values that a graph takes from the graph around it."""
    own = {*graph.initializers, *(info.name for info in graph.inputs), *(n for node in graph.nodes for n in made(node))}
    needed = [*(name for node in graph.nodes for name in used(node)), *(info.name for info in graph.outputs)]
    return [name for name in dict.fromkeys(needed) if name not in own]


def drop_unread(graph: OnnxGraph) -> None:
    """Leave out the nodes and initializers that nothing reads, also of the graphs within."""
    needed, left = {info.name for info in graph.outputs}, []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            for inner in subgraphs(node):
                drop_unread(inner)
            needed.update(used(node))
            left.append(node)
    graph.nodes = left[::-1]
    graph.initializers = {name: array for name, array in graph.initializers.items() if name in needed}


def put_in_order(path: Any, graph: OnnxGraph, around: Sequence[Container[str]] = ()) -> None:
    """Sort the nodes, and those of the graphs within, so that each comes after what it needs.

    path     the file, for errors
    around   the values of each graph around this one

    Those that are in such an order stay as they are.

    Errors   DataError for a value that two nodes make, one that nobody makes, and nodes in a circle
    """
    makers: dict[str, Node | None] = dict.fromkeys([*(info.name for info in graph.inputs), *graph.initializers])
    if len(makers) < len(graph.inputs) + len(graph.initializers):
        raise file_error(path, "two inputs have the same name", REMEDY)
    for node in graph.nodes:
        for name in made(node):
            if name in makers:
                first = makers[name]
                stored = "an initializer" if name in graph.initializers else "an input"
                other = f"is made by {told(first)} already" if first else f"is {stored} of the graph already"
                raise file_error(path, f"{told(node)}: its output '{name}' {other}", REMEDY)
            makers[name] = node
    known = [makers, *around]
    for node in graph.nodes:
        for name in used(node):
            if not any(name in each for each in known):
                raise file_error(path, f"{told(node)}: nobody makes '{name}', which it reads", REMEDY)
    for info in graph.outputs:
        if not any(info.name in each for each in known):
            raise file_error(path, f"nobody makes the graph's output '{info.name}'", REMEDY)
    graph.nodes = _sorted(path, graph.nodes, makers)
    for node in graph.nodes:
        for inner in subgraphs(node):
            put_in_order(path, inner, known)


def _sorted(path: Any, nodes: list[Node], makers: dict[str, Node | None]) -> list[Node]:
    """The nodes in order; of those that could be next the first one in the file is."""
    place = {id(node): number for number, node in enumerate(nodes)}
    waiting = [0] * len(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    for number, node in enumerate(nodes):
        below = {place[id(maker)] for name in used(node) if (maker := makers.get(name)) is not None}
        waiting[number] = len(below)
        for each in below:
            readers[each].append(number)
    ready = [number for number, count in enumerate(waiting) if not count]
    order: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        order.append(number)
        for reader in readers[number]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        raise _circle(path, nodes, sorted(set(range(len(nodes))) - set(order)), makers)
    return [nodes[number] for number in order]


def _circle(path: Any, nodes: list[Node], left: list[int], makers: dict[str, Node | None]) -> DataError:
    """The error that names a circle among the nodes that are left."""
    place = {id(node): number for number, node in enumerate(nodes)}
    stuck, number = set(left), left[0]  # each of them needs another one of them
    trail: dict[int, int] = {}
    while number not in trail:
        trail[number] = len(trail)
        below = [place[id(m)] for name in used(nodes[number]) if (m := makers.get(name)) is not None]
        number = next(each for each in below if each in stuck)
    named = [told(nodes[each]) for each in [*list(trail)[trail[number] :], number]][:6]
    return file_error(path, f"nodes need each other in a circle: {' reads '.join(named)}", REMEDY)


def passed_on(graph: OnnxGraph, name: str) -> str:
    """What a value of a graph is: through the nodes that pass it on as it is, the name of the first."""
    makers = {one: node for node in graph.nodes for one in node.outputs if node.op == "Identity"}
    while name in makers:
        name = makers[name].inputs[0]
    return name
