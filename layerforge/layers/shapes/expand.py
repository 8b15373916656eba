"""Expand: axes of size 1 become longer.

What stands in several places gets the sum of their gradients: its counterpart is a sum.
"""

from __future__ import annotations

from typing import Any

from ...arrays.functional import unbroadcast
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .linear_map import LinearMap


@register
class Expand(LinearMap):
    """Expand: axes of size 1 become longer, and new ones appear in front

        y[..., i, ...] = x[..., 0, ...]      for every i of an axis that was expanded

    In shape, -1 keeps the size of the bottom's axis; axes are aligned from the right, as in broadcasting.

    Shapes    x real or index, of size 1 where shape has another size; y of the given shape
    Backward  Each element of x reaches every place of the axes that it was expanded along: dx = Σ dy over them
    Keeps     the shape of x
    Cost      one copy forward, one sum backward
    Errors    LayerError when an axis is neither 1 nor of the size in shape
    Source    compare torch.Tensor.expand, which returns a view; here a layer above may write into y
    """

    grad_aliases = True

    shape: list[int] = param(help="sizes of the top's axes; -1 keeps the bottom's", ge=-1)

    examples = [
        Example({"shape": [-1, 4]}, [Spec((2, 1))]),
        Example({"shape": [-1, 3, 2, -1]}, [Spec((2, 1, 1, 3))]),
        Example({"shape": [3, -1, -1]}, [Spec((2, 4))], "a new axis in front"),
        Example({"shape": [-1, 3]}, [Spec((2, 3))], "nothing to do"),
        Example({"shape": [2, 3]}, [Spec(())]),
        Example({"shape": [-1, 0]}, [Spec((2, 1))], "an empty axis"),
        Example({"shape": [-1, 3]}, [index((2, 1), 7)], "labels may be expanded too"),
    ]
    bad_examples = [
        Bad({"shape": [-1, 4]}, "axis 1 has size 3, only an axis of size 1 can be expanded to 4", [Spec((2, 3))]),
        Bad({"shape": [4]}, "shape [4] has fewer axes than the bottom", [Spec((2, 1))]),
        Bad({"shape": [-1, 2, 3]}, "the new axis 0 has no size to keep", [Spec((2, 3))]),
        Bad({"shape": [-2]}, "must be >= -1"),
        Bad({}, "shape is required"),
    ]

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        new = len(self.shape) - len(shape)
        if new < 0:
            raise LayerError(f"shape {self.shape} has fewer axes than the bottom, {shape}")
        if -1 in self.shape[:new]:
            raise LayerError(f"shape {self.shape}: the new axis {self.shape.index(-1)} has no size to keep")
        for i, (have, want) in enumerate(zip(shape, self.shape[new:], strict=True)):
            if want not in (-1, have) and have != 1:
                raise LayerError(f"axis {i} has size {have}, only an axis of size 1 can be expanded to {want}")
        kept = (have if want == -1 else want for have, want in zip(shape, self.shape[new:], strict=True))
        return (*self.shape[:new], *kept)

    def per_sample_for(self, x: Spec) -> bool:
        return len(self.shape) == x.ndim and self.top_shape(x.shape)[:1] == x.shape[:1]

    def apply(self, x: Any) -> Any:
        return self.xp.broadcast_to(x, self.top_shape(x.shape)).copy()

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        return unbroadcast(dy, shape)
