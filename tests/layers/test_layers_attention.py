"""Attention and positional embeddings, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def dot(*bottoms: Any, **params: Any) -> Alone:
    return Alone("ScaledDotProductAttention", *bottoms, **params)


def multihead(*bottoms: Any, **params: Any) -> Alone:
    """MultiheadAttention of two heads whose parameters depend on their names and shapes alone."""
    alone = Alone("MultiheadAttention", *bottoms, num_heads=2, **params)
    for i, (_, array) in enumerate(alone.layer.params.items()):
        array[...] = numbers(*array.shape, seed=i)
    return alone


# One head -------------------------------------------------------------------------------------------------------------


def test_attention_is_a_mean_of_values_weighted_by_exponentials_of_scores() -> None:
    # E = 4, so the scores are 2 · 1 / √4 = 1 and 0.
    q, k, v = [[[2.0, 0, 0, 0]]], [[[1.0, 0, 0, 0], [0, 1.0, 0, 0]]], [[[10.0], [20.0]]]
    e = math.e
    assert_allclose(dot(q, k, v).top(), [[[(10 * e + 20) / (e + 1)]]], rtol=1e-15)
    assert_allclose(dot(q, k, v, scale=0.0).top(), [[[15.0]]])


def test_causal_attention_looks_at_the_past_and_the_present_only() -> None:
    q, v = np.zeros((1, 3, 2)), np.array([[[3.0], [6.0], [12.0]]])
    causal = dot(q, q, v, causal=True)
    assert_allclose(causal.top(), [[[3.0], [4.5], [7.0]]])
    assert_allclose(causal.vjp([[[1.0], [0.0], [0.0]]])["bottom[2]"], [[[1.0], [0.0], [0.0]]])


def test_what_a_mask_hides_changes_nothing_and_gets_no_gradient() -> None:
    q, k, v = numbers(1, 2, 3), numbers(1, 4, 3, seed=1), numbers(1, 4, 2, seed=2)
    seen, dy = [0, 2], numbers(1, 2, 2, seed=3)
    masked, short = dot(q, k, v, [[1, 0, 1, 0]]), dot(q, k[:, seen], v[:, seen])
    assert_allclose(masked.top(), short.top(), rtol=1e-14)
    got, want = masked.vjp(dy), short.vjp(dy)
    assert_allclose(got["bottom[0]"], want["bottom[0]"], rtol=1e-12)
    for name in ("bottom[1]", "bottom[2]"):
        assert_allclose(got[name][:, seen], want[name], rtol=1e-12)
        assert_array_equal(got[name][:, [1, 3]], 0)


def test_a_query_that_may_see_nothing_gives_zero_and_a_finite_gradient() -> None:
    for dtype in ("float32", "float64"):
        blind = dot(*[numbers(1, 2, 3)] * 3, [[[0, 0], [1, 1]]], dtype=dtype)
        assert_array_equal(blind.top()[0, 0], 0)
        grads = blind.vjp(numbers(1, 2, 3, seed=1))
        assert_array_equal(grads["bottom[0]"][0, 0], 0)
        assert all(np.isfinite(grad).all() for grad in grads.values())


def test_huge_scores_do_not_overflow() -> None:
    q = np.array([[[1e4, -1e4], [-1e4, 1e4]]])
    y = dot(q, q, [[[1.0], [2.0]]], [[1, 1]], dtype="float32").top()
    assert_allclose(y, [[[1.0], [2.0]]])


# Several heads --------------------------------------------------------------------------------------------------------


def test_self_attention_is_attention_across_with_three_times_the_same() -> None:
    x, dy = numbers(2, 3, 4), numbers(2, 3, 4, seed=7)
    alone, across = multihead(x, causal=True), multihead(x, x, x, causal=True)
    assert_allclose(alone.top(), across.top(), rtol=1e-13)
    got, want = alone.vjp(dy), across.vjp(dy)
    assert_allclose(got["bottom[0]"], sum(want[f"bottom[{i}]"] for i in range(3)), rtol=1e-11)
    assert_allclose(got["in_proj_weight"], want["in_proj_weight"], rtol=1e-11)


def test_each_head_has_its_block_of_features() -> None:
    """With unit matrices around it, MultiheadAttention is attention on each half of the features."""
    x = numbers(2, 3, 4)
    alone = Alone("MultiheadAttention", x, num_heads=2, bias=False)
    alone.layer.params.in_proj_weight[...] = np.concatenate([np.eye(4)] * 3)
    alone.layer.params.out_proj_weight[...] = np.eye(4)
    halves = [dot(*[x[:, :, part]] * 3).top() for part in (slice(0, 2), slice(2, 4))]
    assert_allclose(alone.top(), np.concatenate(halves, axis=2), rtol=1e-14)


def test_the_mask_is_the_second_bottom_or_the_fourth_and_has_no_gradient() -> None:
    x, mask = numbers(2, 3, 4), [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    alone, across = multihead(x, mask), multihead(x, x, x, mask)
    assert_allclose(alone.top(), across.top(), rtol=1e-13)
    assert alone.layer.needs_grad == (True, False)
    assert across.layer.needs_grad == (True, True, True, False)
    changed = x.copy()
    changed[0, 2] += 1
    assert_allclose(multihead(changed, mask).top()[0, :2], alone.top()[0, :2], rtol=1e-13)


def test_start_values_are_glorots() -> None:
    alone = Alone("MultiheadAttention", numbers(1, 2, 32), num_heads=4)
    bound = math.sqrt(6 / (32 + 3 * 32))
    assert 0.95 * bound < np.abs(alone.layer.params.in_proj_weight).max() <= bound
    assert_array_equal(alone.layer.params.in_proj_bias, 0)


# Positions ------------------------------------------------------------------------------------------------------------


def test_waves_by_hand() -> None:
    y = Alone("PositionalEmbedding", np.zeros((1, 3, 4)), kind="sinusoidal").top()
    assert_allclose(y[0, 0], [0, 1, 0, 1])
    assert_allclose(y[0, 2], [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)], rtol=1e-14)


def test_waves_keep_their_digits_far_out_in_float32() -> None:
    y = Alone("PositionalEmbedding", np.zeros((1, 5000, 2)), kind="sinusoidal", dtype="float32").top()
    assert y.dtype == np.float32
    assert_allclose(y[0, 4999], [math.sin(4999), math.cos(4999)], atol=1e-7)


def test_positions_that_no_step_has_get_no_gradient() -> None:
    learned = Alone("PositionalEmbedding", np.zeros((2, 2, 1)), max_len=4)
    grads = learned.vjp([[[1.0], [2.0]], [[10.0], [20.0]]])
    assert_array_equal(grads["weight"], [[11], [22], [0], [0]])
