"""Scatter and ScatterAdd: elements written to, or added at, places of a blob that an index names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.functional import check_index, expect_role, filled, normalize_dim
from ...arrays.scattering import flat_places, scatter_add
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register

EXAMPLES = [
    Example({"dim": 1}, [Spec((3, 4)), index((3, 2), 4), Spec((3, 2))]),
    Example({"dim": 1}, [Spec((2, 3)), index((2, 6), 3), Spec((2, 6))], "several for one place"),
    Example({"dim": -1}, [Spec((2, 3, 4)), index((2, 3, 5), 4), Spec((2, 3, 5))]),
    Example({"dim": 1}, [Spec((2, 4, 3)), index((2, 2, 2), 4), Spec((2, 3, 5))], "a part of src, a part of x"),
    Example({"dim": 0}, [Spec((3, 4)), index((5, 4), 3), Spec((5, 4))], "across samples"),
    Example({"dim": 1}, [Spec((3, 2)), index((2, 2), 2), Spec((3, 2))], "the last sample stays as it is"),
    Example({"dim": 0}, [Spec((5,)), index((3,), 5), Spec((3,))]),
    Example({"dim": 1}, [Spec((1, 1)), index((1, 1), 1), Spec((1, 1))]),
    Example({"dim": 1}, [Spec((2, 3)), index((2, 0), 3), Spec((2, 0))], "nothing"),
    Example({"dim": 1}, [Spec((0, 3)), index((0, 2), 3), Spec((0, 2))], "no samples"),
]
BAD_EXAMPLES = [
    Bad({"dim": 1}, "bottom[1] has shape (3, 2), expected (2, any)", [Spec((2, 3)), index((3, 2), 3), Spec((3, 2))]),
    Bad({"dim": 1}, "bottom[1] has shape (2,), expected (2, any)", [Spec((2, 3)), index((2,), 3), Spec((2,))]),
    Bad({"dim": 1}, "bottom[2] has shape (2, 1), expected (2, 2)", [Spec((2, 3)), index((2, 2), 3), Spec((2, 1))]),
    Bad({"dim": 1}, "bottom[2] has shape (2,), expected", [Spec((2, 3)), index((2, 2), 3), Spec((2,))]),
    Bad({"dim": 1}, "bottom[1] must be integers", [Spec((2, 3)), Spec((2, 3)), Spec((2, 3))]),
    Bad({"dim": 2}, "dim 2 is out of range", [Spec((2, 3)), index((2, 3), 3), Spec((2, 3))]),
    Bad({"dim": 1}, "takes 3 bottom(s), got 2", [Spec((2, 3)), index((2, 3), 3)]),
    Bad({}, "dim is required"),
]


class Scattering(Layer):
    """Base of Scatter and ScatterAdd: src[k] goes to place(k) of x, for every k within the index.

    On axis dim place(k) is what the index says, on the other axes it is k itself.
    """

    bottoms = 3
    backward_reads = ("bottom[1]",)

    dim: int = param(help="axis that is indexed; negative counts from the back")

    def setup(self, x: Spec, index: Spec, src: Spec) -> Spec:
        expect_role("bottom[1]", index, "index")
        axis = normalize_dim(self.dim, x.ndim)
        if index.ndim != x.ndim or any(
            mine > theirs for i, (mine, theirs) in enumerate(zip(index.shape, x.shape, strict=True)) if i != axis
        ):
            wanted = ", ".join("any" if i == axis else str(n) for i, n in enumerate(x.shape))
            raise LayerError(f"bottom[1] has shape {index.shape}, expected ({wanted}) or fewer")
        if src.ndim != index.ndim or any(n < least for n, least in zip(src.shape, index.shape, strict=True)):
            message = f"bottom[2] has shape {src.shape}, expected {index.shape} or more"
            raise LayerError(message, hint="it has an element for each index")
        return x

    def index_range(self, i: int, *bottoms: Spec) -> range | None:
        """Places on the axis."""
        return range(bottoms[0].shape[normalize_dim(self.dim, bottoms[0].ndim)]) if i == 1 else None

    def per_sample_for(self, x: Spec, index: Spec, src: Spec) -> bool:
        return normalize_dim(self.dim, x.ndim) != 0 and x.shape[0] == index.shape[0] == src.shape[0]

    def checked(self, x: Any, index: Any) -> int:
        """The axis, from the front; LayerError (exit 3) for an index outside it."""
        axis = normalize_dim(self.dim, x.ndim)
        check_index(self.xp, index, x.shape[axis], f"axis {axis} of size {x.shape[axis]}")
        return axis

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0


def under(src: Any, shape: tuple[int, ...]) -> Any:
    """The part of src that an index of that shape has places for: a view."""
    return src[tuple(slice(n) for n in shape)]


def around(xp: Any, part: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of that shape, with `part` in its corner: the gradient of what `under` takes."""
    if part.shape == shape:
        return part
    whole = xp.zeros(shape, dtype=part.dtype)
    whole[tuple(slice(n) for n in part.shape)] = part
    return whole


