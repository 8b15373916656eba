"""Transpose, Permute and Flip: the same elements in another order, without moving them in memory."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import normalize_dim, normalize_dims
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .linear_map import LinearMap


class Reordering(LinearMap):
    """Base of the layers that read the bottom in another order: A is a permutation, so Aᵀ is the way back."""

    top_is_view = True
    grad_aliases = True


@register
class Transpose(Reordering):
    """Transpose: two axes change places

        y[..., j, ..., i, ...] = x[..., i, ..., j, ...]      i and j on the axes dim0 and dim1

    Shapes    x of any shape with these axes, real or index; y with the two sizes exchanged
    Backward  The same exchange once more is the way back: dx = dy with dim0 and dim1 exchanged
    Keeps     nothing
    Cost      none: y is a view of x, and dx of dy
    Errors    LayerError when a dim is out of range
    Source    compare torch.transpose
    """

    dim0: int = param(help="an axis; negative counts from the back")
    dim1: int = param(help="the axis that it changes places with")

    examples = [
        Example({"dim0": 1, "dim1": 2}, [Spec((2, 3, 4))]),
        Example({"dim0": -1, "dim1": 1}, [Spec((2, 3, 1, 4))]),
        Example({"dim0": 0, "dim1": 1}, [Spec((3, 2, 4))], "time before samples"),
        Example({"dim0": 0, "dim1": -1}, [Spec((3,))], "nothing to exchange"),
        Example({"dim0": 1, "dim1": 2}, [Spec((2, 0, 4))], "an empty axis"),
        Example({"dim0": 1, "dim1": 2}, [index((2, 3, 2), 7)], "labels may be transposed too"),
    ]
    bad_examples = [
        Bad({"dim0": 0, "dim1": 2}, "dim1 2 is out of range", [Spec((2, 3))]),
        Bad({"dim0": -3, "dim1": 1}, "dim0 -3 is out of range", [Spec((2, 3))]),
        Bad({"dim0": 1}, "dim1 is required"),
    ]

    def axes(self, ndim: int) -> tuple[int, int]:
        """The two axes, counted from the front."""
        return normalize_dim(self.dim0, ndim, "dim0"), normalize_dim(self.dim1, ndim, "dim1")

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        i, j = self.axes(len(shape))
        sizes = list(shape)
        sizes[i], sizes[j] = sizes[j], sizes[i]
        return tuple(sizes)

    def per_sample_for(self, x: Spec) -> bool:
        i, j = self.axes(x.ndim)
        return i == j or 0 not in (i, j)

    def apply(self, x: Any) -> Any:
        return x.swapaxes(self.dim0, self.dim1)

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        return dy.swapaxes(self.dim0, self.dim1)


@register
class Permute(Reordering):
    """Permute: the axes in another order

        axis k of y is axis dims[k] of x

    Shapes    x with as many axes as dims names, real or index; y with the sizes in the new order
    Backward  dx is dy with its axes in the order that undoes it: axis dims[k] of dx is axis k of dy
    Keeps     nothing
    Cost      none: y is a view of x, and dx of dy
    Errors    LayerError when dims does not name every axis once
    Source    compare torch.permute
    """

    dims: list[int] = param(help="the bottom's axes in their new order; negative counts from the back")

    examples = [
        Example({"dims": [0, 2, 1]}, [Spec((2, 3, 4))]),
        Example({"dims": [0, 2, 3, 1]}, [Spec((2, 3, 1, 4))], "channels last"),
        Example({"dims": [2, 0, -2]}, [Spec((2, 3, 4))], "samples in the middle"),
        Example({"dims": [0]}, [Spec((3,))]),
        Example({"dims": [0, -1, 1]}, [Spec((2, 0, 4))], "an empty axis"),
        Example({"dims": [0, 2, 1]}, [index((2, 3, 2), 7)], "labels may be permuted too"),
    ]
    bad_examples = [
        Bad({"dims": [1, 0]}, "dims [1, 0] names 2 axes, the bottom has 3", [Spec((2, 3, 4))]),
        Bad({"dims": [0, 1, -2]}, "dims [0, 1, -2] names axis 1 twice", [Spec((2, 3, 4))]),
        Bad({"dims": [0, 3, 1]}, "dims 3 is out of range", [Spec((2, 3, 4))]),
        Bad({}, "dims is required"),
    ]

    def order(self, ndim: int) -> tuple[int, ...]:
        """dims, counted from the front."""
        order = normalize_dims(self.dims, ndim, "dims")
        if len(order) != ndim:
            raise LayerError(f"dims {self.dims} names {len(order)} axes, the bottom has {ndim}")
        return order

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(shape[i] for i in self.order(len(shape)))

    def per_sample_for(self, x: Spec) -> bool:
        return self.order(x.ndim)[:1] in ((), (0,))

    def apply(self, x: Any) -> Any:
        return x.transpose(self.order(x.ndim))

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        order = self.order(dy.ndim)
        return dy.transpose(sorted(range(dy.ndim), key=order.__getitem__))


@register
class Flip(Reordering):
    """Flip: axes read backwards

        y[..., i, ...] = x[..., size - 1 - i, ...]      on each axis of dims

    Shapes    x of any shape with these axes, real or index; y the same
    Backward  Twice backwards is forwards: dx = dy with the same axes flipped
    Keeps     nothing
    Cost      none: y is a view of x, and dx of dy
    Errors    LayerError when a dim is out of range or named twice
    Source    compare torch.flip, which copies
    """

    dims: int | list[int] = param(help="axis or axes to read backwards; negative counts from the back")

    examples = [
        Example({"dims": 1}, [Spec((2, 3))]),
        Example({"dims": [1, -1]}, [Spec((2, 3, 1, 4))]),
        Example({"dims": [0]}, [Spec((3, 2))], "the last sample first"),
        Example({"dims": -1}, [Spec((1, 1))]),
        Example({"dims": 1}, [Spec((2, 0))], "an empty axis"),
        Example({"dims": 1}, [index((2, 3), 7)], "labels may be flipped too"),
    ]
    bad_examples = [
        Bad({"dims": 2}, "dims 2 is out of range", [Spec((2, 3))]),
        Bad({"dims": [1, -1]}, "dims [1, -1] names axis 1 twice", [Spec((2, 3))]),
        Bad({"axis": 1}, "dims is required"),
    ]

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        normalize_dims(self.dims, len(shape), "dims")
        return shape

    def per_sample_for(self, x: Spec) -> bool:
        return 0 not in normalize_dims(self.dims, x.ndim, "dims")

    def apply(self, x: Any) -> Any:
        return self.xp.flip(x, axis=normalize_dims(self.dims, x.ndim))

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        return self.apply(dy)
