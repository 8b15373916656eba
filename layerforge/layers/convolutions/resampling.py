"""Images in another size: Upsample and AdaptiveAvgPool2d, which are one matrix product along each axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.sliding_windows import batch_first, batch_last, spatial
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError, LayerError
from ...schema.params import FloatPair, Pair, param
from ...schema.registry import register
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
        return [self.xp.asarray(self.matrix(length, axis).astype(str(dtype))) for axis, length in enumerate(size)]

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


@register
class AdaptiveAvgPool2d(Resampling):
    """AdaptiveAvgPool2d: means over as many parts of the image as the output shall have positions

        yₙ_cₒ = mean of x_ncᵢ over start(o) <= i < end(o),   start(o) = ⌊o S / P⌋,  end(o) = ⌈(o + 1) S / P⌉

    along each axis of S positions, of which P = output_size are made: parts overlap where S is no multiple of P, and
    repeat where P > S. output_size 1 is GlobalAvgPool2d. Along an axis that is a product with the P x S matrix of all
    1 / (end - start), so y = R x Qᵀ.

    Shapes    x (N, C, H, W) real, y (N, C, *output_size)
    Backward  dx = Rᵀ dy Q: every position gets the gradients of the parts that it lies in, each over the part's size
    Keeps     the shape of x
    Cost      2 H P multiplications per column, then 2 W P per row; the same backward
    Errors    LayerError when x has no positions. A number that is not finite spreads along its row and column.
    Source    He, Zhang, Ren & Sun 2014; compare torch.nn.AdaptiveAvgPool2d
    """

    output_size: Pair = param(help="height and width of the output", ge=1)

    examples = [
        Example({"output_size": 2}, [Spec((2, 3, 4, 6))]),
        Example({"output_size": [3, 2]}, [Spec((2, 2, 5, 7))], "parts that overlap"),
        Example({"output_size": [1, 5]}, [Spec((3, 1, 4, 3))], "parts that repeat"),
        Example({"output_size": [4, 3]}, [Spec((2, 2, 4, 3))], "as it is"),
        Example({"output_size": 1}, [Spec((1, 1, 1, 1))]),
    ]
    bad_examples = [
        Bad({}, "output_size is required"),
        Bad({"output_size": 0}, "must be >= 1"),
        Bad({"output_size": [2, 2, 2]}, "a pair [height, width]"),
        Bad({"output_size": 2}, "expected 4", [Spec((2, 3, 4))]),
        Bad({"output_size": 2}, "no positions", [Spec((2, 3, 0, 4))]),
        Bad({"output_size": 2}, "must be real numbers", [Spec((2, 3, 4, 4), role="index")]),
    ]

    def matrix(self, size: int, axis: int) -> np.ndarray:
        count, i = self.output_size[axis], np.arange(size)
        o = np.arange(count)[:, None]
        part = (i >= o * size // count) & (i < -(-(o + 1) * size // count))
        return part / part.sum(axis=1, keepdims=True)


@register
class Upsample(Resampling):
    """Upsample: makes images larger by repeating or interpolating

        nearest    yₒ = x_⌊o / scale⌋
        bilinear   yₒ = (1 - f) xⱼ + f xⱼ₊₁    with j + f = max((o + 1/2) / scale - 1/2, 0)
                                               or with align_corners, j + f = o (S - 1) / (P - 1)

    along each axis, from S positions to P = ⌊S scale⌋ (j + 1 stops at the last). A position is taken for a small
    square, and j + f is where the centre of o lies in x; with align_corners it is a point, and the outermost coincide.
    Both are products with a P x S matrix of one or two entries in a row, so y = R x Qᵀ.

    Shapes    x (N, C, H, W) real, y (N, C, ⌊H scale⌋, ⌊W scale⌋)
    Backward  dx = Rᵀ dy Q: every number of x gets the gradients of those made from it, with the same weights
    Keeps     the shape of x
    Cost      2 H P multiplications per column, then 2 W P per row; the same backward
    Errors    LayerError when x has no positions, or y would have none. A number that is not finite spreads along its
              row and column.
    Source    compare torch.nn.Upsample
    """

    scale_factor: FloatPair = param(help="how many times larger height and width become", gt=0)
    mode: str = param("nearest", help="repeat the nearest number, or interpolate", choices=("nearest", "bilinear"))
    align_corners: bool = param(False, help="bilinear: let the centres of the corners coincide")

    examples = [
        Example({"scale_factor": 2}, [Spec((2, 3, 2, 3))]),
        Example({"scale_factor": [3, 1.5]}, [Spec((2, 2, 2, 5))]),
        Example({"scale_factor": 0.5}, [Spec((2, 1, 4, 5))], "smaller"),
        Example({"scale_factor": 2, "mode": "bilinear"}, [Spec((2, 3, 3, 2))]),
        Example({"scale_factor": [2.5, 0.6], "mode": "bilinear"}, [Spec((2, 2, 3, 5))]),
        Example({"scale_factor": 3, "mode": "bilinear", "align_corners": True}, [Spec((2, 2, 2, 3))]),
        Example({"scale_factor": [1, 4], "mode": "bilinear", "align_corners": True}, [Spec((2, 2, 1, 1))]),
        Example({"scale_factor": 1}, [Spec((1, 1, 1, 1))]),
    ]
    bad_examples = [
        Bad({}, "scale_factor is required"),
        Bad({"scale_factor": 0}, "must be > 0"),
        Bad({"scale_factor": [2, 2, 2]}, "a number or a pair [height, width]"),
        Bad({"scale_factor": 2, "mode": "cubic"}, "must be one of nearest, bilinear"),
        Bad({"scale_factor": 2, "align_corners": True}, "align_corners needs mode: bilinear"),
        Bad({"scale_factor": 0.2}, "4 positions times 0.2", [Spec((2, 3, 8, 4))]),
        Bad({"scale_factor": 2}, "expected 4", [Spec((2, 3, 8))]),
        Bad({"scale_factor": 2}, "no positions", [Spec((2, 3, 0, 4))]),
        Bad({"scale_factor": 2}, "must be real numbers", [Spec((2, 3, 4, 4), role="index")]),
    ]

    def validate(self) -> None:
        if self.align_corners and self.mode == "nearest":
            raise ConfigError("align_corners needs mode: bilinear", hint="with nearest there is nothing to align")

    def matrix(self, size: int, axis: int) -> np.ndarray:
        scale = self.scale_factor[axis]
        o = np.arange(math.floor(size * scale))
        if not len(o):
            raise LayerError(f"nothing is left of {size} positions times {scale}", hint="a larger scale_factor")
        if self.mode == "nearest":
            source = np.floor(o / scale)
        elif self.align_corners:
            source = o * ((size - 1) / max(1, len(o) - 1))
        else:
            source = np.maximum((o + 0.5) / scale - 0.5, 0)
        source = np.minimum(source, size - 1)
        return np.maximum(0, 1 - abs(source[:, None] - np.arange(size)))
