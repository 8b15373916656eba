"""Poolings: values by hand, the plain loop, and Caffe's windows."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone, run

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example
from layerforge.layers.poolings.avg_pool import AvgPool1d, AvgPool2d, GlobalAvgPool2d
from layerforge.layers.poolings.max_pool import MaxPool2d
from layerforge.layers.poolings.spatial_pyramid_pool import SpatialPyramidPool
from layerforge.schema.errors import ConfigError, LayerError

NINE = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
RNG = np.random.default_rng(0)
CAFFE = {"caffe_rounding": True}


def row(*numbers: float) -> np.ndarray:
    """An image of one sample, one channel and one row."""
    return np.array(numbers, dtype=float).reshape(1, 1, 1, -1)


# Maxima and means along two axes --------------------------------------------------------------------------------------


def test_maximum_by_hand() -> None:
    y, dx, _ = run(MaxPool2d, {"kernel_size": 2, "stride": 1}, NINE, [[1, 2], [3, 4]])
    assert y.tolist() == [[[[5, 6], [8, 9]]]]
    assert dx.tolist() == [[[[0, 0, 0], [0, 1, 2], [0, 3, 4]]]]


def test_a_number_that_wins_several_windows_gets_the_sum_of_their_gradients() -> None:
    x = np.zeros((1, 1, 3, 3))
    x[..., 1, 1] = 1
    _, dx, _ = run(MaxPool2d, {"kernel_size": 2, "stride": 1}, x, [[1, 2], [3, 4]])
    assert dx[0, 0].tolist() == [[0, 0, 0], [0, 10, 0], [0, 0, 0]]


def test_the_first_of_equal_maxima_takes_the_gradient() -> None:
    x = np.array([[[[1.0, 3.0, 3.0], [3.0, 2.0, 3.0]]]])
    _, dx, _ = run(MaxPool2d, {"kernel_size": [2, 3]}, x)
    assert dx[0, 0].tolist() == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("value", [-5.0, -np.inf])
def test_padding_never_wins(value: float) -> None:
    y, dx, _ = run(MaxPool2d, {"kernel_size": 2, "padding": 1}, np.full((1, 1, 2, 2), value))
    assert (y == value).all()
    assert (dx == 1).all()


def test_nan_is_passed_on_by_maximum() -> None:
    x = NINE.copy()
    x[..., 0, 0] = np.nan
    y, _, _ = run(MaxPool2d, {"kernel_size": 2, "stride": 1}, x)
    assert np.isnan(y).tolist() == [[[[True, False], [False, False]]]]


# Where maxima are, and back there -------------------------------------------------------------------------------------


def test_places_of_maxima_count_the_rows_of_the_input() -> None:
    x = np.zeros((1, 2, 3, 5))
    x[0, 0, 1, 2], x[0, 0, 2, 4], x[0, 1, 2, 0] = 7, np.nan, -np.inf
    layer = Alone("MaxPool2d", x, kernel_size=3, stride=2, padding=1, ceil_mode=True, tops=2)
    y, places = layer.forward()
    assert_array_equal(y, [[[[0, 7, 0], [0, 7, np.nan]], [[0, 0, 0], [0, 0, 0]]]])
    assert_array_equal(places, [[[[0, 7, 3], [5, 7, 14]], [[0, 1, 3], [5, 6, 8]]]])  # the first of equals; NaN
    alone = Alone("MaxPool2d", x, kernel_size=3, stride=2, padding=1, ceil_mode=True)
    dy = RNG.normal(size=y.shape)
    assert_array_equal(layer.vjp(dy, None)["bottom[0]"], alone.vjp(dy)["bottom[0]"])


def test_places_are_there_without_a_backward() -> None:
    layer = Alone("MaxPool1d", [[[1.0, 4.0, 2.0, 3.0]]], kernel_size=2, tops=2)
    layer.layer.run.keep = False
    assert layer.forward()[1].tolist() == [[[1, 3]]]


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_unpooled_maxima_stand_where_they_were(engine: str) -> None:
    """SegNet's pair: of a 5 x 7 image, whose size the unpooling is told; the gradient goes through both."""
    pool = {"name": "pool", "type": "MaxPool2d", "kernel_size": 2, "ceil_mode": True, "top": ["y", "places"]}
    up = {"name": "up", "type": "MaxUnpool2d", "kernel_size": 2, "output_size": [5, 7], "bottom": ["y", "places"]}
    config = {"inputs": {"x": {"shape": [2, 3, 5, 7], "grad": True}}, "net": [pool, up], "engine": engine}
    net, x = Net.from_config(config, keep="all"), RNG.normal(size=(2, 3, 5, 7)).astype("float32")
    for _ in range(2):
        (y,) = net.forward(x=x).values()
        mine = y != 0
        assert mine.sum() == 2 * 3 * 3 * 4
        assert_array_equal(y[mine], x[mine])
        dy = RNG.normal(size=y.shape).astype("float32")
        net.backward({"up": dy})
        assert_array_equal(net.blobs["x"].grad, dy * mine)
    with pytest.raises(LayerError, match="has places in a plane of 35 positions, the top has 48"):
        Net.from_config({**config, "net": [pool, {**up, "output_size": None}]})


