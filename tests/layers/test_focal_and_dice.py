"""FocalLoss, SigmoidFocalLoss and DiceLoss by values worked out by hand, at their limits and at extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge.schema.errors import LayerError

LOG, BIG = math.log, 1e4
RNG = np.random.default_rng(0)
THREE, ONE = [[LOG(3.0), 0.0]], [[0.0, LOG(3.0)]]  # p is 3/4, 1/4; and 1/4, 3/4


def dx_of(loss: Alone, dy: Any = 1.0) -> np.ndarray:
    return loss.vjp(dy)["bottom[0]"]


# FocalLoss ------------------------------------------------------------------------------------------------------------


def test_focal_loss_by_hand() -> None:
    focal = Alone("FocalLoss", THREE, [0], gamma=2, alpha=0.5)
    assert_allclose(focal.top(), -0.5 * (1 / 4) ** 2 * LOG(3 / 4))
    slope = -0.5 * ((1 / 4) ** 2 - 2 * (1 / 4) * (3 / 4) * LOG(3 / 4))  # by log p
    assert_allclose(dx_of(focal), [[slope / 4, -slope / 4]])
    assert_allclose(Alone("FocalLoss", ONE, [0], gamma=1).top(), (3 / 4) * LOG(4))
    each = Alone("FocalLoss", [*THREE, *ONE], [0, 1], gamma=0, alpha=[1.0, 3.0], reduction="none")
    assert_allclose(each.top(), [LOG(4 / 3), 3 * LOG(4 / 3)])


def test_alpha_is_a_factor_and_no_weight_of_the_mean() -> None:
    x = RNG.normal(size=(3, 2))
    each = Alone("FocalLoss", x, [0, 1, 1], alpha=[0.25, 4.0], reduction="none").top()
    assert_allclose(Alone("FocalLoss", x, [0, 1, 1], alpha=[0.25, 4.0]).top(), each.mean())
    ignoring = Alone("FocalLoss", x, [0, 1, 1], alpha=[0.25, 4.0], ignore_index=0)
    assert_allclose(ignoring.top(), each[1:].mean())
    assert_array_equal(dx_of(ignoring)[0], 0)


@pytest.mark.parametrize("params", [{}, {"ignore_index": 1}, {"normalization": "full", "ignore_index": 2}])
def test_without_focus_it_is_the_cross_entropy(params: dict[str, Any]) -> None:
    x, labels = RNG.normal(size=(4, 3, 5)), RNG.integers(0, 3, (4, 5))
    focal, plain = Alone("FocalLoss", x, labels, gamma=0, **params), Alone("SoftmaxCrossEntropy", x, labels, **params)
    assert_allclose(focal.top(), plain.top(), rtol=1e-13)
    assert_allclose(dx_of(focal, 1.7), dx_of(plain, 1.7), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
def test_focal_loss_of_extreme_scores_is_finite(gamma: float) -> None:
    """Warnings are errors here. Sure and right: no loss, no gradient; sure and wrong: as the cross entropy."""
    right = Alone("FocalLoss", [[BIG, -BIG], [0.0, -60.0]], [0, 0], gamma=gamma, reduction="none", dtype="float32")
    assert_allclose(right.top(), [0, math.exp(-60) ** (1 + gamma)], rtol=1e-4, atol=1e-38)
    assert_allclose(dx_of(right, [1.0, 0.0]), 0, atol=1e-37)
    wrong = Alone("FocalLoss", [[BIG, -BIG]], [1], gamma=gamma, dtype="float32")
    assert_allclose(wrong.top(), 2 * BIG)
    assert_allclose(dx_of(wrong), [[1, -1]])


def test_focal_loss_of_sure_answers_keeps_its_digits() -> None:
    """q is 1e-9 here, which 1 - p would round to 0 in float32. ℓ is q³, and dx its slope 3 q³."""
    sure = Alone("FocalLoss", [[LOG(1e9), 0.0]], [0], dtype="float32")
    assert_allclose(sure.top(), 1e-27, rtol=1e-5)
    assert_allclose(dx_of(sure), [[-3e-27, 3e-27]], rtol=1e-5)


def test_a_masked_class_has_no_share_and_a_masked_label_an_infinite_loss() -> None:
    focal = Alone("FocalLoss", [[0.0, -np.inf, 0.0]], [0], gamma=1)
    assert_allclose(focal.top(), 0.5 * LOG(2))
    assert_array_equal(dx_of(focal)[0, 1], 0)
    lost = Alone("FocalLoss", [[0.0, -np.inf, 0.0]], [1])
    assert lost.top() == np.inf
    assert_allclose(dx_of(lost), [[0.5, -1, 0.5]])


# SigmoidFocalLoss -----------------------------------------------------------------------------------------------------


def test_sigmoid_focal_loss_by_hand() -> None:
    """The form of torchvision: ce (1 - p_t)^γ α_t."""
    x, t = np.array([LOG(3.0), LOG(3.0)]), [1.0, 0.0]
    each = Alone("SigmoidFocalLoss", x, t, reduction="none").top()
    assert_allclose(each, [0.25 * (1 / 4) ** 2 * LOG(4 / 3), 0.75 * (3 / 4) ** 2 * LOG(4)])
    assert_allclose(Alone("SigmoidFocalLoss", x, t, gamma=1, alpha=None).top(), (LOG(4 / 3) / 4 + 3 * LOG(4) / 4) / 2)


def test_sigmoid_focal_loss_is_the_softmax_one_of_two_scores() -> None:
    x, labels = RNG.normal(size=(6, 2)), RNG.integers(0, 2, 6)
    two = Alone("FocalLoss", x, labels, alpha=[0.7, 0.3], gamma=1.5)
    one = Alone("SigmoidFocalLoss", x[:, 1] - x[:, 0], labels.astype(float), alpha=0.3, gamma=1.5)
    assert_allclose(one.top(), two.top())
    assert_allclose(one.vjp(1.0)["bottom[0]"], dx_of(two)[:, 1])


def test_sigmoid_focal_loss_without_focus_is_the_binary_cross_entropy() -> None:
    x, t = RNG.normal(size=(4, 3)), RNG.random((4, 3))
    focal, plain = Alone("SigmoidFocalLoss", x, t, gamma=0, alpha=None), Alone("BCEWithLogitsLoss", x, t)
    assert_allclose(focal.top(), plain.top(), rtol=1e-13)
    for name, gradient in plain.vjp(1.0).items():
        assert_allclose(focal.vjp(1.0)[name], gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_sigmoid_focal_loss_of_extreme_scores_is_finite(gamma: float) -> None:
    x, t = [BIG, -BIG, BIG, -BIG], [1.0, 0.0, 0.0, 1.0]
    loss = Alone("SigmoidFocalLoss", x, t, gamma=gamma, alpha=None, reduction="none", dtype="float32")
    assert_allclose(loss.top(), [0, 0, BIG, BIG], atol=1e-15)
    grads = loss.vjp([1.0] * 4)
    assert_allclose(grads["bottom[0]"], [0, 0, 1, -1], atol=1e-15)
    assert np.isfinite(grads["bottom[1]"]).all()


@pytest.mark.parametrize("t", [-0.1, 1.5])
def test_a_target_that_is_no_probability_is_refused(t: float) -> None:
    with pytest.raises(LayerError, match="t is outside of 0 to 1"):
        Alone("SigmoidFocalLoss", [0.5], [t]).forward()


# DiceLoss -------------------------------------------------------------------------------------------------------------

P = [[[0.8, 0.4], [0.2, 0.6]]]  # one sample, two classes, two positions


def test_dice_loss_by_hand() -> None:
    """Labels 0, 1: D is (2 · 0.8 + 1) / (1.2 + 1 + 1) and (2 · 0.6 + 1) / (0.8 + 1 + 1)."""
    dice = Alone("DiceLoss", P, [[0, 1]], activation="none")
    first, second = 2.6 / 3.2, 2.2 / 2.8
    assert_allclose(dice.top(), 1 - (first + second) / 2)
    want = [[[-(2 - first) / 3.2, first / 3.2], [second / 2.8, -(2 - second) / 2.8]]]
    assert_allclose(dx_of(dice), np.array(want) / 2)
    squares = Alone("DiceLoss", P, [[0, 1]], activation="none", squares=True, smooth=0)
    assert_allclose(squares.top(), 1 - (1.6 / (0.64 + 0.16 + 1) + 1.2 / (0.04 + 0.36 + 1)) / 2)


def test_dice_loss_of_scores() -> None:
    x, labels = RNG.normal(size=(3, 4, 5)), RNG.integers(0, 4, (3, 5))
    for activation in ("softmax", "sigmoid"):
        p = Alone(activation.capitalize(), x, **({"dim": 1} if activation == "softmax" else {}))
        apart = Alone("DiceLoss", p.top(), labels, activation="none")
        both = Alone("DiceLoss", x, labels, activation=activation)
        assert_allclose(both.top(), apart.top(), rtol=1e-13)
        assert_allclose(dx_of(both), p.vjp(dx_of(apart))["bottom[0]"], rtol=1e-11, atol=1e-15)


def test_masks_say_the_same_as_labels() -> None:
    x, labels = RNG.normal(size=(3, 4, 5)), RNG.integers(0, 4, (3, 5))
    masks = (labels[:, None] == np.arange(4)[:, None]).astype(float)
    assert_allclose(Alone("DiceLoss", x, masks).top(), Alone("DiceLoss", x, labels).top(), rtol=1e-13)


def test_the_loss_is_a_mean_over_samples_whose_classes_count_alike() -> None:
    x, labels = RNG.normal(size=(3, 4, 5)), RNG.integers(0, 4, (3, 5))
    each = Alone("DiceLoss", x, labels, reduction="none").top()
    assert_allclose(each, [Alone("DiceLoss", x[i : i + 1], labels[i : i + 1]).top() for i in range(3)])
    mean = Alone("DiceLoss", x, labels)
    assert_allclose(mean.top(), each.mean())
    assert mean.layer.mean_over(x, labels) == 3


def test_what_is_ignored_is_not_seen() -> None:
    x, labels = RNG.normal(size=(2, 3, 6)), RNG.integers(0, 3, (2, 6))
    labels[:, 4:] = 255
    dice = Alone("DiceLoss", x, labels, ignore_index=255)
    assert_allclose(dice.top(), Alone("DiceLoss", x[:, :, :4], labels[:, :4]).top(), rtol=1e-13)
    assert_array_equal(dx_of(dice)[:, :, 4:], 0)


def test_a_class_that_is_nowhere_costs_nothing() -> None:
    p, labels = [[[1.0, 1.0], [0.0, 0.0]]], [[0, 0]]
    for smooth in (0, 1):
        assert Alone("DiceLoss", p, labels, activation="none", smooth=smooth).top() == 0
    assert np.isfinite(dx_of(Alone("DiceLoss", p, labels, activation="none", smooth=0))).all()


def test_dice_loss_of_sure_answers_keeps_its_digits() -> None:
    """p is 1 - 1e-9 in both positions: 1 - D of float32 would be 0."""
    x = [[[LOG(1e9), 0.0], [0.0, LOG(1e9)]]]
    dice = Alone("DiceLoss", x, [[0, 1]], smooth=0, dtype="float32")
    assert_allclose(dice.top(), 0.5e-9, rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_dice_loss_of_extreme_scores_is_finite(activation: str) -> None:
    x = [[[BIG, -BIG], [-BIG, BIG]]]
    right = Alone("DiceLoss", x, [[0, 1]], activation=activation, dtype="float32")
    assert_allclose(right.top(), 0, atol=1e-30)
    assert_allclose(dx_of(right), 0, atol=1e-30)
    wrong = Alone("DiceLoss", x, [[1, 0]], activation=activation, smooth=0, dtype="float32")
    assert_allclose(wrong.top(), 1)
    assert_allclose(dx_of(wrong), 0, atol=1e-30)


@pytest.mark.parametrize(("x", "t", "which"), [([[1.5]], [[1.0]], "x"), ([[0.5]], [[-0.5]], "the masks")])
def test_what_is_no_probability_is_refused(x: Any, t: Any, which: str) -> None:
    with pytest.raises(LayerError, match=f"{which} is outside of 0 to 1"):
        Alone("DiceLoss", x, t, activation="none").forward()
