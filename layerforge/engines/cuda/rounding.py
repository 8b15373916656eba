"""Rounding to what 2 bytes hold: arrays/bfloat16.py and arrays/float16.py."""

from __future__ import annotations

from typing import Any

from .kernel import Elementwise, stands_in

# Of two as near the one whose last bit is 0; a NaN, which rounded up could become 0, is made a quiet one and cut.
ROUNDED = Elementwise(
    "rounded",
    "uint32 x",
    "uint32 y",
    """
    const bool not_a_number = (x & 0x7FFFFFFFu) > 0x7F800000u;
    const unsigned int up = 0x7FFFu + ((x >> 16) & 1u);
    y = (not_a_number ? (x | 0x00400000u) : x + up) & 0xFFFF0000u;
    """,
)

# Below 2⁻¹⁴, where numbers of float16 lie 2⁻²⁴ apart, as those of float32 do that are near 0.75.
ROUNDED_TO_FLOAT16 = Elementwise(
    "rounded_to_float16",
    "float32 x",
    "float32 y",
    """
    union { float number; unsigned int bits; } v;
    v.number = x;
    const unsigned int sign = v.bits & 0x80000000u;
    v.bits -= sign;
    if (v.bits < 0x38800000u) {
        v.number = (v.number + 0.75f) - 0.75f;
    } else if (v.bits <= 0x7F800000u) {  // not NaN
        v.bits = (v.bits + 0x0FFFu + ((v.bits >> 13) & 1u)) & 0xFFFFE000u;
        if (v.bits > 0x477FE000u) v.bits = 0x7F800000u;  // 65504, and infinity
    }
    v.bits |= sign;
    y = v.number;
    """,
)


@stands_in
def rounded(xp: Any, numbers: Any) -> Any:
    """float32 rounded to what bfloat16 can hold, as float32 in memory of its own."""
    return ROUNDED(xp, numbers.view("uint32")).view("float32") if numbers.dtype == "float32" else NotImplemented


@stands_in
def rounded_to_float16(xp: Any, numbers: Any) -> Any:
    """float32 rounded to what float16 can hold, as float32 in memory of its own."""
    return ROUNDED_TO_FLOAT16(xp, numbers) if numbers.dtype == "float32" else NotImplemented
