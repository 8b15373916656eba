"""Slice: a blob in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ..errors import ConfigError, LayerError
from ..functional import normalize_dim, part_along
from ..layer import Bad, Example, Layer
from ..params import param
from ..registry import register
from ..spec import Spec, index


@register
class Slice(Layer):
    """Slice: cuts a blob into pieces along an axis (Caffe: Slice)

        y₁ = x[:points₁],  y₂ = x[points₁:points₂],  ...      along dim

    Without points the pieces are equal, as many as there are tops.

    Shapes    x real or index; yᵢ the same but for axis dim
    Backward  dx = [dy₁ | dy₂ | ...]
    Keeps     nothing
    Cost      none forward: every yᵢ is a view of x; one copy backward
    Errors    LayerError when points lie outside the axis, when they do not make as many pieces as there are tops, and
              when equal pieces do not come out even
    Source    compare torch.split
    """

    tops = (1, None)
    top_is_view = True

    dim: int = param(1, help="axis to cut; negative counts from the back")
    points: list[int] | None = param(None, help="where to cut, rising; by default into equal pieces", gt=0)

    examples = [
        Example({"points": [2]}, [Spec((3, 5))], tops=2),
        Example({"points": [1, 3]}, [Spec((2, 4, 3, 2))], tops=3),
        Example({}, [Spec((2, 6))], tops=3),
        Example({"dim": -1}, [Spec((2, 3, 4))], tops=2),
        Example({}, [Spec((2, 3))], "one piece is all of it"),
        Example({}, [index((3, 2), 5)], "labels may be cut too", tops=2),
    ]
    bad_examples = [
        Bad({"points": [3, 1]}, "points must rise"),
        Bad({"points": [0]}, "must be > 0"),
        Bad({"points": [2, 2]}, "points must rise"),
        Bad({"points": []}, "points is empty"),
        Bad({"points": [5]}, "point 5 is outside axis 1 of size 5", [Spec((3, 5))]),
        Bad({"points": [2]}, "makes 2 pieces for 1 top(s)", [Spec((3, 5))]),
        Bad({"dim": 2}, "dim 2 is out of range", [Spec((2, 3))]),
        Bad({"slice_point": [2]}, "did you mean 'points'?"),
    ]

    def validate(self) -> None:
        if self.points is not None and not self.points:
            raise ConfigError("points is empty", hint="leave it out for equal pieces")
        if any(a >= b for a, b in pairwise(self.points or ())):
            raise ConfigError(f"points must rise, got {self.points}")

    def setup(self, x: Spec) -> tuple[Spec, ...]:
        dim = normalize_dim(self.dim, x.ndim)
        cuts = self.cuts(x.shape[dim], dim)
        return tuple(x.with_shape((*x.shape[:dim], b - a, *x.shape[dim + 1 :])) for a, b in pairwise(cuts))

    def cuts(self, size: int, dim: int) -> list[int]:
        """Where the pieces begin and end along an axis of that size."""
        pieces = self.tops_wanted
        if self.points is None:
            if size % pieces:
                raise LayerError(f"axis {dim} of size {size} has no {pieces} equal parts", hint="give points")
            return [i * size // pieces for i in range(pieces + 1)]
        if self.points[-1] >= size:
            raise LayerError(f"point {self.points[-1]} is outside axis {dim} of size {size}")
        if len(self.points) + 1 != pieces:
            raise LayerError(f"points {self.points} makes {len(self.points) + 1} pieces for {pieces} top(s)")
        return [0, *self.points, size]

    def forward(self, x: Any) -> tuple[Any, ...]:
        self.save()
        dim = self.dim % x.ndim
        return tuple(part_along(x, dim, a, b) for a, b in pairwise(self.cuts(x.shape[dim], dim)))

    def backward(self, *dys: Any) -> Any:
        return self.xp.concatenate(dys, axis=self.dim) if self.needs_grad[0] else None

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
