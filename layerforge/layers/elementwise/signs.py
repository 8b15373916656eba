"""Signs and steps: layers whose slope is 1, -1 or 0. The table is at the end of the file."""

from __future__ import annotations

from typing import Any

from .elementwise import elementwise


def no_slope(self: Any, dy: Any, kept: None) -> Any:
    """The gradient of a function that is constant piece by piece."""
    return self.xp.zeros_like(dy)


# The table. Each entry: name and what it is; f and how to compute it; f' times dy and how to compute it. --------------

Abs = elementwise(
    "Abs", "absolute value (Caffe: AbsVal)",
    y="|x|",                          f=lambda self, x, y: self.xp.abs(x, out=y),
    dx="dy sign x, 0 where x = 0",    df=lambda self, dy, x: dy * self.xp.sign(x),  reads="bottom",
    source="compare torch.abs",
)  # fmt: skip

Neg = elementwise(
    "Neg", "negative",
    y="-x",                           f=lambda self, x, y: self.xp.negative(x, out=y),
    dx="-dy",                         df=lambda self, dy, kept: -dy,  reads="",
    source="compare torch.neg",
)  # fmt: skip

Sign = elementwise(
    "Sign", "sign of x: 1, 0 or -1",
    y="1 where x > 0, -1 where x < 0, otherwise 0",
    f=lambda self, x, y: self.xp.sign(x, out=y),
    dx="0, also where y jumps",       df=no_slope,  reads="",
    note="A net does not learn through it: below, every gradient is zero.",
    source="compare torch.sign",
)  # fmt: skip

Floor = elementwise(
    "Floor", "the largest whole number that is not above x",
    y="⌊x⌋",                          f=lambda self, x, y: self.xp.floor(x, out=y),
    dx="0, also where y jumps",       df=no_slope,  reads="",
    note="A net does not learn through it: below, every gradient is zero.",
    source="compare torch.floor",
)  # fmt: skip
