"""Normalisations by value: the rules of Caffe and torch, frozen and missing statistics, float32 at its extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge import Net
from layerforge.schema.errors import LayerError

RNG = np.random.default_rng(30)

# BatchNorm ------------------------------------------------------------------------------------------------------------


def test_batch_norm_normalizes_each_channel_over_batch_and_positions() -> None:
    x = np.array([[[1.0, 3.0], [10.0, 10.0]], [[5.0, 7.0], [20.0, 40.0]]])  # (N, C, T): channels 1 3 5 7, 10 10 20 40
    bn = Alone("BatchNorm", x, eps=1e-12)
    bn.layer.params.weight[...], bn.layer.params.bias[...] = [1, 2], [0, 1]
    want = np.empty_like(x)
    want[:, 0] = (x[:, 0] - 4) / math.sqrt(5)
    want[:, 1] = (x[:, 1] - 20) / math.sqrt(150) * 2 + 1
    assert_allclose(bn.top(), want, rtol=1e-10)


def test_batch_norm_running_statistics_follow_by_momentum_with_the_unbiased_variance() -> None:
    bn = Alone("BatchNorm", [[1.0], [3.0]], momentum=0.3)
    assert_array_equal(bn.layer.state.running_mean, [0])
    assert_array_equal(bn.layer.state.running_var, [1])
    bn.forward()  # mean 2, unbiased variance 2 (biased 1)
    assert_allclose(bn.layer.state.running_mean, [0.3 * 2])
    assert_allclose(bn.layer.state.running_var, [0.3 * 2 + 0.7 * 1])
    bn.forward([np.array([[5.0], [9.0]])])  # mean 7, unbiased variance 8
    assert_allclose(bn.layer.state.running_mean, [0.3 * 7 + 0.7 * 0.6])
    assert_allclose(bn.layer.state.running_var, [0.3 * 8 + 0.7 * 1.3])


def test_batch_norm_in_eval_uses_the_running_statistics() -> None:
    bn = Alone("BatchNorm", [[4.0, 1.0]], phase="eval", eps=1.0)
    bn.layer.state.running_mean, bn.layer.state.running_var = [1, 2], [8, 3]
    assert_allclose(bn.top(), [[1.0, -0.5]])
    assert_allclose(bn.vjp([[6.0, 6.0]])["bottom[0]"], [[2.0, 3.0]])


def test_batch_norm_gradient_by_hand() -> None:
    """Three values -1, 0, 1 with variance 2/3 and dy = (1, 0, 0): the formula of the docstring, number by number."""
    bn = Alone("BatchNorm", [[-1.0], [0.0], [1.0]], eps=1e-12)
    s = math.sqrt(1.5)  # 1/σ, and x̂ = (-s, 0, s)
    got = bn.vjp([[1.0], [0.0], [0.0]])
    assert_allclose(got["weight"], [-s])
    assert_allclose(got["bias"], [1.0])
    want = s * np.array([1 - 1 / 3 - s * s / 3, -1 / 3, -1 / 3 + s * s / 3])
    assert_allclose(got["bottom[0]"][:, 0], want, atol=1e-10)


def test_batch_norm_parameters_do_not_decay() -> None:
    decls = Alone("BatchNorm", np.zeros((2, 3))).layer.param_decls
    assert {name: decl.decay_mult for name, decl in decls.items()} == {"weight": 0, "bias": 0}
    assert not Alone("BatchNorm", np.zeros((2, 3)), affine=False).layer.param_decls


def test_batch_norm_refuses_to_train_on_one_value_per_channel() -> None:
    with pytest.raises(LayerError, match=r"one value per channel.*\(1, 3\)") as caught:
        Alone("BatchNorm", np.zeros((1, 3))).forward()
    assert "drop_last" in str(caught.value)
    Alone("BatchNorm", np.zeros((1, 3)), phase="eval").forward()


# BatchNorm's statistics -----------------------------------------------------------------------------------------------


def with_statistics(phase: str, x: Any, **params: Any) -> Alone:
    """A BatchNorm of one channel with running mean 1 and variance 4."""
    bn = Alone("BatchNorm", x, phase=phase, eps=1e-12, affine=False, **params)
    bn.layer.state.running_mean[...] = 1
    bn.layer.state.running_var[...] = 4
    return bn


@pytest.mark.parametrize("phase", ["train", "eval"])
def test_frozen_statistics_normalise_in_both_phases_and_stay(phase: str) -> None:
    bn = with_statistics(phase, [[3.0], [5.0], [0.0]], use_running_stats=True)
    assert_allclose(bn.top(), [[1.0], [2.0], [-0.5]])
    assert_allclose(bn.vjp([[4.0], [0.0], [-2.0]])["bottom[0]"], [[2.0], [0.0], [-1.0]])
    assert_array_equal(bn.layer.state.running_mean, 1)
    assert_array_equal(bn.layer.state.running_var, 4)


def test_frozen_statistics_need_no_batch() -> None:
    assert_allclose(with_statistics("train", [[3.0]], use_running_stats=True).top(), [[1.0]])


def test_weight_and_bias_learn_beside_frozen_statistics() -> None:
    bn = Alone("BatchNorm", [[2.0], [4.0]], use_running_stats=True)
    assert_allclose(bn.vjp([[1.0], [10.0]])["weight"], [42.0], rtol=1e-4)
    assert_allclose(bn.vjp([[1.0], [10.0]])["bias"], [11.0])


@pytest.mark.parametrize("phase", ["train", "eval"])
def test_without_running_statistics_the_batch_normalises_in_both_phases(phase: str) -> None:
    bn = Alone("BatchNorm", [[1.0], [5.0]], phase=phase, track_running_stats=False, eps=1e-12)
    assert_allclose(bn.top(), [[-1.0], [1.0]])
    assert len(bn.layer.state) == 0
    with pytest.raises(LayerError, match="one value per channel"):
        Alone("BatchNorm", [[1.0]], phase=phase, track_running_stats=False).top()


def test_corrected_statistics_are_sums_and_the_sum_of_their_weights() -> None:
    bn = Alone("BatchNorm", [[1.0], [3.0]], momentum=0.25, bias_correction=True, eps=0.5)
    for x in ([[1.0], [3.0]], [[5.0], [9.0]]):  # means 2 and 7, unbiased variances 2 and 8
        bn.forward([np.array(x)])
    state = bn.layer.state
    assert_allclose(state.running_mean, [0.75 * 2 + 7])
    assert_allclose(state.running_var, [0.75 * 2 + 8])
    assert_allclose(state.correction, [0.75 + 1])
    bn.layer.run.phase = "eval"
    x, mean, var = np.array([[4.0], [-1.0]]), 8.5 / 1.75, 9.5 / 1.75
    assert_allclose(bn.top(x), (x - mean) / math.sqrt(var + 0.5))
    assert_allclose(bn.vjp([[2.0], [-3.0]])["bottom[0]"], np.array([[2.0], [-3.0]]) / math.sqrt(var + 0.5))


def test_corrected_statistics_before_the_first_batch_are_zero() -> None:
    bn = Alone("BatchNorm", [[3.0]], phase="eval", bias_correction=True, eps=0.25)
    bn.layer.state.running_mean[...] = bn.layer.state.running_var[...] = 7.0  # of a weight of 0, as Caffe takes it
    assert_allclose(bn.top(), [[6.0]])


def test_one_value_per_channel_has_variance_zero_where_statistics_are_corrected() -> None:
    bn = Alone("BatchNorm", [[3.0, -4.0]], bias_correction=True)
    assert_array_equal(bn.vjp([[0.3, -0.7]])["bottom[0]"], 0)
    assert_array_equal(bn.top(), [[0.0, 0.0]])
    assert_allclose(bn.layer.state.running_mean, [1.9 * 3, 1.9 * -4])
    assert_array_equal(bn.layer.state.running_var, 0)


def test_a_net_fine_tunes_with_frozen_statistics() -> None:
    """What one net has learned normalises in the other, which leaves it alone."""

    def net(**options: Any) -> Net:
        layers = [{"name": "bn", "type": "BatchNorm", **options}]
        return Net.from_config({"dtype": "float64", "inputs": {"x": {"shape": [4, 2]}}, "net": layers})

    first, frozen, x = net(), net(use_running_stats=True), RNG.normal(3, 2, (4, 2))
    for _ in range(60):
        first.forward(phase="train", x=x)
    for name, array in first.state["bn"].items():
        frozen.state["bn"][name][...] = array
    assert_allclose(frozen.forward(phase="train", x=x)["bn"], first.forward(phase="eval", x=x)["bn"])
    assert_array_equal(frozen.state["bn"]["running_mean"], first.state["bn"]["running_mean"])


# How the normalisations are related -----------------------------------------------------------------------------------


def test_group_norm_is_layer_norm_or_instance_norm_at_the_ends() -> None:
    x = RNG.normal(size=(2, 6, 4, 3))
    one_group, each = Alone("GroupNorm", x, num_groups=1), Alone("GroupNorm", x, num_groups=6)
    assert_allclose(one_group.top(), Alone("LayerNorm", x, normalized_shape=[6, 4, 3]).top(), rtol=1e-12)
    assert_allclose(each.top(), Alone("InstanceNorm", x).top(), rtol=1e-12)


def test_layer_norm_by_hand() -> None:
    """Mean 3, variance 4."""
    norm = Alone("LayerNorm", [[1.0, 5.0]], normalized_shape=2, eps=1e-12)
    norm.layer.params.weight[...] = [2, 3]
    norm.layer.params.bias[...] = [10, 20]
    assert_allclose(norm.top(), [[8, 23]])


def test_rms_norm_by_hand() -> None:
    assert_allclose(Alone("RMSNorm", [[3.0, 4.0]], normalized_shape=2).top(), np.array([[3, 4]]) / math.sqrt(12.5))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_eps_of_rms_norm_is_that_of_its_dtype(dtype: str) -> None:
    eps = np.finfo(dtype).eps
    small = math.sqrt(eps)
    assert_allclose(Alone("RMSNorm", [[small]], dtype=dtype, normalized_shape=1).top(), math.sqrt(0.5), rtol=1e-6)
    assert_array_equal(Alone("RMSNorm", [[0.0, 0.0]], dtype=dtype, normalized_shape=2).top(), 0)


@pytest.mark.parametrize(
    ("type_name", "params"),
    [
        ("BatchNorm", {}),
        ("LayerNorm", {"normalized_shape": 4}),
        ("GroupNorm", {"num_groups": 1}),
        ("InstanceNorm", {"affine": True}),
        ("RMSNorm", {"normalized_shape": 4}),
        ("Scale", {"bias": True}),
        ("Bias", {}),
    ],
)
def test_affine_parameters_do_not_decay(type_name: str, params: dict[str, Any]) -> None:
    declared = Alone(type_name, np.ones((2, 3, 4)), **params).layer.param_decls
    assert declared
    assert {name: d.decay_mult for name, d in declared.items()} == dict.fromkeys(declared, 0)


# Caffe's layers -------------------------------------------------------------------------------------------------------


def test_lrn_across_channels_divides_alpha_by_size() -> None:
    lrn = Alone("LocalResponseNorm", [[[1.0], [2.0], [3.0]]], size=3, alpha=3.0, beta=1.0)
    assert_allclose(lrn.top(), [[[1 / 6], [2 / 15], [3 / 14]]])


def test_lrn_of_even_size_looks_further_back() -> None:
    """As torch: channel i and the one before it."""
    lrn = Alone("LocalResponseNorm", [[[1.0], [2.0], [3.0]]], size=2, alpha=2.0, beta=1.0, k=2.0)
    assert_allclose(lrn.top(), [[[1 / 3], [2 / 7], [3 / 15]]])


def test_lrn_within_a_channel_divides_alpha_by_the_square_of_size() -> None:
    """All four positions are neighbours of each other; the five outside count as zeros."""
    x = [[[[1.0, 2.0], [0.0, -2.0]], [[0.0, 0.0], [0.0, 5.0]]]]
    lrn = Alone("LocalResponseNorm", x, size=3, alpha=9.0, beta=1.0, norm_region="within_channel")
    assert_allclose(lrn.top(), [[[[0.1, 0.2], [0.0, -0.2]], [[0.0, 0.0], [0.0, 5 / 26]]]])


def test_lrn_has_the_defaults_of_torch() -> None:
    x = 100.0
    assert_allclose(Alone("LocalResponseNorm", [[x]], size=5).top(), [[x * 1.2**-0.75]])


def test_mvn_adds_eps_to_the_standard_deviation() -> None:
    assert_allclose(Alone("MVN", [[[1.0, 5.0]]], eps=0.5).top(), [[[-0.8, 0.8]]])
    assert_allclose(Alone("MVN", [[[1.0, 5.0]]], normalize_variance=False).top(), [[[-2.0, 2.0]]])


def test_mvn_normalises_planes_or_samples() -> None:
    x = [[[1.0, 3.0], [5.0, 7.0]]]
    assert_allclose(Alone("MVN", x).top(), [[[-1, 1], [-1, 1]]])
    assert_allclose(Alone("MVN", x, across_channels=True).top(), np.array([[[-3, -1], [1, 3]]]) / math.sqrt(5))


def test_scale_and_bias_match_the_second_bottom_at_dim() -> None:
    x = np.arange(12.0).reshape(2, 3, 2)
    second = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert_array_equal(Alone("Scale", x, second, dim=0).top(), x * second[:, :, None])
    assert_array_equal(Alone("Bias", x, second, dim=0).top(), x + second[:, :, None])
    assert_array_equal(Alone("Scale", x, second, dim=0).vjp(np.ones((2, 3, 2)))["bottom[1]"], x.sum(axis=2))
    assert_array_equal(Alone("Scale", x, np.array(3.0)).top(), 3 * x)


def test_batch_norm_without_affine_and_scale_are_batch_norm() -> None:
    """Caffe's pair."""
    x, dy = RNG.normal(size=(4, 3, 2, 2)), RNG.normal(size=(4, 3, 2, 2))
    whole = Alone("BatchNorm", x)
    plain = Alone("BatchNorm", x, affine=False)
    scale = Alone("Scale", plain.top(), bias=True)
    for layer in (whole.layer, scale.layer):
        layer.params.weight[...] = [1, 2, 3]
        layer.params.bias[...] = [4, 5, 6]
    assert_allclose(scale.top(), whole.top(), rtol=1e-12)
    want, got = whole.vjp(dy), scale.vjp(dy)
    assert_allclose(got["weight"], want["weight"], rtol=1e-12)
    assert_allclose(plain.vjp(got["bottom[0]"])["bottom[0]"], want["bottom[0]"], atol=1e-12)


