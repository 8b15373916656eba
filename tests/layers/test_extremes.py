"""float32 at the extremes, by value. Warnings are errors here: an overflow on the way would fail, too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

BIG = 1e4


def single(type_name: str, *bottoms: object, **params: object) -> Alone:
    return Alone(type_name, *bottoms, dtype="float32", **params)


# Scores of ±1e4 -------------------------------------------------------------------------------------------------------


def test_softmax_of_huge_scores() -> None:
    soft = single("Softmax", [[BIG, -BIG, BIG], [-BIG, -BIG, -BIG], [BIG, 0.0, -BIG]])
    assert_allclose(soft.top(), [[0.5, 0, 0.5], [1 / 3] * 3, [1, 0, 0]], rtol=1e-6)
    dx = soft.vjp([[1.0, 1.0, 0.0]] * 3)["bottom[0]"]
    assert_allclose(dx, [[0.25, 0, -0.25], [1 / 9, 1 / 9, -2 / 9], [0, 0, 0]], rtol=1e-5, atol=1e-7)


def test_log_softmax_of_huge_scores_keeps_what_softmax_loses() -> None:
    logs = single("LogSoftmax", [[BIG, -BIG, BIG], [BIG, 0.0, -BIG]])
    assert_allclose(logs.top(), [[-math.log(2), -2 * BIG - math.log(2), -math.log(2)], [0, -BIG, -2 * BIG]], rtol=1e-6)
    dx = logs.vjp([[0.0, 1.0, 0.0]] * 2)["bottom[0]"]
    assert_allclose(dx, [[-0.5, 1, -0.5], [-1, 1, 0]], rtol=1e-6, atol=1e-7)


def test_cross_entropy_of_huge_scores() -> None:
    right = single("SoftmaxCrossEntropy", [[BIG, -BIG], [-BIG, BIG]], [0, 1])
    assert right.top() == 0
    assert_array_equal(right.vjp(1.0)["bottom[0]"], 0)
    wrong = single("SoftmaxCrossEntropy", [[BIG, -BIG], [-BIG, BIG]], [1, 0])
    assert_allclose(wrong.top(), 2 * BIG)
    assert_allclose(wrong.vjp(1.0)["bottom[0]"], [[0.5, -0.5], [-0.5, 0.5]])


def test_a_class_masked_with_minus_infinity_has_no_probability_and_no_gradient() -> None:
    x = [[0.0, -np.inf, 0.0]]
    assert_allclose(single("Softmax", x).top(), [[0.5, 0, 0.5]])
    loss = single("SoftmaxCrossEntropy", x, [0])
    assert_allclose(loss.top(), math.log(2), rtol=1e-6)
    assert_allclose(loss.vjp(1.0)["bottom[0]"], [[-0.5, 0, 0.5]])


def test_sigmoid_and_tanh_saturate_without_overflow() -> None:
    sigmoid, tanh = single("Sigmoid", [BIG, -BIG]), single("Tanh", [BIG, -BIG])
    assert_allclose(sigmoid.top(), [1, 0], atol=1e-37)
    assert_allclose(sigmoid.vjp([1.0, 1.0])["bottom[0]"], [0, 0], atol=1e-37)
    assert_array_equal(tanh.top(), [1, -1])
    assert_array_equal(tanh.vjp([1.0, 1.0])["bottom[0]"], [0, 0])


def test_a_small_sigmoid_keeps_its_digits_and_its_gradient() -> None:
    sigmoid = single("Sigmoid", [-20.0, -50.0, -80.0])
    want = np.exp([-20.0, -50.0, -80.0])
    assert_allclose(sigmoid.top(), want, rtol=1e-5)
    assert_allclose(sigmoid.vjp([1.0, 1.0, 1.0])["bottom[0]"], want, rtol=1e-5)


def test_relu_of_infinities() -> None:
    assert_array_equal(single("ReLU", [np.inf, -np.inf]).top(), [np.inf, 0])
    assert_array_equal(single("ReLU", [np.inf, -np.inf], negative_slope=0.5).top(), [np.inf, -np.inf])


# BatchNorm ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 3), (8, 3, 24, 24)])
@pytest.mark.parametrize("value", [0.0, 0.1, 12345.67, -1e7])
def test_batch_norm_of_a_constant_is_its_bias(shape: tuple[int, ...], value: float) -> None:
    """Variance 0. A mean that is off in its last digit would be blown up by 1/√eps."""
    bn = single("BatchNorm", np.full(shape, value))
    bn.layer.params.bias[...] = [1, 2, 3]
    y = bn.top()
    assert_array_equal(y.min(axis=(0, *range(2, y.ndim))), [1, 2, 3])
    assert_array_equal(y.max(axis=(0, *range(2, y.ndim))), [1, 2, 3])
    assert_allclose(bn.layer.state.running_var, 0.9, rtol=1e-6)
    assert_allclose(bn.layer.state.running_mean, 0.1 * np.float32(value), rtol=1e-6)


def test_batch_norm_gradient_at_variance_zero() -> None:
    """x̂ is 0, so dx = (dy - mean dy) / √eps."""
    dy = np.array([[1.0], [0.0], [0.0], [-3.0]])
    bn = single("BatchNorm", np.full((4, 1), 7.0))
    assert_allclose(bn.vjp(dy)["bottom[0]"], (dy + 0.5) / math.sqrt(1e-5), rtol=1e-5)


@pytest.mark.parametrize("shape", [(64, 5), (16, 5, 24, 24)])
@pytest.mark.parametrize(("mean", "spread"), [(1e4, 1.0), (1e4, 0.05), (-1e6, 2.0), (0.0, 1e-4), (1e4, 1e3)])
def test_batch_norm_with_a_mean_far_larger_than_the_spread(shape: tuple[int, ...], mean: float, spread: float) -> None:
    """Against the formula in float64, on the same values."""
    rng = np.random.default_rng(0)
    x = rng.normal(mean, spread, shape).astype(np.float32)
    exact, over = x.astype(np.float64), (0, *range(2, len(shape)))
    centred = exact - exact.mean(axis=over, keepdims=True)
    want = centred / np.sqrt((centred**2).mean(axis=over, keepdims=True) + 1e-5)
    bn = single("BatchNorm", x)
    assert_allclose(bn.top(), want, atol=2e-5)
    assert_allclose(bn.layer.state.running_var, 0.9 + 0.1 * exact.var(axis=over, ddof=1), rtol=1e-5)
    assert_allclose(bn.layer.state.running_mean, 0.1 * exact.mean(axis=over), rtol=1e-6, atol=1e-8)


def test_batch_norm_where_the_first_sample_is_an_outlier() -> None:
    """The shift comes from the first sample; the result must not."""
    x = np.random.default_rng(0).normal(size=(256, 2)).astype(np.float32)
    x[0] = 1e6
    exact = x.astype(np.float64)
    want = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + 1e-5)
    assert_allclose(single("BatchNorm", x).top(), want, rtol=1e-5, atol=1e-5)
