"""Inverse: the inverse of square matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec
from ...schema.registry import register
from .square import SQUARE, OfSquares, inverse, transposed


@register
class Inverse(OfSquares):
    """Inverse: the inverse of square matrices

        y = x⁻¹

    Where only x⁻¹ b is needed, Solve is cheaper and more exact.

    Shapes    x (..., K, K) real, y the same
    Backward  All products are matrix products, I is the identity matrix. From x y = I: ẋ y + x ẏ = 0, so ẏ = -y ẋ y.
              The upstream gradient meets it in Σᵢⱼ dy[i, j] ẏ[i, j] = -Σ dy[i, j] y[i, k] ẋ[k, l] y[l, j], over all
              four indices, and the factor of ẋ[k, l] is
                  dx[k, l] = -Σᵢⱼ y[i, k] dy[i, j] y[l, j]      dx = -yᵀ dy yᵀ
    Keeps     y
    Cost      2K³ flops per matrix forward, 4K³ backward
    Errors    LayerError when x is not square matrices, or a matrix is singular
    Source    Giles 2008, "Collected matrix derivative results"; compare torch.linalg.inv
    """

    backward_reads = ("top",)
    examples = SQUARE

    def forward(self, x: Any) -> Any:
        y = inverse(self.xp, x)
        self.save(y=y)
        return y

    def backward(self, dy: Any) -> Any:
        y = transposed(self.saved.y)
        return -(y @ dy @ y)

    def jvp(self, dx: Any) -> Any:
        y = self.saved.y
        return None if dx is None else -(y @ dx @ y)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size * bottoms[0].shape[-1]