def test_of_several_maxima_at_one_place_the_last_stays_and_has_the_gradient() -> None:
    up = Alone("MaxUnpool2d", [[[[3.0, 4.0, 5.0]]]], [[[[2, 0, 2]]]], kernel_size=1)
    assert up.top().tolist() == [[[[4, 0, 5]]]]
    assert up.vjp([[[[6.0, 7.0, 8.0]]]])["bottom[0]"].tolist() == [[[[0, 6, 8]]]]


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_place_outside_of_the_plane_is_named(wrong: int) -> None:
    up = Alone("MaxUnpool2d", [[[[3.0]], [[4.0]]]], [[[[3]], [[wrong]]]], kernel_size=2)
    with pytest.raises(LayerError, match=f"index {wrong} at position 0, 1, 0, 0 is out of range for a plane") as error:
        up.forward()
    assert error.value.exit_code == 3


def test_more_than_255_elements_in_a_window() -> None:
    x = np.zeros((1, 1, 20, 20))
    x[..., 19, 18] = 1
    _, dx, _ = run(MaxPool2d, {"kernel_size": 20}, x, 7)
    assert dx[..., 19, 18] == 7
    assert dx.sum() == 7


def test_stride_is_kernel_size_unless_given() -> None:
    for cls in (MaxPool2d, AvgPool2d):
        y, _, _ = run(cls, {"kernel_size": [2, 3]}, np.ones((1, 1, 6, 6)))
        assert y.shape == (1, 1, 3, 2)


def test_ceil_mode_by_hand() -> None:
    floor, _, _ = run(MaxPool2d, {"kernel_size": 2}, NINE)
    ceil, _, _ = run(MaxPool2d, {"kernel_size": 2, "ceil_mode": True}, NINE)
    assert floor.tolist() == [[[[5]]]]
    assert ceil.tolist() == [[[[5, 6], [8, 9]]]]


def test_means_by_hand() -> None:
    y, dx, _ = run(AvgPool2d, {"kernel_size": 2, "stride": 1}, NINE, [[4, 8], [12, 16]])
    assert y.tolist() == [[[[3, 4], [6, 7]]]]
    assert dx.tolist() == [[[[1, 3, 2], [4, 10, 6], [3, 7, 4]]]]


