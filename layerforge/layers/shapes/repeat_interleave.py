"""RepeatInterleave: every element several times in a row.

What stands in several places gets the sum of their gradients: its counterpart is a sum.
"""

from __future__ import annotations

from typing import Any

from ...arrays.functional import normalize_dim, sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.params import param
from ...schema.registry import register
from .linear_map import LinearMap


@register
class RepeatInterleave(LinearMap):
    """RepeatInterleave: every element several times in a row

        y[..., repeats i + r, ...] = x[..., i, ...]      r = 0 ... repeats - 1, on axis dim

    Shapes    x of any shape with an axis dim, real or index; y with that size times repeats
    Backward  Each element of x is at `repeats` places in a row: dx[..., i, ...] = Σᵣ dy[..., repeats i + r, ...]
    Keeps     the shape of x
    Cost      one copy forward, one sum backward
    Errors    LayerError when dim is out of range
    Source    compare torch.repeat_interleave, which flattens x unless it is given a dim
    """

    repeats: int = param(help="how many times each element", ge=1)
    dim: int = param(help="axis to repeat along; negative counts from the back")

    examples = [
        Example({"repeats": 2, "dim": 1}, [Spec((2, 3))]),
        Example({"repeats": 3, "dim": -2}, [Spec((2, 2, 1, 3))]),
        Example({"repeats": 2, "dim": 0}, [Spec((2, 3))], "every sample twice"),
        Example({"repeats": 1, "dim": 1}, [Spec((2, 3))], "once"),
        Example({"repeats": 2, "dim": 1}, [Spec((2, 0))], "an empty axis"),
        Example({"repeats": 2, "dim": 1}, [index((2, 3), 7)], "labels may be repeated too"),
    ]
    bad_examples = [
        Bad({"repeats": 0, "dim": 1}, "must be >= 1"),
        Bad({"repeats": 2, "dim": 2}, "dim 2 is out of range", [Spec((2, 3))]),
        Bad({"repeats": 2}, "dim is required"),
    ]

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        dim = normalize_dim(self.dim, len(shape))
        return (*shape[:dim], self.repeats * shape[dim], *shape[dim + 1 :])

    def per_sample_for(self, x: Spec) -> bool:
        return self.repeats == 1 or normalize_dim(self.dim, x.ndim) != 0

    def apply(self, x: Any) -> Any:
        return x.repeat(self.repeats, axis=self.dim)

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        after = normalize_dim(self.dim, len(shape)) + 1
        return sum_of(dy.reshape(*shape[:after], self.repeats, *shape[after:]), after)
