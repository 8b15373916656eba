"""LogDet: the logarithm of the determinant of square matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import sum_of
from ...arrays.spec import Spec
from ...schema.registry import register
from .square import SQUARE, OfSquares, inverse, transposed, where_finite


@register
class LogDet(OfSquares):
    """LogDet: the logarithm of the determinant of square matrices

        y = log det x

    Computed from the triangular factors as the sum of logarithms, so the determinant itself may over- or underflow.
    y is NaN where det x < 0 and -inf where it is 0, as in torch.

    Shapes    x (..., K, K) real, y (...)
    Backward  Along row i, det x = Σⱼ x[i, j] c[i, j] with cofactors c[i, j] that do not depend on that row, so
              ∂(det x)/∂x[i, j] = c[i, j]; and by Cramer's rule x⁻¹[j, i] = c[i, j] / det x. log divides by det x:
                  dx = dy (x⁻¹)ᵀ
              Where det x < 0 and y is NaN, dx is that of log |det x| (torch: 0).
    Keeps     x
    Cost      2K³/3 flops per matrix forward, 2K³ backward
    Errors    LayerError when x is not square matrices, or in backward when a matrix is singular
    Source    Giles 2008; compare torch.logdet
    """

    backward_reads = ("bottom",)
    examples = SQUARE

    def setup(self, x: Spec) -> Spec:
        return super().setup(x).with_shape(x.shape[:-2])

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        sign, log = where_finite(self.xp, lambda x: tuple(self.xp.linalg.slogdet(x)), x)
        return self.xp.where(sign < 0, self.xp.full((), float("nan"), dtype=x.dtype), log)

    def backward(self, dy: Any) -> Any:
        return dy[..., None, None] * transposed(inverse(self.xp, self.saved.x))

    def jvp(self, dx: Any) -> Any:
        if dx is None:
            return None
        return sum_of(transposed(inverse(self.xp, self.saved.x)) * dx, (-2, -1))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size * bottoms[0].shape[-1] // 3
