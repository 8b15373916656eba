"""Reshape, Squeeze and Unsqueeze: the same elements under another shape."""

from __future__ import annotations

import math
from typing import Any

from ...arrays.functional import normalize_dim, normalize_dims
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register
from .linear_map import LinearMap


class Reshaping(LinearMap):
    """Base of the layers whose top has the elements of the bottom in the same row-major order: A is the identity."""

    top_is_view = True
    grad_aliases = True

    def per_sample_for(self, x: Spec) -> bool:
        return x.shape[:1] == self.top_shape(x.shape)[:1]

    def apply(self, x: Any) -> Any:
        return x.reshape(self.top_shape(x.shape))

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        return dy.reshape(shape)


@register
class Reshape(Reshaping):
    """Reshape: the same elements under another shape (Caffe: Reshape)

        y = x, read in row-major order

    In shape, 0 copies the size of the bottom's axis at the same place, and one -1 takes what is left. `[0, -1]` keeps
    the batch and joins the rest; a shape without 0 in front ties the net to one batch size.

    Shapes    x of any shape, real or index; y of the given shape, with as many elements
    Backward  dx = dy in the shape of x
    Keeps     the shape of x
    Cost      none where x is contiguous: y is a view of x, and dx of dy; otherwise a copy
    Errors    LayerError when the elements do not fit the shape, or a 0 has no axis to copy
    Source    compare torch.reshape, which has no 0
    """

    shape: list[int] = param(help="shape of the top: sizes, 0 copies the bottom's, one -1 takes the rest", ge=-1)

    examples = [
        Example({"shape": [0, -1]}, [Spec((2, 3, 4))]),
        Example({"shape": [0, 2, -1, 2]}, [Spec((2, 3, 4))]),
        Example({"shape": [0, 3, 1, 4]}, [Spec((3, 12))], "no axis is left open"),
        Example({"shape": [0, 0, 1, -1]}, [Spec((2, 3, 1))]),
        Example({"shape": [-1, 0]}, [Spec((2, 3, 2, 1))], "samples taken apart"),
        Example({"shape": [-1]}, [Spec((3,))]),
        Example({"shape": [0, 2, 0]}, [Spec((0, 2, 3))], "no samples"),
        Example({"shape": [0, -1]}, [index((2, 3, 2), 7)], "labels may be reshaped too"),
    ]
    bad_examples = [
        Bad({"shape": [0, 5]}, "the 12 numbers of a bottom of shape (3, 4) do not fit shape [0, 5]", [Spec((3, 4))]),
        Bad({"shape": [0, 5, -1]}, "do not fit shape [0, 5, -1]", [Spec((3, 4))]),
        Bad({"shape": [0, 0, 0]}, "copies axis 2 of a bottom with 2 axes", [Spec((3, 4))]),
        Bad({"shape": [-1, -1]}, "at most one -1"),
        Bad({"shape": [0, -1]}, "-1 has no one value", [Spec((0, 4))]),
        Bad({"shape": [0, -2]}, "must be >= -1"),
        Bad({"dims": [0, -1]}, "shape is required"),
    ]

    def validate(self) -> None:
        if self.shape.count(-1) > 1:
            raise ConfigError(f"shape takes at most one -1, got {self.shape}", hint="0 copies the size of the bottom")

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        copied = [i for i, n in enumerate(self.shape) if n == 0]
        if copied and copied[-1] >= len(shape):
            raise LayerError(
                f"the 0 at place {copied[-1]} of shape {self.shape} copies axis {copied[-1]} of a bottom with"
                f" {len(shape)} axes",
                hint="0 copies the axis at the same place; write the size instead",
            )
        wanted = [shape[i] if n == 0 else n for i, n in enumerate(self.shape)]
        count, known = math.prod(shape), math.prod(n for n in wanted if n != -1)
        if -1 in wanted and not known:
            raise LayerError(f"in shape {self.shape} the -1 has no one value for a bottom of shape {shape}")
        if -1 in wanted and count % known == 0:
            wanted[wanted.index(-1)] = count // known
        if -1 in wanted or math.prod(wanted) != count:
            raise LayerError(
                f"the {count} numbers of a bottom of shape {shape} do not fit shape {self.shape}",
                hint="0 copies the size of the bottom's axis, one -1 takes what is left",
            )
        return tuple(wanted)


