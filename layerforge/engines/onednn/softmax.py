"""Softmax by oneDNN's kernels, and its logarithm by NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.functional import log_softmax
from ...arrays.spec import Spec
from ...contract.layer import Layer
from ...layers.reductions.softmax import LogSoftmax, Softmax
from . import primitives
from .activation import in_order_of_memory, spread_nan
from .base import OneDnn
from .primitives import SOFTMAX

LONGEST = 2**13  # elements of an axis that a softmax of oneDNN adds up one after the other, losing less than 1e-6


class OneDnnSoftmax(OneDnn, Softmax):
    """Softmax."""

    replays = True
    inplace = False

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if bottoms[0].shape[reference.dim] > LONGEST:
            return f"its sums of more than {LONGEST} numbers are not exact enough"
        return super().refuses(reference, bottoms, tops)

    def forward(self, x: Any) -> Any:
        y = self.buf("y", x.shape, life="saved")
        self.op("y", primitives.softmax, self.dim % x.ndim, SOFTMAX)(x, y)
        self.act("nan", self.spread_nan)(y, self.view("flat", y, in_order_of_memory))
        self.save(y=y)
        return y

    def spread_nan(self, y: Any, flat: Any) -> None:
        """See `spread_nan`."""
        spread_nan(y, flat, self.dim)

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        dx = self.buf("dx", dy.shape)
        self.op("dx", primitives.softmax_backward, self.dim % dy.ndim, SOFTMAX)(self.saved.y, dy, dx)
        return dx


class OneDnnLogSoftmax(OneDnn, LogSoftmax):
    """LogSoftmax, by NumPy: oneDNN's logarithm is off by up to 4e-6 where the result is nearly 0."""

    replays = True
    inplace = False

    def forward(self, x: Any) -> Any:
        y = self.buf("y", x.shape, life="saved")
        self.act("y", self.fill)(x, y)
        self.save(y=y)
        return y

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        dx = self.buf("dx", dy.shape)
        self.act("dx", self.fill_gradient)(self.saved.y, dy, dx)
        return dx

    def fill(self, x: Any, y: Any) -> None:
        """y = log softmax(x)"""
        log_softmax(np, x, self.dim, out=y)

    def fill_gradient(self, y: Any, dy: Any, dx: Any) -> None:
        """dx from dy"""
        dx[...] = self.through(y, dy)
