"""GridSample: an image read at places that another blob names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from ...arrays.functional import exact_sum, expect_role, shape_mismatch
from ...arrays.scattering import scatter_add
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .interpolation import MODES, PADDINGS, Neighbour, Reading

CACHED = 2**16  # elements that are read, weighed and added up before the next, so that they stay in the caches


class Corner(NamedTuple):
    """One neighbour of every place: where it is among the positions of all samples, borders included."""

    position: Any
    along: Sequence[Neighbour]  # what it is on each axis

    def weight(self) -> Any:
        """How much it counts: the product over the axes."""
        return math.prod((n.weight for n in self.along[1:]), start=self.along[0].weight)

    def slope(self, axis: int) -> Any:
        """The derivative of the weight by the coordinate of one axis."""
        others = (n.weight for a, n in enumerate(self.along) if a != axis)
        return math.prod(others, start=self.along[axis].slope())


@register
class GridSample(Layer):
    """GridSample: an image read at places that a second blob names, in between its positions too

        y[n, c, p] = Σ w(q₁ - i₁) w(q₂ - i₂) x[n, c, i]      over the positions i = (i₁, i₂), down and across

    where q is the place that grid[n, p] = (g₂, g₁) names: across first, then down, -1 and 1 the ends of each axis. With
    g the coordinate along an axis of S positions

        q = g S/2 + (S - 1)/2              -1 and 1 are the outer edges of the first and the last position,
        q = g (S - 1)/2 + (S - 1)/2        with align_corners their centres

    and an element weighs by its distance u from the place:

        nearest    w(u) = 1 for the position nearest to q; halfway, the even one
        bilinear   w(u) = 1 - |u| for |u| < 1
        bicubic    w(u) = (5/4)|u|³ - (9/4)|u|² + 1 for |u| <= 1
                   w(u) = -(3/4)(|u|³ - 5|u|² + 8|u| - 4) for 1 < |u| < 2

    and w = 0 elsewhere. Outside of the image, by padding_mode: zeros, x is 0; border, a place beyond the centre of
    the outermost position is moved to it; reflection, it is thrown back at the edges (with align_corners at the
    centres). With bicubic each neighbour is brought back so, and not the place. A volume has a third axis:
    grid[n, p] = (g₃, g₂, g₁), width, height, depth.

    Shapes    x (N, C, H, W) real, grid (N, H', W', 2) real, y (N, C, H', W');
              or x (N, C, D, H, W), grid (N, D', H', W', 3), y (N, C, D', H', W')
    Backward  y is linear in x: every element of dy goes back to those that it was read from,
                  dx[n, c, i] = Σₚ w(q₁ - i₁) w(q₂ - i₂) dy[n, c, p]
              A place moves the weights, of one axis at a time by the product rule, and q moves with g by S/2 or
              (S - 1)/2; the other way where it was reflected an odd number of times, not at all where border holds it:
                  dg₁ = ∂q₁/∂g₁ Σ dy[n, c, p] w'(q₁ - i₁) w(q₂ - i₂) x[n, c, i]      over c and i; dg₂ likewise
              For nearest w' = 0, as y jumps or stands still.
    Keeps     x, grid
    Cost      2 operations per element of y and neighbour forward (1, 4 or 16 of them, for a volume 1 or 8), about twice
              that backward
    Errors    LayerError when shapes do not fit, x has no positions, or bicubic has a volume
    Source    Jaderberg et al. 2015, spatial transformers; the cubic kernel: Keys 1981; compare
              torch.nn.functional.grid_sample
    """

    bottoms = 2
    backward_reads = ("bottom",)

    mode: str = param("bilinear", help="how many neighbours of a place are read", choices=MODES)
    padding_mode: str = param("zeros", help="what is read outside of the image", choices=PADDINGS)
    align_corners: bool = param(False, help="-1 and 1 are the centres of the outer positions, not their edges")

    examples = [
        *(
            Example(
                {"mode": mode, "padding_mode": padding, "align_corners": (m + p) % 2 == 1},
                [Spec((2, 2, 3, 4)), Spec((2, 2, 3, 2), low=-1.9, high=1.9)],
            )
            for (m, mode), (p, padding) in product(enumerate(MODES), enumerate(PADDINGS))
        ),
        Example({}, [Spec((2, 3, 2, 3, 4)), Spec((2, 2, 1, 2, 3), low=-1.5, high=1.5)], "volume"),
        Example(
            {"padding_mode": "reflection", "align_corners": True},
            [Spec((1, 2, 3, 2, 2)), Spec((1, 2, 2, 2, 3), low=-3, high=3)],
        ),
        Example(
            {"mode": "nearest", "padding_mode": "border"},
            [Spec((1, 1, 2, 3, 4)), Spec((1, 3, 1, 2, 3), low=-1.5, high=1.5)],
        ),
        Example({"align_corners": True}, [Spec((2, 1, 1, 1)), Spec((2, 3, 1, 2))], "one position"),
        Example(
            {"padding_mode": "reflection", "align_corners": True}, [Spec((1, 1, 1, 3)), Spec((1, 2, 2, 2))], "one row"
        ),
        Example({}, [Spec((2, 2, 3, 3)), Spec((2, 2, 2, 2), low=-1e4, high=1e4)], "far outside"),
        Example({}, [Spec((0, 2, 3, 3)), Spec((0, 2, 2, 2))], "no sample"),
    ]
    bad_examples = [
        Bad({"mode": "cubic"}, "must be one of bilinear, nearest, bicubic"),
        Bad({"padding_mode": "reflect"}, "must be one of zeros, border, reflection"),
        Bad({}, "takes 2 bottom(s), got 1", [Spec((2, 3, 4, 4))]),
        Bad({}, "expected (N, C, H, W) or (N, C, D, H, W)", [Spec((2, 3, 4)), Spec((2, 3, 1))]),
        Bad({}, "has shape (2, 4, 4, 3), expected (2, H', W', 2)", [Spec((2, 3, 4, 4)), Spec((2, 4, 4, 3))]),
        Bad({}, "has shape (1, 4, 4, 2), expected (2, H', W', 2)", [Spec((2, 3, 4, 4)), Spec((1, 4, 4, 2))]),
        Bad({}, "expected (2, D', H', W', 3)", [Spec((2, 3, 4, 4, 4)), Spec((2, 4, 4, 2))]),
        Bad({}, "no positions", [Spec((2, 3, 0, 4)), Spec((2, 4, 4, 2))]),
        Bad({"mode": "bicubic"}, "bicubic reads images", [Spec((1, 1, 2, 2, 2)), Spec((1, 2, 2, 2, 3))]),
        Bad({}, "bottom[0] must be real numbers", [index((2, 3, 4, 4), 5), Spec((2, 4, 4, 2))]),
        Bad({}, "bottom[1] must be real numbers", [Spec((2, 3, 4, 4)), index((2, 4, 4, 2), 3)]),
    ]

    def setup(self, x: Spec, grid: Spec) -> Spec:
        expect_role("bottom[0]", x, "real")
        expect_role("bottom[1]", grid, "real")
        if x.ndim not in (4, 5):
            raise shape_mismatch("bottom[0]", x.shape, "(N, C, H, W) or (N, C, D, H, W)")
        axes = x.ndim - 2
        if grid.ndim != x.ndim or grid.shape[0] != x.shape[0] or grid.shape[-1] != axes:
            outputs = ", ".join(["D'", "H'", "W'"][3 - axes :])
            raise shape_mismatch("bottom[1], the grid,", grid.shape, f"({x.shape[0]}, {outputs}, {axes})")
        if 0 in x.shape[2:]:
            raise LayerError(f"bottom[0] has shape {x.shape}: no positions")
        if self.mode == "bicubic" and axes == 3:
            raise LayerError("bicubic reads images, and bottom[0] is a volume", hint="mode: bilinear, or nearest")
        return x.with_shape((*x.shape[:2], *grid.shape[1:-1]))

    @property
    def reading(self) -> Reading:
        return Reading(self.mode, self.padding_mode, self.align_corners)

    def bordered(self, size: Sequence[int]) -> tuple[int, ...]:
        """The spatial shape of x with the border of zeros that stands for what is outside of it."""
        return tuple(s + 2 * self.reading.border for s in size)

    def corners(self, shape: Sequence[int], grid: Any) -> Iterator[Corner]:
        """The neighbours of all places of the grid, in an x of this shape."""
        xp, size = self.xp, shape[2:]
        per_axis, counts = [], self.bordered(size)
        coordinates = xp.ascontiguousarray(grid.reshape(-1, len(size)).T)
        for axis, count in enumerate(size):
            step = math.prod(counts[axis + 1 :])
            found = self.reading.neighbours(xp, coordinates[-1 - axis], count)
            per_axis.append([n._replace(position=n.position * step) for n in found])
        samples = xp.arange(shape[0]).repeat(math.prod(grid.shape[1:-1])) * math.prod(counts)
        for along in product(*per_axis):
            yield Corner(sum((n.position for n in along), start=samples), along)

    def forward(self, x: Any, grid: Any) -> Any:
        self.save(x=x, grid=grid)
        return self.apply(x, grid)

    def apply(self, x: Any, grid: Any) -> Any:
        """x read at the places of the grid: the map that is linear in x."""
        return self.weighed(x, grid, Corner.weight)

    def weighed(self, x: Any, grid: Any, factor: Callable[[Corner], Any]) -> Any:
        """The sum of the elements at all corners of every place, each times a factor that the corner has."""
        numbers = self.by_channel(x)
        y = self.xp.zeros((x.shape[1], math.prod(grid.shape[:-1])), dtype=x.dtype)
        for corner in self.corners(x.shape, grid):
            times = factor(corner)
            for some in channels_of(y):
                read = numbers[some].take(corner.position, axis=1)
                read *= times
                y[some] += read
        return by_sample(y, grid.shape[:-1])

    def by_channel(self, x: Any) -> Any:
        """(N, C, *S) as a matrix with a row for each channel: all samples, each with its border of zeros."""
        (n, c, *size), border = x.shape, self.reading.border
        whole = self.xp.zeros((c, n, *self.bordered(size)), dtype=x.dtype)
        whole[:, :, *within(size, border)] = x.swapaxes(0, 1)
        return whole.reshape(c, math.prod(whole.shape[1:]))

    def backward(self, dy: Any) -> tuple[Any, Any]:
        xp, x, grid = self.xp, self.saved.x, self.saved.grid
        numbers, up = self.by_channel(x), xp.ascontiguousarray(dy.swapaxes(0, 1)).reshape(dy.shape[1], -1)
        dx = xp.zeros_like(numbers) if self.needs_grad[0] else None
        dgrid = xp.zeros((grid.shape[-1], up.shape[1]), dtype=dy.dtype) if self.needs_grad[1] else None
        for corner in self.corners(x.shape, grid):
            weight, said = corner.weight(), 0
            for some in channels_of(up):
                if dx is not None:
                    scatter_add(xp, dx[some], corner.position, 1, weight * up[some])
                if dgrid is not None:
                    said = said + exact_sum(up[some] * numbers[some].take(corner.position, axis=1), 0)
            if dgrid is not None:
                for axis in range(len(corner.along)):
                    dgrid[-1 - axis] += said * corner.slope(axis)
        if dx is not None:
            (n, _, *size), border = x.shape, self.reading.border
            dx = by_sample(dx, (n, *self.bordered(size)))[:, :, *within(size, border)]
        return dx, None if dgrid is None else dgrid.T.reshape(grid.shape)

    def jvp(self, dx: Any, dgrid: Any) -> Any:
        x, grid = self.saved.x, self.saved.grid
        dy = 0 if dx is None else self.apply(dx, grid)
        if dgrid is None:
            return dy
        moves = dgrid.reshape(-1, grid.shape[-1])
        axes = range(grid.shape[-1])
        return dy + self.weighed(x, grid, lambda corner: sum(moves[:, -1 - a] * corner.slope(a) for a in axes))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        neighbours = {"nearest": 1, "bilinear": 2, "bicubic": 4}[self.mode] ** bottoms[1].shape[-1]
        return 2 * tops[0].size * neighbours


def by_sample(rows: Any, shape: Sequence[int]) -> Any:
    """A row for each channel as (N, C, *S); shape is (N, *S)."""
    return rows.reshape(rows.shape[0], *shape).swapaxes(0, 1)


def within(size: Sequence[int], border: int) -> tuple[slice, ...]:
    """The image, on each axis, in one with a border."""
    return tuple(slice(border, border + s) for s in size)


def channels_of(rows: Any) -> Iterator[slice]:
    """A few channels at a time."""
    count = max(1, CACHED // max(1, rows.shape[1]))
    return (slice(first, first + count) for first in range(0, rows.shape[0], count))
