"""Element-wise layers, sums of bottoms and softmax by oneDNN's kernels, on all threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

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
    Activated,
    all_finite,
    in_order_of_memory,
    rectify,
    trusted,
)
from .base import OneDnn
from .primitives import ADD


class OneDnnElementwise(OneDnn):
    """An element-wise layer whose function oneDNN has."""

    replays = True
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
        if algorithm in LOOKED_AT:
            self.act("y again", self.forward_again)(x, self.view("x flat", x, in_order_of_memory), y)
        self.save(kept=y if algorithm in FROM_RESULT else x)
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
            self.act("dx again", self.backward_again)(kept, self.view("x flat", kept, in_order_of_memory), dy, dx)
        return dx

    def forward_again(self, x: Any, flat: Any, y: Any) -> None:
        """y = f(x) as the reference has it, where oneDNN's is not trusted."""
        if not trusted(ALGORITHMS[self.type_name](self), flat, x):
            self.f(x, y)

    def backward_again(self, x: Any, flat: Any, dy: Any, dx: Any) -> None:
        """dx = f'(x) dy as the reference has it, where not all is finite."""
        if not all_finite(flat, x):
            dx[...] = self.df(dy, x)

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


def elementwise(name: str) -> type[OneDnn]:
    """The engine's layer for an element-wise type."""
    reference = LAYERS.get(name)
    reads = ("top",) if name in ("ReLU", "LeakyReLU", "Tanh", "Sigmoid") else ("bottom",)
    body = {"type_name": name, "__doc__": f"{name}.", "__module__": __name__, "backward_reads": reads, "inplace": False}
    return type(f"OneDnn{name}", (OneDnnElementwise, reference), body)


ELEMENTWISE = {name: elementwise(name) for name in ALGORITHMS}


class OneDnnAdd(Activated, LAYERS.get("Add")):  # type: ignore[misc]
    """Add of two bottoms of one shape, with an activation if the plan fused one: the end of a residual block."""

    type_name = "Add"
    replays = True
    grad_aliases = True

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if len(bottoms) != 2 or bottoms[0].shape != bottoms[1].shape or reference.coeff is not None:
            return "only two bottoms of one shape, without coeff"
        return super().refuses(reference, bottoms, tops)

    def forward(self, a: Any, b: Any) -> Any:
        y = self.buf("y", a.shape, over=a, like=a, life=self.life_of_top())
        self.op("y", primitives.binary, ADD, self.post_ops())(self.alike("a", a, y), self.alike("b", b, y), y)
        self.activate(y)
        self.save(y=self.kept_top(y), shapes=[a.shape, b.shape], xs=None)
        return y

    def backward(self, dy: Any) -> tuple[Any, ...]:
        dz = self.before_activation(dy)
        return tuple(dz if needed else None for needed in self.needs_grad)
