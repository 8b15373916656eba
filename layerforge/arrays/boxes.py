"""Boxes: left, top, right and bottom on the last axis, in any unit. How two overlap, and a box as offsets from another.

A code says where a box is beside a prior, in the prior's own measure, four offsets (by CODES):

    corner        what each side is away from the prior's
    corner_size   the same over the prior's width (left, right) and height (top, bottom)
    center_size   what the middle is away from the prior's, over its width and height; the logarithms of width and
                  height over the prior's

each over a variance, where the code is to hold numbers of about one size.
"""

from __future__ import annotations

from typing import Any

CODES = ("corner", "center_size", "corner_size")


def area(xp: Any, boxes: Any) -> Any:
    """Width times height; 0 of a box whose right is left of its left, or that is upside down."""
    sides = xp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def overlap(xp: Any, a: Any, b: Any) -> Any:
    """What two boxes share over what they cover together (intersection over union), 0 to 1; a and b broadcast.

    NaN where a side is NaN.
    """
    low, high = xp.maximum(a[..., :2], b[..., :2]), xp.minimum(a[..., 2:], b[..., 2:])
    sides = xp.maximum(high - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    return shared / xp.where(shared > 0, area(xp, a) + area(xp, b) - shared, 1)


def sizes(boxes: Any) -> Any:
    """Width and height."""
    return boxes[..., 2:] - boxes[..., :2]


def middles(boxes: Any) -> Any:
    """Where the middle is, across and down."""
    return (boxes[..., 2:] + boxes[..., :2]) / 2


def encode(xp: Any, code: str, priors: Any, boxes: Any, variances: Any = 1) -> Any:
    """The offsets of boxes from priors of the same shape. With center_size widths and heights must be above 0."""
    if code == "center_size":
        moved = (middles(boxes) - middles(priors)) / sizes(priors)
        grown = xp.log(sizes(boxes) / sizes(priors))
        return xp.concatenate([moved, grown], axis=-1) / variances
    return (boxes - priors) / unit(xp, code, priors) / variances


def decode(xp: Any, code: str, priors: Any, offsets: Any, variances: Any = 1) -> Any:
    """The boxes whose offsets from the priors these are: what undoes `encode`."""
    offsets = offsets * variances
    if code == "center_size":
        middle = middles(priors) + offsets[..., :2] * sizes(priors)
        half = xp.exp(offsets[..., 2:]) * sizes(priors) / 2
        return xp.concatenate([middle - half, middle + half], axis=-1)
    return priors + offsets * unit(xp, code, priors)


def unit(xp: Any, code: str, priors: Any) -> Any:
    """What the offset of each side is measured by: 1, or (corner_size) the prior's width and height, twice."""
    return xp.concatenate([sizes(priors)] * 2, axis=-1) if code == "corner_size" else 1
