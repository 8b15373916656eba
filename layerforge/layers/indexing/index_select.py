"""IndexSelect and BatchReindex: slices of a blob in the order of a list of indices."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import normalize_dim
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .picking import Picking


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
    Cost      one copy forward, one addition per element backward
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
    Cost      one copy forward, one addition per element backward
    Errors    LayerError when index does not have one axis; LayerError (exit 3) for an index outside the batch
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
