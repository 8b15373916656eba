"""TopK and Sort: the elements along an axis in order, the first of them or all, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, normalize_dim, order_along, part_along
from ...arrays.scattering import scatter_add
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


def few_numbers(rng: Any, shape: tuple[int, ...]) -> Any:
    """Whole numbers, many of them equal."""
    return rng.integers(-1, 2, shape)


class Ordering(Layer):
    """Base of TopK and Sort: the first elements along an axis in an order, and their indices as a second top."""

    tops = (1, 2)
    backward_reads = ("top[1]",)

    dim: int

    def count(self, size: int) -> int:
        """How many of so many elements are in the top."""
        raise NotImplementedError

    def falling(self) -> bool:
        """Whether the largest element comes first."""
        raise NotImplementedError

    def setup(self, x: Spec) -> tuple[Spec, ...]:
        dim = normalize_dim(self.dim, x.ndim)
        shape = (*x.shape[:dim], self.count(x.shape[dim]), *x.shape[dim + 1 :])
        return (x.with_shape(shape), index(shape, x.shape[dim]))[: self.tops_wanted]

    def per_sample_for(self, x: Spec) -> bool:
        return normalize_dim(self.dim, x.ndim) != 0

    def forward(self, x: Any) -> tuple[Any, ...]:
        order = order_along(self.xp, x, self.dim, self.falling())
        places = part_along(order, self.dim, 0, self.count(x.shape[self.dim]))
        self.save(places=places, shape=x.shape)
        return (self.pick(x, places), places)[: self.tops_wanted]

    def backward(self, dy: Any, *no_gradient: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        dx = self.xp.zeros(self.saved.shape, dtype=dy.dtype)
        scatter_add(self.xp, dx, self.saved.places, normalize_dim(self.dim, dx.ndim), dy, distinct=True)
        return dx

    def jvp(self, dx: Any) -> tuple[Any, ...]:
        moved = None if dx is None else self.pick(dx, self.saved.places)
        return (moved, None)[: self.tops_wanted]

    def pick(self, x: Any, places: Any) -> Any:
        """The elements of x at these places on axis dim."""
        return self.xp.take_along_axis(x, places, axis=self.dim)


@register
class TopK(Ordering):
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
        return super().setup(x)

    def count(self, size: int) -> int:
        if self.k > size:
            raise LayerError(f"k {self.k} of {size} numbers", hint="k is at most the size of the axis")
        return self.k

    def falling(self) -> bool:
        return self.largest

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size


@register
class Sort(Ordering):
    """Sort: the elements along an axis in order, with their indices as a second top

        y[0] ≤ y[1] ≤ ... ≤ y[K - 1],   y[j] = x[i[j]]      on axis dim; the largest first where descending is true

    Equal elements stay in the order that they have in x, descending too. NaN counts as the largest value, as in NumPy
    and torch.

    Shapes    x real or index, with K elements on axis dim; y the same; the indices i, the optional second top, likewise
    Backward  i is a permutation of the axis, constant while x moves only a little, so each element of y goes back:
                  dx[i[j]] = dy[j]
              Where elements are equal, y has no derivative by one of them alone; dy is handed out in their order, and
              the sum of what they get is right for moving them together.
    Keeps     the indices
    Cost      a sort forward, one copy backward
    Errors    LayerError when there is no axis dim
    Source    compare torch.sort with stable true
    """

    dim: int = param(-1, help="axis to sort along; negative counts from the back")
    descending: bool = param(False, help="the largest element first")

    examples = [
        Example({}, [Spec((3, 5))]),
        Example({}, [Spec((3, 5))], "with indices", tops=2),
        Example({"descending": True}, [Spec((3, 5))], "with indices", tops=2),
        Example({"dim": 1}, [Spec((2, 4, 3))], "with indices", tops=2),
        Example({"dim": 0, "descending": True}, [Spec((4, 2, 3))], "samples", tops=2),
        Example({}, [Spec((4, 6), draw=few_numbers)], "equal elements", tops=2),
        Example({"descending": True}, [Spec((4, 6), draw=few_numbers)], "equal elements", tops=2),
        Example({}, [Spec((3, 1))], "one number"),
        Example({}, [Spec((4,))]),
        Example({}, [Spec((2, 0))], "an empty axis", tops=2),
        Example({}, [Spec((0, 3))], "no samples", tops=2),
        Example({"dim": 1}, [index((2, 5), 4)], "labels", tops=2),
    ]
    bad_examples = [
        Bad({"dim": 2}, "dim 2 is out of range", [Spec((3, 5))]),
        Bad({}, "dim -1 is out of range", [Spec(())]),
        Bad({"descending": 1}, "descending must be true or false"),
        Bad({"largest": True}, "unknown key 'largest'"),
    ]

    def count(self, size: int) -> int:
        return size

    def falling(self) -> bool:
        return self.descending

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size
