"""Sums of two bottoms by oneDNN's kernels, on all threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec
from ...layers.broadcasting.arithmetic import Add
from . import primitives
from .activation import Activated
from .primitives import ADD


class OneDnnAdd(Activated, Add):  # type: ignore[misc]
    """Add of two bottoms of one shape, with an activation if the plan fused one: the end of a residual block."""

    replays = has_bfloat16 = True
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
