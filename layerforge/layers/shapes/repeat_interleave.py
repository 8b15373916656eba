"""RepeatInterleave: every element several times in a row.

What stands in several places gets the sum of their gradients: its counterpart is a sum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.functional import normalize_dim, sum_of
from ...arrays.scattering import scatter_add
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register
from .linear_map import LinearMap


@register
class RepeatInterleave(LinearMap):
    """RepeatInterleave: every element several times in a row

        y[..., startᵢ + r, ...] = x[..., i, ...]      r = 0 ... repeatsᵢ - 1, startᵢ = repeats₀ + ... + repeatsᵢ₋₁

    repeats is one count for all places of the axis, or a list with one for each, of which some may be 0. Without dim x
    is read in row-major order, as one axis.

    Shapes    x of any shape with an axis dim, real or index; y with as many places on it as the counts add up to,
              without dim (Σ repeatsᵢ)
    Backward  Each element of x is at repeatsᵢ places in a row, and at none where that is 0:
                  dx[..., i, ...] = Σᵣ dy[..., startᵢ + r, ...]      on axis dim
    Keeps     the shape of x
    Cost      one copy forward, one sum backward
    Errors    LayerError when dim is out of range, or there are neither one nor as many counts as places
    Source    compare torch.repeat_interleave
    """

    repeats: int | list[int] = param(help="how many times: each place, or a count for every place", ge=0)
    dim: int | None = param(None, help="axis to repeat along; negative counts from the back, null is x as one axis")

    examples = [
        Example({"repeats": 2, "dim": 1}, [Spec((2, 3))]),
        Example({"repeats": 3, "dim": -2}, [Spec((2, 2, 1, 3))]),
        Example({"repeats": 2, "dim": 0}, [Spec((2, 3))], "every sample twice"),
        Example({"repeats": 1, "dim": 1}, [Spec((2, 3))], "once"),
        Example({"repeats": 2, "dim": 1}, [Spec((2, 0))], "an empty axis"),
        Example({"repeats": 2, "dim": 1}, [index((2, 3), 7)], "labels may be repeated too"),
        Example({"repeats": 2}, [Spec((2, 3))], "x as one axis"),
        Example({"repeats": 3}, [Spec(())]),
        Example({"repeats": 1}, [Spec((4,))]),
        Example({"repeats": [2, 0, 3], "dim": 1}, [Spec((2, 3, 2))], "counts"),
        Example({"repeats": [1, 2, 0, 3, 1, 1], "dim": -1}, [Spec((2, 6))], "counts"),
        Example({"repeats": [2], "dim": 1}, [Spec((2, 3))], "one count for all"),
        Example({"repeats": [0, 0], "dim": 1}, [Spec((3, 2))], "nothing is left"),
        Example({"repeats": [1, 2, 1], "dim": -1}, [index((2, 3), 7)], "counts for labels"),
    ]
    bad_examples = [
        Bad({"repeats": 0, "dim": 1}, "must be >= 1"),
        Bad({"repeats": [1, -1], "dim": 1}, "must be >= 0"),
        Bad({"repeats": [], "dim": 1}, "repeats is empty"),
        Bad({"repeats": 2, "dim": 2}, "dim 2 is out of range", [Spec((2, 3))]),
        Bad({"repeats": [1, 2], "dim": 1}, "repeats has 2 counts for the 3 places of axis 1", [Spec((2, 3))]),
        Bad({"repeats": [1, 2, 3]}, "repeats has 3 counts for the 6 numbers of the bottom", [Spec((2, 3))]),
        Bad({"repeats": 1.5, "dim": 1}, "repeats must be an integer or a list of integers"),
        Bad({"dim": 1}, "repeats is required"),
    ]

    def validate(self) -> None:
        if self.repeats == 0:
            raise ConfigError("repeats must be >= 1, got 0", hint="counts of single places, in a list, may be 0")
        if self.repeats == []:
            raise ConfigError("repeats is empty", hint="one count, or one for each place of the axis")

    def along(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """The shape of x as it is repeated, and the axis from the front."""
        if self.dim is None:
            return (math.prod(shape),), 0
        return shape, normalize_dim(self.dim, len(shape))

    def counts(self, shape: tuple[int, ...]) -> int | np.ndarray:
        """How many times each place of the axis, or all of them."""
        if isinstance(self.repeats, int) or len(self.repeats) == 1:
            return self.repeats if isinstance(self.repeats, int) else self.repeats[0]
        sizes, axis = self.along(shape)
        if len(self.repeats) != sizes[axis]:
            of = "numbers of the bottom" if self.dim is None else f"places of axis {axis}"
            message = f"repeats has {len(self.repeats)} counts for the {sizes[axis]} {of}"
            raise LayerError(message, hint="one count, or one for each")
        return np.array(self.repeats)

    def places(self, counts: np.ndarray) -> Any:
        """Where in x each place of y was read."""
        return self.constant("places", counts.tolist(), lambda: np.arange(len(counts)).repeat(counts), "int64")

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        (sizes, axis), counts = self.along(shape), self.counts(shape)
        length = counts * sizes[axis] if isinstance(counts, int) else sum(counts.tolist())
        return (*sizes[:axis], length, *sizes[axis + 1 :])

    def per_sample_for(self, x: Spec) -> bool:
        if self.dim is None:
            return self.repeats in (1, [1]) and x.ndim == 1
        return self.repeats in (1, [1]) or normalize_dim(self.dim, x.ndim) != 0

    def apply(self, x: Any) -> Any:
        (sizes, axis), counts = self.along(x.shape), self.counts(x.shape)
        x = x.reshape(sizes)
        return x.repeat(counts, axis=axis) if isinstance(counts, int) else x.take(self.places(counts), axis=axis)

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        (sizes, axis), counts = self.along(shape), self.counts(shape)
        if isinstance(counts, int):
            after = axis + 1
            return sum_of(dy.reshape(*sizes[:after], counts, *sizes[after:]), after).reshape(shape)
        dx = self.xp.zeros(sizes, dtype=dy.dtype)
        places = self.places(counts).reshape((-1,) + (1,) * (len(sizes) - 1 - axis))
        scatter_add(self.xp, dx, places, axis, dy)
        return dx.reshape(shape)
