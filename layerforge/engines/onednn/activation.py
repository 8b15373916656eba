"""Activations inside the layer below them: forward applies them before a result is stored, backward undoes them first.

Where a backward follows, only activations whose derivative follows from their result can be fused, as the result is all
that there is.

oneDNN's ReLU takes NaN for a negative number. What is not a number must stay so, or nobody learns of it; so a ReLU is a
maximum, in a pass over a result that is still in the caches, and oneDNN's own only where its slope below 0 is not 0.
Some other functions are oneDNN's after a look at the values: see `trusted`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays import bfloat16
from ...arrays.bfloat16 import is_bfloat16, narrowed, widened
from ...arrays.spec import Spec
from ...contract.layer import Layer
from ..protocol import Circumstances
from . import primitives
from .base import OneDnn

RELU, TANH, ELU, SQUARE, ABS, SQRT, LINEAR, SOFTPLUS = range(0x20, 0x28)
LOGISTIC, EXP, GELU_TANH, SWISH, LOG, CLIP, GELU_ERF = 0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2F, 0x31
FROM_RESULT = {RELU: 0x100, TANH: 0x101, LOGISTIC: 0x104}  # the same, differentiated by the result

Algorithm = tuple[int, float, float]
PLAIN_RELU: Algorithm = (RELU, 0.0, 0.0)
LOOKED_AT = GELU_TANH, GELU_ERF, SWISH, ELU  # see `trusted`
APART = *LOOKED_AT, LOGISTIC  # which lets NaN vanish in some convolutions, and nowhere else


def gelu(layer: Any) -> Algorithm:
    """Its two forms."""
    return (GELU_TANH if layer.approximate == "tanh" else GELU_ERF), 0.0, 0.0


def rectifier(layer: Any) -> Algorithm | None:
    """None of a slope below 0, whose backward needs the bottom."""
    return (RELU, layer.negative_slope, 0.0) if layer.negative_slope >= 0 else None


# What the engine computes by layer type: the algorithm with its two numbers, or None with these hyper-parameters.
ALGORITHMS: dict[str, Callable[[Any], Algorithm | None]] = {
    "ReLU": rectifier,
    "LeakyReLU": rectifier,
    "Tanh": lambda layer: (TANH, 0.0, 0.0),
    "Sigmoid": lambda layer: (LOGISTIC, 0.0, 0.0),
    "ELU": lambda layer: (ELU, layer.alpha, 0.0),
    "GELU": gelu,
    "SiLU": lambda layer: (SWISH, layer.beta, 0.0),
}


class Activated(OneDnn):
    """Mixin of layers that can apply an activation to their result."""

    activation: Algorithm | None = None
    above: Any = None  # the layer that it was

    def can_absorb(self, above: Layer, between: Spec, plan: Circumstances) -> bool:
        """Whether the layer above is an activation that this one can apply, and undo; one is enough.

        between  the blob between the two
        """
        algorithm = algorithm_of(above)
        return self.activation is None and algorithm is not None and (not plan.backward or algorithm[0] in FROM_RESULT)

    def absorb(self, above: Layer) -> None:
        """Apply that activation from now on. Backward then reads the top."""
        self.activation, self.above = algorithm_of(above), above
        self.also_reads("top")

    def post_ops(self) -> tuple[Algorithm, ...]:
        """What the primitive does to each result; `activate` does what it cannot.

        In bfloat16 that is all: an activation in a layer of its own gets what was rounded, and has the same bits.
        """
        none = self.activation is None or self.activation == PLAIN_RELU or self.activation[0] in APART or self.halved
        return () if none else (self.activation,)

    def activate(self, y: Any) -> None:
        """Apply the activation that the primitive could not to its result, in place."""
        if self.activation == PLAIN_RELU:
            rectify(self, "activated", y, y)
        elif self.activation is not None and self.activation[0] in APART:
            self.act("activated", self.look_and_apply)(y, self.view("y flat", y, in_order_of_memory))
        elif self.activation is not None and self.halved:
            self.op("apply", primitives.eltwise, *self.activation)(y, y)

    def look_and_apply(self, y: Any, flat: Any) -> None:
        """y <- f(y), by the reference's f where oneDNN's is not trusted."""
        if trusted(self.activation, flat, y):
            op = self.op("apply", primitives.eltwise, *self.activation)
            op.bind((y, y))
            op.run()
        else:
            compute(self.above.f, y, y)

    def life_of_top(self) -> str:
        """A top that backward reads lives until then."""
        return "call" if self.activation is None else "saved"

    def kept_top(self, y: Any) -> Any:
        """What to save of the top."""
        return None if self.activation is None else y

    def before_activation(self, dy: Any) -> Any:
        """The gradient of the activation's bottom."""
        if self.activation is None:
            return dy
        (algorithm, alpha, beta), y = self.activation, self.saved.y
        dz = self.buf("dz", dy.shape, y.dtype, like=y)
        self.op("dz", primitives.eltwise_backward, FROM_RESULT[algorithm], alpha, beta)(
            y, self.alike("dy", dy, y), dz
        )
        return dz

    def jvp(self, *tangents: Any) -> Any:
        return self.through_activation(super().jvp(*tangents))

    def jvp_params(self, weight: Any = None, bias: Any = None) -> Any:
        return self.through_activation(super().jvp_params(weight=weight, bias=bias))

    def through_activation(self, tangent: Any) -> Any:
        """The tangent of the top from that of the activation's bottom."""
        return tangent if self.activation is None else tangent * slope(self.activation, self.saved.y)


