"""PSROIPooling: the means of the parts of regions, each part from channels of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.scattering import scatter_add
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .regions import BAD_REGIONS, RegionPooling, regions_in, rounded

SHORTEST = 0.1  # of a region, in positions: one that is upside down is this long


@register
class PSROIPooling(RegionPooling):
    """PSROIPooling: every region as a grid of the means of its parts, each from its own channels (R-FCN's Caffe)

        y[r, o, p] = the mean of x[n, (o P₁ + p₁) P₂ + p₂, i] over the positions i of part p = (p₁, p₂) of region r

    of sample n, for channel o of the top, with P₁ and P₂ the output_size: position-sensitive. The channels of a part
    learn what belongs there, such as the left of a person. A region [n, left, top, right, bottom] begins at
    spatial_scale round(left) and ends at spatial_scale (round(right) + 1), across, in between positions too; round goes
    to the nearest pixel, halfway to the one farther from 0. Where b is its beginning and S is its length, 0.1 at least,
    part p of the P along that axis has

        start(p) <= i < end(p),   start(p) = ⌊b + p S / P⌋,  end(p) = ⌈b + (p + 1) S / P⌉

    and down likewise. What is outside of the feature map is left out; a part with nothing left is 0.

    Shapes    x (N, C, H, W) real, with C = out_channels P₁ P₂; regions (R, 5) real, or (R, 5, 1, 1);
              y (R, out_channels, *output_size)
    Backward  A mean of m elements is moved by each of them by 1/m, and what belongs to several parts gets the sum:
                  dx[n, c, i] = Σ dy[r, o, p] / m    over all r and p with i in part p of region r of sample n, for the
              channel c = (o P₁ + p₁) P₂ + p₂. Regions get no gradient: their rounded edges jump or stand still.
    Keeps     the positions of the parts
    Cost      one addition per element and part that it is in, forward and backward: at most as many for each region
              as an image has of a group of channels
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a region of a sample that is not there
    Source    Dai et al. 2016, R-FCN; compare torchvision.ops.PSRoIPool, which rounds edges after scaling them
    """

    out_channels: int | None = param(None, help="channels of the top; null: as many as the bottom's make", ge=1)

    examples = [
        Example({"output_size": 2}, [Spec((2, 8, 5, 6)), Spec((4, 5), draw=regions_in(2, 6))]),
        Example(
            {"output_size": [3, 2], "spatial_scale": 0.3, "out_channels": 1},
            [Spec((2, 6, 5, 4)), Spec((3, 5, 1, 1), draw=regions_in(2, 16))],
            "a smaller feature map",
        ),
        Example({"output_size": 1}, [Spec((3, 2, 4, 3)), Spec((2, 5), draw=regions_in(3, 4))], "a mean of each region"),
        Example({"output_size": 2}, [Spec((2, 4, 3, 3)), Spec((0, 5), draw=regions_in(2, 3))], "no region"),
    ]
    bad_examples = [
        *BAD_REGIONS,
        Bad({"output_size": 3}, "8 channels, which 3 x 3 parts do not divide", [Spec((2, 8, 5, 5)), Spec((3, 5))]),
        Bad(
            {"output_size": 2, "out_channels": 3},
            "8 channels, expected 12 = 3 x 2 x 2",
            [Spec((2, 8, 5, 5)), Spec((3, 5))],
        ),
    ]

    def setup(self, x: Spec, regions: Spec) -> Spec:
        count, (down, across) = self.expect_regions(x, regions), self.output_size
        channels, others = divmod(x.shape[1], down * across)
        if self.out_channels not in (None, channels) or (self.out_channels and others):
            want = f"{self.out_channels * down * across} = {self.out_channels} x {down} x {across}"
            raise LayerError(f"bottom[0] has {x.shape[1]} channels, expected {want}")
        if others:
            told = f"bottom[0] has {x.shape[1]} channels, which {down} x {across} parts do not divide"
            raise LayerError(told, hint="each part has channels of its own, as many as the top")
        return x.with_shape((count, channels, down, across))

    def stretch(self, low: Any, high: Any) -> tuple[Any, Any]:
        first, behind = (edge * self.spatial_scale for edge in (rounded(self.xp, low), rounded(self.xp, high) + 1))
        return first, self.xp.maximum(behind - first, SHORTEST)

    def forward(self, x: Any, regions: Any) -> Any:
        placed = self.placed(regions, x.shape)
        self.save(placed=placed, shape=x.shape)
        return self.means(x, placed)

    def means(self, x: Any, placed: Any) -> Any:
        """The means of all parts."""
        xp, rows = self.xp, self.by_parts(x)
        total: Any = 0
        for place, inside in self.elements(placed, x.shape):
            total = total + xp.where(inside[..., None], rows[place], 0).astype("float64")
        if isinstance(total, int):
            total = xp.zeros((*self.counts(placed).shape, rows.shape[1]))
        return (total / xp.maximum(self.counts(placed), 1)[..., None]).astype(x.dtype).transpose(0, 3, 1, 2)

    def by_parts(self, x: Any) -> Any:
        """x with a row for each sample, part and position: the out_channels numbers that are the part's there."""
        samples, channels, height, width = x.shape
        down, across = self.output_size
        return (
            x.reshape(samples, channels // (down * across), down, across, height, width)
            .transpose(0, 2, 3, 4, 5, 1)
            .reshape(samples * down * across * height * width, channels // (down * across))
        )

    def elements(self, placed: Any, shape: Sequence[int]) -> Any:
        """The elements of all parts, one after the other: which row of `by_parts` each is, and whether it is there."""
        sample, down, across = placed
        parts = self.xp.arange(self.output_size[0] * self.output_size[1]).reshape(self.output_size)
        number = sample[:, None, None] * parts.size + parts
        for place, inside in self.positions(down, across, shape[3]):
            yield number * (shape[2] * shape[3]) + place, inside

    def counts(self, placed: Any) -> Any:
        """How many elements each part has: (R, P₁, P₂)."""
        return placed[1].counts[:, :, None] * placed[2].counts[:, None, :]

    def backward(self, dy: Any, *_: Any) -> tuple[Any, None]:
        if not self.needs_grad[0]:
            return None, None
        xp, placed, (samples, channels, height, width) = self.xp, self.saved.placed, self.saved.shape
        share = dy.transpose(0, 2, 3, 1) / xp.maximum(self.counts(placed), 1)[..., None].astype(dy.dtype)
        of_row = xp.arange(share.shape[3])
        dx = xp.zeros(samples * channels * height * width, dtype="float64")  # many to one element: see exact_sum
        for place, inside in self.elements(placed, self.saved.shape):
            reaching = xp.where(inside[..., None], share, 0).astype("float64")
            scatter_add(xp, dx, (place[..., None] * len(of_row) + of_row).reshape(-1), 0, reaching.reshape(-1))
        by_parts = dx.astype(dy.dtype).reshape(samples, *self.output_size, height, width, len(of_row))
        return by_parts.transpose(0, 5, 1, 2, 3, 4).reshape(self.saved.shape), None

    def jvp(self, dx: Any, _: Any) -> Any:
        return self.means(dx, self.saved.placed)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        _, _, height, width = bottoms[0].shape
        return tops[0].shape[0] * tops[0].shape[1] * height * width
