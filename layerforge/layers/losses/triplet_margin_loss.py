"""TripletMarginLoss: an anchor should be nearer to one vector than to another."""

from __future__ import annotations

import math
from typing import Any

from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError
from ...schema.params import param
from ...schema.registry import register
from .vectors import REDUCED, VectorLoss, expect_alike, length, length_slope


@register
class TripletMarginLoss(VectorLoss):
    """TripletMarginLoss: an anchor should be nearer to a positive than to a negative example

        r(a, b) = (Σ |a - b + eps|ᵖ)^(1/p)       along the last axis
        ℓ = max(0, margin + r(x, x₊) - r(x, x₋))
        y = Σ ℓ / m                              m the number of vectors; or Σ ℓ, all ℓ: see reduction

    Shapes    x, x₊ and x₋ (..., D) real, of the same shape; y a single number or (...)
    Backward  With v = a - b + eps and u = ∂r/∂a: from rᵖ = Σ |vᵢ|ᵖ, p rᵖ⁻¹ ∂r/∂vᵢ = p |vᵢ|ᵖ⁻¹ sign vᵢ, so
                  uᵢ = sign(vᵢ) (|vᵢ|/r)^(p-1)      for p = 2 the unit vector v/r; 0 for v = 0
              u₊ belongs to r(x, x₊) and u₋ to r(x, x₋). With dℓ = dy / m, what reaches one ℓ (reduction sum or none:
              dℓ = dy),
                  dx = dℓ (u₊ - u₋),   dx₊ = -dℓ u₊,   dx₋ = dℓ u₋      where ℓ is not cut off at 0
    Keeps     u₊ and u₋
    Cost      8 operations per element forward, 1 backward
    Errors    LayerError when the shapes differ; ConfigError for p = .inf
    Source    Balntas et al. 2016, after Schroff et al. 2015, who take squares; compare torch.nn.TripletMarginLoss
    """

    bottoms = 3

    margin: float = param(1.0, help="how much nearer at least", gt=0)
    p: float = param(2.0, help="which norm measures distances", ge=1)
    eps: float = param(1e-6, help="added to every difference, so that none is exactly 0", ge=0)

    examples = [
        *(
            Example(e, [Spec((4, 5))] * 3)
            for e in ({}, {"margin": 0.1}, {"p": 1.0}, {"p": 3.0, "margin": 2.0}, {"eps": 0.1}, *REDUCED)
        ),
        Example({}, [Spec((2, 3, 4))] * 3),
        Example({}, [Spec((5,))] * 3, "one vector"),
        Example({}, [Spec((1, 1))] * 3),
        Example({}, [Spec((0, 2))] * 3),
        Example({"margin": 5e4}, [Spec((3, 4), low=-1e4, high=1e4)] * 3, "extreme"),
    ]
    bad_examples = [
        Bad({"margin": 0}, "must be > 0"),
        Bad({"p": 0.5}, "must be >= 1"),
        Bad({"p": float("inf")}, "p must be finite"),
        Bad({}, "bottom[2] has shape (3, 1), expected (3, 2)", [Spec((3, 2)), Spec((3, 2)), Spec((3, 1))]),
        Bad({}, "bottom[1] must be real numbers", [Spec((3, 2)), index((3, 2), 2), Spec((3, 2))]),
    ]

    def validate(self) -> None:
        if math.isinf(self.p):
            raise ConfigError("p must be finite")

    def setup(self, anchor: Spec, positive: Spec, negative: Spec) -> Spec:
        expect_alike((anchor, positive, negative))
        return self.reduced(anchor, anchor.shape[:-1])

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        xp, n = self.xp, self.divisor(anchor.shape[:-1])
        near, far = anchor - positive + self.eps, anchor - negative + self.eps
        d_near, d_far = length(xp, near, self.p), length(xp, far, self.p)
        cost = self.margin + d_near - d_far
        counts = cost >= 0
        to_near, to_far = (length_slope(xp, v, d, self.p) * counts for v, d in ((near, d_near), (far, d_far)))
        self.save(to_near=to_near, to_far=to_far, n=n)
        return self.reduce(xp.maximum(cost, 0)[..., 0], n)

    def partial(self, i: int) -> Any:
        to_near, to_far = self.saved.to_near, self.saved.to_far
        return (to_near - to_far, -to_near, to_far)[i]
