"""TopK: the largest elements along an axis, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, normalize_dim, order_along, part_along, scatter_add
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class TopK(Layer):
    """TopK: the k largest elements along an axis in order, with their indices as a second top

        y[0] ≥ y[1] ≥ ... ≥ y[k - 1],   y[j] = x[i[j]]      on axis dim; the smallest, ascending, where largest is false

    Among equal elements the smaller index comes first. NaN counts as the largest value, as in NumPy and torch, and the
    first NaN as the largest of several.

    Shapes    x real with an axis dim; y the same with size k on it; the indices i, the optional second top, likewise
    Backward  Each element of y was taken from one place of x, and no two from the same:
                  dx[i[j]] = dy[j],   0 at all other places
    Keeps     the indices
    Cost      a sort forward, one copy backward
    Errors    LayerError when there is no axis dim, or it has fewer than k elements
    Source    compare torch.topk, which promises no order among equal elements
    """

    tops = (1, 2)
    backward_reads = ("top[1]",)

    k: int = param(help="how many elements", ge=1)
    dim: int = param(-1, help="axis to search along; negative counts from the back")
    largest: bool = param(True, help="the largest elements; false: the smallest")

    examples = [
        Example({"k": 2}, [Spec((3, 5))]),
        Example({"k": 2}, [Spec((3, 5))], "with indices", tops=2),
        Example({"k": 3, "largest": False}, [Spec((3, 5))], "with indices", tops=2),
        Example({"k": 2, "dim": 1}, [Spec((2, 4, 3))], "with indices", tops=2),
        Example({"k": 2, "dim": -3}, [Spec((4, 2, 3))], "of samples", tops=2),
        Example({"k": 4}, [Spec((2, 4))], "all of them: a sort", tops=2),
        Example({"k": 1, "dim": 1}, [Spec((3, 1, 2))]),
        Example({"k": 2}, [Spec((4,))]),
        Example({"k": 2}, [Spec((0, 3))], "no samples", tops=2),
    ]
    bad_examples = [
        Bad({"k": 6}, "k 6 of 5 numbers", [Spec((3, 5))]),
        Bad({"k": 1}, "k 1 of 0 numbers", [Spec((3, 0))]),
        Bad({"k": 1, "dim": 2}, "dim 2 is out of range", [Spec((3, 5))]),
        Bad({"k": 1}, "dim -1 is out of range", [Spec(())]),
        Bad({"k": 0}, "must be >= 1"),
        Bad({}, "k is required"),
        Bad({"k": 1}, "must be real numbers", [index((3, 5), 4)]),
        Bad({"k": 1, "axis": 1}, "did you mean 'dim'?"),
    ]

    def setup(self, x: Spec) -> tuple[Spec, ...]:
        expect_role("the bottom", x, "real")
        dim = normalize_dim(self.dim, x.ndim)
        if self.k > x.shape[dim]:
            raise LayerError(f"k {self.k} of {x.shape[dim]} numbers", hint="k is at most the size of the axis")
        shape = (*x.shape[:dim], self.k, *x.shape[dim + 1 :])
        return (x.with_shape(shape), index(shape, x.shape[dim]))[: self.tops_wanted]

    def per_sample_for(self, x: Spec) -> bool:
        return normalize_dim(self.dim, x.ndim) != 0

    def forward(self, x: Any) -> tuple[Any, ...]:
        places = part_along(order_along(self.xp, x, self.dim, self.largest), self.dim, 0, self.k)
        self.save(places=places, shape=x.shape)
        return (self.pick(x, places), places)[: self.tops_wanted]

    def backward(self, dy: Any, *no_gradient: Any) -> Any:
        dx = self.xp.zeros(self.saved.shape, dtype=dy.dtype)
        scatter_add(self.xp, dx, self.saved.places, normalize_dim(self.dim, dx.ndim), dy)
        return dx

    def jvp(self, dx: Any) -> tuple[Any, ...]:
        return (self.pick(dx, self.saved.places), None)[: self.tops_wanted]

    def pick(self, x: Any, places: Any) -> Any:
        """The elements of x at these places on axis dim."""
        return self.xp.take_along_axis(x, places, axis=self.dim)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size
