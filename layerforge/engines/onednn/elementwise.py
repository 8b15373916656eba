"""Element-wise layers by oneDNN's kernels, on all threads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ...arrays.bfloat16 import is_bfloat16, narrowed, widened
from ...arrays.spec import Spec
from ...contract.layer import Layer
from ...schema.registry import LAYERS
from . import primitives
from .activation import (
    ALGORITHMS,
    ELU,
    FROM_RESULT,
    LOOKED_AT,
    PLAIN_RELU,
    compute,
    in_order_of_memory,
    rectify,
    trusted,
)
from .base import OneDnn


class OneDnnElementwise(OneDnn):
    """An element-wise layer whose function oneDNN has."""

    replays = has_bfloat16 = True
    f: Any  # the reference's
    df: Any
    reads: Any

    def forward(self, x: Any) -> Any:
        activation = algorithm, *numbers = ALGORITHMS[self.type_name](self)
        y = self.buf("y", x.shape, like=x, life="saved" if algorithm in FROM_RESULT else "call")
        x = self.alike("x", x, y, "saved")
        if activation == PLAIN_RELU:
            rectify(self, "y", x, y)
        else:
            self.op("y", primitives.eltwise, algorithm, *numbers)(x, y)
        was_trusted = None
        if algorithm in LOOKED_AT:
            was_trusted = self.buf("was trusted", (1,), "bool", life="saved")
            self.act("y again", self.forward_again)(x, self.view("x flat", x, in_order_of_memory), y, was_trusted)
        self.save(kept=y if algorithm in FROM_RESULT else x, was_trusted=was_trusted)
        return y

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        algorithm, *numbers = ALGORITHMS[self.type_name](self)
        kept = self.saved.kept
        dx = self.buf("dx", dy.shape, like=kept)
        self.op("dx", primitives.eltwise_backward, FROM_RESULT.get(algorithm, algorithm), *numbers)(
            kept, self.alike("dy", dy, kept), dx
        )
        if algorithm in LOOKED_AT and algorithm != ELU:
            self.act("dx again", self.backward_again)(kept, self.saved.was_trusted, dy, dx)
        return dx

    def forward_again(self, x: Any, flat: Any, y: Any, was_trusted: Any) -> None:
        """y = f(x) as the reference has it, where oneDNN's is not trusted."""
        was_trusted[0] = trusted(ALGORITHMS[self.type_name](self), flat, x)
        if not was_trusted[0]:
            compute(self.f, x, y)

    def backward_again(self, x: Any, was_trusted: Any, dy: Any, dx: Any) -> None:
        """dx = f'(x) dy as the reference has it, where not all is finite."""
        if not was_trusted[0]:
            found = self.df(widened(dy), widened(x))
            dx[...] = narrowed(found) if is_bfloat16(dx) else found

    def jvp(self, dx: Any) -> Any:
        kept = self.saved.kept
        if self.reads == "top" and "bottom" in self.backward_reads:
            y = np.empty_like(kept)
            self.f(kept, y)
            kept = y
        return self.df(dx, kept)  # a diagonal matrix is its own transpose

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if ALGORITHMS[reference.type_name](reference) is None:
            return "not with these hyper-parameters"
        return super().refuses(reference, bottoms, tops)


@cache
def elementwise(name: str) -> type[OneDnn]:
    """The engine's layer for an element-wise type."""
    reference = LAYERS.get(name)
    reads = ("top",) if name in ("ReLU", "LeakyReLU", "Tanh", "Sigmoid") else ("bottom",)
    body = {"__doc__": f"{name}.", "__module__": __name__, "backward_reads": reads, "inplace": False}
    return type(f"OneDnn{name}", (OneDnnElementwise, reference), body)
