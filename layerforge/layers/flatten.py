"""Flatten: several axes become one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import LayerError
from ..functional import normalize_dim
from ..layer import Bad, Example, Layer
from ..params import param
from ..registry import register
from ..spec import Spec, index


@register
class Flatten(Layer):
    """Flatten: joins the axes start_dim to end_dim into one (Caffe: Flatten)

        y = x, read in row-major order

    Shapes    x (N, d1, d2, ...), real or index; y (N, d1 d2 ...) with the default dims
    Backward  dx = dy in the shape of x
    Keeps     the shape of x
    Cost      none where x is contiguous: y is a view of x, and dx of dy; otherwise a copy
    Errors    LayerError when a dim is out of range or the two are in the wrong order
    Source    compare torch.nn.Flatten
    """

    top_is_view = True
    grad_aliases = True

    start_dim: int = param(1, help="first axis to join; negative counts from the back")
    end_dim: int = param(-1, help="last axis to join; negative counts from the back")

    examples = [
        Example({}, [Spec((2, 3, 4, 5))]),
        Example({}, [Spec((3, 5))]),
        Example({"start_dim": -2}, [Spec((2, 3, 1, 5))]),
        Example({"end_dim": 2}, [Spec((2, 3, 4, 5))]),
        Example({}, [index((2, 3, 2), 7)], "labels may be flattened too"),
    ]
    bad_examples = [
        Bad({"start_dim": 4}, "start_dim 4 is out of range", [Spec((2, 3))]),
        Bad({"start_dim": 2, "end_dim": 1}, "start_dim 2 comes after end_dim 1", [Spec((2, 3, 4))]),
        Bad({"axis": 1}, "unknown key 'axis'"),
    ]

    def setup(self, x: Spec) -> Spec:
        return x.with_shape(self.flat_shape(x.shape))

    def flat_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the top for a bottom of that shape."""
        start = normalize_dim(self.start_dim, len(shape), "start_dim")
        end = normalize_dim(self.end_dim, len(shape), "end_dim")
        if start > end:
            raise LayerError(f"start_dim {self.start_dim} comes after end_dim {self.end_dim}", hint="swap them")
        return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])

    def forward(self, x: Any) -> Any:
        self.save(shape=x.shape)
        return x.reshape(self.flat_shape(x.shape))

    def backward(self, dy: Any) -> Any:
        return dy.reshape(self.saved.shape) if self.needs_grad[0] else None

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
