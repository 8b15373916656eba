"""SpatialPyramidPool: as many features as the pyramid says, whatever the size of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.sliding_windows import Axis, Windows, spatial
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .avg_pool import counted, to_windows, window_sums
from .max_pool import find_winners, maxima, of_winners, to_winners


@register
class SpatialPyramidPool(Layer):
    """SpatialPyramidPool: pools an image as a whole, in 2 x 2 parts, in 4 x 4 parts ... (Caffe: SPP)

        y = all levels l = 0 ... pyramid_height - 1 side by side, each (N, C · 2ˡ · 2ˡ)

    Level l cuts each axis into 2ˡ windows of k = ceil(size / 2ˡ) positions, one after the other, and takes their
    maximum or mean as MaxPool2d and AvgPool2d do. What 2ˡ k is too long is padding, (2ˡ k - size + 1) // 2 before the
    first position. An image of any size gives the same number of features, so a Linear can follow.

    Shapes    x (N, C, H, W) real, y (N, C (4^pyramid_height - 1) / 3): in each level channels, then rows, then columns
    Backward  The sum over the levels of MaxPool2d's dx or AvgPool2d's, for the level's part of dy
    Keeps     max: for every window where its maximum is; avg: the shape of x
    Cost      about 5 operations per element of x and level (avg: 1) forward, 3 (1) backward
    Errors    LayerError when an axis is too short for the windows of a level: one would be in the padding
    Source    He, Zhang, Ren & Sun 2014; the windows are those of Caffe
    """

    pyramid_height: int = param(help="levels of the pyramid", ge=1, le=16)
    pool: str = param("max", help="what is made of each window", choices=("max", "avg"))

    examples = [
        Example({"pyramid_height": 3}, [Spec((2, 2, 8, 7))]),
        Example({"pyramid_height": 2, "pool": "avg"}, [Spec((2, 3, 5, 4))]),
        Example({"pyramid_height": 3, "pool": "avg"}, [Spec((2, 1, 7, 13))]),
        Example({"pyramid_height": 1}, [Spec((2, 3, 3, 2))]),
        Example({"pyramid_height": 2}, [Spec((1, 1, 2, 2))]),
        Example({"pyramid_height": 1, "pool": "avg"}, [Spec((1, 1, 1, 1))]),
    ]
    bad_examples = [
        Bad({}, "pyramid_height is required"),
        Bad({"pyramid_height": 0}, "must be >= 1"),
        Bad({"pyramid_height": 2, "pool": "stochastic"}, "must be one of max, avg"),
        Bad({"pyramid_height": 3}, "5 positions cannot be cut into 4 windows", [Spec((2, 3, 8, 5))]),
        Bad({"pyramid_height": 2}, "1 positions cannot be cut into 2 windows", [Spec((2, 3, 1, 5))]),
        Bad({"pyramid_height": 1}, "0 positions cannot be cut into 1 windows", [Spec((2, 3, 0, 5))]),
        Bad({"pyramid_height": 2}, "expected 4", [Spec((2, 3))]),
    ]

    def setup(self, x: Spec) -> Spec:
        levels = self.levels(spatial(x, 2))
        return x.with_shape((x.shape[0], x.shape[1] * sum(bins**2 for bins, _ in levels)))

    def levels(self, size: Sequence[int]) -> list[tuple[int, Windows]]:
        """For each level how many windows an axis has, and the windows."""
        counts = [2**level for level in range(self.pyramid_height)]
        return [(bins, Windows(tuple(self.cut(length, bins) for length in size))) for bins in counts]

    def cut(self, size: int, bins: int) -> Axis:
        """An axis in so many windows."""
        kernel = -(-size // bins)
        padding = (bins * kernel - size + 1) // 2
        if padding >= kernel:
            raise LayerError(
                f"an axis of {size} positions cannot be cut into {bins} windows of {kernel}",
                hint="one would see nothing but padding; a lower pyramid_height or a larger image",
            )
        return Axis(size, kernel, kernel, padding)

    def means(self, x: Any, windows: Windows) -> Any:
        """The mean of each window."""
        return window_sums(self.xp, x, windows) / self.divisor(windows, x.dtype)

    def divisor(self, windows: Windows, dtype: Any) -> Any:
        """How many elements of the input each window has."""
        return self.constant(f"elements of {windows.counts}", windows, lambda: counted(windows), dtype)

    def forward(self, x: Any) -> Any:
        tops, winners = [], []
        for _, windows in self.levels(x.shape[2:]):
            if self.pool == "avg":
                y = self.means(x, windows)
            else:
                y = maxima(self.xp, x, windows)
                winners += [find_winners(self.xp, x, y, windows)] if self.run.keep else []
            tops.append(y.reshape(x.shape[0], -1))
        self.save(winners=winners, shape=x.shape)
        return self.xp.concatenate(tops, axis=1)

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        n, channels, *size = self.saved.shape
        dx, start = self.xp.zeros_like(dy, shape=self.saved.shape), 0
        for level, (bins, windows) in enumerate(self.levels(size)):
            stop = start + channels * bins**2
            part = dy[:, start:stop].reshape(n, channels, bins, bins)
            start = stop
            if self.pool == "avg":
                dx += to_windows(self.xp, part / self.divisor(windows, dy.dtype), windows)
            else:
                dx += to_winners(self.xp, part, self.saved.winners[level], windows)
        return dx

    def jvp(self, dx: Any) -> Any:
        tops = []
        for level, (_, windows) in enumerate(self.levels(dx.shape[2:])):
            if self.pool == "avg":
                dy = self.means(dx, windows)
            else:
                dy = of_winners(self.xp, dx, self.saved.winners[level], windows)
            tops.append(dy.reshape(dx.shape[0], -1))
        return self.xp.concatenate(tops, axis=1)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size * self.pyramid_height
