"""IndexSelect, BatchReindex and Gather: numbers picked by an index.

They are linear in x for a given index. What was picked several times gets the sum of the gradients: `scatter_add`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import check_index, expect_role, normalize_dim, scatter_add
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


class Picking(Layer):
    """Base of the layers that pick numbers of x along one axis. A layer brings

    axis(ndim)                 the axis, counted from the front
    top_shape(shape, index)    the shape of the top; LayerError where the index does not fit
    pick(x, index)             the top
    whole(index, ndim)         the index in a shape that broadcasts to the top's
    """

    bottoms = 2
    backward_reads = ("bottom[1]",)

    def axis(self, ndim: int) -> int:
        """The axis that is picked along."""
        raise NotImplementedError

    def top_shape(self, shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the top for bottoms of these shapes."""
        raise NotImplementedError

    def pick(self, x: Any, index: Any) -> Any:
        """The numbers of x that the index names."""
        raise NotImplementedError

    def whole(self, index: Any, ndim: int) -> Any:
        """The index in a shape that broadcasts to the top's."""
        return index

    def index_range(self, i: int, *bottoms: Spec) -> range | None:
        """Places on the axis. What is picked from them may be any integers."""
        return range(bottoms[0].shape[self.axis(bottoms[0].ndim)]) if i == 1 else None

    def setup(self, x: Spec, index: Spec) -> Spec:
        expect_role("bottom[1]", index, "index")
        return x.with_shape(self.top_shape(x.shape, index.shape))

    def forward(self, x: Any, index: Any) -> Any:
        axis = self.axis(x.ndim)
        check_index(self.xp, index, x.shape[axis], f"axis {axis} of size {x.shape[axis]}")
        self.save(shape=x.shape, index=index)
        return self.pick(x, index)

    def backward(self, dy: Any) -> tuple[Any, None]:
        if not self.needs_grad[0]:
            return None, None
        dx = self.xp.zeros(self.saved.shape, dtype=dy.dtype)
        scatter_add(self.xp, dx, self.whole(self.saved.index, dx.ndim), self.axis(dx.ndim), dy)
        return dx, None

    def jvp(self, dx: Any, _: Any) -> Any:
        return None if dx is None else self.pick(dx, self.saved.index)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0


class Selecting(Picking):
    """Base of IndexSelect and BatchReindex: whole slices of x, named by a list of indices."""

    def top_shape(self, shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...]:
        axis = self.axis(len(shape))
        if len(index) != 1:
            raise LayerError(f"bottom[1] has shape {index}, expected one axis: a list of indices")
        return (*shape[:axis], *index, *shape[axis + 1 :])

    def pick(self, x: Any, index: Any) -> Any:
        return x.take(index, axis=self.axis(x.ndim))

    def whole(self, index: Any, ndim: int) -> Any:
        return index.reshape((-1,) + (1,) * (ndim - 1 - self.axis(ndim)))


@register
class IndexSelect(Selecting):
    """IndexSelect: slices of a blob, in the order of a list of indices

        y[..., k, ...] = x[..., index[k], ...]      on axis dim

    Shapes    x with an axis dim, real or index; index (K); y the same as x but for K on axis dim
    Backward  Every k with index[k] = i has read x at i:
                  dx[..., i, ...] = Σ dy[..., k, ...]      over these k; 0 where there is none
    Keeps     the index
    Cost      one copy forward, one addition per number backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for an index outside the axis, negative ones too
    Source    compare torch.index_select
    """

    dim: int = param(help="axis to select along; negative counts from the back")

    examples = [
        Example({"dim": 1}, [Spec((2, 3)), index((5,), 3)], "some slices twice"),
        Example({"dim": -1}, [Spec((2, 3, 1, 4)), index((2,), 4)]),
        Example({"dim": 0}, [Spec((4, 3)), index((6,), 4)], "samples"),
        Example({"dim": 1}, [Spec((2, 1, 3)), index((1,), 1)]),
        Example({"dim": -1}, [Spec((5,)), index((3,), 5)]),
        Example({"dim": 1}, [Spec((2, 3)), index((0,), 3)], "none"),
        Example({"dim": 1}, [index((2, 3), 7), index((4,), 3)], "of labels"),
    ]
    bad_examples = [
        Bad({"dim": 2}, "dim 2 is out of range", [Spec((2, 3)), index((2,), 3)]),
        Bad({"dim": 1}, "bottom[1] has shape (2, 1), expected one axis", [Spec((2, 3)), index((2, 1), 3)]),
        Bad({"dim": 1}, "bottom[1] must be integers", [Spec((2, 3)), Spec((2,))]),
        Bad({}, "dim is required"),
    ]

    def axis(self, ndim: int) -> int:
        return normalize_dim(self.dim, ndim)

    def per_sample_for(self, x: Spec, index: Spec) -> bool:
        # An index as long as the batch would be cut with it.
        return self.axis(x.ndim) != 0 and x.shape[0] != index.shape[0]


