"""Flatten and Reshape: a view where the elements are stored in row-major order, otherwise a copy on all threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec
from ...contract.layer import Layer
from ...layers.shapes.flatten import Flatten
from ...layers.shapes.reshaping import Reshape, Reshaping
from . import primitives
from .base import OneDnn


class OneDnnReshaping(OneDnn, Reshaping):
    """What the two share. The copy is what channels last cost where an image becomes a vector."""

    replays = has_bfloat16 = True

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        return super().refuses(reference, bottoms, tops) if bottoms[0].is_real else "an index"

    def forward(self, x: Any) -> Any:
        self.save(shape=x.shape)
        return self.reshaped("y", x, self.top_shape(x.shape))

    def backward(self, dy: Any) -> Any:
        return self.reshaped("dx", dy, self.saved.shape) if self.needs_grad[0] else None

    def reshaped(self, name: str, x: Any, shape: tuple[int, ...]) -> Any:
        """x read in row-major order in another shape."""
        if not x.flags.c_contiguous:
            copy = self.buf(name, x.shape)
            self.op(name, primitives.copy)(x, copy)
            x = copy
        return self.view(f"{name} reshaped", x, lambda a: a.reshape(shape))


class OneDnnFlatten(OneDnnReshaping, Flatten):
    """Flatten."""


class OneDnnReshape(OneDnnReshaping, Reshape):
    """Reshape."""
