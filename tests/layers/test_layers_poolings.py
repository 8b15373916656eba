"""Poolings: values by hand, and Caffe's windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge.arrays.spec import Spec
from layerforge.layers.poolings.avg_pool import AvgPool1d, AvgPool2d
from layerforge.layers.poolings.max_pool import MaxPool2d
from layerforge.layers.poolings.spatial_pyramid_pool import SpatialPyramidPool
from layerforge.schema.errors import ConfigError, LayerError

CAFFE = {"caffe_rounding": True}


def row(*numbers: float) -> np.ndarray:
    """An image of one sample, one channel and one row."""
    return np.array(numbers, dtype=float).reshape(1, 1, 1, -1)


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
