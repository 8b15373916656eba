"""Slice and Split: a blob in pieces, said by where to cut or by how long the pieces are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from ...arrays.functional import normalize_dim, part_along
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register


class Pieces(Layer):
    """Base of Slice and Split: `cuts` says where the pieces begin and end; yᵢ = x[cutsᵢ:cutsᵢ₊₁] along dim."""

    tops = (1, None)
    top_is_view = True

    dim: int = param(1, help="axis to cut; negative counts from the back")

    def cuts(self, size: int, dim: int) -> list[int]:
        """Where the pieces begin and end along an axis of that size, 0 and size among them."""
        raise NotImplementedError

    def setup(self, x: Spec) -> tuple[Spec, ...]:
        dim = normalize_dim(self.dim, x.ndim)
        cuts = self.cuts(x.shape[dim], dim)
        return tuple(x.with_shape((*x.shape[:dim], b - a, *x.shape[dim + 1 :])) for a, b in pairwise(cuts))

    def per_sample_for(self, x: Spec) -> bool:
        return normalize_dim(self.dim, x.ndim) != 0

    def forward(self, x: Any) -> tuple[Any, ...]:
        self.save()
        return self.pieces(x)

    def pieces(self, x: Any) -> tuple[Any, ...]:
        """The parts of x: views."""
        dim = self.dim % x.ndim
        return tuple(part_along(x, dim, a, b) for a, b in pairwise(self.cuts(x.shape[dim], dim)))

    def backward(self, *dys: Any) -> Any:
        return self.xp.concatenate(dys, axis=self.dim) if self.needs_grad[0] else None

    def jvp(self, dx: Any) -> tuple[Any, ...]:
        return (None,) * self.tops_wanted if dx is None else self.pieces(dx)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0


@register
class Slice(Pieces):
    """Slice: cuts a blob into pieces along an axis (Caffe: Slice)

        y₁ = x[:points[0]],  y₂ = x[points[0]:points[1]],  ...      along dim

    Without points the pieces are equal, as many as there are tops.

    Shapes    x real or index; yᵢ the same but for axis dim
    Backward  dx = [dy₁ | dy₂ | ...]
    Keeps     nothing
    Cost      none forward: every yᵢ is a view of x; one copy backward
    Errors    LayerError when points are outside the axis, when they do not make as many pieces as there are tops, and
              when equal pieces do not come out even
    Source    compare torch.split
    """

    points: list[int] | None = param(None, help="where to cut, rising; by default into equal pieces", gt=0)

    examples = [
        Example({"points": [2]}, [Spec((3, 5))], tops=2),
        Example({"points": [1, 3]}, [Spec((2, 4, 3, 2))], tops=3),
        Example({}, [Spec((2, 6))], tops=3),
        Example({"dim": -1}, [Spec((2, 3, 4))], tops=2),
        Example({}, [Spec((2, 3))], "one piece is all of it"),
        Example({}, [index((3, 2), 5)], "labels may be cut too", tops=2),
        Example({"dim": 0, "points": [1]}, [Spec((3, 4))], "samples apart", tops=2),
        Example({"dim": -1, "points": [1]}, [Spec((3,))], tops=2),
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

    def cuts(self, size: int, dim: int) -> list[int]:
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


@register
class Split(Pieces):
    """Split: cuts a blob into pieces of given sizes along an axis

        y₁ = x[:s₁],  y₂ = x[s₁:s₁ + s₂],  ...      along dim, where sᵢ are the sizes

    One split_size makes pieces of that size, and a shorter last one where they do not come out even. Slice is told
    where to cut instead.

    Shapes    x real or index; yᵢ the same but for axis dim
    Backward  dx = [dy₁ | dy₂ | ...]
    Keeps     nothing
    Cost      none forward: every yᵢ is a view of x; one copy backward
    Errors    LayerError when sizes do not add up to the axis, or make another number of pieces than there are tops
    Source    compare torch.split, whose default dim is 0
    """

    split_size: int | list[int] = param(help="size of the pieces: of all, or of each", gt=0)

    examples = [
        Example({"split_size": [2, 3]}, [Spec((3, 5))], tops=2),
        Example({"split_size": 2}, [Spec((2, 5, 3))], "the last one is shorter", tops=3),
        Example({"split_size": 2, "dim": -1}, [Spec((2, 3, 4))], tops=2),
        Example({"split_size": 2, "dim": 0}, [Spec((3, 4))], "samples apart", tops=2),
        Example({"split_size": 9}, [Spec((2, 3))], "one piece is all of it"),
        Example({"split_size": [1, 2]}, [Spec((0, 3))], "no samples", tops=2),
        Example({"split_size": 1}, [index((3, 2), 5)], "labels may be split too", tops=2),
    ]
    bad_examples = [
        Bad({"split_size": [2, 4]}, "split_size [2, 4] adds up to 6, axis 1 has size 5", [Spec((3, 5))]),
        Bad({"split_size": 2}, "makes 3 pieces for 1 top(s)", [Spec((3, 5))]),
        Bad({"split_size": 0}, "must be > 0"),
        Bad({"split_size": 2, "dim": 2}, "dim 2 is out of range", [Spec((2, 3))]),
        Bad({}, "split_size is required"),
    ]

    def cuts(self, size: int, dim: int) -> list[int]:
        if isinstance(self.split_size, int):
            cuts = [*range(0, max(size, 1), self.split_size), size]
        else:
            cuts = [0, *accumulate(self.split_size)]
        if cuts[-1] != size:
            raise LayerError(f"split_size {self.split_size} adds up to {cuts[-1]}, axis {dim} has size {size}")
        if len(cuts) - 1 != self.tops_wanted:
            message = f"split_size {self.split_size} makes {len(cuts) - 1} pieces for {self.tops_wanted} top(s)"
            raise LayerError(message, hint="name a top for every piece: `top: [a, b]`")
        return cuts
