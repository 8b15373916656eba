"""Activations that are written as products, sums and simpler ones."""

from __future__ import annotations

import math

from ....layers.elementwise.activations import GELU_CUBE, GELU_SLOPE
from ..graph import Node
from .looking import Look

CLOSE = 2e-6  # relative: constants of float32


def near(number: float | None, wanted: float) -> bool:
    """Whether a constant is the one of a formula."""
    return number is not None and math.isclose(number, wanted, rel_tol=CLOSE)


def plus_one(look: Look, name: str, op: str) -> Node | None:
    """The node of a value that is op(...) + 1."""
    node = look.maker(name, "Add")
    joined = None if node is None else look.with_number(node)
    return look.maker(joined[0], op) if joined is not None and near(joined[1], 1.0) else None


def gelu(look: Look, node: Node) -> list[Node] | None:
    """GELU: x Φ(x), written as ½ x (1 + erf(x / √2)), or with tanh(√(2/π) (x + 0.044715 x³)) in the place of erf.

    Keras's exporter writes ½ x erfc(-x / √2), though ONNX has no such operator.
    """
    number, values = look.factors(node.outputs[0])
    if len(values) != 2 or not near(number, 0.5):
        return None
    for x, other in (values, values[::-1]):
        erf, tanh, erfc = plus_one(look, other, "Erf"), plus_one(look, other, "Tanh"), look.maker(other, "Erfc")
        if (erf is not None and scaled(look, erf.inputs[0], math.sqrt(0.5)) == x) or (
            erfc is not None and scaled(look, erfc.inputs[0], -math.sqrt(0.5)) == x
        ):
            return [Node("Gelu", [x], node.outputs, {"approximate": "none"}, node.name)]
        if tanh is not None and _cubic(look, tanh.inputs[0], x):
            return [Node("Gelu", [x], node.outputs, {"approximate": "tanh"}, node.name)]
    return None


def scaled(look: Look, name: str, by: float) -> str | None:
    """The x of a value that is by · x."""
    number, values = look.factors(name)
    return values[0] if len(values) == 1 and near(number, by) else None


def _cubic(look: Look, name: str, x: str) -> bool:
    """√(2/π) (x + 0.044715 x³), or √(2/π) x (1 + 0.044715 x²)."""
    number, values = look.factors(name)
    if not near(number, GELU_SLOPE):
        return False
    if len(values) == 1:
        node = look.maker(values[0], "Add")
        return node is not None and any(
            one == x and _power(look, other, x) == (3, True) for one, other in (node.inputs, node.inputs[::-1])
        )
    for one, other in (values, values[::-1]) if len(values) == 2 else ():
        node = look.maker(other, "Add")
        joined = None if node is None else look.with_number(node)
        if one == x and joined is not None and near(joined[1], 1.0) and _power(look, joined[0], x) == (2, True):
            return True
    return False


def _power(look: Look, name: str, x: str) -> tuple[float, bool]:
    """The exponent of a power of x, and whether its factor is 0.044715."""
    number, values = look.factors(name)
    power = 0.0
    for value in values:
        node = look.maker(value, "Pow")
        if value == x:
            power += 1
        elif node is not None and node.inputs[0] == x:
            power += look.number(node.inputs[1]) or math.nan
        else:
            return math.nan, False
    return power, near(number, GELU_CUBE)


def silu(look: Look, node: Node) -> list[Node] | None:
    """SiLU: x σ(x)."""
    for x, other in (node.inputs, node.inputs[::-1]):
        sigmoid = look.maker(other, "Sigmoid")
        if sigmoid is not None and sigmoid.inputs[0] == x:
            return [Node("Swish", [x], node.outputs, {}, node.name)]
    return None


def mish(look: Look, node: Node) -> list[Node] | None:
    """Mish: x tanh(log(1 + eˣ)), with Softplus, or written out."""
    for x, other in (node.inputs, node.inputs[::-1]):
        tanh = look.maker(other, "Tanh")
        if tanh is not None and _softplus(look, tanh.inputs[0]) == x:
            return [Node("Mish", [x], node.outputs, {}, node.name)]
    return None


def _softplus(look: Look, name: str) -> str | None:
    """The x of a value that is log(1 + eˣ)."""
    node = look.maker(name, "Softplus", "Log")
    if node is None or node.op == "Softplus":
        return None if node is None else node.inputs[0]
    exp = plus_one(look, node.inputs[0], "Exp")
    return None if exp is None else exp.inputs[0]


def hard_swish(look: Look, node: Node) -> list[Node] | None:
    """HardSwish: x HardSigmoid(x), or x min(max(x + 3, 0), 6) / 6."""
    number, values = look.factors(node.outputs[0])
    for x, other in (values, values[::-1]) if len(values) == 2 else ():
        if (near(number, 1.0) and _hard_sigmoid(look, other) == x) or (
            near(number, 1 / 6) and _clipped(look, other) == x
        ):
            return [Node("HardSwish", [x], node.outputs, {}, node.name)]
    return None


def _hard_sigmoid(look: Look, name: str) -> str | None:
    node = look.maker(name, "HardSigmoid")
    if node is None:
        return None
    slope, middle = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    return node.inputs[0] if near(slope, 1 / 6) and near(middle, 0.5) else None


def _clipped(look: Look, name: str) -> str | None:
    """The x of a value that is x + 3, at least 0 and at most 6."""
    node = look.maker(name, "Clip")
    if node is None:
        return None
    if len(node.inputs) > 1:
        bounds = [look.number(one) for one in node.inputs[1:]]
    else:
        bounds = [node.attributes.get("min"), node.attributes.get("max")]
    added = look.maker(node.inputs[0], "Add")
    joined = None if added is None else look.with_number(added)
    return joined[0] if bounds == [0.0, 6.0] and joined is not None and near(joined[1], 3.0) else None
