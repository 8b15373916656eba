"""Recurrent layers, by hand: single steps, masks, and sequences one after another."""

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


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_last_states_count_layers_and_directions_as_torch_does() -> None:
    lstm = layer("LSTM", numbers(3, 4, 2), tops=3, num_layers=2, bidirectional=True)
    y, h, c = lstm.forward()
    assert (y.shape, h.shape, c.shape) == ((3, 4, 4), (3, 4, 2), (3, 4, 2))
    assert_array_equal(h[:, 2], y[:, -1, :2])
    assert_array_equal(h[:, 3], y[:, 0, 2:])
