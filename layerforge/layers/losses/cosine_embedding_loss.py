"""CosineEmbeddingLoss: the angle between vectors should be small, or large."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import sum_of
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import param
from ...schema.registry import register
from .vectors import REDUCED, VectorLoss, check_signs, expect_alike, expect_labels, signs

LEAST_SQUARE = 1e-12  # torch's smallest squared length


@register
class CosineEmbeddingLoss(VectorLoss):
    """CosineEmbeddingLoss: the angle between vectors should be small, or large

        c = x₁ · x₂ / √(s₁ s₂)      along the last axis, with s₁ = |x₁|² + 1e-12 and s₂ = |x₂|² + 1e-12
        ℓ = 1 - c                   where t = 1
        ℓ = max(0, c - margin)      where t = -1
        y = Σ ℓ / m                 m the number of vectors; or Σ ℓ, all ℓ: see reduction

    Shapes    x₁ and x₂ (..., D) real, of the same shape; t (...) index; y a single number or (...)
    Backward  By the quotient rule, with ∂√s₁/∂x₁ = x₁/√s₁: ∂c/∂x₁ = x₂/√(s₁ s₂) - c x₁/s₁. With dℓ = dy / m, what
              reaches one ℓ (reduction sum or none: dℓ = dy),
                  dx₁ = -dℓ ∂c/∂x₁ where t = 1,  dℓ ∂c/∂x₁ where t = -1 and c ≥ margin,  otherwise 0
              and dx₂ the same with the roles exchanged
    Keeps     x₁ and x₂ over their lengths, the lengths, c, and the sign of each slope
    Cost      6 operations per element forward, 4 backward
    Errors    LayerError when the shapes do not fit; LayerError (exit 3) for a t that is neither 1 nor -1
    Source    compare torch.nn.CosineEmbeddingLoss
    """

    bottoms = 3

    margin: float = param(0.0, help="cosine up to which vectors that differ are left alone", ge=-1, le=1)

    examples = [
        *(
            Example(e, [Spec((4, 5)), Spec((4, 5)), signs(4)])
            for e in ({}, {"margin": 0.5}, {"margin": -0.5}, *REDUCED)
        ),
        Example({}, [Spec((2, 3, 4)), Spec((2, 3, 4)), signs(2, 3)]),
        Example({}, [Spec((5,)), Spec((5,)), signs()], "one pair"),
        Example({}, [Spec((0, 2)), Spec((0, 2)), signs(0)]),
        Example({}, [Spec((3, 4), low=-1e4, high=1e4), Spec((3, 4), low=-1e4, high=1e4), signs(3)], "extreme"),
    ]
    bad_examples = [
        Bad({"margin": 1.5}, "must be <= 1"),
        Bad({}, "bottom[1] has shape (3, 1), expected (3, 2)", [Spec((3, 2)), Spec((3, 1)), signs(3)]),
        Bad({}, "bottom[2], the labels, has shape (3, 1), expected (3,)", [*[Spec((3, 2))] * 2, signs(3, 1)]),
        Bad({}, "bottom[2] must be integers", [Spec((3, 2)), Spec((3, 2)), Spec((3,))]),
    ]

    def setup(self, first: Spec, second: Spec, t: Spec) -> Spec:
        expect_alike((first, second))
        expect_labels(t, first.shape[:-1])
        return self.reduced(first, first.shape[:-1])

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """-1 and 1."""
        return range(-1, 2, 2)

    def forward(self, first: Any, second: Any, t: Any) -> Any:
        check_signs(t)
        xp, n = self.xp, self.divisor(t.shape)
        lengths = [xp.sqrt(sum_of(x * x, -1, keepdims=True) + LEAST_SQUARE) for x in (first, second)]
        units = [x / size for x, size in zip((first, second), lengths, strict=True)]
        c = sum_of(units[0] * units[1], -1, keepdims=True)
        alike = t[..., None] == 1
        sign = xp.where(alike, -1, c >= self.margin).astype(c.dtype)
        self.save(units=units, lengths=lengths, c=c, sign=sign, n=n)
        return self.reduce(xp.where(alike, 1 - c, xp.maximum(c - self.margin, 0))[..., 0], n)

    def partial(self, i: int) -> Any:
        mine, other = self.saved.units[i], self.saved.units[1 - i]
        return self.saved.sign * (other - self.saved.c * mine) / self.saved.lengths[i]
