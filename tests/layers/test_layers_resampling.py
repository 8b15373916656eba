"""Layers that give images another size or order: values by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from support.alone import Alone

RNG = np.random.default_rng(0)


def along(type_name: str, numbers: list[float], **params: Any) -> np.ndarray:
    """The first row that a layer makes of an image with these columns and one row."""
    return Alone(type_name, np.array(numbers, dtype=float).reshape(1, 1, 1, -1), **params).top()[0, 0, 0]


@pytest.mark.parametrize(
    ("params", "numbers", "want"),
    [
        ({"scale_factor": 2}, [1, 2], [1, 1, 2, 2]),
        ({"scale_factor": 1.5}, [1, 2, 3, 4], [1, 1, 2, 3, 3, 4]),
        ({"scale_factor": [1, 0.5]}, [1, 2, 3, 4, 5], [1, 3]),
        ({"scale_factor": 2, "mode": "bilinear"}, [0, 1], [0, 0.25, 0.75, 1]),
        ({"scale_factor": 3, "mode": "bilinear"}, [0, 3], [0, 0, 1, 2, 3, 3]),
        ({"scale_factor": 2, "mode": "bilinear", "align_corners": True}, [0, 3], [0, 1, 2, 3]),
        ({"scale_factor": 3, "mode": "bilinear", "align_corners": True}, [5], [5, 5, 5]),
    ],
)
def test_upsampling_by_hand(params: dict[str, Any], numbers: list[float], want: list[float]) -> None:
    if not isinstance(params["scale_factor"], list):
        params = {**params, "scale_factor": [1, params["scale_factor"]]}
    assert_allclose(along("Upsample", numbers, **params), want, rtol=1e-14, atol=1e-14)


def test_upsampling_works_along_both_axes() -> None:
    up = Alone("Upsample", [[[[1.0, 2.0], [3.0, 4.0]]]], scale_factor=[2, 3])
    assert up.top()[0, 0].tolist() == [[1, 1, 1, 2, 2, 2]] * 2 + [[3, 3, 3, 4, 4, 4]] * 2
    dx = up.vjp(np.arange(24.0).reshape(1, 1, 4, 6))["bottom[0]"]
    assert dx[0, 0].tolist() == [[0 + 1 + 2 + 6 + 7 + 8, 3 + 4 + 5 + 9 + 10 + 11], [96, 114]]


@pytest.mark.parametrize("params", [{}, {"align_corners": True}])
def test_a_constant_image_stays_constant_when_it_is_interpolated(params: dict[str, Any]) -> None:
    up = Alone("Upsample", np.full((1, 2, 5, 3), 7.0), scale_factor=[2.7, 0.7], mode="bilinear", **params)
    assert_allclose(up.top(), 7, rtol=1e-14)


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


def test_adaptive_mean_over_everything_is_the_global_one() -> None:
    x = RNG.normal(size=(2, 3, 5, 4))
    assert_allclose(Alone("AdaptiveAvgPool2d", x, output_size=1).top(), Alone("GlobalAvgPool2d", x).top(), rtol=1e-12)


def test_pixels_by_hand() -> None:
    shuffled = Alone("PixelShuffle", np.arange(8.0).reshape(1, 4, 1, 2), upscale_factor=2)
    assert shuffled.top().tolist() == [[[[0, 2, 1, 3], [4, 6, 5, 7]]]]
    assert shuffled.vjp(shuffled.top())["bottom[0]"].tolist() == np.arange(8.0).reshape(1, 4, 1, 2).tolist()


def test_unfolded_windows_by_hand() -> None:
    columns = Alone("Unfold", np.arange(9.0).reshape(1, 1, 3, 3), kernel_size=2)
    assert columns.top().tolist() == [[[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]]
    assert columns.vjp(np.ones((1, 4, 4)))["bottom[0]"][0, 0].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


def test_a_convolution_is_a_product_with_the_unfolded_image() -> None:
    x, options = RNG.normal(size=(2, 3, 7, 6)), {"kernel_size": [3, 2], "stride": 2, "padding": 1, "dilation": [1, 2]}
    conv = Alone("Conv2d", x, out_channels=4, bias=False, **options)
    y = conv.top()
    product = conv.layer.params.weight.reshape(4, -1) @ Alone("Unfold", x, **options).top()
    assert_allclose(product.reshape(y.shape), y, rtol=1e-12, atol=1e-12)
