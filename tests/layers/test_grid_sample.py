"""GridSample by values worked out by hand, and against other layers that must agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge.layers.convolutions import grid_sample

RNG = np.random.default_rng(0)
MODES, PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def of_row(numbers: list[float], places: list[float], **params: Any) -> Alone:
    """An image of one row read at places along it."""
    grid = np.stack([np.asarray(places, float), np.zeros(len(places))], axis=-1)
    return Alone("GridSample", np.array(numbers, float).reshape(1, 1, 1, -1), grid[None, None], **params)


def identity(*size: int, align_corners: bool) -> np.ndarray:
    """The grid that names every position of an image or a volume in its place."""
    ends = [1.0 if align_corners else 1 - 1 / n for n in size]
    axes = np.meshgrid(*(np.linspace(-end, end, n) for end, n in zip(ends, size, strict=True)), indexing="ij")
    return np.stack(axes[::-1], axis=-1)[None]


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_the_identity(mode: str, padding: str, align: bool) -> None:
    for size in ((4, 3), (2, 3, 4)):
        if mode != "bicubic" or len(size) == 2:
            x, grid = RNG.normal(size=(1, 2, *size)), identity(*size, align_corners=align)
            sample = Alone("GridSample", x, grid, mode=mode, padding_mode=padding, align_corners=align)
            assert_allclose(sample.top(), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("params", "places", "want"),
    [
        ({}, [-0.75, 0, 0.5, 1, 1.5], [1, 5, 12, 8, 0]),  # p is -0 + 0, 1.5, 2.5, 3.5 (half of 16), 4.5
        ({"align_corners": True}, [-1, 0, 1 / 3, 1], [1, 5, 8, 16]),
        ({"padding_mode": "border"}, [-9, -1, 1, 9], [1, 1, 16, 16]),
        ({"padding_mode": "reflection"}, [-1.25, -1, 1.25, 1.5], [1, 1, 16, 12]),  # p is -1 and 0, 4 and 3, 4.5 and 2.5
        ({"padding_mode": "reflection", "align_corners": True}, [-5 / 3, 5 / 3, 3], [2, 8, 1]),
        ({"mode": "nearest"}, [-0.7, 0.2, 0.8, 1.3], [1, 8, 16, 0]),
        ({"mode": "nearest"}, [0, 0.5], [8, 8]),  # 1.5 and 2.5: the even one
    ],
)
def test_a_row_by_hand(params: dict[str, Any], places: list[float], want: list[float]) -> None:
    numbers = [1.0, 2.0, 8.0, 16.0]
    assert_allclose(of_row(numbers, places, **params).top()[0, 0, 0], want, rtol=1e-12, atol=1e-12)


def test_gradients_by_hand() -> None:
    sample = of_row([1.0, 2.0, 8.0, 16.0], [-0.125, 1.0])  # p is 1.25 and 3.5
    grads = sample.vjp(np.array([[[[4.0, 10.0]]]]))
    assert_allclose(grads["bottom[0]"][0, 0, 0], [0, 3, 1, 5])
    assert_allclose(grads["bottom[1]"][0, 0, :, 0], [4 * (8 - 2) * 2, 10 * (0 - 16) * 2])  # dp/dg is 4 / 2


def test_where_the_border_holds_a_place_it_has_no_gradient_and_a_reflected_one_goes_the_other_way() -> None:
    numbers, dy = [1.0, 2.0, 8.0, 16.0], np.ones((1, 1, 1, 2))
    held = of_row(numbers, [-1.5, 1.5], padding_mode="border").vjp(dy)["bottom[1]"]
    assert_array_equal(held, 0)
    turned = of_row(numbers, [-1.5, 1.5], padding_mode="reflection").vjp(dy)["bottom[1]"]
    assert_allclose(turned[0, 0, :, 0], [-2 * 1, -2 * 8])


def test_a_cubic_goes_through_the_numbers_and_keeps_a_ramp() -> None:
    ramp = of_row([0.0, 1, 2, 3, 4, 5], [-0.1, 0.15, 0.3], mode="bicubic")
    assert_allclose(ramp.top()[0, 0, 0], [2.2, 2.95, 3.4], atol=0.06)  # A = -3/4 is not exact on ramps
    half = of_row([1.0, 2, 8, 16], [0.0], mode="bicubic").top()
    assert_allclose(half.item(), (-0.75 * 1 + 4.75 * 2 + 4.75 * 8 - 0.75 * 16) / 8)


@pytest.mark.parametrize("align", [False, True])
def test_upsampling_is_a_grid(align: bool) -> None:
    x = RNG.normal(size=(1, 2, 4, 3))
    up = Alone("Upsample", x, scale_factor=2, mode="bilinear", align_corners=align).top()
    grid = identity(8, 6, align_corners=align)
    same = Alone("GridSample", x, grid, padding_mode="border", align_corners=align)
    assert_allclose(same.top(), up, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_read_spoils_nothing(mode: str, bad: float) -> None:
    """Neither an element of the image from elsewhere, nor the first one for places outside."""
    x, outside = np.full((1, 1, 8, 8), bad), np.full((1, 2, 2, 2), 1e30)
    x[0, 0, 4:] = 1.0
    inside = np.array([[[[0.0, 0.5]]]])  # row 5.5, of which a cubic reads 4 to 7
    assert Alone("GridSample", x, inside, mode=mode, dtype="float32").top().item() == pytest.approx(1)
    far = Alone("GridSample", x, outside, mode=mode, dtype="float32")
    assert_array_equal(far.top(), 0)
    assert_array_equal(far.vjp(RNG.normal(size=(1, 1, 2, 2)))["bottom[0]"], 0)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_a_place_that_is_nan_is_read_as_nan(mode: str, padding: str) -> None:
    places = np.array([[[[np.nan, 0.0], [0.0, np.nan], [0.0, 0.0]]]])
    y = Alone("GridSample", np.ones((1, 1, 4, 4)), places, mode=mode, padding_mode=padding).top()
    assert_array_equal(np.isnan(y[0, 0, 0]), [True, True, False])


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_a_volume_of_one_layer_is_an_image(mode: str) -> None:
    x, grid = RNG.normal(size=(2, 3, 4, 5)), RNG.uniform(-1.3, 1.3, (2, 3, 2, 2))
    flat = Alone("GridSample", x, grid, mode=mode)
    deep_grid = np.concatenate([grid, np.zeros((2, 3, 2, 1))], axis=-1)[:, None]
    deep = Alone("GridSample", x[:, :, None], deep_grid, mode=mode)
    assert_allclose(deep.top()[:, :, 0], flat.top(), rtol=1e-12)
    dy = RNG.normal(size=flat.top().shape)
    got, want = deep.vjp(dy[:, :, None]), flat.vjp(dy)
    assert_allclose(got["bottom[0]"][:, :, 0], want["bottom[0]"], rtol=1e-12, atol=1e-14)
    assert_allclose(got["bottom[1]"][:, 0, ..., :2], want["bottom[1]"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_just_outside_it_is_0_whatever_is_in_the_image(mode: str) -> None:
    """Places from which every neighbour is outside, of an image of NaN; no gradient comes from there, either."""
    places = np.array([[[[-2.6, 0], [0, 2.6], [2.3, -3], [-np.inf, 0], [0, np.inf]]]])
    far = Alone("GridSample", np.full((1, 3, 4, 4), np.nan), places, mode=mode)
    assert_array_equal(far.top(), np.zeros((1, 3, 1, 5)))
    gradients = far.vjp(RNG.normal(size=(1, 3, 1, 5)))
    assert not gradients["bottom[0]"].any()
    assert not gradients["bottom[1]"].any()


@pytest.mark.parametrize("count", [1, 40])
def test_channels_are_read_a_few_at_a_time(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, three, or all seven: the numbers are the same."""
    x, grid, dy = RNG.normal(size=(2, 7, 3, 4)), RNG.uniform(-1.3, 1.3, (2, 3, 2, 2)), RNG.normal(size=(2, 7, 3, 2))
    alone = Alone("GridSample", x, grid)
    top, gradients = alone.top(), alone.vjp(dy)
    monkeypatch.setattr(grid_sample, "CACHED", count)
    assert_allclose(alone.top(), top, rtol=1e-12)
    for name, gradient in alone.vjp(dy).items():
        assert_allclose(gradient, gradients[name], rtol=1e-12, atol=1e-14)
