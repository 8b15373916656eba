"""Kernels of sliding windows and of normalisations against their texts, where the checks of layers do not look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import strict_cupy
from support.tools import demand_compiler

from layerforge.arrays.formula import as_text
from layerforge.arrays.sliding_windows import Block, Windows, chunks, fold, slide, unfold
from layerforge.layers.norms.standardize import add_sums, standardize, standardize_backward, standardize_by
from layerforge.layers.poolings.avg_pool import to_windows, window_sums
from layerforge.layers.poolings.max_pool import find_winners, maxima, of_winners, places_of_maxima, to_winners

xp = strict_cupy
WINDOWS = {
    "one axis": slide((9,), (4,), (3,), (2,)),
    "two axes, dilated": slide((7, 6), (3, 2), (2, 1), (1, 1), (2, 3)),
    "hanging over": slide((6, 5), (3, 3), (2, 2), (1, 0), ceil_mode=True),
    "many elements": slide((17, 17), (16, 16), (1, 1)),
    "three axes": slide((4, 5, 3), (2, 3, 2), (2, 1, 1), (1, 1, 1), (1, 2, 1)),
}
each_window = pytest.mark.parametrize("windows", WINDOWS.values(), ids=WINDOWS)


@pytest.fixture(autouse=True)
def kernels() -> None:
    demand_compiler()


def draw(*shape: int, seed: int = 0, whole: bool = False) -> Any:
    """Float32 numbers on the device, few different ones where they are whole."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-2, 3, shape) if whole else rng.normal(size=shape)
    return xp.asarray(numbers.astype("float32"))


def both(compute: Callable[[], Any], *, exactly: bool = True, launches: int = 1) -> Any:
    """What a kernel and its text give, which must be the same; returns it. `compute` may be run twice."""
    with xp.counting() as counts:
        got = compute()
    assert counts["launches"] == launches
    with as_text():
        want = compute()
    assert got.dtype == want.dtype
    if exactly:
        np.testing.assert_array_equal(got.get(), want.get())
    else:
        np.testing.assert_allclose(got.get(), want.get(), rtol=3e-6, atol=3e-6)
    return got


@each_window
@pytest.mark.parametrize("batch_last", [False, True])
def test_maxima_ties_and_what_is_not_a_number(windows: Windows, batch_last: bool) -> None:
    x = draw(2, 3, *windows.size, whole=True)
    x = xp.moveaxis(xp.ascontiguousarray(xp.moveaxis(x, 0, -1)), -1, 0) if batch_last else x
    x[1, 2, 1], x[0, 0, 2], x[0, 1, 1] = np.nan, -np.inf, np.inf
    y = both(lambda: maxima(xp, x, windows))
    winner = both(lambda: find_winners(xp, x, y, windows))
    assert winner.dtype == ("uint32" if windows.elements > 255 else "uint8")
    both(lambda: to_winners(xp, draw(*y.shape), winner, windows))
    both(lambda: of_winners(xp, draw(*x.shape), winner, windows))
    both(lambda: places_of_maxima(xp, x, y, winner, windows))


@each_window
def test_sums_of_windows_and_back(windows: Windows) -> None:
    x = draw(2, 3, *windows.size)
    y = both(lambda: window_sums(xp, x, windows), exactly=False)
    both(lambda: to_windows(xp, y, windows), exactly=False)


@each_window
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_columns_and_back(windows: Windows, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(3, *windows.size, 2)
    per_row = 3 * windows.elements * int(np.prod(windows.counts[1:])) * 2 * 4
    monkeypatch.setattr("layerforge.arrays.sliding_windows.ON_A_DEVICE", rows * per_row)
    for which, _ in chunks(windows, x):
        columns = both(lambda which=which: unfold(xp, x, windows, which))

        def folded(columns: Any = columns, which: Block = which) -> Any:
            out = draw(*x.shape, seed=1)
            fold(columns, out, windows, which)
            return out

        both(folded)


def test_more_than_three_axes_are_left_to_the_text() -> None:
    windows = slide((3, 3, 3, 3), (2, 2, 2, 2), (1, 1, 1, 1))
    x = draw(1, 2, *windows.size)
    with xp.counting() as counts:
        y = maxima(xp, x, windows)
    assert counts["launches"] > 16
    np.testing.assert_array_equal(y.get(), maxima(np, x.get(), windows))


@pytest.mark.parametrize("mean", [0.0, 1000.0, -3e4])
@pytest.mark.parametrize("over", [(0, 2), (1, 2), (2,)])
def test_standardized_values_are_as_exact_as_those_of_the_text(over: tuple[int, ...], mean: float) -> None:
    """Also where the mean is much larger than the spread, and where y overwrites x."""
    x = draw(6, 5, 7) + np.float32(mean)
    exact = x.get().astype("float64")
    centred = exact - exact.mean(axis=over, keepdims=True)
    want = centred / np.sqrt((centred**2).mean(axis=over, keepdims=True) + 1e-5)
    xhat, y = xp.empty_like(x), x.copy()
    standardize(xp, y, over, 1e-5, xhat, out=y, bias=draw(5, 1, seed=2))
    np.testing.assert_allclose(xhat.get(), want, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(y.get(), want + draw(5, 1, seed=2).get(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_slopes_of_standardized_values(weighted: bool, centred: bool) -> None:
    d, xhat, scale = draw(6, 5, 7), draw(6, 5, 7, seed=1), draw(6, 1, 1, seed=2)
    weight = draw(5, 7, seed=3) if weighted else None
    for sums in (None, (draw(6, 1, 1, seed=4), draw(6, 1, 1, seed=5))):
        both(
            lambda sums=sums: standardize_backward(
                xp, d, xhat, scale, (1, 2), weight=weight, centred=centred, sums=sums
            ),
            exactly=False,
            launches=1 if sums else 2 + centred,
        )


@pytest.mark.parametrize("affine", [False, True])
def test_standardized_by_what_is_known(affine: bool) -> None:
    x, mean = draw(6, 5, 7), draw(5, 1, seed=1)
    var, weight, bias = abs(draw(5, 1, seed=2)), *(draw(5, 1, seed=seed) if affine else None for seed in (3, 4))

    def written() -> Any:
        xhat, y = xp.empty_like(x), xp.empty_like(x)
        inv_std = standardize_by(xp, x, mean, var, 1e-3, xhat, out=y, weight=weight, bias=bias)
        return xp.concatenate([inv_std.reshape(-1), xhat.reshape(-1), y.reshape(-1)])

    both(written, exactly=False, launches=3)


@pytest.mark.parametrize("shares", [(0.1, 0.9, 1.25), (1, 0.7, 1.0)])
def test_running_statistics_follow(shares: tuple[float, float, float]) -> None:
    x = draw(6, 5, 7) + 3

    def followed() -> Any:
        xhat, mean, var = xp.empty_like(x), draw(5, seed=1), draw(5, seed=2)
        inv_std = standardize(xp, x, (0, 2), 1e-5, xhat, out=xhat.copy(), running=(mean, var, *shares))
        return xp.concatenate([mean, var, inv_std.reshape(-1)])

    both(followed, exactly=False, launches=6)


def test_two_gradients_at_once() -> None:
    def added() -> Any:
        grads = [draw(5, seed=seed) for seed in (1, 2)]
        add_sums(xp, grads, [draw(1, 5, 1, seed=seed) for seed in (3, 4)])
        return xp.concatenate(grads)

    both(added, launches=2)
