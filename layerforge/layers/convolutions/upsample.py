"""Upsample: images in another size."""

from __future__ import annotations

import math

import numpy as np

from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError, LayerError
from ...schema.params import FloatPair, Pair, param
from ...schema.registry import register
from .resampling import Resampling


@register
class Upsample(Resampling):
    """Upsample: makes images larger by repeating or interpolating

        nearest    y[p] = x[⌊p / scale⌋]
        bilinear   y[p] = (1 - f) x[j] + f x[j + 1]    with j + f = max((p + 1/2) / scale - 1/2, 0)
                                                       or, with align_corners, j + f = p (S - 1) / (P - 1)

    along each axis, from S positions to P = ⌊S scale⌋ (j + 1 stops at the last), where j is whole and 0 <= f < 1. With
    size P is given, and scale = P / S. A position is taken for a small square, and j + f is where the centre of p is in
    x; with align_corners it is a point, and the outermost coincide. Both are products with a P x S matrix of one or two
    entries in a row: with R for the vertical axis and Q for the horizontal one, y = R x Qᵀ (matrix products, for each
    channel).

    Shapes    x (N, C, H, W) real, y (N, C, ⌊H scale⌋, ⌊W scale⌋), or (N, C, *size)
    Backward  dx = Rᵀ dy Q: every element of x gets the gradients of those made from it, with the same weights
    Keeps     the shape of x
    Cost      2HP flops per column for P rows of y, then 2WP per row for P columns; the same backward
    Errors    LayerError when x has no positions, or y would have none; ConfigError for align_corners with nearest, and
              unless there is either size or scale_factor. A value that is not finite spreads along its row and column.
    Source    compare torch.nn.Upsample
    """

    size: Pair | None = param(None, help="height and width of the top", ge=1)
    scale_factor: FloatPair | None = param(None, help="instead of it: how many times larger they become", gt=0)
    mode: str = param("nearest", help="repeat the nearest value, or interpolate", choices=("nearest", "bilinear"))
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
        Example({"size": [5, 3], "mode": "bilinear", "align_corners": True}, [Spec((2, 2, 3, 5))]),
        Example({"size": 4}, [Spec((2, 1, 3, 6))]),
    ]
    bad_examples = [
        Bad({}, "either size or scale_factor"),
        Bad({"size": 3, "scale_factor": 2}, "either size or scale_factor"),
        Bad({"size": 0}, "must be >= 1"),
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
        if (self.size is None) == (self.scale_factor is None):
            raise ConfigError("either size or scale_factor is needed", hint="size: [height, width], or scale_factor: 2")
        if self.align_corners and self.mode == "nearest":
            raise ConfigError("align_corners needs mode: bilinear", hint="with nearest there is nothing to align")

    def matrix(self, size: int, axis: int) -> np.ndarray:
        if self.scale_factor is None:
            count = self.size[axis] if self.size else 0
            scale = count / size
        else:
            scale = self.scale_factor[axis]
            count = math.floor(size * scale)
        p = np.arange(count)
        if not len(p):
            raise LayerError(f"nothing is left of {size} positions times {scale}", hint="a larger scale_factor")
        if self.mode == "nearest":
            source = np.floor(p / scale) if self.size is None else p * size // count
        elif self.align_corners:
            source = p * ((size - 1) / max(1, len(p) - 1))
        else:
            source = np.maximum((p + 0.5) / scale - 0.5, 0)
        source = np.minimum(source, size - 1)
        return np.maximum(0, 1 - abs(source[:, None] - np.arange(size)))
