"""bfloat16 on the host: float32 cut to its sign, its 8 bits of exponent and the first 7 of its mantissa.

NumPy has no such dtype. Arrays of `BFLOAT16` hold two bytes for each element, which NumPy can copy and cannot compute
with: where one comes to code that takes it for numbers there is an error, and never a wrong number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .formula import formula

BFLOAT16 = np.dtype("V2")
EPSILON = 2.0**-8  # the largest relative error of rounding to 8 bits of mantissa, the one not stored included
SHARES = 4  # so many numbers may be added up in bfloat16, as where a few windows overlap; of more float32 is the sum
INFINITE, MINUS_INFINITE = 0x7F80, 0xFF80  # the bits of ∞ and -∞; those of NaN lie behind them
HIDDEN = 16  # bits of a float32 that a bfloat16 has not


def is_bfloat16(array: Any) -> bool:
    """Whether an array holds bfloat16."""
    return getattr(array, "dtype", None) == BFLOAT16


def widened(array: Any) -> Any:
    """The numbers of a bfloat16 array as float32, exactly; any other array as it is."""
    if not is_bfloat16(array):
        return array
    bits = array.view("uint16").astype("uint32")
    bits <<= HIDDEN
    return bits.view("float32")


def narrowed(numbers: Any) -> Any:
    """float32 as a bfloat16 array: to the nearest, of two as near to the one whose last bit is 0. NaN stays NaN."""
    return (_rounded_bits(np, numbers) >> HIDDEN).astype("uint16").view(BFLOAT16)


def stored(numbers: Any, dtype: Any) -> Any:
    """Numbers as an array of a dtype, which may be `BFLOAT16`."""
    return narrowed(numbers) if dtype == BFLOAT16 else np.asarray(numbers, dtype)


@formula
def rounded(xp: Any, numbers: Any) -> Any:
    """float32 rounded to what bfloat16 can hold, as float32 in memory of its own."""
    bits = _rounded_bits(xp, numbers)
    bits &= xp.uint32(0xFFFF0000)
    return bits.view("float32")


def all_finite(array: Any) -> bool:
    """Whether a bfloat16 array of any shape without gaps holds neither NaN nor ±∞, by its bits: two quick readings."""
    positive, negative = array.view("int16"), array.view("uint16")
    return bool(positive.max(initial=0) < INFINITE and negative.max(initial=0) < MINUS_INFINITE)


def _rounded_bits(xp: Any, numbers: Any) -> Any:
    """The bits of float32 numbers, of which the upper 16 are those of the nearest bfloat16."""
    bits = xp.array(numbers, dtype="float32", order="K").view("uint32")  # a copy
    not_a_number = (bits & xp.uint32(0x7FFFFFFF)) > xp.uint32(0x7F800000)
    up = ((bits >> xp.uint32(HIDDEN)) & xp.uint32(1)) + xp.uint32(0x7FFF)
    up = xp.where(not_a_number, xp.uint32(0), up)  # a NaN that is rounded up could become 0
    bits += up
    bits |= xp.where(not_a_number, xp.uint32(0x00400000), xp.uint32(0))
    return bits