@register
class BatchReindex(Selecting):
    """BatchReindex: samples in the order of a list of indices (Caffe: BatchReindex)

        y[k] = x[index[k]]

    Repeats, drops and reorders samples; what IndexSelect does with dim 0.

    Shapes    x (N, ...) real or index; index (K); y (K, ...)
    Backward  Every k with index[k] = i has read sample i:
                  dx[i] = Σ dy[k]      over these k; 0 where there is none
    Keeps     the index
    Cost      one copy forward, one addition per number backward
    Errors    LayerError when index has not one axis; LayerError (exit 3) for an index outside the batch
    Source    Caffe's layer of that name
    """

    per_sample = False
    examples = [
        Example({}, [Spec((4, 3)), index((6,), 4)], "some samples twice"),
        Example({}, [Spec((4, 3, 1, 2)), index((2,), 4)], "fewer samples"),
        Example({}, [Spec((3,)), index((5,), 3)]),
        Example({}, [Spec((1, 2)), index((3,), 1)]),
        Example({}, [Spec((3, 2)), index((0,), 3)], "none"),
        Example({}, [index((3, 2), 7), index((4,), 3)], "labels"),
    ]
    bad_examples = [
        Bad({}, "bottom[1] has shape (2, 1), expected one axis", [Spec((2, 3)), index((2, 1), 2)]),
        Bad({}, "bottom[1] must be integers", [Spec((2, 3)), Spec((2,))]),
        Bad({}, "dim 0 is out of range", [Spec(()), index((2,), 1)]),
        Bad({}, "takes 2 bottom(s), got 1", [Spec((2, 3))]),
    ]

    def axis(self, ndim: int) -> int:
        return normalize_dim(0, ndim)


@register
class Gather(Picking):
    """Gather: a number for each index, from the same place on all other axes

        y[i, j, k] = x[i, index[i, j, k], k]      for dim 1 of three axes, and alike for others

    So the score of the true class is Gather with dim 1 of scores (N, K) and labels (N, 1).

    Shapes    x real or index; index with as many axes, on the others than dim no longer than x; y in the index's shape
    Backward  Each number of y was read at one place of x, and several may have been read at the same one:
                  dx[i, m, k] = Σⱼ dy[i, j, k]      over the j with index[i, j, k] = m; 0 where there is none
    Keeps     the index
    Cost      one copy forward, one addition per number backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for an index outside the axis, negative ones too
    Source    compare torch.gather
    """

    dim: int = param(help="axis that is indexed; negative counts from the back")

    examples = [
        Example({"dim": 1}, [Spec((3, 4)), index((3, 1), 4)], "the score of a class"),
        Example({"dim": -1}, [Spec((2, 3, 4)), index((2, 3, 5), 4)], "more than there are"),
        Example({"dim": 1}, [Spec((2, 3, 4)), index((2, 2, 2), 3)], "a part of the other axes"),
        Example({"dim": 0}, [Spec((3, 4)), index((2, 4), 3)], "across samples"),
        Example({"dim": 0}, [Spec((5,)), index((3,), 5)]),
        Example({"dim": 1}, [Spec((1, 1)), index((1, 1), 1)]),
        Example({"dim": 1}, [Spec((2, 3)), index((2, 0), 3)], "none"),
        Example({"dim": 1}, [index((2, 3), 7), index((2, 2), 3)], "of labels"),
    ]
    bad_examples = [
        Bad({"dim": 1}, "bottom[1] has shape (4, 1), expected (2, any)", [Spec((2, 3)), index((4, 1), 3)]),
        Bad({"dim": 1}, "bottom[1] has shape (2,), expected (2, any)", [Spec((2, 3)), index((2,), 3)]),
        Bad({"dim": 1}, "bottom[1] must be integers", [Spec((2, 3)), Spec((2, 3))]),
        Bad({"dim": 2}, "dim 2 is out of range", [Spec((2, 3)), index((2, 3), 3)]),
        Bad({}, "dim is required"),
    ]

    def axis(self, ndim: int) -> int:
        return normalize_dim(self.dim, ndim)

    def top_shape(self, shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...]:
        axis = self.axis(len(shape))
        short = len(index) == len(shape) and all(
            i == axis or mine <= theirs for i, (mine, theirs) in enumerate(zip(index, shape, strict=True))
        )
        if not short:
            wanted = ", ".join("any" if i == axis else str(n) for i, n in enumerate(shape))
            raise LayerError(f"bottom[1] has shape {index}, expected ({wanted}) or fewer")
        return index

    def per_sample_for(self, x: Spec, index: Spec) -> bool:
        return self.axis(x.ndim) != 0

    def pick(self, x: Any, index: Any) -> Any:
        axis = self.axis(x.ndim)
        near = x[tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape))]
        return self.xp.take_along_axis(near, index, axis=axis)
