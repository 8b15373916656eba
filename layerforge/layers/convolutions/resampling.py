"""Images in another size, by one matrix product along each axis: what Upsample and AdaptiveAvgPool2d share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.sliding_windows import batch_first, batch_last, spatial
from ...arrays.spec import Spec
from ...schema.errors import LayerError
from ..shapes.linear_map import LinearMap


class Resampling(LinearMap):
    """Base of the layers that compute y = R x Qᵀ for every channel, a matrix R for the rows and Q for the columns.

    Entry (o, i) says how much of position i goes into position o of the output. A layer brings `matrix`.
    """

    def matrix(self, size: int, axis: int) -> np.ndarray:
        """The matrix (positions of the output, size) of an axis."""
        raise NotImplementedError

    def setup(self, x: Spec) -> Spec:
        size = spatial(x, 2)
        if 0 in size:
            raise LayerError(f"the bottom has shape {x.shape}: no positions")
        counts = [len(self.matrix(length, axis)) for axis, length in enumerate(size)]
        return x.with_shape((*x.shape[:2], *counts))

    def matrices(self, size: Sequence[int], dtype: Any) -> list[Any]:
        """The matrices of all axes, on the device."""
        host = [self.matrix(length, axis).astype(str(dtype)) for axis, length in enumerate(size)]
        return [self.constant(f"axis {i}", (m.shape, m.tobytes()), m.copy, dtype) for i, m in enumerate(host)]

    def apply(self, x: Any) -> Any:
        return self.product(self.matrices(x.shape[2:], x.dtype), x)

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        return self.product([m.T for m in self.matrices(shape[2:], dy.dtype)], dy)

    def product(self, matrices: Sequence[Any], x: Any) -> Any:
        """Each axis of x (N, C, *S) times its matrix."""
        x = batch_last(self.xp, x)
        for axis, matrix in enumerate(matrices, start=1):
            before, behind = x.shape[:axis], x.shape[axis + 1 :]
            x = matrix @ x.reshape(math.prod(before), x.shape[axis], math.prod(behind))
            x = x.reshape(*before, matrix.shape[0], *behind)
        return batch_first(self.xp, x)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        (height, width), above = bottoms[0].shape[2:], tops[0].shape[2]
        return 2 * math.prod(bottoms[0].shape[:2]) * above * width * height + 2 * tops[0].size * width