@pytest.mark.parametrize(
    ("params", "counts"),
    [
        ({"kernel_size": 2, "padding": 1}, [4, 4]),
        ({"kernel_size": 2, "padding": 1, "count_include_pad": False}, [1, 2]),
        ({"kernel_size": 2, "ceil_mode": True}, [4, 2]),  # what hangs over the end never counts
        ({"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True}, [9, 6]),  # padding does
        ({"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True, "count_include_pad": False}, [4, 2]),
    ],
)
def test_what_a_mean_divides_by(params: dict[str, Any], counts: list[int]) -> None:
    """The sum of the ones in a window of the first row over its mean is the divisor."""
    x = np.ones((1, 1, 3, 3))
    y, _, probe = run(AvgPool2d, params, x)
    summed = np.zeros_like(y)
    for tap in probe.layer.windows((3, 3)).taps():
        summed[:, :, *tap.outputs] += x[:, :, *tap.inputs]
    assert (summed / y)[0, 0, 0].tolist() == counts


def plain_pooling(x: np.ndarray, dy: np.ndarray, layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Top and bottom gradient, window by window."""
    y, dx = np.zeros_like(dy), np.zeros_like(x)
    (sh, sw), (ph, pw), (kh, kw) = layer.stride or layer.kernel_size, layer.padding, layer.kernel_size
    dh, dw = layer.dilation or (1, 1)
    h, w = x.shape[2:]
    for s, c, p, q in np.ndindex(dy.shape):
        rows, cols = ([o * s - m + k * d for k in range(n)] for o, s, m, n, d in
                      ((p, sh, ph, kh, dh), (q, sw, pw, kw, dw)))  # fmt: skip
        seen = [(s, c, i, j) for i, j in product(rows, cols) if 0 <= i < h and 0 <= j < w]
        if isinstance(layer, MaxPool2d):
            first = max(seen, key=lambda place: x[place])
            y[s, c, p, q] = x[first]
            dx[first] += dy[s, c, p, q]
        else:
            padded = [1 for i, j in product(rows, cols) if i < h + ph and j < w + pw]
            count = len(padded) if layer.count_include_pad else len(seen)
            y[s, c, p, q] = sum(x[place] for place in seen) / count
            for place in seen:
                dx[place] += dy[s, c, p, q] / count
    return y, dx


@pytest.mark.parametrize(
    ("cls", "example"),
    [(c, e) for c in (MaxPool2d, AvgPool2d) for e in c.examples],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_pooling_equals_the_plain_loop(cls: Any, example: Example) -> None:
    probe = Probe(cls, example)
    x = np.round(probe.bottoms[0])  # many equal elements
    tops = probe.forward([x])
    dys = probe.draw_cotangents(tops)
    (dx,), y, dy = probe.backward(dys), tops[0], dys[0]
    want_y, want_dx = plain_pooling(x, dy, probe.layer)
    np.testing.assert_allclose(y, want_y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx, want_dx, rtol=1e-12, atol=1e-12)


def test_pooling_keeps_the_memory_order_of_its_bottom() -> None:
    x = np.zeros((3, 4, 5, 6))
    for order in ((0, 1, 2, 3), (1, 2, 3, 0), (0, 2, 3, 1)):
        ordered = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        for cls in (MaxPool2d, AvgPool2d):
            y, _, _ = run(cls, {"kernel_size": 2}, ordered)
            assert y.transpose(order).flags.c_contiguous


def test_maximum_keeps_nothing_but_one_byte_per_window() -> None:
    _, _, probe = run(MaxPool2d, {"kernel_size": 2}, np.zeros((2, 3, 4, 4)))
    kept = probe.layer.saved
    assert kept.winner.nbytes == 2 * 3 * 2 * 2
    assert set(kept) == {"winner", "shape"}


def test_flops_of_pooling() -> None:
    x = Spec((2, 3, 6, 6))
    for layer in (MaxPool2d(kernel_size=[2, 3]), AvgPool2d(kernel_size=[2, 3])):
        assert layer.flops([x], [layer.setup(x)]) == (2 * 3 * 3 * 2) * 6
    assert GlobalAvgPool2d().flops([x], [Spec((2, 3, 1, 1))]) == x.size


def test_global_mean_by_hand() -> None:
    y, dx, _ = run(GlobalAvgPool2d, {}, NINE, 9)
    assert y.tolist() == [[[[5]]]]
    assert (dx == 1).all()


@pytest.mark.parametrize("cls", [MaxPool2d, AvgPool2d, GlobalAvgPool2d])
def test_no_gradient_is_computed_for_a_bottom_that_needs_none(cls: Any) -> None:
    probe = Probe(cls, cls.examples[0])
    probe.layer.needs_grad = (False,)
    (y,) = probe.forward()
    assert probe.backward([y]) == (None,)


# One and three axes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["MaxPool", "AvgPool"])
def test_poolings_along_one_and_three_axes_are_those_along_two(kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 9))
    flat = {"kernel_size": [1, 3], "stride": [1, 2], "padding": [0, 1], "ceil_mode": True}
    deep = {key: value if value is True else [value[0], *value] for key, value in flat.items()}
    want = Alone(f"{kind}2d", x, **flat).top()
    assert_allclose(Alone(f"{kind}3d", x[:, :, None], **deep).top()[:, :, 0], want, rtol=1e-14)
    line = Alone(f"{kind}1d", x[:, :, 2], kernel_size=3, stride=2, padding=1, ceil_mode=True)
    assert_allclose(line.top(), want[:, :, 2], rtol=1e-14)


# Caffe ----------------------------------------------------------------------------------------------------------------


def caffe_count(size: int, kernel: int, stride: int, padding: int) -> int:
    """pooled_height_ as Caffe computes it."""
    count = math.ceil((size + 2 * padding - kernel) / stride) + 1
    return count - 1 if padding and (count - 1) * stride >= size + padding else count


@pytest.mark.parametrize("size", range(1, 12))
def test_caffe_s_number_of_windows(size: int) -> None:
    tried = 0
    for kernel in range(1, 5):
        for stride in range(1, 5):
            for padding in range(kernel):
                count, x = caffe_count(size, kernel, stride, padding), Spec((1, 1, size, size))
                layer = AvgPool2d(kernel_size=kernel, stride=stride, padding=padding, **CAFFE)
                if size + 2 * padding < kernel:
                    continue
                tried += 1
                if not padding and (count - 1) * stride >= size:
                    with pytest.raises(LayerError, match="behind the end"):
                        layer.setup(x)
                else:
                    assert layer.setup(x).shape == (1, 1, count, count)
    assert tried > 20


def test_caffe_s_divisor_counts_the_padding_but_not_what_hangs_over_it() -> None:
    pool = Alone("AvgPool1d", np.ones((1, 1, 4)), kernel_size=3, stride=2, padding=1, **CAFFE)
    assert_allclose(pool.top()[0, 0], [2 / 3, 1, 1 / 2])  # 2 of 3, 3 of 3; of 3 one is behind padding, one padding
    assert_allclose(pool.vjp([[[3.0, 3.0, 4.0]]])["bottom[0]"][0, 0], [1, 2, 1, 1 + 2])


def test_caffe_allows_padding_up_to_the_window_and_it_never_wins() -> None:
    pool = Alone("MaxPool2d", row(-3, -1, -2), kernel_size=[1, 3], stride=1, padding=[0, 2], **CAFFE)
    assert pool.top()[0, 0, 0].tolist() == [-3, -1, -1, -1, -2]
    with pytest.raises(ConfigError, match="more than half"):
        MaxPool2d(kernel_size=3, padding=2)
    with pytest.raises(ConfigError, match="not below kernel_size"):
        AvgPool1d(kernel_size=3, padding=3, **CAFFE)


# LPPool2d -------------------------------------------------------------------------------------------------------------


def test_norms_by_hand() -> None:
    pool = Alone("LPPool2d", row(3, -4, 0, 0, 5, 12), norm_type=2, kernel_size=[1, 2])
    assert_allclose(pool.top()[0, 0, 0], [5, 0, 13])
    dx = pool.vjp([[[[1.0, 1.0, 13.0]]]])["bottom[0]"]
    assert_allclose(dx[0, 0, 0], [3 / 5, -4 / 5, 0, 0, 5, 12])


def test_a_window_over_the_end_is_scaled_up() -> None:
    pool = Alone("LPPool2d", row(3, 4, 2), norm_type=2, kernel_size=[1, 2], ceil_mode=True)
    assert_allclose(pool.top()[0, 0, 0], [5, 2 * math.sqrt(2)])


def test_an_odd_norm_of_negative_numbers_is_negative() -> None:
    pool = Alone("LPPool2d", row(-2, -2, 1, 1), norm_type=3, kernel_size=[1, 4])
    root = 14 ** (1 / 3)
    assert_allclose(pool.top()[0, 0, 0], [-root])
    assert_allclose(pool.vjp([[[[1.0]]]])["bottom[0]"][0, 0, 0] * root**2, [4, 4, 1, 1])


def test_a_sum_that_is_zero_has_the_slope_of_any_other_sum() -> None:
    """norm_type 1 is linear. An odd norm whose terms cancel is not: there its slope is infinite, and taken as 0."""
    for x in ([1, -1], [0, 0], [2, 1]):
        pool = Alone("LPPool2d", row(*x), norm_type=1, kernel_size=[1, 2])
        assert pool.top() == sum(x)
        assert_array_equal(pool.vjp([[[[2.0]]]])["bottom[0]"][0, 0, 0], [2, 2])
        assert pool.layer.jvp(row(3, 4)) == 7
    for x in ([1, -1], [0, 0]):
        pool = Alone("LPPool2d", row(*x), norm_type=3, kernel_size=[1, 2])
        assert_array_equal(pool.top(), [[[[0]]]])
        assert_array_equal(pool.vjp([[[[2.0]]]])["bottom[0]"][0, 0, 0], [0, 0])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_of_huge_and_tiny_numbers(scale: float) -> None:
    pool = Alone("LPPool2d", row(3 * scale, 4 * scale), norm_type=2, kernel_size=[1, 2], dtype="float32")
    assert_allclose(pool.top()[0, 0, 0] / np.float32(scale), [5], rtol=1e-6)
    assert_allclose(pool.vjp([[[[1.0]]]])["bottom[0]"][0, 0, 0], [0.6, 0.8], rtol=1e-6)


# StochasticPool2d -----------------------------------------------------------------------------------------------------


def test_an_element_is_drawn_with_its_size_as_the_odds() -> None:
    x = np.tile(row(1, 3, -2, 0), (100, 5, 20, 1))
    pool = Alone("StochasticPool2d", x, kernel_size=[1, 4])
    y = pool.top()
    assert set(np.unique(y)) == {1, 3}
    assert abs((y == 3).mean() - 0.75) < 0.02  # four and a half standard deviations of 10,000 draws
    dx = pool.vjp(np.ones_like(y))["bottom[0]"]
    assert_array_equal((dx * x).sum(axis=3, keepdims=True), y)
    assert_array_equal(dx.sum(axis=3), 1)


def test_eval_takes_the_expectation() -> None:
    pool = Alone("StochasticPool2d", row(1, 3, -2, 0, -1, -1, 0, 0), kernel_size=[1, 4], phase="eval")
    pool.layer.run.keep = True
    assert_allclose(pool.top()[0, 0, 0], [2.5, 0])  # (1 + 9) / (1 + 3)
    dx = pool.vjp([[[[4.0, 1.0]]]])["bottom[0]"]
    assert_allclose(dx[0, 0, 0], [2 - 2.5, 6 - 2.5, 0, 0, 0, 0, 0, 0])


# SpatialPyramidPool ---------------------------------------------------------------------------------------------------


def test_a_pyramid_by_hand() -> None:
    x = np.arange(32.0).reshape(1, 2, 4, 4)
    top = Alone("SpatialPyramidPool", x, pyramid_height=2).top()
    assert top.tolist() == [[15, 31, 5, 7, 13, 15, 21, 23, 29, 31]]
    mean = Alone("SpatialPyramidPool", x, pyramid_height=2, pool="avg")
    assert mean.top().tolist() == [[7.5, 23.5, 2.5, 4.5, 10.5, 12.5, 18.5, 20.5, 26.5, 28.5]]


def test_the_number_of_features_does_not_depend_on_the_size_of_the_image() -> None:
    layer = SpatialPyramidPool(pyramid_height=3)
    shapes = [layer.setup(Spec((5, 2, height, width))).shape for height in (4, 7, 8, 11) for width in (4, 13, 64)]
    assert set(shapes) == {(5, 2 * 21)}


def test_windows_of_a_pyramid_are_caffe_s() -> None:
    """An axis of 7 in 2: kernel 4, padding (8 - 7 + 1) // 2 = 1, so 3 and 4 positions; the mean counts the padding."""
    axes = SpatialPyramidPool(pyramid_height=2).levels((7, 7))[1][1].axes
    assert [(a.kernel, a.stride, a.padding, a.count) for a in axes] == [(4, 4, 1, 2)] * 2
    top = Alone("SpatialPyramidPool", np.ones((1, 1, 7, 7)), pyramid_height=2, pool="avg").top()
    assert_allclose(top, [[1, 9 / 16, 12 / 16, 12 / 16, 1]])


def test_an_axis_too_short_for_a_pyramid_is_refused() -> None:
    layer: Any = SpatialPyramidPool(pyramid_height=3)
    with pytest.raises(LayerError, match="5 positions cannot be cut into 4 windows of 2"):
        layer.setup(Spec((1, 1, 8, 5)))


# AdaptiveAvgPool2d ----------------------------------------------------------------------------------------------------


def along(type_name: str, numbers: list[float], **params: Any) -> np.ndarray:
    """The first row that a layer makes of an image with these columns and one row."""
    return Alone(type_name, np.array(numbers, dtype=float).reshape(1, 1, 1, -1), **params).top()[0, 0, 0]


@pytest.mark.parametrize(
    ("size", "numbers", "want"),
    [
        (3, [1, 2, 3, 4, 5], [1.5, 3, 4.5]),  # [0, 2), [1, 4), [3, 5)
        (2, [1, 2, 3, 4], [1.5, 3.5]),
        (4, [1, 2], [1, 1, 2, 2]),
        (3, [1, 2], [1, 1.5, 2]),
        (1, [1, 2, 6], [3]),
    ],
)
def test_adaptive_means_by_hand(size: int, numbers: list[float], want: list[float]) -> None:
    assert_allclose(along("AdaptiveAvgPool2d", numbers, output_size=[1, size]), want, rtol=1e-14)


def test_adaptive_maxima_by_hand() -> None:
    pool = Alone("AdaptiveMaxPool2d", [[[[1.0, 5, 3, 2, 4]]]], output_size=[1, 3])  # [0, 2), [1, 4), [3, 5)
    assert pool.top().tolist() == [[[[5, 5, 4]]]]
    assert pool.vjp(np.array([[[[2.0, 3, 7]]]]))["bottom[0]"].tolist() == [[[[0, 5, 0, 0, 7]]]]


def test_of_equal_numbers_the_first_in_row_major_order_is_the_maximum() -> None:
    x = [[[[0.0, 1, 2], [2, 1, 0], [2, 2, 2]]]]
    dx = Alone("AdaptiveMaxPool2d", x, output_size=1).vjp(np.array([[[[7.0]]]]))["bottom[0]"]
    assert dx.tolist() == [[[[0, 0, 7], [0, 0, 0], [0, 0, 0]]]]


def test_adaptive_maxima_of_equal_parts_are_those_of_windows() -> None:
    x, dy = RNG.normal(size=(2, 3, 6, 8)), RNG.normal(size=(2, 3, 3, 2))
    adaptive, windows = Alone("AdaptiveMaxPool2d", x, output_size=[3, 2]), Alone("MaxPool2d", x, kernel_size=[2, 4])
    np.testing.assert_array_equal(adaptive.top(), windows.top())
    np.testing.assert_array_equal(adaptive.vjp(dy)["bottom[0]"], windows.vjp(dy)["bottom[0]"])


def test_adaptive_mean_over_everything_is_the_global_one() -> None:
    x = RNG.normal(size=(2, 3, 5, 4))
    assert_allclose(Alone("AdaptiveAvgPool2d", x, output_size=1).top(), Alone("GlobalAvgPool2d", x).top(), rtol=1e-12)
