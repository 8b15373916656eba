"""Scans: running sums and products along an axis."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import cumulative_sum, expect_role, normalize_dim, part_along
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.params import param
from ...schema.registry import register

EXAMPLES = [
    Example({"dim": 1}, [Spec((3, 4))]),
    Example({"dim": -1}, [Spec((2, 3, 5))]),
    Example({"dim": -2}, [Spec((2, 3, 1, 5))]),
    Example({"dim": 2}, [Spec((2, 3, 4, 2))]),
    Example({"dim": 0}, [Spec((4, 3))], "along the batch"),
    Example({"dim": 0}, [Spec((5,))]),
    Example({"dim": 1}, [Spec((3, 1))], "nothing to add up"),
    Example({"dim": 1}, [Spec((3, 0))], "an empty axis"),
    Example({"dim": 1}, [Spec((0, 3))], "no samples"),
]
BAD_EXAMPLES = [
    Bad({}, "dim is required"),
    Bad({"dim": 2}, "dim 2 is out of range for a blob with 2 axes", [Spec((3, 5))]),
    Bad({"dim": [0, 1]}, "dim must be an integer"),
    Bad({"axis": 1}, "did you mean 'dim'?"),
    Bad({"dim": 0}, "must be real numbers", [Spec((3,), role="index")]),
]


def with_zeros(rng: Any, shape: tuple[int, ...]) -> Any:
    """Whole numbers, a quarter of them zero."""
    return rng.integers(-1, 3, shape)


@register
class Cumsum(Layer):
    """Cumsum: running sum along an axis

        yᵢ = x₁ + ... + xᵢ      along dim

    Shapes    x real with an axis dim, y the same
    Backward  xⱼ is in yⱼ and in every later yᵢ:
                  dxⱼ = Σᵢ dyᵢ over i ≥ j, the running sum of dy from the back
    Keeps     nothing
    Cost      one pass forward, one backward
    Errors    LayerError when there is no axis dim
    Source    compare torch.cumsum
    """

    dim: int = param(help="axis to run along; negative counts from the back")

    examples = EXAMPLES
    bad_examples = BAD_EXAMPLES

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        normalize_dim(self.dim, x.ndim)
        return x

    def per_sample_for(self, x: Spec) -> bool:
        return normalize_dim(self.dim, x.ndim) != 0

    def forward(self, x: Any) -> Any:
        self.save()
        return cumulative_sum(x, self.dim)

    def backward(self, dy: Any) -> Any:
        return self.xp.flip(cumulative_sum(self.xp.flip(dy, self.dim), self.dim), self.dim)

    def jvp(self, dx: Any) -> Any:
        return cumulative_sum(dx, self.dim)


@register
class Cumprod(Cumsum):
    """Cumprod: running product along an axis

        yᵢ = x₁ x₂ ... xᵢ      along dim

    Shapes    x real with an axis dim, y the same
    Backward  The recurrence yᵢ = yᵢ₋₁ xᵢ, with y₀ = 1, is run backwards. sᵢ is all that reaches yᵢ: dyᵢ, and what yᵢ₊₁
              hands down; beyond the end of the axis it is 0:
                  sᵢ = dyᵢ + xᵢ₊₁ sᵢ₊₁      dxᵢ = yᵢ₋₁ sᵢ
              (dxⱼ = Σᵢ dyᵢ yᵢ / xⱼ over i ≥ j is the same, but not at a zero.)
    Keeps     x and y
    Cost      one pass forward; backward a step for each place along dim, because each needs the one after it
    Errors    LayerError when there is no axis dim
    Source    compare torch.cumprod
    """

    backward_reads = ("bottom", "top")

    examples = [*EXAMPLES, Example({"dim": 1}, [Spec((4, 6), draw=with_zeros)], "zeros")]
    bad_examples = BAD_EXAMPLES

    def forward(self, x: Any) -> Any:
        y = x.cumprod(axis=self.dim)
        self.save(x=x, y=y)
        return y

    def backward(self, dy: Any) -> Any:
        x, s = self.saved.x, dy.copy()
        for i in reversed(range(x.shape[self.dim] - 1)):
            here = part_along(s, self.dim, i, i + 1)
            here += part_along(x, self.dim, i + 1, i + 2) * part_along(s, self.dim, i + 1, i + 2)
        return self.before() * s

    def jvp(self, dx: Any) -> Any:
        x, dy = self.saved.x, self.before() * dx
        for i in range(1, x.shape[self.dim]):
            here = part_along(dy, self.dim, i, i + 1)
            here += part_along(x, self.dim, i, i + 1) * part_along(dy, self.dim, i - 1, i)
        return dy

    def before(self) -> Any:
        """yᵢ₋₁ in the place of yᵢ, with y₀ = 1 in the first."""
        y = self.saved.y
        first, others = part_along(y, self.dim, 0, 1), part_along(y, self.dim, 0, y.shape[self.dim] - 1)
        return self.xp.concatenate([self.xp.ones_like(first), others], axis=self.dim)
