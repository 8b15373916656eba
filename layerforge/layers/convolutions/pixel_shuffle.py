"""PixelShuffle: channels become positions."""

from __future__ import annotations

from typing import Any

from ...arrays.sliding_windows import spatial
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from ..shapes.linear_map import LinearMap


@register
class PixelShuffle(LinearMap):
    """PixelShuffle: r² channels become one of r times the height and width (sub-pixel convolution)

        y[n, c, i r + a, j r + b] = x[n, c r² + a r + b, i, j]    for 0 <= a, b < r, with r = upscale_factor

    A convolution with C r² output channels and a PixelShuffle enlarge an image r times: each channel draws the pixels
    of one phase (a, b).

    Shapes    x (N, C r², H, W) real, y (N, C, H r, W r)
    Backward  Every element of x goes to one place of y, from which its gradient comes back:
                  dx[n, c r² + a r + b, i, j] = dy[n, c, i r + a, j r + b]
    Keeps     the shape of x
    Cost      one copy forward, one backward; no arithmetic
    Errors    LayerError when the channels are not a multiple of r²
    Source    Shi et al. 2016; compare torch.nn.PixelShuffle
    """

    upscale_factor: int = param(help="how many times larger height and width become", ge=1)

    examples = [
        Example({"upscale_factor": 2}, [Spec((2, 8, 3, 2))]),
        Example({"upscale_factor": 3}, [Spec((3, 9, 1, 2))]),
        Example({"upscale_factor": 1}, [Spec((2, 3, 2, 2))]),
        Example({"upscale_factor": 2}, [Spec((1, 4, 1, 1))]),
    ]
    bad_examples = [
        Bad({}, "upscale_factor is required"),
        Bad({"upscale_factor": 0}, "must be >= 1"),
        Bad({"upscale_factor": 2}, "6 channels, not a multiple of 4", [Spec((2, 6, 3, 3))]),
        Bad({"upscale_factor": 2}, "expected 4", [Spec((2, 4, 3))]),
        Bad({"upscale_factor": 2}, "must be real numbers", [Spec((2, 4, 3, 3), role="index")]),
    ]

    def setup(self, x: Spec) -> Spec:
        (height, width), channels, r = spatial(x, 2), x.shape[1], self.upscale_factor
        if channels % r**2:
            raise LayerError(
                f"the bottom has {channels} channels, not a multiple of {r**2}",
                hint=f"upscale_factor {r} makes one channel of {r} x {r}",
            )
        return x.with_shape((x.shape[0], channels // r**2, height * r, width * r))

    def apply(self, x: Any) -> Any:
        n, channels, height, width = x.shape
        r = self.upscale_factor
        phases = x.reshape(n, channels // r**2, r, r, height, width)
        y = self.xp.empty((n, channels // r**2, height, r, width, r), dtype=x.dtype)
        y[...] = phases.transpose(0, 1, 4, 2, 5, 3)
        return y.reshape(n, channels // r**2, height * r, width * r)

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        n, channels, height, width = shape
        r = self.upscale_factor
        phases = dy.reshape(n, channels // r**2, height, r, width, r)
        dx = self.xp.empty((n, channels // r**2, r, r, height, width), dtype=dy.dtype)
        dx[...] = phases.transpose(0, 1, 3, 5, 2, 4)
        return dx.reshape(shape)
