"""Where CuPy answers otherwise than NumPy, on NumPy's arrays: for `strict_cupy`, which has the arrays of the device.

What CuPy defines is done as CuPy does it: an index array that is out of range wraps, a singular matrix has an inverse
of NaN. What is undefined on a device raises ValueError: whatever NumPy makes of it, no code may count on that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np


def silent(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which tells nothing of overflows and invalid numbers: no device does, whatever np.errstate says."""

    def computed(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return computed


# Most arguments are of these types, which hold no array, so that nothing else need be asked of them.
PLAIN = frozenset(map(type, (None, ..., False, 0, 0.0, "", slice(None))))


# Indices --------------------------------------------------------------------------------------------------------------


def as_tuple(index: Any) -> tuple[Any, ...]:
    """The parts of an index, one for each axis or new axis."""
    return index if isinstance(index, tuple) else (index,)


def is_plain(index: Any) -> bool:
    """Whether there is no array or list in an index."""
    return PLAIN.issuperset(map(type, as_tuple(index)))


def is_mask(item: Any) -> bool:
    """Whether a part of an index is an array of booleans."""
    return isinstance(item, np.ndarray) and item.dtype == bool


def wrapped(index: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An index whose arrays and lists count on from the beginning where they leave an axis, as CuPy's do."""
    parts = as_tuple(index)
    if is_plain(parts):
        return parts
    masks = [part for part in parts if is_mask(part)]
    if len(masks) > 1:
        raise NotImplementedError("CuPy takes one array of booleans in an index")
    taken = sum(part is not None and part is not Ellipsis for part in parts) + sum(mask.ndim - 1 for mask in masks)
    found, axis = [], 0
    for part in parts:
        if part is Ellipsis:
            axis += len(shape) - taken
        elif is_mask(part):
            axis += part.ndim
        elif part is not None:
            is_array = isinstance(part, (list, np.ndarray)) and axis < len(shape)
            part = into_range(np.asarray(part), shape[axis]) if is_array and np.size(part) else part
            axis += 1
        found.append(part)
    return tuple(found)


def into_range(index: np.ndarray, size: int) -> np.ndarray:
    """Whole numbers as places on an axis of that size, counted on from its beginning."""
    return index % size if size and index.dtype.kind in "iu" else index


def take(a: Any, indices: Any, axis: Any = None, out: Any = None) -> Any:
    return np.take(a, indices, axis, out, mode="wrap")


def put(a: Any, ind: Any, v: Any, mode: str = "wrap") -> None:
    np.put(a, ind, v, mode)


def take_along_axis(arr: Any, indices: Any, axis: Any) -> Any:
    return np.take_along_axis(arr, into_range(indices, arr.size if axis is None else arr.shape[axis]), axis)


def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    np.put_along_axis(arr, into_range(indices, arr.size if axis is None else arr.shape[axis]), values, axis)


# Linear algebra -------------------------------------------------------------------------------------------------------


def or_nan(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of matrices (..., K, K) that gives NaN for each that it refuses. CuPy asks for no error by itself.

    (Of a matrix that is not positive definite cuSOLVER leaves a part of the factor. NaN stands for whatever that is.)
    """

    @functools.wraps(function)
    def computed(a: np.ndarray, *more: np.ndarray) -> Any:
        try:
            return function(a, *more)
        except np.linalg.LinAlgError:
            if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
                raise
        if a.ndim == 2:
            return np.full_like(more[0] if more else a, np.nan)
        return np.stack([computed(*matrices) for matrices in zip(a, *more, strict=True)])

    return computed


# Sums of numbers at places -------------------------------------------------------------------------------------------


def refuse_order(places: np.ndarray, values: Any) -> None:
    """Several numbers that are added to one place, of which a float holds a fraction: each order rounds otherwise.

    A device adds in any order. Whole numbers, 0, infinity and NaN add up to the same in each.
    """
    numbers = np.broadcast_to(values, places.shape)
    fractions = np.isfinite(numbers) & (numbers != np.trunc(numbers))
    found, counts = np.unique(places, return_counts=True)
    if np.isin(places[fractions], found[counts > 1]).any():
        raise ValueError("several real numbers are added to one place, a device does so in any order: scatter_add")


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    if weights is not None:
        refuse_order(x, weights)
    return np.bincount(x, weights, minlength)


# What CuPy's function of a name does, where that is something else. Methods have the same names.
INSTEAD: dict[str, Callable[..., Any]] = {
    "bincount": bincount,
    "take": take,
    "put": put,
    "take_along_axis": take_along_axis,
    "put_along_axis": put_along_axis,
    "inv": or_nan(np.linalg.inv),
    "solve": or_nan(np.linalg.solve),
    "cholesky": or_nan(np.linalg.cholesky),
}

# Values of keywords that CuPy takes, of those that it has but fewer values for.
VALUES: dict[str, tuple[Any, ...]] = {"kind": (None, "stable")}


def check_value(parameter: str, value: Any) -> None:
    """ValueError, in CuPy's words, for a value of a keyword that CuPy does not take."""
    if parameter in VALUES and value not in VALUES[parameter]:
        raise ValueError(f"{parameter} can only be {' or '.join(map(repr, VALUES[parameter]))}")


# What is undefined on a device ----------------------------------------------------------------------------------------


def is_same_view(one: Any, other: Any) -> bool:
    """Whether two arrays are the same numbers at the same places."""
    if not isinstance(one, np.ndarray) or one.shape != other.shape:
        return False
    elsewhere = one.size and not np.may_share_memory(one, other)
    return not elsewhere and one.__array_interface__ == other.__array_interface__


def refuse_overlap(array: np.ndarray, source: np.ndarray, index: Any = ...) -> None:
    """A copy onto a part of an array that it reads: NumPy makes a copy of that first, a device may not."""
    if not np.may_share_memory(array, source) or is_same_view(array[index], source):
        return
    if np.isin(addresses(array)[index], addresses(source)).any():
        raise ValueError("an array is copied onto a part of itself: undefined on a device, so copy it first")


def addresses(array: np.ndarray) -> np.ndarray:
    """Where each number of an array is in memory."""
    found = np.array(array.__array_interface__["data"][0])
    for size, stride in zip(array.shape, array.strides, strict=True):
        found = found[..., None] + np.arange(size) * stride
    return found


def refuse_race(stored: np.ndarray, wanted: np.ndarray) -> None:
    """An index that occurs twice with different values: NumPy keeps the last, a device any of them."""
    if ((stored != wanted) & (wanted == wanted)).any():
        raise ValueError("duplicate indices are assigned different values: undefined on a device")


def refuse_cast(array: np.ndarray, dtype: Any) -> None:
    """NaN, infinity or a number out of range as an integer."""
    wanted = np.dtype(dtype)
    if array.dtype.kind != "f" or wanted.kind not in "iu" or not array.size:
        return
    bounds, whole = np.iinfo(wanted), np.trunc(array.astype("float64"))
    if not ((whole >= bounds.min) & (whole < float(bounds.max) + 1)).all():
        raise ValueError(f"a number that no {wanted} holds is made one: undefined on a device")


def refuse_operand(name: str, inputs: list[Any]) -> None:
    """A shift by as many bits as a number has, or more, or by less than none; integers divided by 0."""
    if name in ("left_shift", "right_shift"):
        bits = 8 * np.result_type(*inputs).itemsize
        if ((np.asarray(inputs[1]) < 0) | (np.asarray(inputs[1]) >= bits)).any():
            raise ValueError(f"{name} of {bits} bits by less than 0 or more than {bits - 1}: undefined on a device")
    if name in DIVISIONS and np.result_type(*inputs).kind in "iu" and not np.all(inputs[1]):
        raise ValueError(f"{name}: integers are divided by 0, of which no device tells")


DIVISIONS = ("floor_divide", "remainder", "divmod", "fmod")
