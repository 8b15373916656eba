"""Formulas in blocks: the bits of the whole, whatever the arrays' order in memory, and without their whole memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from layerforge.arrays.blocks import ELEMENTS, in_blocks, in_order_of
from layerforge.arrays.erf import erf
from layerforge.arrays.functional import sigmoid, softplus
from layerforge.layers.elementwise.activations import gelu, gelu_back, mish, mish_back, silu, silu_back

SHAPE = (3, 5, ELEMENTS // 7)  # no multiple of a block


def drawn(seed: int, dtype: str = "float32") -> np.ndarray:
    x = np.random.default_rng(seed).normal(scale=3, size=SHAPE).astype(dtype)
    x.flat[[0, 1, ELEMENTS, -1]] = [np.inf, -np.inf, np.nan, -0.0]
    return x


UNARY: list[Callable[..., Any]] = [
    erf,
    sigmoid,
    softplus,
    mish,
    lambda xp, x, out=None: gelu(xp, x, "none", out=out),
    lambda xp, x, out=None: gelu(xp, x, "tanh", out=out),
    lambda xp, x, out=None: silu(xp, x, 1.5, out=out),
]
SLOPES: list[Callable[..., Any]] = [
    mish_back,
    lambda xp, dy, x: gelu_back(xp, dy, x, "none"),
    lambda xp, dy, x: silu_back(xp, dy, x, 1.5),
]


def row_by_row(f: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """Each row is smaller than a block."""
    rows = [a.reshape(-1, SHAPE[-1]) for a in arrays]
    return np.stack([f(np, *row) for row in zip(*rows, strict=True)]).reshape(SHAPE)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", range(len(UNARY)))
def test_blocks_have_the_bits_of_single_rows(number: int, dtype: str) -> None:
    f, x = UNARY[number], drawn(0, dtype)
    want = row_by_row(f, x)
    np.testing.assert_array_equal(f(np, x), want)
    turned = x.transpose(1, 2, 0).copy().transpose(2, 0, 1)
    got = f(np, turned)
    assert got.strides == turned.strides
    np.testing.assert_array_equal(got, want)
    assert f(np, turned, out=turned) is turned
    np.testing.assert_array_equal(turned, want)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("number", range(len(SLOPES)))
def test_gradients_in_blocks_have_the_bits_of_single_rows(number: int) -> None:
    f, dy, x = SLOPES[number], drawn(1), drawn(2)
    want = row_by_row(f, dy, x)
    np.testing.assert_array_equal(f(np, dy, x), want)
    other_order = np.asfortranarray(dy)
    np.testing.assert_array_equal(f(np, other_order, x), want)  # no common order: as a whole


def test_gaps_and_other_types_are_computed_as_a_whole() -> None:
    x = drawn(3)
    np.testing.assert_array_equal(sigmoid(np, x[:, ::2]), sigmoid(np, x)[:, ::2])
    wide = np.empty(SHAPE, "float64")
    assert sigmoid(np, x, out=wide) is wide
    np.testing.assert_allclose(wide, sigmoid(np, x.astype("float64")), rtol=1e-6)


def test_a_formula_sees_blocks_alone() -> None:
    seen: list[tuple[int, ...]] = []

    @in_blocks
    def added(xp: Any, x: Any, factor: float, y: Any, out: Any = None) -> Any:
        seen.append(x.shape)
        return xp.add(x, factor * y, out=out)

    x, y = drawn(4), drawn(5)
    np.testing.assert_array_equal(added(np, x, 2.0, y), x + 2.0 * y)
    assert max(seen)[0] == ELEMENTS
    assert sum(size for (size,) in seen) == x.size


def test_what_is_made_on_the_way_is_small() -> None:
    x = np.random.default_rng(0).normal(size=64 * ELEMENTS).astype("float32")
    y = np.empty_like(x)
    gelu(np, x, "none", out=y)
    tracemalloc.start()
    try:
        gelu(np, x, "none", out=y)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 4
    finally:
        tracemalloc.stop()


def test_an_array_in_the_order_of_another() -> None:
    x = drawn(0)
    turned = x.transpose(1, 2, 0).copy().transpose(2, 0, 1)
    assert in_order_of(np, x, x) is x
    moved = in_order_of(np, x, turned)
    assert moved.strides == turned.strides
    np.testing.assert_array_equal(moved, x)
    repeated = in_order_of(np, np.broadcast_to(x[:, :1], SHAPE), turned)  # what repeats gets memory of its own
    assert repeated.strides == turned.strides
    np.testing.assert_array_equal(repeated, np.broadcast_to(x[:, :1], SHAPE))
