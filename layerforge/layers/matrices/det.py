"""Det: the determinant of square matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import sum_of
from ...arrays.spec import Spec
from ...contract.layer import Example
from ...schema.registry import register
from ..reductions.prod import product_of_others
from .square import SQUARE, OfSquares, decomposed, where_finite


def of_rank(rank: int) -> Any:
    """A draw of square matrices of that rank."""

    def draw(rng: Any, shape: tuple[int, ...]) -> Any:
        left, right = rng.normal(size=(*shape[:-1], rank)), rng.normal(size=(*shape[:-2], rank, shape[-1]))
        return left @ right

    return draw


def orientation(xp: Any, x: Any) -> Any:
    """The determinants of orthogonal matrices: 1 or -1."""
    return where_finite(xp, lambda x: xp.linalg.slogdet(x)[0], x)


@register
class Det(OfSquares):
    """Det: the determinant of square matrices

        y = det x

    Where matrices are large y soon over- or underflows: LogDet is its logarithm. Of a matrix that holds NaN or infinity
    y and dx are NaN.

    Shapes    x (..., K, K) real, y (...)
    Backward  Along row i, det x = Σⱼ x[i, j] c[i, j] with cofactors c[i, j] that do not depend on that row, so
                  dx = dy c
              For an invertible x that is dy (det x) (x⁻¹)ᵀ. The cofactors of a singular one exist as well; there is
              only no inverse to take them from. Let u, s, v be factors of x = u s vᵀ, u and v orthogonal, s diagonal.
              The cofactors of a matrix product are the product of the cofactors, those of u are (det u) u, and those of
              s a diagonal matrix r of the products of all other elements of the diagonal:
                  c = (det u) (det v) u r vᵀ,   r[i, i] = Π s[j, j]      over j ≠ i
              Nothing is divided by. For rank K - 1 one element of r is left, for a lower rank none.
    Keeps     x
    Cost      2K³/3 flops per matrix forward, about 20K³ backward
    Errors    LayerError when x is not square matrices
    Source    Giles 2008; Golub & Van Loan 2013; compare torch.linalg.det
    """

    backward_reads = ("bottom",)
    examples = [
        *SQUARE,
        Example({}, [Spec((3, 3, 3))], "determinants of both signs"),
        Example({}, [Spec((2, 4, 4), draw=of_rank(3))], "singular"),
        Example({}, [Spec((2, 3, 3), draw=of_rank(0))], "zeros"),
        Example({}, [Spec((2, 1, 1), draw=of_rank(0))], "a zero, whose cofactor is 1"),
    ]

    def setup(self, x: Spec) -> Spec:
        return super().setup(x).with_shape(x.shape[:-2])

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        return where_finite(self.xp, self.xp.linalg.det, x)

    def cofactors(self) -> Any:
        """The cofactor of each number of x."""
        xp = self.xp
        u, s, vt = decomposed(xp, self.saved.x)
        turns = orientation(xp, u) * orientation(xp, vt)
        others = product_of_others(xp, s, (s.ndim - 1,))
        return (u * (turns[..., None] * others)[..., None, :]) @ vt  # u diag(...) vᵀ

    def backward(self, dy: Any) -> Any:
        return dy[..., None, None] * self.cofactors()

    def jvp(self, dx: Any) -> Any:
        return None if dx is None else sum_of(self.cofactors() * dx, (-2, -1))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size * bottoms[0].shape[-1] // 3
