"""float16, of which `precision: 16-mixed` has as much as it rounds to: a sign, 5 bits of exponent, 10 of mantissa."""

from __future__ import annotations

from typing import Any

from .formula import formula

EPSILON = 2.0**-11  # the largest relative error of rounding to it, between the smallest normal number and the largest
LARGEST, SMALLEST_NORMAL, SMALLEST = 65504.0, 2.0**-14, 2.0**-24


@formula
def rounded_to_float16(xp: Any, numbers: Any) -> Any:
    """float32 rounded to what float16 can hold, as float32 in memory of its own: ±∞ beyond `LARGEST`."""
    return numbers.astype("float16").astype("float32")
