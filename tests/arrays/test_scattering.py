"""Sums at places that an index names: exact on a device, and in any order the same bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support import strict_cupy
from support.tools import demand_compiler

from layerforge.arrays.formula import as_text
from layerforge.arrays.scattering import placed_sums, scatter_add

Shape = tuple[int, ...]

# The shapes of what is added to, of the index and of what is added, and the axis.
CASES: dict[str, tuple[Shape, Shape, Shape, int]] = {
    "rows, each of them often": ((3, 4), (40, 1), (40, 4), 0),
    "a few rows of many": ((900, 4), (40, 1), (40, 4), 0),
    "an element for each index": ((2, 5, 3), (2, 30, 3), (2, 30, 3), 1),
    "a few elements of many": ((2, 500, 3), (2, 9, 3), (2, 9, 3), 1),
    "a part of the other axes": ((4, 60, 5), (3, 9, 1), (3, 9, 4), 1),
    "one index for all rows": ((3, 50), (20,), (3, 20), 1),
    "a vector": ((4,), (30,), (30,), 0),
    "nothing": ((2, 3), (2, 0), (2, 0), 1),
}


def drawn(case: str, dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """An array, an index and values of many sizes."""
    shape, of_index, of_values, dim = CASES[case]
    rng = np.random.default_rng(seed)
    values = rng.normal(size=of_values) * 10.0 ** rng.integers(-6, 6, of_values)
    index = rng.integers(0, shape[dim], of_index)
    return rng.normal(size=shape).astype(dtype), index, values.astype(dtype), dim


def on_device(out: np.ndarray, index: np.ndarray, dim: int, values: np.ndarray) -> np.ndarray:
    """What `scatter_add` makes of them there."""
    there = strict_cupy.asarray(out)
    scatter_add(strict_cupy, there, strict_cupy.asarray(index), dim, strict_cupy.asarray(values))
    return there.get()


def exact(out: np.ndarray, index: np.ndarray, dim: int, values: np.ndarray) -> np.ndarray:
    """Each sum without any rounding, added to `out` and rounded to its type."""
    found, dtype = out.copy(), out.dtype.type
    parts: dict[Shape, list[float]] = {}
    for place, value in np.ndenumerate(values):
        spread = np.broadcast_to(index, values.shape)
        parts.setdefault((*place[:dim], int(spread[place]), *place[dim + 1 :]), []).append(float(value))
    for place, numbers in parts.items():
        found[place] = out[place] + dtype(math.fsum(numbers))
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_on_a_device_are_exact(case: str, dtype: str) -> None:
    out, index, values, dim = drawn(case, dtype)
    with as_text():
        got = on_device(out, index, dim, values)
    want = exact(out, index, dim, values)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps, atol=1e-9 * np.finfo(dtype).eps)


@pytest.mark.parametrize("case", CASES)
def test_the_order_of_what_is_added_does_not_matter(case: str) -> None:
    out, index, values, dim = drawn(case, "float32")
    index, found = np.broadcast_to(index, values.shape).copy(), set()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(values.shape[dim])
        with as_text():
            found.add(on_device(out, index.take(order, dim), dim, values.take(order, dim)).tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_make_the_bits_of_the_text(case: str, dtype: str) -> None:
    demand_compiler()
    out, index, values, dim = drawn(case, dtype, seed=1)
    values.reshape(-1)[:3] = (np.inf, -np.inf, 0.0)[: values.size]
    with strict_cupy.counting() as counts:
        got = on_device(out, index, dim, values)
    with as_text(), strict_cupy.counting() as by_text:
        want = on_device(out, index, dim, values)
    assert np.array_equal(got, want, equal_nan=True)
    assert counts["launches"] < by_text["launches"] or not values.size


@pytest.mark.parametrize("text", [True, False])
def test_what_is_not_finite_adds_up_as_it_does_anywhere(text: bool) -> None:
    values = np.array([1.0, np.inf, 2.0, -np.inf, np.inf, -np.inf, np.nan, 3.0], "float32")
    places = np.array([0, 0, 1, 1, 2, 2, 3, 4])
    want = np.zeros(6, "float32")
    with np.errstate(invalid="ignore"):
        np.add.at(want, places, values)
    if text:
        with as_text():
            got = on_device(np.zeros(6, "float32"), places, 0, values)
    else:
        demand_compiler()
        got = on_device(np.zeros(6, "float32"), places, 0, values)
    assert np.array_equal(got, want, equal_nan=True)


def test_small_sums_keep_their_digits_beside_large_ones() -> None:
    values, places = np.array([1e30, 3e-30, 4e-30, 1e-42], "float32"), np.array([0, 1, 1, 2])
    got = on_device(np.zeros(3, "float32"), places, 0, values)
    np.testing.assert_allclose(got, np.array([1e30, 7e-30, 1e-42], "float32"), rtol=1e-6)


def test_a_million_tenths_come_to_a_hundred_thousand() -> None:
    values = strict_cupy.full(1_000_000, 0.1, dtype="float32")
    places = strict_cupy.zeros(1_000_000, dtype="int64")
    got = placed_sums(strict_cupy, values, places, 2, len(values)).get()
    np.testing.assert_allclose(got, [1e6 * float(np.float32(0.1)), 0], rtol=1e-12)


def test_a_kernel_writes_nowhere_for_an_index_that_is_out_of_range() -> None:
    """A device is told of it when the step is done: until then nothing may be overwritten."""
    demand_compiler()
    for size in (4, 400):
        got = on_device(np.zeros((size, 1), "float32"), np.array([[1], [-1], [10**6]]), 0, np.ones((3, 1), "float32"))
        assert got[1] == 1
        assert got.sum() == 1


def test_distinct_places_take_one_launch_of_additions() -> None:
    out, values = strict_cupy.zeros(9, dtype="float32"), strict_cupy.asarray(np.array([0.5, 0.25], "float32"))
    index = strict_cupy.asarray(np.array([7, 2]))
    with strict_cupy.counting() as counts:
        scatter_add(strict_cupy, out, index, 0, values, distinct=True)
    assert counts["launches"] < 8
    assert np.array_equal(np.flatnonzero(out.get()), [2, 7])
    with pytest.raises(ValueError, match="in any order"):
        scatter_add(strict_cupy, out, strict_cupy.asarray(np.array([7, 7])), 0, values, distinct=True)


@pytest.mark.parametrize("case", CASES)
def test_numpy_adds_in_the_order_of_the_numbers(case: str) -> None:
    out, index, values, dim = drawn(case, "float64")
    want: Any = out.copy()
    places = list(np.indices(values.shape, sparse=True))
    places[dim] = index if index.ndim == values.ndim else index.reshape(1, -1)
    np.add.at(want, tuple(np.broadcast_arrays(*places)), values)
    scatter_add(np, out, index, dim, values)
    if values.size <= out.size:
        assert np.array_equal(out, want)
    np.testing.assert_allclose(out, want, rtol=1e-12, atol=1e-12)
