"""Sums over many rows as products with ones: every row counts once, no sum is long, and no digit is lost."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tools import demand_that

from layerforge import Net
from layerforge.engines.onednn import library
from layerforge.engines.onednn.sum_levels import LEAST, TERMS, levels


@given(st.integers(1, 200_000), st.integers(1, 3000))
def test_levels_read_every_element_once(rows: int, columns: int) -> None:
    found = levels(rows, columns)
    for level in found:
        assert level.pieces * level.terms * level.width == rows * columns
        assert level.terms <= TERMS and level.width % columns == 0
        rows = level.pieces * level.width // columns
    if found:
        assert rows == 1 and found[-1].pieces == 1
    else:
        assert max(n for n in range(1, TERMS + 1) if rows % n == 0) < TERMS


def test_rows_that_no_number_divides_are_not_cut() -> None:
    assert levels(997, 5) == []
    assert [level.terms >= LEAST for level in levels(64 * 576, 20)] == [True] * 3


@pytest.mark.parametrize("precision", ["float32", "bf16-mixed"])
@pytest.mark.parametrize("rows", [1, 64, 65, 100, 997, 2048, 36864])
def test_the_gradient_of_a_bias_is_the_sum_of_its_rows(rows: int, precision: str) -> None:
    """All are about a tenth: of a running sum in float32 digits would be gone."""
    demand_that(precision == "float32" or library.bfloat16_missing() is None, "bfloat16")
    dy = np.random.default_rng(0).integers(24, 28, (rows, 5)).astype("float32") / 256
    config = {
        "precision": precision,
        "inputs": {"x": {"shape": [rows, 3]}},
        "net": [{"name": "y", "type": "Linear", "out_features": 5}],
    }
    net = Net.from_config(config, keep="none")
    exact = np.array([float(sum(map(Fraction, map(float, column)))) for column in dy.T])
    for _ in range(3):
        net.zero_grad()
        for times in (1, 2):
            net.forward(x=np.ones((rows, 3), "float32"), phase="train")
            net.backward(y=dy)
            np.testing.assert_allclose(net.params["y"]["bias"].grad, times * exact, rtol=1e-6)
