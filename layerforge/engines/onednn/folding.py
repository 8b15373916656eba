"""BatchNorm inside the product below it, where no backward follows and the running statistics normalise.

    weight (z - mean) / σ + bias,  z = product + b   is   scale (product + centre) + bias,
    centre = b - mean,  scale = weight / σ,  σ = √(var + eps)

centre takes the place of the product's own bias, and the rest is done before a result is stored. The mean is taken off
first, as in BatchNorm itself: folded into the weights, a mean much larger than the spread would cost digits.

In bfloat16 nothing is folded: z would not be rounded, and a net that keeps z would have other bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...contract.layer import Layer
from ..protocol import Circumstances
from .activation import Activated


class Folding(Activated):
    """Mixin of layers with weights and a bias for each channel: they can absorb a BatchNorm, and then an activation."""

    norm: Any = None

    def can_absorb(self, above: Layer, between: Spec, plan: Circumstances) -> bool:
        if above.type_name != "BatchNorm":
            return super().can_absorb(above, between, plan)
        fixed, free = not above.uses_batch(plan.phase), self.norm is None and self.activation is None
        return fixed and free and not plan.backward and not self.halved and self.channels_of(between)

    def channels_of(self, top: Spec) -> bool:
        """Whether the second axis of the top is that of the bias."""
        return True

    def absorb(self, above: Layer) -> None:
        if above.type_name == "BatchNorm":
            self.norm = above
        else:
            super().absorb(above)

    def vectors(self, ndim: int) -> tuple[Any, Any, Any]:
        """What is added to the product, what that is multiplied by, and what is added in the end; None for nothing.

        ndim   of the top: the second and the third vector have as many axes
        """
        own = self.params.bias if self.bias else None
        norm = self.norm
        if norm is None:
            return own, None, None
        mean, var = norm.state.running_mean, norm.state.running_var
        correction = norm.state.correction if norm.bias_correction else None
        weight, bias = (norm.params.weight, norm.params.bias) if norm.affine else (None, None)
        centre, scale = (self.buf(name, mean.shape, mean.dtype) for name in ("centre", "scale"))
        self.act("fold", self.fold)(own, mean, var, correction, weight, centre, scale)
        return centre, self.by_channel("scale", scale, ndim), self.by_channel("shift", bias, ndim)

    def fold(self, own: Any, mean: Any, var: Any, correction: Any, weight: Any, centre: Any, scale: Any) -> None:
        """Write centre and scale."""
        if correction is not None:
            mean, var = self.norm.running_statistics()
        np.subtract(0 if own is None else own, mean, out=centre)
        np.add(var, self.norm.eps, out=scale)
        np.sqrt(scale, out=scale)
        np.divide(1 if weight is None else weight, scale, out=scale)

    def by_channel(self, name: str, vector: Any, ndim: int) -> Any:
        """A number for each channel as an array that is broadcast against the top."""
        shape = 1, -1, *(1,) * (ndim - 2)
        return None if vector is None else self.view(f"{name} by channel", vector, lambda v: v.reshape(shape))
