"""Diagonal and Trace: what is on a diagonal of matrices, and its sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, normalize_dim
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from ..shapes.linear_map import LinearMap


@register
class Diagonal(LinearMap):
    """Diagonal: the elements on a diagonal of matrices

        y[..., k] = x[..., k, k + offset]      x as matrices of the axes dim1 and dim2

    offset > 0 is above the main diagonal, offset < 0 below it: y[..., k] = x[..., k - offset, k].

    Shapes    x with axes dim1 and dim2, real or index; y without them, and the diagonal as its last axis
    Backward  dx = dy on that diagonal, 0 elsewhere
    Keeps     the shape of x
    Cost      one copy forward, one backward
    Errors    LayerError when a dim is out of range, the two are one, or the offset leaves no diagonal
    Source    compare torch.linalg.diagonal (torch.diagonal has other default dims)
    """

    offset: int = param(0, help="which diagonal: 0 the main one, positive above, negative below")
    dim1: int = param(-2, help="axis of the rows; negative counts from the back")
    dim2: int = param(-1, help="axis of the columns; negative counts from the back")

    examples = [
        Example({}, [Spec((2, 3, 3))]),
        Example({"offset": 1}, [Spec((2, 3, 4))]),
        Example({"offset": -2}, [Spec((2, 4, 3))]),
        Example({"offset": -1}, [Spec((2, 4, 3))]),
        Example({"dim1": 1, "dim2": 3}, [Spec((2, 3, 2, 4))]),
        Example({"dim1": 2, "dim2": 1, "offset": 1}, [Spec((2, 3, 4))], "rows and columns exchanged"),
        Example({"dim1": 0, "dim2": 1}, [Spec((3, 2, 4))], "the batch axis too"),
        Example({}, [Spec((1, 1, 1))]),
        Example({}, [Spec((0, 2, 2))], "no samples"),
        Example({}, [index((2, 3, 3), 7)], "of labels"),
    ]
    bad_examples = [
        Bad({"dim1": 3}, "dim1 3 is out of range", [Spec((2, 3, 3))]),
        Bad({"dim1": 2}, "dim1 and dim2 are both axis 2", [Spec((2, 3, 3))]),
        Bad({"offset": 3}, "offset 3 leaves no diagonal of a 3 by 3 matrix", [Spec((2, 3, 3))]),
        Bad({"offset": -3}, "offset -3 leaves no diagonal", [Spec((2, 3, 4))]),
        Bad({}, "dim1 -2 is out of range", [Spec((3,))]),
    ]

    def axes(self, ndim: int) -> tuple[int, int]:
        """dim1 and dim2, counted from the front."""
        rows, columns = normalize_dim(self.dim1, ndim, "dim1"), normalize_dim(self.dim2, ndim, "dim2")
        if rows == columns:
            raise LayerError(f"dim1 and dim2 are both axis {rows}", hint="a diagonal needs two axes")
        return rows, columns

    def length(self, rows: int, columns: int) -> int:
        """How many elements the diagonal of such a matrix has."""
        length = min(rows - max(-self.offset, 0), columns - max(self.offset, 0))
        if length <= 0:
            raise LayerError(f"offset {self.offset} leaves no diagonal of a {rows} by {columns} matrix")
        return length

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        axes = self.axes(len(shape))
        others = (n for i, n in enumerate(shape) if i not in axes)
        return (*others, self.length(*(shape[i] for i in axes)))

    def per_sample_for(self, x: Spec) -> bool:
        return 0 not in self.axes(x.ndim)

    def apply(self, x: Any) -> Any:
        # A copy, since NumPy's view is read-only and a layer above may write into y.
        return self.xp.diagonal(x, self.offset, *self.axes(x.ndim)).copy()

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        dx = self.xp.zeros(shape, dtype=dy.dtype)
        matrices = self.xp.moveaxis(dx, self.axes(len(shape)), (-2, -1))
        k = self.xp.arange(dy.shape[-1])
        matrices[..., k + max(-self.offset, 0), k + max(self.offset, 0)] = dy
        return dx


@register
class Trace(LinearMap):
    """Trace: the sum of the main diagonal of matrices

        y = Σₖ x[..., k, k]

    Shapes    x (..., I, J) real, y (...)
    Backward  Each element of the diagonal has the factor 1 and the others 0: dx = dy on the diagonal, 0 elsewhere
    Keeps     the shape of x
    Cost      min(I, J) flops forward, one copy backward
    Errors    LayerError when x has fewer than two axes
    Source    compare torch.trace, which takes one matrix
    """

    examples = [
        Example({}, [Spec((2, 3, 3))]),
        Example({}, [Spec((2, 3, 4))]),
        Example({}, [Spec((2, 1, 4, 2))]),
        Example({}, [Spec((3, 2))], "one matrix"),
        Example({}, [Spec((1, 1))]),
        Example({}, [Spec((2, 0, 3))], "the sum of nothing"),
    ]
    bad_examples = [
        Bad({}, "the bottom has shape (3,), expected (..., M, N)", [Spec((3,))]),
        Bad({}, "must be real numbers", [Spec((2, 2), role="index")]),
        Bad({"offset": 1}, "unknown key 'offset'"),
    ]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        return super().setup(x)

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 2:
            raise LayerError(f"the bottom has shape {shape}, expected (..., M, N)")
        return shape[:-2]

    def per_sample_for(self, x: Spec) -> bool:
        return x.ndim > 2

    def apply(self, x: Any) -> Any:
        return self.xp.trace(x, axis1=-2, axis2=-1)

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        return dy[..., None, None] * self.xp.eye(*shape[-2:], dtype=dy.dtype)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return tops[0].size * min(bottoms[0].shape[-2:])
