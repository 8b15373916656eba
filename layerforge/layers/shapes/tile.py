"""Tile and Repeat: copies of a blob side by side.

What stands in several places gets the sum of their gradients: its counterpart is a sum.
"""

from __future__ import annotations

from typing import Any

from ...arrays.functional import sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .linear_map import LinearMap


class Tiled(LinearMap):
    """Base of Tile and Repeat: x put side by side, counts[k] times along axis k.

    Index rᵢ sᵢ + jᵢ of y, with size sᵢ of x, the copy's number rᵢ and jᵢ within it, holds x at jᵢ. In y as
    (r₁, s₁, r₂, s₂, ...) the copies of an element differ in the r only.
    """

    grad_aliases = True

    def counts(self, ndim: int) -> tuple[int, ...]:
        """How many times along each axis of the top, for a bottom of so many axes."""
        raise NotImplementedError

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        counts = self.counts(len(shape))
        sizes = (1,) * (len(counts) - len(shape)) + shape
        return tuple(count * size for count, size in zip(counts, sizes, strict=True))

    def per_sample_for(self, x: Spec) -> bool:
        counts = self.counts(x.ndim)
        return len(counts) == x.ndim and counts[:1] in ((), (1,))

    def apply(self, x: Any) -> Any:
        return self.xp.tile(x, self.counts(x.ndim))

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        counts = self.counts(len(shape))
        sizes = (1,) * (len(counts) - len(shape)) + shape
        pairs = [n for pair in zip(counts, sizes, strict=True) for n in pair]
        copies = tuple(2 * i for i, count in enumerate(counts) if count != 1)
        dx = dy.reshape(pairs)
        return (sum_of(dx, copies) if copies else dx).reshape(shape)


@register
class Tile(Tiled):
    """Tile: copies of a blob side by side (Caffe: Tile)

        y[j + r size] = x[j]      on every axis: size is x's, r = 0 ... count - 1 the copy

    dims are the counts of the last axes; missing ones in front are 1, and where there are more of them than axes, x
    gets axes of size 1 in front. Caffe's `axis: 1, tiles: 3` for a blob of four axes is `dims: [3, 1, 1]`.

    Shapes    x of any shape, real or index; y with every size times its count
    Backward  Each element of x is in y once per copy: dx = Σ dy over the copies
    Keeps     the shape of x
    Cost      one copy forward, one sum backward
    Errors    none beyond those of the hyper-parameters
    Source    compare torch.tile
    """

    dims: list[int] = param(help="number of copies along each of the last axes", ge=1)

    examples = [
        Example({"dims": [3]}, [Spec((2, 2))]),
        Example({"dims": [3, 1, 2]}, [Spec((2, 2, 3, 1))], "on a middle axis, as in Caffe"),
        Example({"dims": [2, 1, 3]}, [Spec((2, 3))], "a new axis in front"),
        Example({"dims": [2, 3]}, [Spec((2, 1))], "more samples"),
        Example({"dims": [1]}, [Spec((2, 3))], "one copy"),
        Example({"dims": []}, [Spec((3,))]),
        Example({"dims": [3, 2]}, [Spec((2, 0, 2))], "an empty axis"),
        Example({"dims": [2]}, [index((2, 3), 7)], "labels may be tiled too"),
    ]
    bad_examples = [
        Bad({"dims": [2, 0]}, "must be >= 1"),
        Bad({"dims": 2}, "must be a list of integers"),
        Bad({"tiles": 2}, "did you mean 'dims'?"),
    ]

    def counts(self, ndim: int) -> tuple[int, ...]:
        return (1,) * (ndim - len(self.dims)) + tuple(self.dims)


@register
class Repeat(Tiled):
    """Repeat: copies of a blob side by side, with a count for every axis

        y[j + r size] = x[j]      on every axis: size is x's, r = 0 ... count - 1 the copy

    The counts of Tile, which may leave out leading ones. RepeatInterleave repeats each element at its place instead.

    Shapes    x with at most as many axes as there are counts, real or index; y with every size times its count
    Backward  Each element of x is in y once per copy: dx = Σ dy over the copies
    Keeps     the shape of x
    Cost      one copy forward, one sum backward
    Errors    LayerError when x has more axes than there are counts
    Source    compare torch.Tensor.repeat
    """

    repeats: list[int] = param(help="number of copies along each axis of the top", ge=1)

    examples = [
        Example({"repeats": [1, 3]}, [Spec((2, 2))]),
        Example({"repeats": [1, 2, 3]}, [Spec((2, 1, 4))]),
        Example({"repeats": [3, 2]}, [Spec((2, 3))], "more samples"),
        Example({"repeats": [2, 1, 1]}, [Spec((2, 3))], "a new axis in front"),
        Example({"repeats": [2]}, [Spec(())]),
        Example({"repeats": [1, 3]}, [Spec((2, 0))], "an empty axis"),
        Example({"repeats": [1, 2]}, [index((2, 3), 7)], "labels may be repeated too"),
        Example({"repeats": [1, 1]}, [Spec((2, 3))], "nothing to repeat"),
    ]
    bad_examples = [
        Bad({"repeats": [2]}, "repeats [2] has 1 counts for a bottom with 2 axes", [Spec((2, 3))]),
        Bad({"repeats": [2, -1]}, "must be >= 1"),
        Bad({"repeats": 2}, "must be a list of integers"),
    ]

    def counts(self, ndim: int) -> tuple[int, ...]:
        if len(self.repeats) < ndim:
            message = f"repeats {self.repeats} has {len(self.repeats)} counts for a bottom with {ndim} axes"
            raise LayerError(message, hint="one for each axis; 1 leaves an axis as it is")
        return tuple(self.repeats)
