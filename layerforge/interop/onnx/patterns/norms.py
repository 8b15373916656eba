"""Normalisation over the last axes that is written as means, differences and a root."""

from __future__ import annotations

from ..graph import Node
from .activations import near
from .looking import Look, axes_of


def layer_norm(look: Look, node: Node) -> list[Node] | None:
    """LayerNormalization without scale and bias: d / √(mean(d²) + eps), d = x - mean(x), means over the last axes."""
    found = _over_root(look, node)
    if found is None:
        return None
    difference, other, eps, axes = found
    x = _centred(look, difference, axes)
    if x is None or _centred(look, other, axes) != x:
        return None
    return [Node("LayerNormalization", [x], node.outputs, {"axis": axes[0], "epsilon": eps}, node.name)]


def centred_before(look: Look, node: Node) -> list[Node] | None:
    """LayerNormalization(x - mean(x)), which is LayerNormalization(x): an export of ours keeps digits so."""
    ndim = look.ndim(node.inputs[0])
    axis = int(node.attributes.get("axis", -1))
    if ndim < 0 or len(node.outputs) > 1:
        return None
    axes = list(range(axis if axis < 0 else axis - ndim, 0))
    x = _centred(look, node.inputs[0], axes)
    if x is None:
        return None
    return [Node(node.op, [x, *node.inputs[1:]], node.outputs, node.attributes, node.name)]


def rms_norm(look: Look, node: Node) -> list[Node] | None:
    """RMSNormalization without scale: x / √(mean(x²) + eps), the mean over the last axes."""
    found = _over_root(look, node)
    if found is None or found[0] != found[1]:
        return None
    x, _, eps, axes = found
    return [Node("RMSNormalization", [x], node.outputs, {"axis": axes[0], "epsilon": eps}, node.name)]


def scale(look: Look, node: Node) -> list[Node] | None:
    """A normalisation, times its scale: learned numbers, one for each feature."""
    for normed, name in (node.inputs, node.inputs[::-1]):
        norm = look.maker(normed, "LayerNormalization", "RMSNormalization")
        learned = _features(look, name, norm) if norm is not None and len(norm.inputs) == 1 else None
        if norm is not None and learned is not None:
            return [Node(norm.op, [norm.inputs[0], learned], node.outputs, norm.attributes, node.name)]
    return None


def bias(look: Look, node: Node) -> list[Node] | None:
    """A normalisation with its scale, plus its bias."""
    for normed, name in (node.inputs, node.inputs[::-1]):
        norm = look.maker(normed, "LayerNormalization")
        learned = _features(look, name, norm) if norm is not None and len(norm.inputs) == 2 else None
        if norm is not None and learned is not None:
            return [Node(norm.op, [*norm.inputs, learned], node.outputs, norm.attributes, node.name)]
    return None


def layer_norm_spread(look: Look, node: Node) -> list[Node] | None:
    """LayerNormalization as Keras's exporter writes it: x s + (bias - mean(x) s), s = scale / √(mean(d²) + eps)."""
    for product, rest in (node.inputs, node.inputs[::-1]):
        times, plus = look.maker(product, "Mul"), look.maker(rest, "Add")
        if times is None or plus is None:
            continue
        for x, s in (times.inputs, times.inputs[::-1]):
            for less, added in (plus.inputs, plus.inputs[::-1]):
                norm = _spread(look, x, s, less, node)
                learned = _features(look, added, norm) if norm is not None else None
                if norm is not None and learned is not None:
                    return [Node(norm.op, [*norm.inputs, learned], node.outputs, norm.attributes, node.name)]
    return None


def _spread(look: Look, x: str, s: str, less: str, node: Node) -> Node | None:
    """The normalisation of x with the scale that is part of s, where less is -mean(x) s."""
    parts, inner = look.maker(less, "Mul"), look.maker(s, "Mul")
    if parts is None or inner is None or s not in parts.inputs:
        return None
    negative = look.maker(next((name for name in parts.inputs if name != s), ""), "Neg")
    for one, name in (inner.inputs, inner.inputs[::-1]):
        found = _root(look, _inverted(look, one) or "")
        if found is None or negative is None:
            continue
        difference, eps, axes = found
        if _centred(look, difference, axes) == x == _mean(look, negative.inputs[0], axes):
            norm = Node("LayerNormalization", [x], node.outputs, {"axis": axes[0], "epsilon": eps}, node.name)
            learned = _features(look, name, norm)
            return None if learned is None else Node(norm.op, [x, learned], norm.outputs, norm.attributes, norm.name)
    return None


# What they are made of --------------------------------------------------------------------------------------------


def _over_root(look: Look, node: Node) -> tuple[str, str, float, list[int]] | None:
    """a, b, eps and the axes of a / √(mean(b²) + eps), as a quotient or a product."""
    for a, other in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else (node.inputs,):
        found = _root(look, other if node.op == "Div" else _inverted(look, other) or "")
        if found is not None:
            return a, *found
    return None


def _root(look: Look, name: str) -> tuple[str, float, list[int]] | None:
    """b, eps and the axes of √(mean(b²) + eps)."""
    sqrt = look.maker(name, "Sqrt")
    added = None if sqrt is None else look.maker(sqrt.inputs[0], "Add")
    joined = None if added is None else look.with_number(added)
    mean = None if joined is None else look.maker(joined[0], "ReduceMean", "GlobalAveragePool")
    axes = None if mean is None else _last_axes(look, mean)
    b = None if mean is None else _squared(look, mean.inputs[0])
    return (b, joined[1], axes) if axes and b is not None and joined is not None and joined[1] > 0 else None


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
    return node.inputs[0] if node is not None and _mean(look, node.inputs[1], axes) == node.inputs[0] else None


def _mean(look: Look, name: str, axes: list[int]) -> str | None:
    """The x of a value that is mean(x) over these axes."""
    node = look.maker(name, "ReduceMean", "GlobalAveragePool")
    return node.inputs[0] if node is not None and _last_axes(look, node) == axes else None


def _last_axes(look: Look, mean: Node) -> list[int] | None:
    """The axes of a mean that keeps them, counted from the back, where they are the last ones."""
    ndim = look.ndim(mean.inputs[0])
    axes = list(range(2, ndim)) if mean.op == "GlobalAveragePool" else axes_of(look, mean)
    if not axes or ndim < 0 or not mean.attributes.get("keepdims", 1):
        return None
    found = sorted(axis - ndim if axis >= 0 else axis for axis in axes)
    return found if found == list(range(-len(found), 0)) else None


def _features(look: Look, name: str, norm: Node) -> str | None:
    """Learned numbers in the shape that a normalisation is over; they may have axes of length 1 in front."""
    known, shapes = look.known(name), look.shapes(norm.inputs[0])
    count = -norm.attributes["axis"]
    if known is None or not known.learned or shapes is None or known.shape[-count:] != shapes[0][-count:]:
        return None
    if known.ndim == count:
        return name
    if set(known.shape[:-count]) != {1} or len(look.readers.get(name, ())) != 1:
        return None
    return look.learned(known.array.reshape(known.shape[-count:]), name, "features")
