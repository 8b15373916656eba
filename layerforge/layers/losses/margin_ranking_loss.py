"""MarginRankingLoss: one value should be larger than another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import param
from ...schema.registry import register
from .loss import Loss
from .vectors import REDUCED, check_signs, expect_alike, expect_labels, signs


@register
class MarginRankingLoss(Loss):
    """MarginRankingLoss: one value should be larger than another

        ℓ = max(0, margin - t (x₁ - x₂))      t = 1: x₁ should be larger, t = -1: x₂
        y = Σ ℓ / m                           m the number of elements; or Σ ℓ, all ℓ: see reduction

    Shapes    x₁ and x₂ real, of the same shape with a batch axis; t index of that shape; y a single number or as x₁
    Backward  With dℓ = dy / m, what reaches one ℓ (reduction sum or none: dℓ = dy),
                  dx₁ = -dℓ t where t (x₁ - x₂) ≤ margin, otherwise 0;   dx₂ = -dx₁
    Keeps     -t where ℓ has a slope
    Cost      4 operations per element forward, 1 backward
    Errors    LayerError when the shapes differ; LayerError (exit 3) for a t that is neither 1 nor -1
    Source    Herbrich et al. 1999; compare torch.nn.MarginRankingLoss
    """

    bottoms = 3

    margin: float = param(0.0, help="how much larger at least")

    examples = [
        *(
            Example(e, [Spec((3, 4)), Spec((3, 4)), signs(3, 4)])
            for e in ({}, {"margin": 0.5}, {"margin": -0.5}, *REDUCED)
        ),
        Example({}, [Spec((5,)), Spec((5,)), signs(5)]),
        Example({}, [Spec((1, 1)), Spec((1, 1)), signs(1, 1)]),
        Example({}, [Spec((0, 2)), Spec((0, 2)), signs(0, 2)]),
    ]
    bad_examples = [
        Bad({}, "bottom[1] has shape (3, 1), expected (3,)", [Spec((3,)), Spec((3, 1)), signs(3)]),
        Bad({}, "bottom[2], the labels, has shape (3, 1), expected (3,)", [Spec((3,)), Spec((3,)), signs(3, 1)]),
        Bad({}, "bottom[2] must be integers", [Spec((3,)), Spec((3,)), Spec((3,))]),
        Bad({}, "at least a batch axis", [Spec(()), Spec(()), signs()]),
    ]

    def setup(self, first: Spec, second: Spec, t: Spec) -> Spec:
        expect_alike((first, second))
        expect_labels(t, first.shape)
        return self.reduced(first, first.shape)

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """-1 and 1."""
        return range(-1, 2, 2)

    def forward(self, first: Any, second: Any, t: Any) -> Any:
        check_signs(t)
        t, n = t.astype(first.dtype), self.divisor(first.shape)
        short = self.margin - t * (first - second)
        self.save(slope=-t * (short >= 0), n=n)
        return self.reduce(self.xp.maximum(short, 0), n)

    def partial(self, i: int) -> Any:
        return (1 - 2 * i) * self.saved.slope

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * bottoms[0].size
