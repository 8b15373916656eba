"""Multi-head attention: attention between linear maps, however its heads are cut out and joined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import OWN, Node
from .linear import Linear, linear_of
from .looking import Look, reshaped, shape_of
from .movements import Places, places, source_of, transposed

Orders = set[str]  # in which rows may stand: "batch", all steps of a sample after one another, or "time"


@dataclass
class Projection:
    """What makes the queries, the keys or the values: rows of a linear map, in the order of heads and features."""

    x: str
    orders: Orders
    weight: np.ndarray
    bias: np.ndarray | None
    names: list[str]
    rows: list[int]


def multihead(look: Look, node: Node) -> list[Node] | None:
    """Multi-head attention: softmax(q kᵀ / √(E/heads)) v of heads, where q, k and v are linear maps of the input.

    How the linear maps are stacked and how heads are cut out of them does not matter, as long as each number of q, k
    and v is one of them: `movements.places` says which, and the rows of the weights follow.
    """
    name = node.outputs[0]
    out = linear_of(look, name)
    if out is None or _has_bias_above(look, node):
        return None
    joined = source_of(look, out.x)
    attention = look.maker(joined, "ScaledDotProductAttention")
    shapes = look.shapes(joined)
    if attention is None or "scale" in attention.attributes or shapes is None or len(shapes[0]) != 4:
        return None
    parts = [_projection(look, one) for one in attention.inputs[:3]]
    found, back = [part for part in parts if part is not None], places(look, out.x, joined)
    if len(found) < 3 or len({part.bias is None for part in found} | {out.bias is None}) > 1 or back is None:
        return None
    if not _are_apart(look, found, out):
        return None
    features, orders = _joined(back, shapes)
    width, size = shapes[0][1] * shapes[0][3], len(out.weight)
    orders = orders.intersection(*(part.orders for part in found))
    if features is None or not orders or width != size or any(part.weight.shape != (size, size) for part in found):
        return None
    weight = np.empty_like(out.weight)
    weight[:, features] = out.weight
    return _nodes(look, node, attention, found, Projection(out.x, orders, weight, out.bias, out.names, []))


def _has_bias_above(look: Look, node: Node) -> bool:
    """Whether a product is the first part of a linear map with a bias."""
    readers = look.readers.get(node.outputs[0], [])
    return node.op == "MatMul" and any(
        one.op == "Add" and any(look.vector(name) is not None for name in one.inputs) for one in readers
    )


def _projection(look: Look, name: str) -> Projection | None:
    """Which rows of which linear map make the queries (N, heads, L, E / heads), or the keys or values."""
    source = source_of(look, name)
    linear, found = linear_of(look, source), places(look, name, source)
    if linear is None or found is None or found[0].ndim != 4:
        return None
    orders: Orders = {"batch", "time"}
    for one in found:
        features, rows = one % len(linear.weight), one // len(linear.weight)
        if (features != features[:1, :, :1]).any() or (rows != rows[:, :1, :, :1]).any():
            return None
        orders &= _orders(rows[:, 0, :, 0])
    chosen = features[0, :, 0].reshape(-1)
    bias = None if linear.bias is None else linear.bias[chosen]
    return Projection(linear.x, orders, linear.weight[chosen], bias, linear.names, chosen.tolist())


def _are_apart(look: Look, parts: list[Projection], out: Linear) -> bool:
    """Whether each learned number is used once: what is learned for two purposes would become two."""
    used = [(part.names[0], row) for part in parts for row in part.rows]
    names = [*out.names, *(name for part in parts for name in part.names)]
    alone = all(len(look.readers.get(name, ())) == 1 for name in names)
    return alone and len(set(used)) == len(used)


def _joined(back: Places, shapes: tuple[tuple[int, ...], ...]) -> tuple[np.ndarray | None, Orders]:
    """Of each feature that the last linear map reads the place among those of the heads; and the orders of rows."""
    orders: Orders = {"batch", "time"}
    for one, shape in zip(back, shapes, strict=True):
        if not one.size:
            return None, set()
        n, head, step, own = np.unravel_index(one.reshape(-1, one.shape[-1]), shape)
        features = head * shape[3] + own
        if (features != features[:1]).any() or (n != n[:, :1]).any() or (step != step[:, :1]).any():
            return None, set()
        rows = np.zeros((shape[0], shape[2]), int)
        rows[n[:, 0], step[:, 0]] = np.arange(len(n))
        orders &= _orders(rows) if len(n) == rows.size else set()
    every = np.array_equal(np.sort(features[0]), np.arange(shape[1] * shape[3]))
    return (features[0] if every else None), orders


def _orders(rows: np.ndarray) -> Orders:
    """How rows stand that are given for each sample and step."""
    places_of = np.arange(rows.size)
    found = {"batch"} if np.array_equal(rows, places_of.reshape(rows.shape)) else set()
    return found | ({"time"} if np.array_equal(rows, places_of.reshape(rows.shape[::-1]).T) else set())


def _nodes(look: Look, node: Node, attention: Node, parts: list[Projection], out: Projection) -> list[Node] | None:
    """The node of multi-head attention, between what brings the samples to the front and back again."""
    order = "batch" if "batch" in out.orders else "time"
    xs = [parts[0].x] if len({part.x for part in parts}) == 1 else [part.x for part in parts]
    lengths = [look.shapes(name) or () for name in attention.inputs]
    made: list[Node] = []
    inputs = []
    for x, of in zip(xs, lengths, strict=False):
        shapes = [(shape[0], shape[2], len(out.weight)) for shape in of]
        moved = _samples_in_front(look, x, shapes, order, made)
        if moved is None:
            return None
        inputs.append(moved)
    base = _base(parts, out, node)
    stacked = np.concatenate([part.weight for part in parts])
    biases = [part.bias for part in parts if part.bias is not None]
    names = [
        look.learned(stacked, base, "in_proj_weight"),
        look.learned(np.concatenate(biases), base, "in_proj_bias") if biases else "",
        look.learned(out.weight, base, "out_proj_weight"),
        look.learned(out.bias, base, "out_proj_bias") if out.bias is not None else "",
    ]
    heads = (look.shapes(attention.inputs[0]) or ())[0][1]
    attributes = {"num_heads": heads, "causal": attention.attributes["causal"]}
    name = node.outputs[0]
    shapes = [(shape[0], shape[2], len(out.weight)) for shape in look.shapes(attention.outputs[0]) or ()]
    y = name if order == "batch" and look.shapes(name) == tuple(shapes) else look.fresh(name, "batch_first")
    made.append(Node("MultiheadAttention", [*(inputs * 3)[:3], *names], [y], attributes, base, OWN))
    if y != name:
        look.values[y] = reshaped(look.value(name), shapes)
        back = _back(look, y, name, order)
        if back is None:
            return None
        made += back
    return made


def _samples_in_front(
    look: Look, x: str, shapes: Sequence[tuple[int, ...]], order: str, made: list[Node]
) -> str | None:
    """The name of x as (N, L, E), after the nodes that make it so."""
    steps_first = [(b, a, c) for a, b, c in shapes] if order == "time" else [*shapes]
    if look.shapes(x) != tuple(steps_first):
        shape = shape_of(look, steps_first, x)
        if shape is None:
            return None
        target, name = look.constant(np.array(shape, np.int64), x, "shape"), look.fresh(x, "rows")
        look.values[name] = reshaped(look.value(x), steps_first)
        made.append(Node("Reshape", [x, target], [name], {}, name))
        x = name
    if order == "time":
        made.append(transposed(look, x, (1, 0, 2)))
        x = made[-1].outputs[0]
    return x


def _back(look: Look, y: str, name: str, order: str) -> list[Node] | None:
    """The nodes that bring y (N, L, E) into the order and shape of the value whose place it takes."""
    made = []
    if order == "time":
        straight = (look.shapes(name) or ((),))[0] != () and look.ndim(name) == 3
        made.append(transposed(look, y, (1, 0, 2), name if straight else ""))
        y = made[0].outputs[0]
        if straight:
            return made
    shape = shape_of(look, list(look.shapes(name) or ()), y)
    if shape is None:
        return None
    return [*made, Node("Reshape", [y, look.constant(np.array(shape, np.int64), name, "shape")], [name], {}, name)]


def _base(parts: list[Projection], out: Projection, node: Node) -> str:
    """What the layer is called: as torch's module, where names of its parameters tell, or after what they share."""
    for name in out.names:
        for end in (".out_proj.weight", ".out_proj.bias"):
            if name.endswith(end):
                return name.removesuffix(end)
    named = [name.split(".")[:-1] for one in (*parts, out) for name in one.names if name.endswith((".weight", ".bias"))]
    shared = [first[0] for first in zip(*named, strict=False) if len(set(first)) == 1]
    return ".".join([*shared, "attention"]) if len(named) > 1 and shared else node.name
