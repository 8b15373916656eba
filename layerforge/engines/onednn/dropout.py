"""Dropout among primitives: the mask is drawn by NumPy, in the same pass and of the same bits as the reference's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import philox
from ...layers.elementwise.dropout import Dropout, Dropout2d
from . import primitives
from .base import OneDnn


class OneDnnDropout(OneDnn, Dropout):
    """Dropout."""

    replays = has_bfloat16 = True

    def forward(self, x: Any) -> Any:
        y, mask = self.buf("y", x.shape, over=x), None
        if self.phase == "train":
            shape = self.mask_shape(x.shape)
            mask = self.buf("mask", shape, "uint8", life="saved", like=x)
            memory = [self.buf(f"draw {i}", *about) for i, about in enumerate(philox.workplace(shape))]
            self.act("mask", self.draw)(mask, self.buf("numbers", shape, "float32"), *memory)
        self.save(mask=mask)
        self.masked("y", x, mask, y)
        return y

    def backward(self, dy: Any) -> Any:
        dx = self.buf("dx", dy.shape, like=dy)
        self.masked("dx", dy, self.saved.mask, dx)
        return dx

    def draw(self, mask: Any, numbers: Any, *memory: Any) -> None:
        """Write the mask of the present iteration."""
        self.draws = 0  # they are counted from where a forward begins, and a repeated one does not begin
        self.random(mask.shape, out=numbers, memory=memory)
        np.greater_equal(numbers, self.p, out=mask.view("bool"))

    def masked(self, name: str, x: Any, mask: Any, y: Any) -> None:
        """y = x mask / (1 - p), or y = x without a mask."""
        if mask is None:
            self.act(f"{name} whole", np.copyto)(y, x)
            return
        scale = self.view("scale", None, lambda _: np.array([1 / (1 - self.p)], "float32"))
        self.op(name, primitives.masked)(x, mask, y, scale)


class OneDnnDropout2d(OneDnnDropout, Dropout2d):
    """Dropout2d."""
