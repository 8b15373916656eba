"""MSELoss and EuclideanLoss: a difference, the sum of its squares, and the difference again times a number."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...layers.losses.euclidean_loss import EuclideanLoss
from ...layers.losses.mse_loss import MSELoss
from . import primitives
from .activation import in_order_of_memory
from .loss import OneDnnLoss
from .primitives import MULTIPLY, SUBTRACT
from .sums import sum_of_squares


class OneDnnSquaredLoss(OneDnnLoss):
    """Mixin of losses c u² with u = x - t: y = c Σ u² / m, so dx = 2 c dy/m u and dt = -dx.

    With weights of samples, or all losses as the top, they are computed as any loss is.
    """

    c: ClassVar[float]
    reduction: str  # the reference's
    divisor: Any

    def forward(self, x: Any, t: Any, *weight: Any) -> Any:
        if weight or self.reduction == "none":
            return super().forward(x, t, *weight)
        n = self.divisor(x.shape)
        u, y = self.buf("u", x.shape, like=x, life="saved"), self.buf("y", ())
        self.op("u", primitives.binary, SUBTRACT)(self.alike("x", x, u), self.alike("t", t, u), u)
        flat = self.view("u flat", u, in_order_of_memory)
        count = self.view(f"count {n}", None, lambda _: np.array(n, np.float64))
        self.act("y", self.mean)(flat, count, y)
        self.save(u=u, flat=flat, count=count)
        return y

    def mean(self, flat: Any, count: Any, y: Any) -> None:
        """y = c Σ u² / m"""
        y[()] = self.c * sum_of_squares(flat) / count

    def backward(self, dy: Any) -> tuple[Any, ...]:
        if "u" not in self.saved:
            return super().backward(dy)
        return tuple([self.multiple(i, dy) if needed else None for i, needed in enumerate(self.needs_grad)])

    def multiple(self, i: int, dy: Any) -> Any:
        """The gradient of bottom i."""
        kept = self.saved
        factor = self.buf(f"factor {i}", (1,))
        gradient = self.buf(f"gradient {i}", kept.u.shape, like=kept.u)
        self.act(f"factor {i}", self.set_factor_of_t if i else self.set_factor)(dy, kept.count, factor)
        flat = self.view(f"gradient {i} flat", gradient, in_order_of_memory)
        self.op(f"gradient {i}", primitives.binary, MULTIPLY)(kept.flat, factor, flat)
        return gradient

    def set_factor(self, dy: Any, count: Any, factor: Any) -> None:
        """2 c dy/m"""
        factor[0] = 2 * self.c * (float(dy) / float(count))

    def set_factor_of_t(self, dy: Any, count: Any, factor: Any) -> None:
        """-2 c dy/m"""
        factor[0] = -2 * self.c * (float(dy) / float(count))

    def jvp(self, *tangents: Any) -> Any:
        if "u" not in self.saved:
            return super().jvp(*tangents)
        kept = self.saved
        with self.as_if_saved(x=kept.u, t=np.zeros((), kept.u.dtype), n=float(kept.count), factor=None):
            return super(OneDnnLoss, self).jvp(*tangents)


class OneDnnMSELoss(OneDnnSquaredLoss, MSELoss):
    """MSELoss."""

    c = 1.0


class OneDnnEuclideanLoss(OneDnnSquaredLoss, EuclideanLoss):
    """EuclideanLoss."""

    c = 0.5
