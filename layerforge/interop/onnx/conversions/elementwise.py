"""Element by element: activations and functions of one bottom that are more than one operator."""

from __future__ import annotations

import math
from typing import Any

from ....layers.elementwise.activations import GELU_CUBE, GELU_SLOPE
from ..exporting import Export, Value, exports
from .one_operator import row_of, write


def scaled(w: Export, x: Value, scale: float, shift: float) -> Value:
    """shift + scale x, without what does nothing."""
    if scale != 1:
        x = w.op("Mul", x, float(scale))
    return w.op("Add", x, float(shift)) if shift else x


@exports("ReLU6")
def relu6(w: Export, x: Value) -> Value:
    """Clip between 0 and 6."""
    return w.op("Clip", x, 0.0, 6.0)


@exports("Hardtanh")
def hardtanh(w: Export, x: Value) -> Value:
    """Clip."""
    return w.op("Clip", x, float(w.layer.min_val), float(w.layer.max_val))


@exports("Clamp")
def clamp(w: Export, x: Value) -> Value:
    """Clip, whose limits may be left out."""
    low, high = (None if limit is None else float(limit) for limit in (w.layer.min, w.layer.max))
    return w.op("Clip", x, low, high)


@exports("Threshold")
def threshold(w: Export, x: Value) -> Value:
    """Where x is not above the threshold, the value."""
    below = w.op("LessOrEqual", x, float(w.layer.threshold), dtype="bool")
    return w.op("Where", below, float(w.layer.value), x, dtype=x.dtype)


@exports("PReLU")
def prelu(w: Export, x: Value) -> Value:
    """PRelu with slopes that broadcast against x."""
    weight = w.numbers("weight")
    slope = weight.reshape(()) if weight.size == 1 else weight.reshape(-1, *(1,) * (x.ndim - 2))
    return w.op("PRelu", x, w.array("weight", slope))


@exports("LogSigmoid")
def log_sigmoid(w: Export, x: Value) -> Value:
    """-softplus(-x)."""
    return w.op("Neg", w.op("Softplus", w.op("Neg", x)))


@exports("Softplus")
def softplus(w: Export, x: Value) -> Value:
    """Softplus; with beta or another threshold, x itself above that."""
    if row_of(w.layer):
        return write(w, x)
    beta, limit = w.layer.beta, w.layer.threshold
    u = scaled(w, x, beta, 0)
    soft = scaled(w, w.op("Softplus", u), 1 / beta, 0)
    return w.op("Where", w.op("Greater", u, float(limit), dtype="bool"), x, soft, dtype=x.dtype)


@exports("GELU")
def gelu(w: Export, x: Value) -> Value:
    """x Φ(x), in the operators that are usual for it."""
    if w.layer.approximate == "tanh":
        cube = w.op("Mul", w.op("Mul", x, x), x)
        inner = w.op("Mul", w.op("Add", x, w.op("Mul", cube, GELU_CUBE)), GELU_SLOPE)
        return w.op("Mul", w.op("Mul", x, 0.5), w.op("Add", w.op("Tanh", inner), 1.0))
    phi = w.op("Add", w.op("Erf", w.op("Div", x, math.sqrt(2))), 1.0)
    return w.op("Mul", w.op("Mul", x, phi), 0.5)


@exports("SiLU")
def silu(w: Export, x: Value) -> Value:
    """x times Sigmoid of beta x."""
    return w.op("Mul", x, w.op("Sigmoid", scaled(w, x, w.layer.beta, 0)))


@exports("Mish")
def mish(w: Export, x: Value) -> Value:
    """x times Tanh of Softplus (ONNX has Mish from opset 18 on)."""
    return w.op("Mul", x, w.op("Tanh", w.op("Softplus", x)))


@exports("GLU")
def glu(w: Export, x: Value) -> Value:
    """Split into halves, one times Sigmoid of the other."""
    values, gates = w.op("Split", x, axis=w.layer.dim % x.ndim, outputs=2)
    return w.op("Mul", values, w.op("Sigmoid", gates))


@exports("Square")
def square(w: Export, x: Value) -> Value:
    """x x."""
    return w.op("Mul", x, x)


@exports("Rsqrt")
def rsqrt(w: Export, x: Value) -> Value:
    """Reciprocal of Sqrt."""
    return w.op("Reciprocal", w.op("Sqrt", x))


@exports("Pow")
def power(w: Export, x: Value) -> Value:
    """Pow of shift + scale x."""
    return w.op("Pow", scaled(w, x, w.layer.scale, w.layer.shift), float(w.layer.exponent))


@exports("Exp")
def exponential(w: Export, x: Value) -> Value:
    """Exp of shift + scale x, or a base to the power of that."""
    u = scaled(w, x, w.layer.scale, w.layer.shift)
    return w.op("Exp", u) if w.layer.base is None else w.op("Pow", float(w.layer.base), u)


@exports("Log")
def logarithm(w: Export, x: Value) -> Value:
    """Log of shift + scale x, over that of the base."""
    y = w.op("Log", scaled(w, x, w.layer.scale, w.layer.shift))
    return y if w.layer.base is None else w.op("Div", y, math.log(w.layer.base))


@exports("Dropout", "Dropout2d")
def dropout(w: Export, x: Value) -> Any:
    """Dropout, which passes x on; with ratio p, for those who train what they import."""
    if w.layer.type_name == "Dropout2d":
        w.note("ONNX's Dropout would drop single elements in training, not channels")
    return w.op("Dropout", x, float(w.layer.p))
