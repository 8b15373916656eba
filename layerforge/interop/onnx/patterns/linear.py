"""Linear maps: how they are written, on rows of a matrix and on any axes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..graph import Node
from ..values import Known
from .looking import Look
from .looking import turned as axes_turned


@dataclass
class Linear:
    """y = x Wᵀ + b, written as Gemm, or as MatMul with or without Add."""

    x: str
    weight: np.ndarray
    bias: np.ndarray | None
    names: list[str]


def linear_of(look: Look, name: str) -> Linear | None:
    """The linear map that makes a value."""
    node = look.maker(name, "Gemm", "MatMul", "Add")
    if node is None:
        return None
    if node.op == "Gemm":
        usual = not node.attributes.get("transA", 0) and all(
            node.attributes.get(k, 1.0) == 1 for k in ("alpha", "beta")
        )
        weight, bias = _matrix(look, node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else ""
        vector = look.vector(bias) if bias else None
        if not usual or weight is None or (bias and vector is None):
            return None
        turned = weight.array if node.attributes.get("transB", 0) else weight.array.T
        return Linear(node.inputs[0], turned, None if vector is None else vector.array, [*node.inputs[1:]])
    if node.op == "MatMul":
        weight = _matrix(look, node.inputs[1])
        return None if weight is None else Linear(node.inputs[0], weight.array.T, None, [node.inputs[1]])
    for product, bias in (node.inputs, node.inputs[::-1]):
        below, vector = look.maker(product, "MatMul"), look.vector(bias)
        found = None if below is None or vector is None else linear_of(look, product)
        if found is not None and vector is not None and vector.shape == (len(found.weight),):
            return Linear(found.x, found.weight, vector.array, [*found.names, bias])
    return None


def _matrix(look: Look, name: str) -> Known | None:
    known = look.known(name)
    return known if known is not None and known.learned and known.ndim == 2 else None


def over_last_axis(look: Look, node: Node) -> list[Node] | None:
    """A linear map over the last axis, written as one of rows: the other axes are joined before and parted behind."""
    below = look.maker(node.inputs[0], "Gemm", "MatMul", "Add")
    linear = None if below is None else linear_of(look, node.inputs[0])
    before = None if linear is None else look.maker(linear.x, "Reshape", "Flatten")
    if linear is None or before is None:
        return None
    x, out = look.shapes(before.inputs[0]), look.shapes(node.outputs[0])
    if x is None or out is None or [(*one[:-1], len(linear.weight)) for one in x] != list(out):
        return None
    turned, product = [], look.fresh(node.outputs[0], "product")
    weight = linear.names[0]
    if below is not None and below.op == "Gemm" and below.attributes.get("transB", 0):
        turned = [Node("Transpose", [weight], [look.fresh(weight, "transposed")], {"perm": [1, 0]})]
        weight = turned[0].outputs[0]
        look.values[weight] = axes_turned(look.value(linear.names[0]), (1, 0))
    look.values[product] = look.value(node.outputs[0])
    name = linear.names[0] if linear.bias is None else linear.names[1]
    if linear.bias is None:
        return [*turned, Node("MatMul", [before.inputs[0], weight], node.outputs, {}, node.name)]
    called = base_of_bias(name) or node.name
    return [
        *turned,
        Node("MatMul", [before.inputs[0], weight], [product], {}, called),
        Node("Add", [product, linear.names[1]], node.outputs, {}, node.name),
    ]


def called_as_bias(look: Look, node: Node) -> list[Node] | None:
    """A product and its bias "fc1.bias": the layer is called fc1, as exporters keep names of biases alone."""
    readers = look.readers.get(node.outputs[0], [])
    if len(readers) != 1 or readers[0].op != "Add":
        return None
    linear = linear_of(look, readers[0].outputs[0])
    called = "" if linear is None or linear.bias is None else base_of_bias(linear.names[-1])
    return [replace(node, name=called)] if called and called != node.name else None


def base_of_bias(name: str) -> str:
    """What a layer is called whose bias has this name; "" where that does not tell."""
    return name.removesuffix(".bias") if name.endswith(".bias") else ""
