"""ContrastiveLoss: pairs that match are brought together, others apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.functional import check_labels, sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.params import param
from ...schema.registry import register
from .loss import Loss
from .vectors import REDUCED, expect_alike, expect_labels, length


@register
class ContrastiveLoss(Loss):
    """ContrastiveLoss: brings pairs that match together and pushes others apart (Caffe: ContrastiveLoss)

        r = |u|,  u = x₁ - x₂          the distance of the two samples, over all of their elements
        ℓ = r²/2                       of a pair that matches (t = 1)
        ℓ = max(0, margin - r)²/2      of one that does not (t = 0);  with legacy_version  max(0, margin - r²)/2
        y = Σ ℓ / N                    or Σ ℓ, all ℓ: see reduction

    Shapes    x₁ and x₂ (N, d1, ...) real, of the same shape; t (N) index; y a single number or (N)
    Backward  With ∂r/∂x₁ = u/r and dℓ = dy / N, what reaches one ℓ (reduction sum or none: dℓ = dy),
                  dx₁ = dℓ u of a pair that matches
                  dx₁ = -dℓ max(0, margin - r) u/r of one that does not, 0 for r = 0;  with legacy_version  -dℓ u where
                        r² < margin
                  dx₂ = -dx₁
              With gradient_eps u/r is u / (r + gradient_eps): no exact derivative, but Caffe's gradient with 1e-4
    Keeps     the slope of each ℓ with respect to x₁, an array of its shape
    Cost      4 operations per element forward, 1 backward
    Errors    LayerError when the shapes do not fit; LayerError (exit 3) for a t that is neither 0 nor 1
    Source    Hadsell, Chopra & LeCun 2006; compare Caffe's ContrastiveLoss layer
    """

    bottoms = 3

    margin: float = param(1.0, help="distance from which on pairs that do not match are left alone", gt=0)
    legacy_version: bool = param(False, help="hold the squared distance against the margin, as early Caffe did")

    gradient_eps: float = param(0.0, help="added to the distance in the gradient's divisor; Caffe: 1e-4", ge=0)

    examples = [
        *(
            Example(e, [Spec((5, 4)), Spec((5, 4)), index((5,), 2)])
            for e in ({}, {"margin": 4.0}, {"margin": 9.0, "legacy_version": True}, *REDUCED)
        ),
        Example({"margin": 4.0, "gradient_eps": 0.2}, [Spec((5, 4)), Spec((5, 4)), index((5,), 2)]),
        Example({"margin": 5.0}, [Spec((3, 2, 1, 2)), Spec((3, 2, 1, 2)), index((3,), 2)]),
        Example({}, [Spec((1, 1)), Spec((1, 1)), index((1,), 1)]),
        Example({}, [Spec((0, 2)), Spec((0, 2)), index((0,), 2)]),
        Example({}, [Spec((3, 4), low=-1e4, high=1e4), Spec((3, 4), low=-1e4, high=1e4), index((3,), 1)], "extreme"),
    ]
    bad_examples = [
        Bad({"margin": 0}, "must be > 0"),
        Bad({"gradient_eps": -1e-4}, "must be >= 0"),
        Bad({}, "bottom[1] has shape (3, 1), expected (3, 2)", [Spec((3, 2)), Spec((3, 1)), index((3,), 2)]),
        Bad({}, "bottom[2], the labels, has shape (3, 1), expected (3,)", [*[Spec((3, 2))] * 2, index((3, 1), 2)]),
        Bad({}, "bottom[2] must be integers", [Spec((3, 2)), Spec((3, 2)), Spec((3,))]),
    ]

    def validate(self) -> None:
        self.exact_gradient = self.gradient_eps == 0

    def setup(self, first: Spec, second: Spec, t: Spec) -> Spec:
        expect_alike((first, second))
        expect_labels(t, first.shape[:1])
        return self.reduced(first, first.shape[:1])

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """0 and 1."""
        return range(2)

    def forward(self, first: Any, second: Any, t: Any) -> Any:
        check_labels(self.xp, t, 2)
        xp, n, match = self.xp, self.divisor(t.shape), t.astype(bool)
        u = (first - second).reshape(len(t), math.prod(first.shape[1:]))
        d = length(xp, u)[:, 0]
        if self.legacy_version:
            apart, slope = xp.maximum(self.margin - d * d, 0) / 2, -(d * d < self.margin).astype(d.dtype)
        else:
            short = xp.maximum(self.margin - d, 0)
            apart, slope = short * short / 2, -short / (xp.where(d > 0, d, 1) + self.gradient_eps)
        slope = xp.where(match, 1, slope)[:, None] * u
        self.save(slope=slope.reshape(first.shape), n=n)
        return self.reduce(xp.where(match, d * d / 2, apart), n)

    def partial(self, i: int) -> Any:
        return (1 - 2 * i) * self.saved.slope

    def spread(self, up: Any) -> Any:
        return up.reshape(-1, *(1,) * (self.saved.slope.ndim - 1))

    def gather(self, terms: Any) -> Any:
        return sum_of(terms.reshape(len(terms), math.prod(terms.shape[1:])), 1)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * bottoms[0].size