# float32 at its extremes ----------------------------------------------------------------------------------------------

WITHIN_SAMPLE = [
    ("LayerNorm", {"normalized_shape": [4, 600]}, (1, 2)),
    ("GroupNorm", {"num_groups": 1}, (1, 2)),
    ("InstanceNorm", {}, (2,)),
    ("MVN", {}, (2,)),
    ("MVN", {"across_channels": True}, (1, 2)),
]


@pytest.mark.parametrize(("type_name", "params", "over"), WITHIN_SAMPLE)
@pytest.mark.parametrize("value", [0.0, 0.1, 12345.67, -1e7])
def test_a_constant_becomes_zero(type_name: str, params: dict[str, Any], over: Any, value: float) -> None:
    """Variance 0. A mean that is off in its last digit would be blown up by 1/√eps, or by Caffe's 1/eps."""
    norm = Alone(type_name, np.full((2, 4, 600), value), dtype="float32", **params)
    assert_array_equal(norm.top(), 0)


@pytest.mark.parametrize(("type_name", "params", "over"), WITHIN_SAMPLE)
@pytest.mark.parametrize(("mean", "spread"), [(1e4, 1.0), (1e4, 0.05), (-1e6, 2.0), (0.0, 1e-2), (1e4, 1e3)])
def test_a_mean_far_larger_than_the_spread(
    type_name: str, params: dict[str, Any], over: Any, mean: float, spread: float
) -> None:
    """Against the formula in float64, on the same values."""
    x = np.random.default_rng(0).normal(mean, spread, (2, 4, 600)).astype(np.float32)
    exact = x.astype(np.float64)
    centred = exact - exact.mean(axis=over, keepdims=True)
    eps = 0 if type_name == "MVN" else 1e-5
    want = centred / np.sqrt((centred**2).mean(axis=over, keepdims=True) + eps)
    assert_allclose(Alone(type_name, x, dtype="float32", **params).top(), want, atol=2e-5)


