"""Adding numbers at places of an array that an index names: what taking numbers from there is undone by.

NumPy adds in the order of the numbers. A device adds to one place from many threads, in an order that differs from run
to run, and a sum of floating-point numbers depends on it in its last bits. A sum of whole numbers does not, as nothing
is rounded in it. So there all numbers v that go to one place are written as whole numbers of the same quantum q:

    2^e > |v| for all of them,   q = 2^(e - bits),   Σ v = q Σ round(v / q)

and 64 bits hold Σ. Of n numbers each keeps 62 - log₂ n bits below the largest: a float32 number, which has 24, loses
nothing unless it is so small that the sum in float64 would hardly show it, either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .formula import formula

BITS = 62  # of a sum of whole numbers in int64: the sign takes one, and one is to spare
LEAST = -1100  # an exponent below those of all numbers but 0
ROOM = 4  # so many times the memory of what is added may be taken


def flat_places(xp: Any, index: Any, dim: int, part: Sequence[int], shape: Sequence[int]) -> Any:
    """Where the elements of a part of an array stand in the whole of that shape, read in row-major order.

    On axis dim an element stands where index says, which broadcasts to the part, on the others where it is in the part.
    """
    index = index.astype("int64")  # a position may be more than a small index type holds
    places: Any = 0  # an array from the first axis on
    stride = 1
    for axis in reversed(range(len(shape))):
        own = xp.arange(part[axis]).reshape((-1,) + (1,) * (len(shape) - 1 - axis))
        places = places + (index if axis == dim else own) * stride
        stride *= shape[axis]
    return places


def scatter_add(xp: Any, out: Any, index: Any, dim: int, values: Any, *, distinct: bool = False) -> None:
    """Add every element of values to a place of `out`: on axis dim the one that index names, on the others its own.

    It undoes taking elements along an axis: places that were read several times get the sum. index broadcasts to
    values; `out` must be contiguous. The same arguments give the same bits, on a device too.

    distinct   no place is named twice, so that there is nothing to add up
    """
    if xp is not np and out.dtype.kind == "f" and not distinct:
        scatter_add_there(xp, out, index, dim, values)
        return
    places = flat_places(xp, index, dim, values.shape, out.shape)
    # Flat places: NumPy adds at rows of a matrix several times more slowly than at single elements.
    flat, places, values = out.reshape(-1), places.reshape(-1), values.reshape(-1)
    if values.size <= flat.size or out.dtype.kind != "f":
        xp.add.at(flat, places, values)
        return
    totals = xp.zeros(flat.size, dtype="float64")  # many to one place: see exact_sum
    xp.add.at(totals, places, values.astype("float64"))
    flat += totals.astype(out.dtype)


# On a device ----------------------------------------------------------------------------------------------------------


@formula
def scatter_add_there(xp: Any, out: Any, index: Any, dim: int, values: Any) -> Any:
    """`scatter_add` of real numbers, in memory of the size of values, or of `out` where that is little more: `out`."""
    if not values.size:
        return out
    places = flat_places(xp, index, dim, values.shape, out.shape).reshape(-1)
    flat, most = out.reshape(-1), values.shape[dim]
    if out.size <= ROOM * values.size:
        flat += placed_sums(xp, values.reshape(-1), places, out.size, most).astype(out.dtype)
        return out
    last = last_to_same_place(xp, index, dim, out.shape)
    meeting = flat_places(xp, last, dim, values.shape, values.shape).reshape(-1)
    sums = placed_sums(xp, values.reshape(-1), meeting, values.size, most).astype(out.dtype)
    flat[places] += sums[meeting]  # those that go to one place have one sum, and write the same number
    return out


def last_to_same_place(xp: Any, index: Any, dim: int, shape: Sequence[int]) -> Any:
    """For each element of an index, where on axis dim the last one stands that goes to the same place."""
    index = index.reshape((1,) * (len(shape) - index.ndim) + index.shape)
    own = [shape[axis] if axis == dim else n for axis, n in enumerate(index.shape)]
    places = flat_places(xp, index, dim, index.shape, own).reshape(-1)
    along = xp.arange(index.shape[dim]).reshape((-1,) + (1,) * (index.ndim - 1 - dim))
    last = xp.zeros(math.prod(own), dtype="int64")
    xp.maximum.at(last, places, xp.broadcast_to(along, index.shape).reshape(-1))
    return last[places].reshape(index.shape)


@formula
def placed_sums(xp: Any, values: Any, places: Any, count: int, most: int) -> Any:
    """The sums of the values that go to each of `count` places, in float64; of no value 0. Both are (n) alike.

    most   of the values at most go to one place

    Whatever the order, the bits are the same: what is added is whole, or 0, or not finite.
    """
    finite = xp.where(xp.isfinite(values), values, 0)
    bits = BITS - most.bit_length()
    exponent = xp.where(finite != 0, xp.frexp(finite)[1], LEAST)
    largest = xp.full(count, LEAST, dtype="int32")
    xp.maximum.at(largest, places, exponent)
    whole = xp.zeros(count, dtype="int64")
    xp.add.at(whole, places, xp.rint(xp.ldexp(finite, bits - largest[places])).astype("int64"))
    others = xp.zeros(count, dtype="float64")
    xp.add.at(others, places, (values - finite).astype("float64"))
    return xp.ldexp(whole.astype("float64"), largest - bits) + others
