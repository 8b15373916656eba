"""Flatten: several axes become one."""

from __future__ import annotations

import math

from ...arrays.functional import normalize_dim
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .reshaping import Reshaping


@register
class Flatten(Reshaping):
    """Flatten: joins the axes start_dim to end_dim into one (Caffe: Flatten)

        y = x, read in row-major order

    Shapes    x (N, d1, d2, ...), real or index; y (N, d1 d2 ...) with the default dims
    Backward  dx = dy in the shape of x
    Keeps     the shape of x
    Cost      none where x is contiguous: y is a view of x, and dx of dy; otherwise a copy
    Errors    LayerError when a dim is out of range or the two are in the wrong order
    Source    compare torch.nn.Flatten
    """

    start_dim: int = param(1, help="first axis to join; negative counts from the back")
    end_dim: int = param(-1, help="last axis to join; negative counts from the back")

    examples = [
        Example({}, [Spec((2, 3, 4, 5))]),
        Example({}, [Spec((3, 5))]),
        Example({"start_dim": -2}, [Spec((2, 3, 1, 5))]),
        Example({"end_dim": 2}, [Spec((2, 3, 4, 5))]),
        Example({"start_dim": 0}, [Spec((2, 1, 3))], "the batch axis too"),
        Example({}, [Spec((0, 3, 2))], "no samples"),
        Example({}, [index((2, 3, 2), 7)], "labels may be flattened too"),
    ]
    bad_examples = [
        Bad({"start_dim": 4}, "start_dim 4 is out of range", [Spec((2, 3))]),
        Bad({"start_dim": 2, "end_dim": 1}, "start_dim 2 comes after end_dim 1", [Spec((2, 3, 4))]),
        Bad({"axis": 1}, "unknown key 'axis'"),
    ]

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        start = normalize_dim(self.start_dim, len(shape), "start_dim")
        end = normalize_dim(self.end_dim, len(shape), "end_dim")
        if start > end:
            raise LayerError(f"start_dim {self.start_dim} comes after end_dim {self.end_dim}", hint="swap them")
        return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
