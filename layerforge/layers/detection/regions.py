"""Pooling of regions: what the layers share that make every region of an image a grid of one size.

A region is a row of five numbers: the sample that it is in, and its left, top, right and bottom, in pixels of the
image. It is cut into as many parts as the grid has positions, along each axis; a part takes in all positions of the
feature map that it touches, so that neighbouring parts may share some. Where a part begins and ends is worked out in
float32, as Caffe does, whatever the dtype of the net: a quotient rounded otherwise would move it by a whole position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...arrays.awaited import refuse_where
from ...arrays.functional import expect_role, shape_mismatch
from ...arrays.sliding_windows import spatial
from ...arrays.spec import Spec
from ...contract.layer import Bad, Layer
from ...schema.errors import LayerError
from ...schema.params import Pair, param

PRECISION = "float32"


def rounded(xp: Any, x: Any) -> Any:
    """The nearest whole numbers; halfway, the one farther from 0, as C's round has it."""
    whole = xp.trunc(x)
    return whole + xp.where(xp.abs(x - whole) >= 0.5, xp.sign(x), 0)


class Parts(NamedTuple):
    """The positions that the parts of each region take in, along one axis: first <= position < behind, (R, P)."""

    first: Any
    behind: Any

    @property
    def counts(self) -> Any:
        """How many positions each part has; 0 for one beyond the feature map."""
        return self.behind - self.first

    @property
    def most(self) -> int:
        """The most positions that a part has."""
        return int(self.counts.max()) if self.counts.size else 0


def parts_of(xp: Any, start: Any, length: Any, count: int, size: int, whole: bool) -> Parts:
    """So many parts of stretches (R) that begin at `start`, as positions of an axis of that size.

    whole   whether stretches begin at positions: these are then added to what is rounded already, as they would take
            digits of it; what lies between positions has to be added before
    """
    part, number, start = (length / count)[:, None], xp.arange(count, dtype=PRECISION), start[:, None]
    before, after = (0, start) if whole else (start, 0)
    first, behind = xp.floor(number * part + before) + after, xp.ceil((number + 1) * part + before) + after
    first, behind = (xp.clip(edge, 0, size).astype("int64") for edge in (first, behind))
    return Parts(first, xp.maximum(first, behind))


class RegionPooling(Layer):
    """Base of the poolings of regions. Each brings `stretch`, and what it makes of the elements of a part."""

    bottoms = 2
    no_grad_bottoms = (1,)
    per_sample = False
    whole_positions: ClassVar[bool] = False  # regions begin at a position of the feature map, and none in between

    output_size: Pair = param(help="height and width of the grid that a region becomes", ge=1)
    spatial_scale: float = param(1.0, help="positions of the feature map over pixels of the image", gt=0)

    def stretch(self, low: Any, high: Any) -> tuple[Any, Any]:
        """Where the regions begin along an axis and how long they are, in positions, from their edges in pixels."""
        raise NotImplementedError(f"{type(self).__name__} has no stretch(self, low, high)")

    def expect_regions(self, x: Spec, regions: Spec) -> int:
        """How many regions there are; LayerError where the bottoms do not fit."""
        for i, spec in enumerate((x, regions)):
            expect_role(f"bottom[{i}]", spec, "real")
        if 0 in spatial(x, 2):
            raise LayerError(f"bottom[0] has shape {x.shape}: no positions")
        if regions.shape[1:] not in ((5,), (5, 1, 1)):
            raise shape_mismatch("bottom[1], the regions,", regions.shape, "(R, 5): sample, left, top, right, bottom")
        return regions.shape[0]

    def placed(self, regions: Any, shape: Sequence[int]) -> tuple[Any, Parts, Parts]:
        """The sample of each region, and its parts down and across; LayerError (exit 3) for one that is nowhere."""
        xp, (samples, _, height, width) = self.xp, shape
        regions = regions.reshape(len(regions), 5)
        sample = regions[:, 0]
        bad = ~((sample >= 0) & (sample < samples) & (sample == xp.floor(sample)) & xp.isfinite(regions).all(axis=1))
        refuse_where(bad.any(), partial(first_bad_region, regions, bad, samples))
        if xp is not np:  # a device tells of it afterwards
            regions = xp.where(bad[:, None], 0, regions)
            sample = regions[:, 0]
        sides = regions[:, 1:].astype(PRECISION)
        whole = self.whole_positions
        down = parts_of(xp, *self.stretch(sides[:, 1], sides[:, 3]), self.output_size[0], height, whole)
        across = parts_of(xp, *self.stretch(sides[:, 0], sides[:, 2]), self.output_size[1], width, whole)
        return sample.astype("int64"), down, across

    def positions(self, down: Parts, across: Parts, width: int) -> Iterator[tuple[Any, Any]]:
        """The elements of all parts (R, P, P), one after the other in row-major order: where each part's is in a
        feature map read row by row, and whether the part has that many.
        """
        for i in range(down.most):
            for j in range(across.most):
                inside = (i < down.counts)[:, :, None] & (j < across.counts)[:, None, :]
                place = (down.first + i)[:, :, None] * width + (across.first + j)[:, None, :]
                yield self.xp.where(inside, place, 0), inside


def first_bad_region(regions: Any, bad: Any, samples: int) -> LayerError:
    """The error for the first of the regions that are nowhere."""
    i = int(bad.argmax())
    found = ", ".join(f"{float(number):g}" for number in regions[i])
    hint = f"a region is the number of a sample, 0 to {samples - 1}, then left, top, right and bottom"
    return LayerError(f"region {i} is [{found}], with {samples} samples", hint=hint, exit_code=3)


def regions_in(samples: int, size: float) -> Any:
    """A draw of regions of an image of that height and width; some reach beyond it, some are upside down."""

    def draw(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
        edges = rng.uniform(-0.2 * size, 1.1 * size, (shape[0], 4))
        edges[::3] = np.sort(edges[::3].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        return np.concatenate([rng.integers(0, samples, (shape[0], 1)), edges], axis=1).reshape(shape)

    return draw


BAD_REGIONS = [
    Bad({}, "output_size is required"),
    Bad({"output_size": 0}, "must be >= 1"),
    Bad({"output_size": 2, "spatial_scale": 0}, "must be > 0"),
    Bad({"output_size": 2}, "expected 4 axes", [Spec((2, 4, 6)), Spec((3, 5))]),
    Bad({"output_size": 2}, "no positions", [Spec((2, 4, 0, 6)), Spec((3, 5))]),
    Bad({"output_size": 2}, "the regions, has shape (3, 4), expected (R, 5)", [Spec((2, 4, 6, 6)), Spec((3, 4))]),
    Bad({"output_size": 2}, "bottom[1] must be real", [Spec((2, 4, 6, 6)), Spec((3, 5), "int64")]),
]
