"""Reading an axis between its positions: which neighbours a place has, and how much each of them counts.

A place p lies at the centre of position i where p = i. Its value is a sum over neighbours with weights that depend on
how far they are from p, so the derivative by p is the sum with the derivatives of the weights. GridSample's docstring
has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
REACH = 4  # positions beyond the ends from which on no neighbour lies on the axis
A = -0.75  # of the cubic kernel: torch's, and OpenCV's


class Neighbour(NamedTuple):
    """One of the positions that a place is made of, for many places at once.

    position   on the axis, from the beginning of its border on
    weight     how much of it is in the place
    slope      gives the derivative of the weight by the coordinate
    """

    position: Any
    weight: Any
    slope: Callable[[], Any]


class Reading(NamedTuple):
    """How an axis is read; the words are GridSample's."""

    mode: str
    padding_mode: str
    align_corners: bool

    @property
    def border(self) -> int:
        """How many zeros belong in front of an axis and behind it, to be read for what is outside."""
        return 1 if self.padding_mode == "zeros" else 0

    def neighbours(self, xp: Any, g: Any, size: int) -> list[Neighbour]:
        """The neighbours of coordinates g, -1 to 1 from end to end, on an axis of so many positions."""
        scale = (size - 1) / 2 if self.align_corners else size / 2
        p = g * scale + (size - 1) / 2
        if self.padding_mode != "reflection":
            p = xp.minimum(xp.maximum(p, -REACH), size - 1 + REACH)  # further out is the same, and finite
        if self.mode == "bicubic":  # it is the neighbours that are brought back
            return [self.settled(xp, self.inside(xp, i, size)[0], w, s, scale, size) for i, w, s in cubic(xp, p)]
        p, moves = self.inside(xp, p, size)
        read = nearest if self.mode == "nearest" else linear
        return [self.settled(xp, i, w, s, moves * scale, size) for i, w, s in read(xp, p)]

    def inside(self, xp: Any, p: Any, size: int) -> tuple[Any, Any]:
        """Places brought back onto the axis by padding_mode, and how they move when p does: 1, -1 or 0."""
        if self.padding_mode == "zeros":
            return p, 1
        moves: Any = 1
        if self.padding_mode == "reflection":
            p, moves = self.reflected(xp, p, size)
        return xp.minimum(xp.maximum(p, 0), size - 1), moves * ((p > 0) & (p < size - 1))

    def reflected(self, xp: Any, p: Any, size: int) -> tuple[Any, Any]:
        """Places thrown back at the ends, the corners' centres or edges, as often as it takes; and which way they move.

        Along p that is a saw: up from the first end to the last, down again, and so on.
        """
        first = 0 if self.align_corners else -0.5
        span = size - 1 - 2 * first
        if not span:
            return p * 0, 0
        way = xp.mod(p - first, 2 * span)
        return first + span - abs(way - span), 1 - 2 * (way > span)

    def settled(self, xp: Any, i: Any, weight: Any, slope: Callable[[], Any], moves: Any, size: int) -> Neighbour:
        """A neighbour at i, a whole number: if that is outside, in the border. NaN weighs NaN, and is somewhere.

        Without a border only what weighs 0 is outside.
        """
        position = xp.fmin(xp.fmax(i, -self.border), size - 1 + self.border) + self.border
        return Neighbour(position.astype("int64"), weight, lambda: slope() * moves)


Readings = list[tuple[Any, Any, Callable[[], Any]]]  # neighbours, their weights, and what gives the derivatives by p


def nearest(xp: Any, p: Any) -> Readings:
    """The nearest position, of two as near the even one."""
    return [(xp.rint(p), xp.where(xp.isnan(p), p, 1), lambda: p * 0)]


def linear(xp: Any, p: Any) -> Readings:
    """The two positions around p."""
    i = xp.floor(p)
    f = p - i
    return [(i, 1 - f, lambda: f * 0 - 1), (i + 1, f, lambda: f * 0 + 1)]


def cubic(xp: Any, p: Any) -> Readings:
    """The four positions around p, by distance: two within 1, two within 2."""
    i = xp.floor(p)
    f = p - i
    near: Callable[[Any], Any] = lambda d: ((A + 2) * d - (A + 3)) * d * d + 1  # noqa: E731
    far: Callable[[Any], Any] = lambda d: ((A * d - 5 * A) * d + 8 * A) * d - 4 * A  # noqa: E731
    near_slope: Callable[[Any], Any] = lambda d: (3 * (A + 2) * d - 2 * (A + 3)) * d  # noqa: E731
    far_slope: Callable[[Any], Any] = lambda d: (3 * A * d - 10 * A) * d + 8 * A  # noqa: E731
    return [
        (i - 1, far(f + 1), lambda: far_slope(f + 1)),
        (i, near(f), lambda: near_slope(f)),
        (i + 1, near(1 - f), lambda: -near_slope(1 - f)),
        (i + 2, far(2 - f), lambda: -far_slope(2 - f)),
    ]
