"""What Caffe's forks have as one layer is made of several layers here: the same numbers, by a formula of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose

from layerforge import Net

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 6, 4))
PER_CHANNEL = {key: RNG.uniform(0.5, 1.5, 8) for key in ("weight", "bias", "running_mean", "running_var")}


def composed(layers: str, *bottoms: np.ndarray, phase: str = "train", **values: Any) -> np.ndarray:
    """The last top of layers, written one on a line, with bottoms b0, b1 ...; values are what they have learned."""
    inputs = {f"b{i}": {"shape": list(b.shape)} for i, b in enumerate(bottoms)}
    net = Net.from_config({"dtype": "float64", "inputs": inputs, "net": yaml.safe_load(layers)})
    own = [(name, p.data) for params in net.params.values() for name, p in params.items()]
    own += [pair for arrays in net.state.values() for pair in arrays.items()]
    for name, array in own:
        if name in values:
            array[...] = np.reshape(values[name], array.shape)
    net.forward(phase=phase, **{f"b{i}": b for i, b in enumerate(bottoms)})
    return net.blobs["y"].data


# Normalize, of SSD ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("across_spatial", [False, True])
@pytest.mark.parametrize("channel_shared", [False, True])
def test_normalize(across_spatial: bool, channel_shared: bool) -> None:
    dims, weight = ("[1, 2, 3]" if across_spatial else 1), 3.0 if channel_shared else PER_CHANNEL["weight"]
    found = composed(
        f"""
        - {{name: squares, type: SumSquare, bottom: b0, dim: {dims}, keepdim: true}}
        - {{name: over, type: Pow, exponent: -0.5, shift: 1.0e-10}}
        - {{name: unit, type: Mul, bottom: [b0, over]}}
        - {{name: y, type: Scale, num_axes: {0 if channel_shared else 1}}}
        """,
        X,
        weight=weight,
    )
    for n in range(2):
        for i, j in np.ndindex(6, 4):
            length = np.linalg.norm(X[n].ravel() if across_spatial else X[n, :, i, j])
            assert_allclose(found[n, :, i, j], weight * X[n, :, i, j] / length, rtol=1e-9)


# Single lines ---------------------------------------------------------------------------------------------------------


def test_permute() -> None:
    found = composed("[{name: y, type: Permute, bottom: b0, dims: [0, 2, 3, 1]}]", X)
    assert all(found[n, i, j, c] == X[n, c, i, j] for n, c, i, j in np.ndindex(*X.shape))


def test_relu6() -> None:
    found = composed("[{name: y, type: ReLU6, bottom: b0}]", 5 * X)
    assert_allclose(found.ravel(), [min(max(5 * x, 0), 6) for x in X.flat])


def test_depthwise_convolution() -> None:
    weight = RNG.normal(size=(8, 1, 3, 3))
    found = composed(
        "[{name: y, type: Conv2d, bottom: b0, out_channels: 8, groups: 8, kernel_size: 3, padding: 1, bias: false}]",
        X,
        weight=weight,
    )
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for n, c, i, j in np.ndindex(*X.shape):
        assert found[n, c, i, j] == pytest.approx((padded[n, c, i : i + 3, j : j + 3] * weight[c, 0]).sum())


def test_shuffle_channel() -> None:
    """Channel c of the top is number c // group of group c % group."""
    found = composed(
        """
        - {name: groups, type: Reshape, bottom: b0, shape: [0, 2, 4, 6, 4]}
        - {name: mixed, type: Permute, dims: [0, 2, 1, 3, 4]}
        - {name: y, type: Reshape, shape: [0, 8, 6, 4]}
        """,
        X,
    )
    assert all((found[:, c] == X[:, (c % 2) * 4 + c // 2]).all() for c in range(8))


def test_axpy() -> None:
    a, other = RNG.normal(size=(2, 8, 1, 1)), RNG.normal(size=X.shape)
    found = composed(
        """
        - {name: scaled, type: Mul, bottom: [b0, b1]}
        - {name: y, type: Add, bottom: [scaled, b2]}
        """,
        a,
        X,
        other,
    )
    for n, c in np.ndindex(2, 8):
        assert_allclose(found[n, c], float(a[n, c, 0, 0]) * X[n, c] + other[n, c])


# Interp, of DeepLab and PSPNet ----------------------------------------------------------------------------------------


def interpolated(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Value by value, from the four around it; the corners of both images coincide."""
    y = np.empty((*x.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        down = i * (x.shape[2] - 1) / (height - 1) if height > 1 else 0.0
        across = j * (x.shape[3] - 1) / (width - 1) if width > 1 else 0.0
        top, left = int(down), int(across)
        f, g = down - top, across - left
        bottom, right = min(top + 1, x.shape[2] - 1), min(left + 1, x.shape[3] - 1)
        upper = (1 - g) * x[:, :, top, left] + g * x[:, :, top, right]
        y[:, :, i, j] = (1 - f) * upper + f * ((1 - g) * x[:, :, bottom, left] + g * x[:, :, bottom, right])
    return y


@pytest.mark.parametrize("size", [(11, 7), (3, 9), (1, 1), (6, 4)])
def test_interp(size: tuple[int, int]) -> None:
    found = composed(
        f"[{{name: y, type: Upsample, bottom: b0, size: {list(size)}, mode: bilinear, align_corners: true}}]", X
    )
    assert_allclose(found, interpolated(X, *size), atol=1e-12)


def test_interp_with_factors_and_a_part_cut_off() -> None:
    """pad_beg -1, pad_end -1, shrink_factor 3, zoom_factor 5: 6 x 4 is cut to 4 x 2, shrunk to 2 x 1, and zoomed."""
    found = composed(
        """
        - {name: part, type: Index, bottom: b0, index: [":", ":", "1:-1", "1:-1"]}
        - {name: y, type: Upsample, size: [6, 1], mode: bilinear, align_corners: true}
        """,
        X,
    )
    assert_allclose(found, interpolated(X[:, :, 1:-1, 1:-1], 6, 1), atol=1e-12)


# BN -------------------------------------------------------------------------------------------------------------------


def normalised(x: np.ndarray, mean: Any, variance: Any, eps: float) -> np.ndarray:
    """slope (x - mean) / √(variance + eps) + bias, channel by channel."""
    w, b = PER_CHANNEL["weight"], PER_CHANNEL["bias"]
    return np.stack([w[c] * (x[:, c] - mean[c]) / np.sqrt(variance[c] + eps) + b[c] for c in range(8)], axis=1)


def test_bn_of_pspnet() -> None:
    """Its blobs are slope, bias, mean and variance; frozen normalises by the last two in training, too."""
    stored = normalised(X, PER_CHANNEL["running_mean"], PER_CHANNEL["running_var"], 1e-5)
    batch = normalised(X, X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3)), 1e-5)
    plain = "[{name: y, type: BatchNorm, bottom: b0}]"
    frozen = "[{name: y, type: BatchNorm, bottom: b0, use_running_stats: true}]"
    assert_allclose(composed(plain, X, phase="eval", **PER_CHANNEL), stored)
    assert_allclose(composed(frozen, X, **PER_CHANNEL), stored)
    assert_allclose(composed(plain, X, **PER_CHANNEL), batch)


@pytest.mark.parametrize("phase", ["train", "eval"])
def test_bn_of_segnet(phase: str) -> None:
    """In mode LEARN by the statistics of the batch, in every phase; in mode INFERENCE a factor and an offset alone."""
    learn = "[{name: y, type: BatchNorm, bottom: b0, track_running_stats: false, eps: 1.0e-9}]"
    wanted = normalised(X, X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3)), 1e-9)
    assert_allclose(composed(learn, X, phase=phase, **PER_CHANNEL), wanted)
    inference = composed("[{name: y, type: Scale, bottom: b0, bias: true}]", X, phase=phase, **PER_CHANNEL)
    assert_allclose(inference, normalised(X, np.zeros(8), np.ones(8), 0))


# Reorg and CropCenter -------------------------------------------------------------------------------------------------


def reorganised(x: np.ndarray, stride: int) -> np.ndarray:
    """darknet's loop: the bottom is read as if it had stride² fewer channels, and stride times the height and width."""
    samples, channels, height, width = x.shape
    fewer = channels // stride**2
    large, y = x.reshape(samples, fewer, height * stride, width * stride), np.empty_like(x)
    for k, j, i in np.ndindex(channels, height, width):
        offset = k // fewer
        y[:, k, j, i] = large[:, k % fewer, j * stride + offset // stride, i * stride + offset % stride]
    return y.reshape(samples, channels * stride**2, height // stride, width // stride)


FORTH = """
- {name: parts, type: Reshape, bottom: b0, shape: [0, 2, 6, 2, 4, 2]}
- {name: moved, type: Permute, dims: [0, 3, 5, 1, 2, 4]}
- {name: y, type: Reshape, shape: [0, 32, 3, 2]}
"""
BACK = """
- {name: parts, type: Reshape, bottom: b0, shape: [0, 2, 2, 2, 6, 4]}
- {name: moved, type: Permute, dims: [0, 3, 4, 1, 5, 2]}
- {name: y, type: Reshape, shape: [0, 2, 12, 8]}
"""


def test_reorg() -> None:
    assert_allclose(composed(FORTH, X), reorganised(X, 2))
    y = composed(BACK, X)
    for c, h, w in np.ndindex(2, 12, 8):
        assert (y[:, c, h, w] == X[:, ((h % 2) * 2 + w % 2) * 2 + c, h // 2, w // 2]).all()


def test_crop_center() -> None:
    """crop_size [0, 1, 2, 1] takes so much from both ends of each axis."""
    found = composed('[{name: y, type: Index, bottom: b0, index: [":", "1:-1", "2:-2", "1:-1"]}]', X)
    assert found.shape == (2, 6, 2, 2)
    assert_allclose(found, [[[[X[n, c, i, j] for j in (1, 2)] for i in (2, 3)] for c in range(1, 7)] for n in (0, 1)])
