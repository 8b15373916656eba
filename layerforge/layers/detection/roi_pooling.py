"""ROIPooling: the maxima of the parts of regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.scattering import scatter_add
from ...arrays.spec import Spec
from ...contract.layer import Example
from ...schema.registry import register
from .regions import BAD_REGIONS, RegionPooling, regions_in, rounded


@register
class ROIPooling(RegionPooling):
    """ROIPooling: every region of an image as a grid of one size, of the maxima of its parts (Fast R-CNN's Caffe)

        y[r, c, p] = the maximum of x[n, c, i] over the positions i of part p of region r, of sample n

    A region [n, left, top, right, bottom] begins at round(spatial_scale left) and ends with round(spatial_scale right),
    across, where round goes to the nearest position, halfway to the one farther from 0. Of its S positions, 1 at
    least, part p of the P along that axis has

        start(p) <= i < end(p),   start(p) = ⌊p S / P⌋,  end(p) = ⌈(p + 1) S / P⌉

    from where the region begins; down likewise. S / P and its products are rounded to float32, as in Caffe: an edge
    that is a whole number may come to lie one position farther out. What is outside of the feature map is left out; a
    part with nothing left is 0.

    Shapes    x (N, C, H, W) real; regions (R, 5) real, or (R, 5, 1, 1); y (R, C, *output_size)
    Backward  y is one of the elements of its part, and the others do not move it: dy goes to the place of the maximum,
              the first one in row-major order where several are equal. An element that is the maximum of several parts,
              of one region or of several, gets the sum:
                  dx[n, c, i] = Σ dy[r, c, p]    over all r and p whose maximum is at i of sample n
              A part with a NaN is NaN, and its gradient is that of the first NaN. Regions get no gradient: their
              rounded edges jump or stand still.
    Keeps     for every part where its maximum is, eight bytes
    Cost      3 operations per element and part that it is in forward, at most all of an image's for each region; one
              addition per part backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a region of a sample that is not there
    Source    Girshick 2015, Fast R-CNN; compare torchvision.ops.RoIPool
    """

    examples = [
        Example({"output_size": 2}, [Spec((2, 3, 5, 6)), Spec((4, 5), draw=regions_in(2, 6))]),
        Example(
            {"output_size": [3, 2], "spatial_scale": 0.25},
            [Spec((2, 2, 5, 4)), Spec((3, 5, 1, 1), draw=regions_in(2, 20))],
            "a smaller feature map",
        ),
        Example({"output_size": [1, 4]}, [Spec((3, 1, 4, 3)), Spec((2, 5), draw=regions_in(3, 4))], "parts repeat"),
        Example({"output_size": 2}, [Spec((2, 2, 3, 3)), Spec((0, 5), draw=regions_in(2, 3))], "no region"),
        Example({"output_size": 2}, [Spec((2, 1, 1, 1)), Spec((3, 5), draw=regions_in(2, 1))]),
    ]
    bad_examples = BAD_REGIONS
    whole_positions = True

    def setup(self, x: Spec, regions: Spec) -> Spec:
        return x.with_shape((self.expect_regions(x, regions), x.shape[1], *self.output_size))

    def stretch(self, low: Any, high: Any) -> tuple[Any, Any]:
        first, last = (rounded(self.xp, edge * self.spatial_scale) for edge in (low, high))
        return first, self.xp.maximum(last - first + 1, 1)

    def forward(self, x: Any, regions: Any) -> Any:
        xp, (_, channels, height, width) = self.xp, x.shape
        sample, down, across = self.placed(regions, x.shape)
        rows = x.transpose(0, 2, 3, 1).reshape(-1, channels)  # the channels of a position side by side
        grid = (len(regions), *self.output_size, channels)
        y, places = xp.full(grid, -math.inf, dtype=x.dtype), xp.full(grid, -1, dtype="int64")
        for place, inside in self.positions(down, across, width):
            place = sample[:, None, None] * (height * width) + place
            value = rows[place]
            better = (places < 0) | (value > y) | (xp.isnan(value) & ~xp.isnan(y))
            better &= inside[..., None]
            y, places = xp.where(better, value, y), xp.where(better, place[..., None], places)
        empty = places < 0
        self.save(places=xp.where(empty, 0, places) * channels + xp.arange(channels), empty=empty, shape=x.shape)
        return xp.where(empty, 0, y).transpose(0, 3, 1, 2)

    def backward(self, dy: Any, *_: Any) -> tuple[Any, None]:
        if not self.needs_grad[0]:
            return None, None
        xp, (samples, channels, height, width) = self.xp, self.saved.shape
        dx = xp.zeros(samples * height * width * channels, dtype=dy.dtype)
        reaching = xp.where(self.saved.empty, 0, dy.transpose(0, 2, 3, 1))
        scatter_add(xp, dx, self.saved.places.reshape(-1), 0, reaching.reshape(-1))
        return dx.reshape(samples, height, width, channels).transpose(0, 3, 1, 2), None

    def jvp(self, dx: Any, _: Any) -> Any:
        at_winners = dx.transpose(0, 2, 3, 1).reshape(-1)[self.saved.places]
        return self.xp.where(self.saved.empty, 0, at_winners).transpose(0, 3, 1, 2)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 3 * bottoms[1].shape[0] * math.prod(bottoms[0].shape[1:])
