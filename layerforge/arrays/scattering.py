"""Adding numbers at places of an array that an index names: what taking numbers from there is undone by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


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


def scatter_add(xp: Any, out: Any, index: Any, dim: int, values: Any) -> None:
    """Add every element of values to a place of `out`: on axis dim the one that index names, on the others its own.

    It undoes taking elements along an axis: places that were read several times get the sum. index broadcasts to
    values; `out` must be contiguous.
    """
    places = flat_places(xp, index, dim, values.shape, out.shape)
    # Flat places: NumPy adds at rows of a matrix several times more slowly than at single elements.
    flat, places, values = out.reshape(-1), places.reshape(-1), values.reshape(-1)
    if values.size <= flat.size or out.dtype.kind != "f":
        xp.add.at(flat, places, values)
        return
    totals = xp.zeros(flat.size, dtype="float64")  # many to one place: see exact_sum
    xp.add.at(totals, places, values.astype("float64"))
    flat += totals.astype(out.dtype)
