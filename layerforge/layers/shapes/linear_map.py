"""What the layers share that move elements about or take means of them: each is a linear map of its one bottom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec
from ...contract.layer import Layer


class LinearMap(Layer):
    """Base of the layers y = A x that learn nothing. A is sparse, mostly zeros and ones, and never written out whole.

    From yᵢ = Σⱼ Aᵢⱼ xⱼ follows dxⱼ = Σᵢ dyᵢ Aᵢⱼ, dx = Aᵀ dy: every element of dy goes back to where it came from, and
    what went to several places is summed over them. A tangent goes the way of x. A layer brings

    top_shape(shape)     the shape of y for an x of that shape; LayerError where there is none
    apply(x)             A x
    adjoint(dy, shape)   Aᵀ dy, of that shape
    """

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the top for a bottom of that shape."""
        raise NotImplementedError

    def apply(self, x: Any) -> Any:
        """A x."""
        raise NotImplementedError

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        """Aᵀ dy for a bottom of that shape."""
        raise NotImplementedError

    def setup(self, x: Spec) -> Spec:
        return x.with_shape(self.top_shape(x.shape))

    def forward(self, x: Any) -> Any:
        self.save(shape=x.shape)
        return self.apply(x)

    def backward(self, dy: Any) -> Any:
        return self.adjoint(dy, self.saved.shape) if self.needs_grad[0] else None

    def jvp(self, dx: Any) -> Any:
        return None if dx is None else self.apply(dx)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
