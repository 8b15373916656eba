"""Recurrent layers and attention by hand: single steps, masks, sequences one after another, positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

KINDS = ["RNN", "LSTM", "GRU"]
BOTH_WAYS = [False, True]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def layer(kind: str, *bottoms: Any, tops: int = 1, **params: Any) -> Alone:
    """A layer with parameters that depend on their names and shapes alone."""
    alone = Alone(kind, *bottoms, tops=tops, hidden_size=2, **params)
    for i, (_, array) in enumerate(alone.layer.params.items()):
        array[...] = numbers(*array.shape, seed=i)
    return alone


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


# Steps by hand --------------------------------------------------------------------------------------------------------


def test_rnn_adds_what_it_sees_to_what_it_was() -> None:
    rnn = Alone("RNN", [[[1.0], [2.0]]], hidden_size=1)
    for name, value in {"weight_ih_l0": 0.5, "weight_hh_l0": -1.0, "bias_ih_l0": 0.25, "bias_hh_l0": 0.125}.items():
        rnn.layer.params[name][...] = value
    first = math.tanh(0.5 * 1 + 0.375)
    assert_allclose(rnn.top(), [[[first], [math.tanh(0.5 * 2 - first + 0.375)]]], rtol=1e-15)


def test_lstm_has_its_gates_in_the_order_i_f_g_o() -> None:
    lstm = Alone("LSTM", [[[1.0], [1.0]]], hidden_size=1, bias=False, tops=3)
    lstm.layer.params.weight_ih_l0[:, 0] = [0.1, 0.2, 0.3, 0.4]
    lstm.layer.params.weight_hh_l0[:, 0] = [0.5, 0.6, 0.7, 0.8]
    c1 = sigmoid(0.1) * math.tanh(0.3)
    h1 = sigmoid(0.4) * math.tanh(c1)
    c2 = sigmoid(0.2 + 0.6 * h1) * c1 + sigmoid(0.1 + 0.5 * h1) * math.tanh(0.3 + 0.7 * h1)
    h2 = sigmoid(0.4 + 0.8 * h1) * math.tanh(c2)
    y, h, c = lstm.forward()
    assert_allclose(y, [[[h1], [h2]]], rtol=1e-14)
    assert_allclose([h[0, 0, 0], c[0, 0, 0]], [h2, c2], rtol=1e-14)


def test_gru_resets_the_bias_of_the_state_too() -> None:
    gru = Alone("GRU", [[[1.0]]], hidden_size=1)
    for name, values in {"weight_ih_l0": [0.1, 0.2, 0.3], "bias_ih_l0": [0, 0, 0.4], "bias_hh_l0": [0, 0, 2.0]}.items():
        gru.layer.params[name].reshape(-1)[...] = values
    r, z = sigmoid(0.1), sigmoid(0.2)
    assert_allclose(gru.top(), [[[(1 - z) * math.tanh(0.3 + 0.4 + r * 2.0)]]], rtol=1e-14)


def test_backpropagation_through_time_multiplies_the_slopes_on_the_way() -> None:
    rnn = Alone("RNN", [[[0.3], [0.1], [-0.2]]], hidden_size=1, bias=False)
    rnn.layer.params.weight_ih_l0[...], rnn.layer.params.weight_hh_l0[...] = 2.0, 0.5
    h1, h2, h3 = rnn.top()[0, :, 0]
    slopes = [1 - h * h for h in (h1, h2, h3)]
    got = rnn.vjp([[[0.0], [0.0], [1.0]]])
    dx3 = slopes[2] * 2.0
    dx2 = slopes[2] * 0.5 * slopes[1] * 2.0
    dx1 = slopes[2] * 0.5 * slopes[1] * 0.5 * slopes[0] * 2.0
    assert_allclose(got["bottom[0]"][0, :, 0], [dx1, dx2, dx3], rtol=1e-14)
    assert_allclose(got["weight_hh_l0"], [[slopes[2] * h2 + slopes[2] * 0.5 * slopes[1] * h1]], rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_start_values_are_uniform_within_one_over_the_root_of_the_size(kind: str) -> None:
    alone = Alone(kind, numbers(2, 3, 5), hidden_size=64)
    for _, array in alone.layer.params.items():
        assert 0.9 / 8 < np.abs(array).max() <= 1 / 8
    filled = Alone(kind, numbers(2, 3, 5), hidden_size=4, bias_filler={"type": "constant", "value": 7.0})
    assert_array_equal(filled.layer.params.bias_hh_l0, 7)
    assert np.abs(filled.layer.params.weight_hh_l0).max() < 1


# Masks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", BOTH_WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_step_does_not_happen(kind: str, bidirectional: bool) -> None:
    """With steps masked anywhere, the rest is as if they had been cut out of the sequence."""
    settings = {"num_layers": 2, "bidirectional": bidirectional}
    x, kept = numbers(1, 6, 3), [0, 2, 3]
    mask = np.isin(np.arange(6), kept)[None].astype(int)
    masked, short = layer(kind, x, mask, tops=2, **settings), layer(kind, x[:, kept], tops=2, **settings)
    (y, h), (y_short, h_short) = masked.forward(), short.forward()
    assert_array_equal(y[:, [1, 4, 5]], 0)
    assert_allclose(y[:, kept], y_short, rtol=1e-13)
    assert_allclose(h, h_short, rtol=1e-13)
    dy, dh = numbers(*y.shape, seed=8), numbers(*h.shape, seed=9)
    got, want = masked.vjp(dy, dh), short.vjp(dy[:, kept], dh)
    assert_array_equal(got["bottom[0]"][:, [1, 4, 5]], 0)
    assert_allclose(got["bottom[0]"][:, kept], want.pop("bottom[0]"), rtol=1e-12)
    for name, grad in want.items():
        assert_allclose(got[name], grad, rtol=1e-11, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_without_steps_stays_at_zero(kind: str) -> None:
    alone = layer(kind, numbers(2, 3, 3), [[0, 0, 0], [1, 1, 1]], tops=2)
    y, h = alone.forward()
    assert_array_equal(y[0], 0)
    assert_array_equal(h[0], 0)
    assert np.abs(h[1]).min() > 0


def test_a_mask_may_be_of_reals_and_anything_but_zero_counts() -> None:
    x = numbers(1, 3, 3)
    assert_array_equal(layer("GRU", x, [[1.0, 0.0, 0.5]]).top(), layer("GRU", x, [[1, 0, 1]]).top())


# Caffe's cont ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", BOTH_WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_cont_separates_sequences_that_share_a_row(kind: str, bidirectional: bool) -> None:
    first, other = numbers(1, 2, 3), numbers(1, 3, 3, seed=1)
    settings = {"bidirectional": bidirectional}
    joined = layer(kind, np.concatenate([first, other], axis=1), [[0, 1, 0, 1, 1]], second_bottom="cont", **settings)
    alone = [layer(kind, x, **settings) for x in (first, other)]
    y = joined.top()
    assert_allclose(y, np.concatenate([a.top() for a in alone], axis=1), rtol=1e-13)
    dy = numbers(*y.shape, seed=8)
    got, wants = joined.vjp(dy), [a.vjp(d) for a, d in zip(alone, (dy[:, :2], dy[:, 2:]), strict=True)]
    assert_allclose(got.pop("bottom[0]"), np.concatenate([w["bottom[0]"] for w in wants], axis=1), rtol=1e-12)
    for name, grad in got.items():
        assert_allclose(grad, wants[0][name] + wants[1][name], rtol=1e-11, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_cont_says_nothing_as_every_batch_begins_anew(kind: str) -> None:
    x = numbers(1, 3, 3)
    outs = [layer(kind, x, [[begin, 1, 1]], second_bottom="cont").top() for begin in (0, 1)]
    assert_array_equal(*outs)
    assert_array_equal(outs[0], layer(kind, x).top())


# Where a pass begins --------------------------------------------------------------------------------------------------

STATES = {"RNN": 1, "LSTM": 2, "GRU": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_in_two_pieces_is_the_whole_where_the_last_states_go_on(kind: str) -> None:
    x, dy, tops = numbers(2, 5, 3), numbers(2, 5, 2, seed=7), 1 + STATES[kind]
    whole = layer(kind, x)
    want, grads = whole.top(), whole.vjp(dy)
    first = layer(kind, x[:, :2], tops=tops)
    y, *last = first.forward()
    second = layer(kind, x[:, 2:], *last, initial_states=True)
    assert_allclose(np.concatenate([y, second.top()], axis=1), want, rtol=1e-13)
    after = second.vjp(dy[:, 2:])
    before = first.vjp(dy[:, :2], *(after.pop(f"bottom[{1 + i}]") for i in range(STATES[kind])))
    dx = np.concatenate([before.pop("bottom[0]"), after.pop("bottom[0]")], axis=1)
    assert_allclose(dx, grads.pop("bottom[0]"), rtol=1e-11)
    for name, grad in grads.items():
        assert_allclose(before[name] + after[name], grad, rtol=1e-10, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_cont_of_0_forgets_the_initial_state(kind: str) -> None:
    x, states = numbers(2, 3, 3), [numbers(2, 1, 2, seed=5 + i) for i in range(STATES[kind])]
    told = layer(kind, x, [[0, 1, 1], [1, 1, 1]], *states, second_bottom="cont", initial_states=True)
    y = told.top()
    assert_allclose(y[0], layer(kind, x).top()[0], rtol=1e-14)
    assert_allclose(y[1], layer(kind, x, *states, initial_states=True).top()[1], rtol=1e-14)
    got = told.vjp(numbers(*y.shape, seed=8))
    for i in range(STATES[kind]):
        assert_array_equal(got[f"bottom[{2 + i}]"][0], 0)
        assert np.abs(got[f"bottom[{2 + i}]"][1]).min() > 0


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_a_single_bias_does_what_the_two_do_together(kind: str) -> None:
    single, both = (layer(kind, numbers(2, 3, 3), recurrent_bias=b) for b in (False, True))
    assert "bias_hh_l0" not in single.layer.params
    for name in ("weight_ih_l0", "weight_hh_l0"):
        both.layer.params[name][...] = single.layer.params[name]
    both.layer.params.bias_ih_l0[...] = single.layer.params.bias_ih_l0 - both.layer.params.bias_hh_l0
    y = single.top()
    assert_allclose(both.top(), y, rtol=1e-13)
    dy = numbers(*y.shape, seed=8)
    assert_allclose(single.vjp(dy)["bias_ih_l0"], both.vjp(dy)["bias_hh_l0"], rtol=1e-12)


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_last_states_count_layers_and_directions_as_torch_does() -> None:
    lstm = layer("LSTM", numbers(3, 4, 2), tops=3, num_layers=2, bidirectional=True)
    y, h, c = lstm.forward()
    assert (y.shape, h.shape, c.shape) == ((3, 4, 4), (3, 4, 2), (3, 4, 2))
    assert_array_equal(h[:, 2], y[:, -1, :2])
    assert_array_equal(h[:, 3], y[:, 0, 2:])


# Attention ------------------------------------------------------------------------------------------------------------


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
