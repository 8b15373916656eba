"""SVDVals: the singular values of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, sum_of
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.registry import register
from .square import decomposed, singular_values, transposed


@register
class SVDVals(Layer):
    """SVDVals: the singular values of matrices

        y[0] ≥ y[1] ≥ ... ≥ 0,   x = u s vᵀ,   uᵀ u = vᵀ v = I

    s is the diagonal matrix of y, u and v hold singular vectors in their columns, I is the identity matrix.
    The sum of the singular values is the nuclear norm, which makes a matrix of low rank where it is a penalty; the
    largest is the spectral norm.

    Shapes    x (..., J, K) real, y (..., the smaller of J and K)
    Backward  All products are matrix products. From ẋ = u̇ s vᵀ + u ṡ vᵀ + u s v̇ᵀ follows
                  uᵀ ẋ v = uᵀ u̇ s + ṡ + s v̇ᵀ v
              and from uᵀ u = I that uᵀ u̇ = -(uᵀ u̇)ᵀ, which has zeros on its diagonal, as has v̇ᵀ v. What is left there
              is ẏ[i] = Σ u[j, i] ẋ[j, k] v[k, i] over j and k, so
                  dx[j, k] = Σᵢ u[j, i] dy[i] v[k, i]
              Where singular values are equal, u and v may be turned within them, and one of them alone has no
              derivative: dx is then by those vectors that the decomposition found. What treats equal ones alike, as
              the nuclear norm does, has a derivative, and dx is that, whichever were found. Where one is 0 it has a
              kink, as |x| has, and dx is its slope on one side.
    Keeps     x
    Cost      about 4 J K² flops per matrix forward for K ≤ J, 20 J K² backward, which needs the vectors too
    Errors    LayerError when x is not matrices, or one holds NaN or infinity
    Source    Golub & Van Loan 2013; compare torch.linalg.svdvals
    """

    backward_reads = ("bottom",)
    examples = [
        Example({}, [Spec((2, 3, 3))]),
        Example({}, [Spec((2, 4, 2))], "tall"),
        Example({}, [Spec((2, 3, 2, 5))], "wide, any number of leading axes"),
        Example({}, [Spec((3, 1, 1))], "absolute values"),
        Example({}, [Spec((2, 1, 4))], "lengths of rows"),
        Example({}, [Spec((0, 2, 3))], "no samples"),
    ]
    bad_examples = [
        Bad({}, "has shape (3,), expected matrices (..., J, K)", [Spec((3,))]),
        Bad({}, "must be real numbers", [Spec((2, 2), role="index")]),
        Bad({"k": 2}, "unknown key 'k'"),
    ]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        if x.ndim < 2:
            raise LayerError(f"the bottom has shape {x.shape}, expected matrices (..., J, K)")
        return x.with_shape((*x.shape[:-2], min(x.shape[-2:])))

    def per_sample_for(self, x: Spec) -> bool:
        return x.ndim > 2

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        return singular_values(self.xp, x)

    def backward(self, dy: Any) -> Any:
        u, _, vt = decomposed(self.xp, self.saved.x)
        return (u * dy[..., None, :]) @ vt

    def jvp(self, dx: Any) -> Any:
        u, _, vt = decomposed(self.xp, self.saved.x)
        return sum_of(u * (dx @ transposed(vt)), -2)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * bottoms[0].size * min(bottoms[0].shape[-2:])
