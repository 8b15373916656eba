"""Start values: their formulas, by value or by moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from layerforge.contract.fillers import Filler, as_filler
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import FILLERS

SHAPE = (200, 60, 3, 3)  # fan_in 540, fan_out 1800


def fill(value: Any, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return Filler.parse(value).fill(np.random.default_rng(0), shape)


def test_the_promised_fillers_are_there() -> None:
    assert set(FILLERS.names()) >= {"constant", "uniform", "gaussian", "xavier", "msra", "orthogonal", "bilinear"}


def test_constant_uniform_gaussian() -> None:
    assert (fill({"type": "constant", "value": 2.5}) == 2.5).all()
    assert (fill("constant") == 0).all()
    u = fill({"type": "uniform", "min": -1, "max": 3})
    assert u.min() >= -1 and u.max() < 3
    assert u.mean() == pytest.approx(1, abs=0.02)
    g = fill({"type": "gaussian", "mean": 1, "std": 0.5})
    assert (g.mean(), g.std()) == (pytest.approx(1, abs=0.01), pytest.approx(0.5, rel=0.01))


def test_a_sparse_gaussian_keeps_so_many_weights_of_an_input() -> None:
    w = fill({"type": "gaussian", "std": 2.0, "sparse": 30})
    kept = (w != 0).sum(axis=0)  # of the 200 outputs, for each input
    assert kept.mean() == pytest.approx(30, rel=0.02)
    assert kept.std() > 1
    assert w[w != 0].std() == pytest.approx(2, rel=0.01)
    assert (fill({"type": "gaussian", "sparse": 0}) == 0).all()
    assert (fill({"type": "gaussian", "sparse": 200}) != 0).all()


def test_rows_of_a_positive_unitball_sum_up_to_1() -> None:
    w = fill("positive_unitball")
    assert w.min() >= 0
    np.testing.assert_allclose(w.reshape(200, -1).sum(axis=1), 1, rtol=1e-12)
    assert w.std() == pytest.approx(1 / 540 / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize(("mode", "n"), [("fan_in", 540), ("fan_out", 1800), ("average", 1170)])
def test_xavier_and_msra(mode: str, n: int) -> None:
    x = fill({"type": "xavier", "mode": mode})
    assert np.abs(x).max() == pytest.approx(np.sqrt(3 / n), rel=1e-3)
    assert x.var() == pytest.approx(1 / n, rel=0.02)
    m = fill({"type": "msra", "mode": mode})
    assert m.var() == pytest.approx(2 / n, rel=0.02)
    leaky = fill({"type": "msra", "mode": mode, "negative_slope": 1.0})
    assert leaky.var() == pytest.approx(1 / n, rel=0.02)


def test_the_gain_of_xavier_is_a_factor() -> None:
    np.testing.assert_array_equal(fill({"type": "xavier", "gain": 0.5}), 0.5 * fill("xavier"))
    assert np.abs(fill({"type": "xavier", "gain": -2.0})).max() == pytest.approx(2 * np.sqrt(3 / 540), rel=1e-3)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (16, 4, 3, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    q = fill({"type": "orthogonal", "gain": 2.0}, shape).reshape(shape[0], -1)
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


def test_bilinear() -> None:
    w = fill("bilinear", (2, 1, 4, 4))
    row = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(w, np.broadcast_to(np.outer(row, row), (2, 1, 4, 4)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("gausian", "did you mean 'gaussian'"),
        ({"value": 1}, "filler needs a type"),
        ({"type": "uniform", "min": 2, "max": 1}, "min 2.0 is above max 1.0"),
        ({"type": "gaussian", "std": -1}, "std must be >= 0"),
        ({"type": "msra", "mode": "fan"}, "mode must be one of fan_in, fan_out, average"),
        ([1], "a filler is a name or a mapping"),
    ],
)
def test_bad_fillers(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        as_filler(value)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="at least 2 axes"):
        fill("orthogonal", (3,))
    with pytest.raises(ConfigError, match="square 4-D"):
        fill("bilinear", (1, 1, 2, 3))
