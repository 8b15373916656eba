"""Two recurrent layers of one sequence, of which one reads it backwards: one layer with both directions."""

from __future__ import annotations

import math

import numpy as np

from ..conversions.recurrent_in import CELLS
from ..graph import OWN, Node
from .looking import Look, NotThis, reshaped
from .movements import SOME, places, source_of, transposed

MOVES = (*SOME, "ReverseSequence")
ORDERS = ((0, 1, 2), (1, 0, 2))  # samples in front, or time


def both_ways(look: Look, node: Node) -> list[Node] | None:
    """A Concat of the features of both: y of (N, T, D), and of the sequence backwards, turned back.

    So Keras's Bidirectional is written where its layers are no operators to the exporter.
    """
    if len(node.inputs) != 2 or node.attributes.get("axis", 0) not in (2, -1):
        return None
    ahead, back = (_layer(look, name) for name in node.inputs)
    if ahead is None or back is None or (ahead.op, ahead.attributes) != (back.op, back.attributes):
        return None
    if len(ahead.inputs) != len(back.inputs) or ahead.attributes.get("direction", "forward") != "forward":
        return None
    x, y = source_of(look, ahead.inputs[0], MOVES), ahead.outputs[0]
    read, given = _order(look, ahead.inputs[0], x), _order(look, node.inputs[0], y)
    if read is None or given is None:
        return None
    turned = _is(look, back.inputs[0], x, read, 1) and _is(look, node.inputs[1], back.outputs[0], given, given.index(1))
    if not turned:
        return None
    pairs = zip(ahead.inputs[1:], back.inputs[1:], strict=True)
    weights = [_joined(look, *pair, ahead.name) for pair in pairs]
    begin = [] if read == ORDERS[0] else [transposed(look, x, read)]
    both, shapes = look.fresh(y, "both"), [(n, t, 2 * size) for n, t, size in look.shapes(y) or ()]
    look.values[both] = reshaped(look.value(node.outputs[0]), shapes)
    attributes = {**ahead.attributes, "direction": "bidirectional"}
    attributes |= {"activations": 2 * attributes["activations"]} if "activations" in attributes else {}
    name = begin[0].outputs[0] if begin else x
    made = Node(ahead.op, [name, *weights], [both], attributes, ahead.name, OWN)
    return [*begin, made, Node("Transpose", [both], node.outputs, {"perm": list(given)}, node.name)]


def _layer(look: Look, name: str) -> Node | None:
    """The layer of one direction, without states, whose features these are."""
    node = look.maker(source_of(look, name, MOVES), *CELLS)
    usual = node is not None and node.domain == OWN and len(node.inputs) <= 4 and not any(node.outputs[1:])
    return node if usual else None


def _order(look: Look, name: str, source: str) -> tuple[int, ...] | None:
    """The order of the axes of a value that is its source with samples or time in front; None where it is another."""
    return next((order for order in ORDERS if _is(look, name, source, order)), None)


def _is(look: Look, name: str, source: str, order: tuple[int, ...], turned: int | None = None) -> bool:
    """Whether a value is its source with the axes in this order, and one of them turned round."""
    found, shapes = places(look, name, source, MOVES), look.shapes(source)
    if found is None or shapes is None or any(len(shape) != 3 for shape in shapes):
        return False
    wanted = [np.arange(math.prod(shape)).reshape(shape).transpose(order) for shape in shapes]
    wanted = wanted if turned is None else [np.flip(one, turned) for one in wanted]
    return all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def _joined(look: Look, one: str, other: str, name: str) -> str:
    """Learned numbers of both directions, which nobody else reads."""
    if not one and not other:
        return ""
    values = [look.known(each) for each in (one, other)]
    arrays = [value.array for value in values if value is not None and value.learned]
    alone = all(len(look.readers.get(each, ())) == 1 for each in (one, other))
    if len(arrays) < 2 or one == other or not alone or any(info.name in (one, other) for info in look.graph.outputs):
        raise NotThis("weights of others, too")
    return look.learned(np.concatenate(arrays), name, "both")