@register
class Scatter(Scattering):
    """Scatter: elements written to places of a blob that an index names

        y = x, but y[i, index[i, j, k], k] = src[i, j, k]      for dim 1 of three axes; likewise for others

    They are written in row-major order of the index: where several go to one place, the last one stays. (torch leaves
    open which, and passes all of them the gradient.) With zeros for x and ones for src, y is one-hot vectors.

    Shapes    x real or index; index with as many axes, no longer than x on axes other than dim; src of the kind of x,
              nowhere shorter than index, whose further elements are not used; y as x
    Backward  Each element of y is one of src or one of x. So what was written over has no gradient, and neither has an
              element of src that another one was written over:
                  dx = dy where nothing was written, 0 elsewhere
                  dsrc[i, j, k] = dy[i, index[i, j, k], k] where that element stayed, 0 elsewhere
    Keeps     the index, and which element of src stayed at each place
    Cost      a few passes over x and over src, forward and backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for an index outside the axis, negative ones too
    Source    compare torch.scatter
    """

    examples = [
        *EXAMPLES,
        Example({"dim": 1}, [index((2, 4), 7), index((2, 3), 4), index((2, 3), 7)], "of labels"),
    ]
    bad_examples = [
        *BAD_EXAMPLES,
        Bad({"dim": 1}, "bottom[2] is (2, 3) int64", [Spec((2, 3)), index((2, 3), 3), index((2, 3), 5)]),
    ]

    def setup(self, x: Spec, index: Spec, src: Spec) -> Spec:
        if src.dtype != x.dtype:
            raise LayerError(f"bottom[2] is {src}, bottom[0] is {x}: numbers of different kinds")
        return super().setup(x, index, src)

    def forward(self, x: Any, index: Any, src: Any) -> Any:
        last = self.last(index, self.checked(x, index), x.shape)
        self.save(last=last, index=index, shapes=(x.shape, src.shape))
        return self.written(x, src, index.shape, last)

    def last(self, index: Any, axis: int, shape: tuple[int, ...]) -> Any:
        """For each place of x the last element of src that goes there, in row-major order; -1 where none does."""
        xp = self.xp
        last = xp.full(math.prod(shape), -1, dtype="int64")
        xp.maximum.at(last, flat_places(xp, index, axis, index.shape, shape).reshape(-1), xp.arange(index.size))
        return last

    def written(self, x: Any, src: Any, part: tuple[int, ...], last: Any) -> Any:
        """x with the elements of src. Read place by place, so that nothing depends on who writes first."""
        if not math.prod(part):
            return x.copy()
        values = under(src, part).reshape(-1)[self.xp.maximum(last, 0)]
        return self.xp.where(last < 0, x.reshape(-1), values).reshape(x.shape)

    def backward(self, dy: Any) -> tuple[Any, None, Any]:
        xp, last, index, (shape, src) = self.xp, self.saved.last, self.saved.index, self.saved.shapes
        dx = dsrc = None
        if self.needs_grad[0]:
            dx = xp.where(last.reshape(shape) < 0, dy, xp.zeros((), dtype=dy.dtype))
        if self.needs_grad[2]:
            places = flat_places(xp, index, normalize_dim(self.dim, dy.ndim), index.shape, shape)
            stayed = last[places] == xp.arange(index.size).reshape(index.shape)
            dsrc = around(xp, xp.where(stayed, dy.reshape(-1)[places], xp.zeros((), dtype=dy.dtype)), src)
        return dx, None, dsrc

    def jvp(self, dx: Any, _: Any, dsrc: Any) -> Any:
        moved = filled(self.xp, (dx, dsrc), self.saved.shapes)
        return None if moved is None else self.written(moved[0], moved[1], self.saved.index.shape, self.saved.last)


@register
class ScatterAdd(Scattering):
    """ScatterAdd: elements added at places of a blob that an index names

        y[i, l, k] = x[i, l, k] + Σⱼ src[i, j, k]      over the j with index[i, j, k] = l, for dim 1 of three axes

    What the backward of Gather does. With zeros for x, y is sums by group: of votes, of a graph's edges at their nodes.

    Shapes    x real; index with as many axes, no longer than x on axes other than dim; src real, nowhere shorter than
              index, whose further elements are not used; y as x
    Backward  Every element of x is in one sum, and every element of src at a place of the index, with the factor 1:
                  dx = dy      dsrc[i, j, k] = dy[i, index[i, j, k], k], 0 for the further elements of src
    Keeps     the index
    Cost      one addition per element of index forward, one copy backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for an index outside the axis, negative ones too
    Source    compare torch.scatter_add
    """

    grad_aliases = True

    examples = EXAMPLES
    bad_examples = [
        *BAD_EXAMPLES,
        Bad({"dim": 1}, "bottom[0] must be real", [index((2, 3), 5), index((2, 3), 3), Spec((2, 3))]),
        Bad({"dim": 1}, "bottom[2] must be real", [Spec((2, 3)), index((2, 3), 3), index((2, 3), 5)]),
    ]

    def setup(self, x: Spec, index: Spec, src: Spec) -> Spec:
        expect_role("bottom[0]", x, "real")
        expect_role("bottom[2]", src, "real")
        return super().setup(x, index, src)

    def forward(self, x: Any, index: Any, src: Any) -> Any:
        self.checked(x, index)
        self.save(index=index, shapes=(x.shape, src.shape))
        return self.added(x, src, index)

    def added(self, x: Any, src: Any, index: Any) -> Any:
        """x with the elements of src added."""
        y = x.copy()
        scatter_add(self.xp, y, index, normalize_dim(self.dim, x.ndim), under(src, index.shape))
        return y

    def backward(self, dy: Any) -> tuple[Any, None, Any]:
        index, dsrc = self.saved.index, None
        if self.needs_grad[2]:
            places = flat_places(self.xp, index, normalize_dim(self.dim, dy.ndim), index.shape, dy.shape)
            dsrc = around(self.xp, dy.reshape(-1)[places], self.saved.shapes[1])
        return dy if self.needs_grad[0] else None, None, dsrc

    def jvp(self, dx: Any, _: Any, dsrc: Any) -> Any:
        moved = filled(self.xp, (dx, dsrc), self.saved.shapes)
        return None if moved is None else self.added(moved[0], moved[1], self.saved.index)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[1].size