def compute(f: Callable[[Any, Any], None], x: Any, y: Any) -> None:
    """y = f(x) by a function of the reference's that writes y; y may be x, and both may be bfloat16."""
    if is_bfloat16(x):
        wide = widened(x)
        f(wide, out := np.empty_like(wide))
        y[...] = narrowed(out)
    else:
        f(x.copy() if x is y else x, y)


def rectify(layer: OneDnn, name: str, x: Any, y: Any) -> None:
    """y = max(x, 0), and NaN where x is; y is stored as x is, or is x."""
    flat_x, flat_y = (layer.view(f"{name} {i} flat", a, in_order_of_memory) for i, a in enumerate((x, y)))
    if flat_x is None or flat_y is None:
        layer.act(f"{name} with gaps", np_rectify)(x, y)
    else:
        zero = layer.view("zero", None, lambda _: np.zeros(1, np.float32))
        layer.op(name, primitives.rectified)(flat_x, zero, flat_y, flat_x)


def in_order_of_memory(a: Any) -> Any:
    """All elements of an array as they follow each other in memory; None where there are gaps."""
    flat = a.ravel("K")
    return flat if np.may_share_memory(flat, a) else None


def squares(flat: Any, a: Any) -> float:
    """The sum of the squares of an array, a reading of it at the speed of memory. Only if all are finite it can be.

    flat   the array `in_order_of_memory`
    """
    flat = a.ravel() if flat is None else flat
    return float(np.dot(flat, flat))


def all_finite(flat: Any, a: Any) -> bool:
    """Whether all elements of an array are finite; False, too, where their squares are not."""
    if is_bfloat16(a):
        return bfloat16.all_finite(a if flat is None else flat)
    return math.isfinite(squares(flat, a))


def trusted(activation: Algorithm, flat: Any, x: Any) -> bool:
    """Whether oneDNN's function of these values is as good as the reference's.

    x times a gate is not a number at ±∞. ELU's alpha (eˣ - 1) is off by a rounding of alpha, which is much where all
    values are small beside it.
    """
    if is_bfloat16(x):
        return all_finite(flat, x)
    algorithm, alpha, _ = activation
    least = x.size * max(alpha, 1) ** 2 / 4 if algorithm == ELU else 0
    return least <= squares(flat, x) < math.inf


def spread_nan(y: Any, flat: Any, dim: int) -> None:
    """Along an axis nothing is a number where one is not: oneDNN's softmax leaves 0 beside NaN."""
    if not all_finite(flat, y):
        y[...] = np.where(np.isnan(y).any(axis=dim, keepdims=True), np.nan, y)


def np_rectify(x: Any, y: Any) -> None:
    """y = max(x, 0)"""
    np.maximum(x, 0, out=y)


def rectify_what_is_not_finite(eps: float) -> Callable[..., None]:
    """Write channels of normalised values anew in which oneDNN's ReLU may have made a NaN vanish.

    A NaN among the elements of a channel is one in its mean, if that is theirs: then it is enough to look there, and
    flat is None. Otherwise it is x `in_order_of_memory`.
    """

    def act(x: Any, flat: Any, weight: Any, bias: Any, mean: Any, var: Any, y: Any) -> None:
        learned = 0.0 if weight is None else float(weight.dot(bias))
        if flat is None and math.isfinite(float(mean.dot(var)) + learned):
            return  # a product of what is not finite is not finite, either
        vectors = [np.asarray(default if v is None else v) for v, default in ((weight, 1), (bias, 0))]
        bad = ~np.isfinite(mean + var + vectors[0] + vectors[1])
        if flat is not None and not all_finite(flat, x):
            bad[...] = True
        for c in np.flatnonzero(bad):
            scale, shift = (v[c] if v.ndim else v for v in vectors)
            normal = (widened(x[:, c]) - mean[c]) / np.sqrt(var[c] + np.float32(eps))
            found = np.maximum(scale * normal + shift, 0).reshape(y[:, c].shape)
            y[:, c] = narrowed(found) if is_bfloat16(y) else found

    return act


def slope(activation: Algorithm, y: Any) -> Any:
    """The derivative of an activation, by its result."""
    algorithm, alpha, _ = activation
    if algorithm == RELU:
        return np.where(y > 0, 1, alpha).astype(y.dtype)
    return 1 - y * y if algorithm == TANH else y * (1 - y)


def algorithm_of(layer: Layer) -> Algorithm | None:
    """The activation that a layer is, if the engine computes it."""
    find = ALGORITHMS.get(layer.type_name)
    return find(layer) if find else None
