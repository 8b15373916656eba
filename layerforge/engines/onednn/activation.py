"""Activations inside the layer below them: forward applies them before a result is stored, backward undoes them first.

Where a backward follows, only activations whose derivative follows from their result can be fused, as the result is all
that there is.

oneDNN's ReLU takes NaN for a negative number, as its max pooling takes it for the smallest: a NaN does not spread from
there. In training it shows in the gradients of what is learned below, where it is multiplied by 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...layer import Layer
from ...spec import Spec
from . import primitives
from .base import OneDnn

RELU, TANH, ELU, SQUARE, ABS, SQRT, SOFTPLUS = 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x27
LOGISTIC, EXP, GELU_TANH, SWISH, LOG, CLIP, GELU_ERF = 0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2F, 0x31
FROM_RESULT = {RELU: 0x100, TANH: 0x101, LOGISTIC: 0x104}  # the same, differentiated by the result

Algorithm = tuple[int, float, float]


def gelu(layer: Any) -> Algorithm:
    """Its two forms."""
    return (GELU_TANH if layer.approximate == "tanh" else GELU_ERF), 0.0, 0.0


# What the engine computes by layer type: the algorithm with its two numbers, or None with these hyper-parameters.
ALGORITHMS: dict[str, Callable[[Any], Algorithm | None]] = {
    "ReLU": lambda layer: (RELU, layer.negative_slope, 0.0),
    "LeakyReLU": lambda layer: (RELU, layer.negative_slope, 0.0),
    "Tanh": lambda layer: (TANH, 0.0, 0.0),
    "Sigmoid": lambda layer: (LOGISTIC, 0.0, 0.0),
    "ELU": lambda layer: (ELU, layer.alpha, 0.0),
    "GELU": gelu,
    "SiLU": lambda layer: (SWISH, layer.beta, 0.0),
}


class Activated(OneDnn):
    """Mixin of layers that can apply an activation to their result."""

    activation: Algorithm | None = None

    def can_absorb(self, above: Layer, between: Spec, plan: Any) -> bool:
        """Whether the layer above is an activation that this one can apply, and undo; one is enough.

        between  the blob between the two
        """
        algorithm = algorithm_of(above)
        return self.activation is None and algorithm is not None and (not plan.backward or algorithm[0] in FROM_RESULT)

    def absorb(self, above: Layer) -> None:
        """Apply that activation from now on. Backward then reads the top."""
        self.activation, self.backward_reads = algorithm_of(above), (*self.backward_reads, "top")

    def post_ops(self) -> tuple[Algorithm, ...]:
        """What the primitive does to each result."""
        return () if self.activation is None else (self.activation,)

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
        dz = self.buf("dz", dy.shape, like=y)
        self.op("dz", primitives.eltwise_backward, FROM_RESULT[algorithm], alpha, beta)(
            y, self.alike("dy", dy, y), dz
        )
        return dz

    def jvp(self, *tangents: Any) -> Any:
        tangent = super().jvp(*tangents)
        return tangent if self.activation is None else tangent * slope(self.activation, self.saved.y)


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
