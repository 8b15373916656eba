"""Chains of operators that only move numbers: what they do together, whatever they are.

What a chain does is found out by sending the places of its source through it, in each variant.
"""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np

from ....schema.errors import LayerForgeError
from ..folding import fold
from ..graph import Node
from ..values import Attributes, Known
from .looking import Look, shape_of, turned

ALL = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")  # each number once
SOME = (*ALL, "Slice", "Split", "Gather")  # those that leave numbers out
LARGEST = 1 << 23  # numbers that are sent through a chain
AXES = 6  # of which all orders are tried
FIRST = 256  # numbers that are compared first

Places = tuple[np.ndarray, ...]  # where each number was in the source, in each variant


def places(look: Look, name: str, source: str, ops: tuple[str, ...] = SOME) -> Places | None:
    """For each number of a value its place in the source, read in row-major order; None where the value has others."""
    chain = []
    while name != source:
        node = look.maker(name, *ops)
        if node is None or not all(not one or look.known(one) for one in node.inputs[1:]):
            return None
        chain.append((node, node.outputs.index(name)))
        name = node.inputs[0]
    shapes = look.shapes(source)
    if shapes is None or any(math.prod(shape) > LARGEST for shape in shapes):
        return None
    moved = Known(tuple(np.arange(math.prod(shape), dtype=np.int32).reshape(shape) for shape in shapes))
    for node, output in reversed(chain):
        rest = [look.known(one) if one else None for one in node.inputs[1:]]
        try:
            moved = fold(node, Attributes(node), [moved, *rest], look.graph.opset, len(shapes))[output]
        except LayerForgeError:
            return None
    return moved.arrays


def source_of(look: Look, name: str, ops: tuple[str, ...] = SOME) -> str:
    """Where the chain of movements begins that ends with a value."""
    while (node := look.maker(name, *ops)) is not None:
        name = node.inputs[0]
    return name


def shortened(look: Look, node: Node) -> list[Node] | None:
    """Movements after one another, as at most a Transpose and a Reshape.

    The last node of a chain is looked at: one whose output is not read by other movements alone.
    """
    name = node.outputs[0]
    readers = look.readers.get(name, [])
    if readers and all(reader.op in ALL and reader.inputs[0] == name for reader in readers):
        return None
    chain = [node]
    while (before := look.maker(chain[-1].inputs[0], *ALL)) is not None:
        chain.append(before)
    source = chain[-1].inputs[0]
    if len(chain) < 2 or look.known(source) is not None:
        return None
    found = places(look, name, source, ALL)
    made = None if found is None else _moved(look, source, found, node)
    return made if made is not None and len(made) < len(chain) else None


def rejoined(look: Look, node: Node) -> list[Node] | None:
    """A Concat of parts of one value that brings all its numbers together again, as a Transpose and a Reshape.

    So exporters bring the two directions of a recurrent operator behind one another.
    """
    sources = {source_of(look, name) for name in node.inputs}
    if len(sources) != 1 or len(node.inputs) < 2:
        return None
    (source,) = sources
    parts = [places(look, name, source) for name in node.inputs]
    found = [part for part in parts if part is not None]
    valid = look.shapes(node.outputs[0]) is not None
    if not valid or len(found) < len(parts) or look.known(source) is not None:
        return None
    axis = node.attributes.get("axis", 0)
    joined = tuple(np.concatenate(one, axis) for one in zip(*found, strict=True))
    return _moved(look, source, joined, node)


def _moved(look: Look, source: str, found: Places, node: Node) -> list[Node] | None:
    """A Transpose, a Reshape or both that put the numbers of the source where they were found."""
    shapes = look.shapes(source) or ()
    if any(one.size != math.prod(shape) for one, shape in zip(found, shapes, strict=True)):
        return None
    ndim = len(shapes[0])
    counted = [np.arange(one.size, dtype=np.int32).reshape(shape) for one, shape in zip(found, shapes, strict=True)]
    for order in permutations(range(ndim)) if ndim <= AXES else [tuple(range(ndim))]:
        moved = [one.transpose(order) for one in counted]
        if all(_same_order(a, b) for a, b in zip(moved, found, strict=True)):
            break
    else:
        return None
    made, name = [], source
    last = all(a.shape == b.shape for a, b in zip(moved, found, strict=True))
    if order != tuple(range(ndim)):
        made.append(transposed(look, name, order, node.outputs[0] if last else "", node.name))
        name = made[0].outputs[0]
    if not last:
        shape = shape_of(look, [one.shape for one in found], name)
        if shape is None:
            return None
        target = look.constant(np.array(shape, np.int64), node.outputs[0], "shape")
        made.append(Node("Reshape", [name, target], node.outputs, {}, node.name))
    return made or [Node("Identity", [name], node.outputs, {}, node.name)]


def _same_order(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same numbers in row-major order; most that have not differ early."""
    return np.array_equal(a.flat[:FIRST], b.flat[:FIRST]) and np.array_equal(a.reshape(-1), b.reshape(-1))


def transposed(look: Look, name: str, order: tuple[int, ...], output: str = "", called: str = "") -> Node:
    """A Transpose, with what is known of its output where that is a new value."""
    if not output:
        output = look.fresh(name, "transposed")
        look.values[output] = turned(look.value(name), order)
    return Node("Transpose", [name], [output], {"perm": list(order)}, called or output)
