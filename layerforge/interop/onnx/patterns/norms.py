"""Normalisation over the last axes that is written as means, differences and a root."""

from __future__ import annotations

from ..graph import Node
from .activations import near
from .looking import Look, axes_of


def layer_norm(look: Look, node: Node) -> list[Node] | None:
    """LayerNormalization without scale and bias: d / √(mean(d²) + eps), d = x - mean(x), means over the last axes."""
    found = _by_root(look, node)
    if found is None:
        return None
    difference, squares, eps, axes = found
    x = _centred(look, difference, axes)
    if x is None or all(_centred(look, one, axes) != x for one in [squares]):
        return None
    return [Node("LayerNormalization", [x], node.outputs, {"axis": axes[0], "epsilon": eps}, node.name)]


def rms_norm(look: Look, node: Node) -> list[Node] | None:
    """RMSNormalization without scale: x / √(mean(x²) + eps), the mean over the last axes."""
    found = _by_root(look, node)
    if found is None or found[0] != found[1]:
        return None
    x, _, eps, axes = found
    return [Node("RMSNormalization", [x], node.outputs, {"axis": axes[0], "epsilon": eps}, node.name)]


def scale(look: Look, node: Node) -> list[Node] | None:
    """A normalisation, times its scale: learned numbers, one for each feature."""
    for normed, name in (node.inputs, node.inputs[::-1]):
        norm = look.maker(normed, "LayerNormalization", "RMSNormalization")
        if norm is not None and len(norm.inputs) == 1 and _fits(look, name, norm):
            return [Node(norm.op, [norm.inputs[0], name], node.outputs, norm.attributes, node.name)]
    return None


def bias(look: Look, node: Node) -> list[Node] | None:
    """A normalisation with its scale, plus its bias."""
    for normed, name in (node.inputs, node.inputs[::-1]):
        norm = look.maker(normed, "LayerNormalization")
        if norm is not None and len(norm.inputs) == 2 and _fits(look, name, norm):
            return [Node(norm.op, [*norm.inputs, name], node.outputs, norm.attributes, node.name)]
    return None


def _by_root(look: Look, node: Node) -> tuple[str, str, float, list[int]] | None:
    """a, b, eps and the axes of a / √(mean(b²) + eps), as a quotient or a product."""
    for a, other in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else (node.inputs,):
        root = other if node.op == "Div" else _inverted(look, other)
        sqrt = None if root is None else look.maker(root, "Sqrt")
        added = None if sqrt is None else look.maker(sqrt.inputs[0], "Add")
        joined = None if added is None else look.with_number(added)
        mean = None if joined is None else look.maker(joined[0], "ReduceMean")
        axes = None if mean is None else _last_axes(look, mean)
        b = None if mean is None else _squared(look, mean.inputs[0])
        if axes is not None and b is not None and joined is not None and joined[1] > 0:
            return a, b, joined[1], axes
    return None


def _inverted(look: Look, name: str) -> str | None:
    """The a of a value that is 1 / a."""
    node = look.maker(name, "Reciprocal", "Div")
    if node is None or node.op == "Reciprocal":
        return None if node is None else node.inputs[0]
    return node.inputs[1] if near(look.number(node.inputs[0]), 1.0) else None


def _squared(look: Look, name: str) -> str | None:
    """The a of a value that is a²."""
    node = look.maker(name, "Pow", "Mul")
    if node is None:
        return None
    square = look.number(node.inputs[1]) == 2 if node.op == "Pow" else node.inputs[0] == node.inputs[1]
    return node.inputs[0] if square else None


def _centred(look: Look, name: str, axes: list[int]) -> str | None:
    """The x of a value that is x - mean(x) over these axes."""
    node = look.maker(name, "Sub")
    mean = None if node is None else look.maker(node.inputs[1], "ReduceMean")
    if node is None or mean is None or mean.inputs[0] != node.inputs[0] or _last_axes(look, mean) != axes:
        return None
    return node.inputs[0]


def _last_axes(look: Look, mean: Node) -> list[int] | None:
    """The axes of a mean that keeps them, counted from the back, where they are the last ones."""
    axes, ndim = axes_of(look, mean), look.ndim(mean.inputs[0])
    if not axes or ndim < 0 or not mean.attributes.get("keepdims", 1):
        return None
    found = sorted(axis - ndim if axis >= 0 else axis for axis in axes)
    return found if found == list(range(-len(found), 0)) else None


def _fits(look: Look, name: str, norm: Node) -> bool:
    """Whether learned numbers have the shape that a normalisation is over."""
    known, shapes = look.known(name), look.shapes(norm.inputs[0])
    count = -norm.attributes["axis"]
    return known is not None and bool(known.learned) and shapes is not None and known.shape == shapes[0][-count:]
