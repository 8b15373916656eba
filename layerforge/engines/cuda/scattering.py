"""Sums at places that an index names, as whole numbers: the texts are in arrays/scattering.py, the bits are theirs.

Three kernels, as a device has to be through with one step before another begins: the largest exponent of each place,
the sums of whole numbers, and what these are worth. Many threads go to one place, by atomic operations whose order
changes nothing: the largest of integers, and sums of integers, or of what is not finite. Indices out of range, which
are told of afterwards, are left out.
"""

from __future__ import annotations

import math
from typing import Any

from ...arrays import scattering
from .kernel import Elementwise, stands_in

# Element i of (outer, many, inner) goes to (outer, places, inner).
PLACES = "int64 inner, int64 many, int64 places"
AT = "i / (inner * many) * places * inner + (long long)index * inner + i % inner"
INSIDE = "(long long)index >= 0 && (long long)index < places"

EXPONENTS = Elementwise(
    "scatter_exponents",
    f"T v, I index, {PLACES}",
    "raw int32 largest",
    f"""
    if (v != 0 && isfinite(v) && {INSIDE}) {{
        int exponent;
        frexp((double)v, &exponent);
        atomicMax(&largest[{AT}], exponent);
    }}
    """,
)

WHOLE = Elementwise(
    "scatter_whole",
    f"T v, I index, {PLACES}, int32 bits, raw int32 largest",
    "raw int64 whole, raw float64 others",
    f"""
    if ({INSIDE}) {{
        const long long at = {AT};
        if (isfinite(v)) {{
            const long long k = (long long)rint(ldexp((double)v, bits - largest[at]));
            atomicAdd((unsigned long long *)&whole[at], (unsigned long long)k);
        }} else {{
            atomicAdd(&others[at], (double)v);
        }}
    }}
    """,
)

WORTH = "ldexp((double)whole{0}, largest{0} - bits) + others{0}"
SUMS = "int64 whole, float64 others, int32 largest, int32 bits"
TOTALS = Elementwise("scatter_totals", SUMS, "float64 y", f"y = {WORTH.format('')}")
ADDED = Elementwise("scatter_added", SUMS, "T y", f"y = y + (T)({WORTH.format('')})")

# Sums that lie where the last of their numbers is, at `last`: that one adds.
ADDED_BY_LAST = Elementwise(
    "scatter_added_by_last",
    f"J last, I index, {PLACES}, int32 bits, raw int64 whole, raw float64 others, raw int32 largest",
    "raw T y",
    f"if (i / inner % many == (long long)last && {INSIDE}) y[{AT}] += (T)({WORTH.format('[i]')})",
)


@stands_in
def placed_sums(xp: Any, values: Any, places: Any, count: int, most: int) -> Any:
    """Sums at `count` places."""
    if values.dtype.kind != "f" or not values.size:
        return NotImplemented
    bits = scattering.BITS - most.bit_length()
    whole, others, largest = summed(xp, values, places, (1, values.size, count), count, bits)
    return TOTALS(xp, whole, others, largest, bits)


@stands_in
def scatter_add_there(xp: Any, out: Any, index: Any, dim: int, values: Any) -> Any:
    """Sums added to an array."""
    shape, part = out.shape, values.shape
    if values.dtype.kind != "f" or not values.size or any(n != shape[a] for a, n in enumerate(part) if a != dim):
        return NotImplemented
    index, many = xp.broadcast_to(index, part), part[dim]
    inner, bits = math.prod(part[dim + 1 :]), scattering.BITS - many.bit_length()
    if out.size <= scattering.ROOM * values.size:
        sums = summed(xp, values, index, (inner, many, shape[dim]), shape, bits)
        ADDED(xp, *sums, bits, out)
        return out
    last = xp.broadcast_to(scattering.last_to_same_place(xp, index, dim, shape), part)
    sums = summed(xp, values, last, (inner, many, many), part, bits)
    ADDED_BY_LAST(xp, last, index, inner, many, shape[dim], bits, *sums, out)
    return out


def summed(xp: Any, values: Any, index: Any, sizes: tuple[int, int, int], shape: Any, bits: int) -> tuple[Any, ...]:
    """Arrays of that shape: the sums of whole numbers, those of what is not finite, and the largest exponents."""
    largest = xp.full(shape, scattering.LEAST, dtype="int32")
    EXPONENTS(xp, values, index, *sizes, largest)
    whole, others = xp.zeros(shape, dtype="int64"), xp.zeros(shape, dtype="float64")
    WHOLE(xp, values, index, *sizes, bits, largest, whole, others)
    return whole, others, largest
