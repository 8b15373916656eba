"""Gather: an element for each index, from the same place on all other axes."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import normalize_dim
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .picking import Picking


@register
class Gather(Picking):
    """Gather: an element for each index, from the same place on all other axes

        y[i, j, k] = x[i, index[i, j, k], k]      for dim 1 of three axes; likewise for others

    So the score of the true class is Gather with dim 1 of scores (N, K) and labels (N, 1).

    Shapes    x real or index; index with as many axes, no longer than x on axes other than dim; y in the index's shape
    Backward  Each element of y was read at one place of x, and several may have been read at the same one:
                  dx[i, l, k] = Σⱼ dy[i, j, k]      over the j with index[i, j, k] = l; 0 where there is none
    Keeps     the index
    Cost      one copy forward, one addition per element backward
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
