"""Losses as the reference computes them, with results in planned memory: what is below them can then be repeated.

A loss is a few passes over arrays that are small beside those of the layers below it. NumPy does them as fast as
anything, but as plain NumPy a loss would give a gradient that is a new array in every pass, and nothing that reads it
could be captured (run/capture.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ...arrays.spec import Spec
from ...contract.namespaces import Saved
from ...schema.registry import LAYERS
from .base import OneDnn

# The losses that are computed so; others have modules of their own.
LOSSES = (
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "ContrastiveLoss", "CosineEmbeddingLoss", "DiceLoss", "FocalLoss",
    "HingeLoss", "HuberLoss", "InfogainLoss", "KLDivLoss", "L1Loss", "MarginRankingLoss", "MultiBoxLoss",
    "MultinomialLogisticLoss", "NLLLoss", "SigmoidFocalLoss", "SmoothL1Loss", "TripletMarginLoss",
)  # fmt: skip


class Held:
    """What the reference kept in the last forward: new in every pass, in a place that stays."""

    kept: Saved | None = None


class OneDnnLoss(OneDnn):
    """Mixin of losses: forward and backward are an Act each, which runs the reference's and copies what it gives.

    The reference of a loss reads its bottoms and what it kept, and nothing else that changes from pass to pass.
    """

    replays = True

    def forward(self, *bottoms: Any) -> Any:
        held = self.view("held", None, lambda _: Held())
        top: Any = self.setup(*map(spec_of, bottoms))
        y = self.buf("y", top.shape)
        self.act("y", self.fill)(held, y, *bottoms)
        self.save(held=held, shapes=[bottom.shape for bottom in bottoms])
        return y

    def backward(self, dy: Any) -> tuple[Any, ...]:
        places = enumerate(zip(self.saved.shapes, self.needs_grad, strict=True))
        grads = tuple([self.buf(f"gradient {i}", shape) if needed else None for i, (shape, needed) in places])
        self.act("gradients", self.fill_gradients)(self.saved.held, dy, *grads)
        return grads

    def fill(self, held: Held, y: Any, *bottoms: Any) -> None:
        """The top, as the reference makes it."""
        with self.as_reference(held):
            self.kept = None
            y[...] = super().forward(*bottoms)

    def fill_gradients(self, held: Held, dy: Any, *grads: Any) -> None:
        """Those gradients that are not None, as the reference makes them."""
        with self.as_reference(held):
            self.needs_grad = tuple([grad is not None for grad in grads])
            for grad, found in zip(grads, super().backward(dy), strict=True):
                if grad is not None:
                    grad[...] = found

    def jvp(self, *tangents: Any) -> Any:
        with self.as_reference(self.saved.held):
            return super().jvp(*tangents)

    @contextmanager
    def as_reference(self, held: Held) -> Iterator[None]:
        """While this lasts, what the layer keeps is what its reference keeps."""
        outer, needs_grad, self.kept = self.kept, self.needs_grad, held.kept
        try:
            yield
        finally:
            held.kept, self.kept, self.needs_grad = self.kept, outer, needs_grad


def spec_of(array: Any) -> Spec:
    """What set-up would be told of an array."""
    return Spec(array.shape, str(array.dtype))


@cache
def loss(name: str) -> type[OneDnn]:
    """The engine's layer for a loss of `LOSSES`."""
    return type(f"OneDnn{name}", (OneDnnLoss, LAYERS.get(name)), {"__doc__": f"{name}.", "__module__": __name__})
