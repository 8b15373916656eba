"""Casts between float32 and bfloat16, on all threads: steps of a plan that no configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.bfloat16 import BFLOAT16
from ...contract.layer import Layer, Memory
from . import primitives
from .base import OneDnn


class Cast(OneDnn):
    """y = x in the other type, to the nearest; dx = dy in x's.

    narrows  whether y is bfloat16
    order    of y's axes in memory, outermost first, as its reader wants them; None for x's own
    """

    replays = True
    narrows: bool
    order: tuple[int, ...] | None

    def axes_in_memory(self, ndim: int) -> tuple[int, ...] | None:
        return self.order

    def forward(self, x: Any) -> Any:
        order = self.view("order", x, order_of)
        y = self.typed("y", x.shape, self.order or order, self.narrows)
        self.op("y", primitives.copy)(x, y)
        self.save(shape=x.shape, order=order)
        return y

    def backward(self, dy: Any) -> Any:
        dx = self.typed("dx", self.saved.shape, self.saved.order, not self.narrows)
        self.op("dx", primitives.copy)(dy, dx)
        return dx

    def typed(self, name: str, shape: Sequence[int], order: Sequence[int], to_bfloat16: bool) -> Any:
        """Memory for an array whose axes lie in this order."""
        memory = self.buf(name, [shape[axis] for axis in order], BFLOAT16 if to_bfloat16 else "float32")
        return self.view(f"{name} in order", memory, lambda a: a.transpose(np.argsort(order)))


def order_of(x: Any) -> tuple[int, ...]:
    """The axes of an array as they lie in memory, outermost first."""
    return tuple(sorted(range(x.ndim), key=lambda axis: -x.strides[axis]))


def cast(reader: Layer, name: str, ndim: int, narrows: bool) -> Layer:
    """A layer that casts a bottom of `reader`, which has so many axes."""
    made = object.__new__(Cast)
    vars(made).update(vars(Layer.__new__(Cast)), name=name, xp=reader.xp, run=reader.run, place=reader.place)
    vars(made).update(ops={}, views={}, scripts={}, operands=made.params, memory=Memory(), narrows=narrows)
    made.order = reader.axes_in_memory(ndim) if narrows and isinstance(reader, OneDnn) else None
    return made