@pytest.mark.parametrize(
    ("type_name", "params", "slope"),
    [
        ("LayerNorm", {"normalized_shape": 4}, 1 / math.sqrt(1e-5)),
        ("GroupNorm", {"num_groups": 1}, 1 / math.sqrt(1e-5)),
        ("InstanceNorm", {}, 1 / math.sqrt(1e-5)),
        ("MVN", {}, 1e9),
    ],
)
def test_the_gradient_at_variance_zero(type_name: str, params: dict[str, Any], slope: float) -> None:
    """x̂ is 0, so dx = (dy - mean dy) / σ: large and finite."""
    dy = np.array([[[1.0, 0.0, 0.0, -3.0]]])
    norm = Alone(type_name, np.full((1, 1, 4), 7.0), dtype="float32", **params)
    assert_allclose(norm.vjp(dy)["bottom[0]"], (dy + 0.5) * slope, rtol=1e-5)


def test_lrn_of_huge_numbers() -> None:
    """s is 1 + x²: y is about x^(1 - 2 beta), and no part of the gradient overflows."""
    lrn = Alone("LocalResponseNorm", [[1e6], [-1e6]], dtype="float32", size=1, alpha=1.0)
    assert_allclose(lrn.top(), [[1e-3], [-1e-3]], rtol=1e-5)
    assert_allclose(lrn.vjp([[1.0], [1.0]])["bottom[0]"], [[-0.5e-9], [-0.5e-9]], rtol=1e-3)