@register
class Squeeze(Reshaping):
    """Squeeze: removes axes of size 1

        y = x without the axes dim

    Without dim these are all axes of size 1 but the first, which counts the samples: a last batch of one sample keeps
    its axes. `dim: 0` removes that one too.

    Shapes    x of any shape with size 1 at dim, real or index; y has the other axes
    Backward  dx = dy in the shape of x
    Keeps     the shape of x
    Cost      none: y is a view of x, and dx of dy
    Errors    LayerError when an axis is out of range, named twice, or not of size 1 (torch leaves it as it is)
    Source    compare torch.squeeze, which without dim removes the first axis of a batch of one sample too
    """

    dim: int | list[int] | None = param(None, help="axis or axes to remove; negative count from the back, null is all")

    examples = [
        Example({"dim": 1}, [Spec((2, 1, 3))]),
        Example({"dim": [-1, -2]}, [Spec((2, 3, 1, 1))]),
        Example({"dim": -1}, [Spec((1, 1))]),
        Example({"dim": 1}, [Spec((0, 1, 3))], "no samples"),
        Example({"dim": 1}, [index((4, 1), 7)], "labels of shape (N, 1)"),
        Example({}, [Spec((2, 1, 3, 1))], "all"),
        Example({}, [Spec((1, 1, 3))], "all of one sample"),
        Example({}, [Spec((2, 3))], "nothing to remove"),
        Example({}, [Spec(())]),
    ]
    bad_examples = [
        Bad({"dim": 1}, "axis 1 has size 3, only an axis of size 1 can be removed", [Spec((2, 3))]),
        Bad({"dim": 2}, "dim 2 is out of range", [Spec((2, 3))]),
        Bad({"dim": [1, -1]}, "dim [1, -1] names axis 1 twice", [Spec((2, 1))]),
        Bad({"dim": "all"}, "dim must be an integer or a list of integers or null"),
    ]

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.dim is None:
            return (*shape[:1], *(n for n in shape[1:] if n != 1))
        gone = normalize_dims(self.dim, len(shape))
        for dim in gone:
            if shape[dim] != 1:
                raise LayerError(f"axis {dim} has size {shape[dim]}, only an axis of size 1 can be removed")
        return tuple(n for i, n in enumerate(shape) if i not in gone)


@register
class Unsqueeze(Reshaping):
    """Unsqueeze: adds an axis of size 1

        y = x with a new axis before axis dim

    Shapes    x of any shape, real or index; y has one more axis, dim counted among the axes of y
    Backward  dx = dy in the shape of x
    Keeps     the shape of x
    Cost      none: y is a view of x, and dx of dy
    Errors    LayerError when dim is out of range
    Source    compare torch.unsqueeze
    """

    dim: int = param(help="place of the new axis in the top; negative counts from the back")

    examples = [
        Example({"dim": 1}, [Spec((2, 3))]),
        Example({"dim": -1}, [Spec((2, 3))]),
        Example({"dim": -2}, [Spec((2, 3, 1))]),
        Example({"dim": 0}, [Spec((2, 3))], "a batch of one"),
        Example({"dim": 0}, [Spec(())]),
        Example({"dim": 1}, [Spec((0, 3))], "no samples"),
        Example({"dim": 1}, [index((4,), 7)], "labels may be unsqueezed too"),
    ]
    bad_examples = [
        Bad({"dim": 3}, "dim 3 is out of range for a blob with 3 axes", [Spec((2, 3))]),
        Bad({}, "dim is required"),
        Bad({"dim": [1, 2]}, "must be an integer"),
    ]

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        dim = normalize_dim(self.dim, len(shape) + 1)
        return (*shape[:dim], 1, *shape[dim:])
