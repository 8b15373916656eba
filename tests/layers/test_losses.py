"""Losses by values worked out by hand, and Caffe's rules for them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge import Net
from layerforge.schema.errors import LayerError, LayerForgeError

LOG = math.log
NAN, INF = float("nan"), float("inf")


def gradient(loss: Alone, dy: Any = 1.0, bottom: int = 0) -> np.ndarray:
    return loss.vjp(dy)[f"bottom[{bottom}]"]


# Between two blobs of one shape ---------------------------------------------------------------------------------------

X, T = [[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 4.5]]  # x - t is 0, 2, 3, -0.5


@pytest.mark.parametrize(
    ("name", "params", "sum_of_losses", "slopes"),
    [
        ("MSELoss", {}, 4 + 9 + 0.25, [0, 4, 6, -1]),
        ("EuclideanLoss", {}, (4 + 9 + 0.25) / 2, [0, 2, 3, -0.5]),
        ("L1Loss", {}, 5.5, [0, 1, 1, -1]),
        ("HuberLoss", {}, 1.5 + 2.5 + 0.125, [0, 1, 1, -0.5]),
        ("HuberLoss", {"delta": 2.5}, 2 + 2.5 * (3 - 1.25) + 0.125, [0, 2, 2.5, -0.5]),
        ("SmoothL1Loss", {}, 1.5 + 2.5 + 0.125, [0, 1, 1, -0.5]),
        ("SmoothL1Loss", {"beta": 2.5}, 4 / 5 + (3 - 1.25) + 0.25 / 5, [0, 0.8, 1, -0.2]),
        ("SmoothL1Loss", {"beta": 0.0}, 5.5, [0, 1, 1, -1]),
    ],
)
def test_losses_of_a_difference(name: str, params: dict[str, Any], sum_of_losses: float, slopes: list[float]) -> None:
    dx = np.reshape(slopes, (2, 2))
    for reduction, n in (("sum", 1), ("mean", 4), ("batchmean", 2)):
        loss = Alone(name, X, T, reduction=reduction, **params)
        assert_allclose(loss.top(), sum_of_losses / n)
        assert_allclose(gradient(loss, 3.0), 3 * dx / n)
        assert_allclose(gradient(loss, 3.0, bottom=1), -3 * dx / n)
    each = Alone(name, X, T, reduction="none", **params)
    assert_allclose(each.top().sum(), sum_of_losses)
    assert_allclose(gradient(each, [[1.0, 2.0], [3.0, 4.0]]), dx * [[1, 2], [3, 4]])


def test_boxes_are_weighted_inside_and_outside_and_divided_by_the_batch() -> None:
    """Fast R-CNN's layer: 0.5 (sigma u)² for |u| < 1/sigma², otherwise |u| - 0.5/sigma², with u = a (x - t)."""
    x, t = [[0.1, 2.0, 5.0], [-3.0, 0.0, 1.0]], [[0.0, 1.0, 7.0], [1.0, 0.0, 0.9]]
    inside, outside = [[1.0, 0.5, 0.0], [2.0, 1.0, 1.0]], [[1.0, 2.0, 3.0], [0.5, 1.0, 4.0]]
    loss = Alone("SmoothL1Loss", x, t, inside, outside, sigma=2.0, reduction="batchmean")  # u: 0.1 0.5 0 -8 0 0.1
    each = np.array([[0.02, 0.375, 0], [7.875, 0, 0.02]])
    assert_allclose(loss.top(), (np.array(outside) * each).sum() / 2)
    got = loss.vjp(3.0)
    slope = np.array([[0.4, 1, 0], [-1, 0, 0.4]]) * 3 / 2 * np.array(outside)
    assert_allclose(got["bottom[0]"], np.array(inside) * slope)
    assert_allclose(got["bottom[1]"], -np.array(inside) * slope)
    assert_allclose(got["bottom[2]"], (np.array(x) - t) * slope, atol=1e-15)
    assert_allclose(got["bottom[3]"], each * 3 / 2)


def test_mse_is_the_mean_over_all_numbers() -> None:
    loss = Alone("MSELoss", [[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 4.0]])
    assert_allclose(loss.top(), (4 + 9) / 4)
    got = loss.vjp(2.0)
    assert_allclose(got["bottom[0]"], [[0, 2], [3, 0]])
    assert_allclose(got["bottom[1]"], [[0, -2], [-3, 0]])


def test_euclidean_loss_is_caffes_half_square_per_sample() -> None:
    """1/(2N) Σ (a - b)², with gradients to both bottoms."""
    loss = Alone("EuclideanLoss", X, T)
    assert_allclose(loss.top(), 13.25 / (2 * 2))
    assert_allclose(gradient(loss), np.array([[0, 2], [3, -0.5]]) / 2)
    assert_allclose(gradient(loss, bottom=1), np.array([[0, -2], [-3, 0.5]]) / 2)


def test_bce_by_hand() -> None:
    loss = Alone("BCELoss", [0.25, 0.75], [1.0, 0.5], reduction="sum")
    assert_allclose(loss.top(), LOG(4) - LOG(0.75) / 2 - LOG(0.25) / 2)
    assert_allclose(gradient(loss), [-4, (0.75 - 0.5) / (0.75 * 0.25)])
    assert_allclose(gradient(loss, bottom=1), [LOG(3), -LOG(3)])


def test_the_logarithms_of_bce_end_at_minus_a_hundred() -> None:
    assert Alone("BCELoss", [0.0, 1.0], [1.0, 0.0]).top() == 100
    assert Alone("BCELoss", [0.0, 1.0], [0.0, 1.0]).top() == 0


def test_sigmoid_cross_entropy_of_caffe_is_a_sum_per_sample() -> None:
    """Its default normalisation is BATCH_SIZE: the sum over an instance, the mean over the batch."""
    x, t = [[0.0, LOG(3)], [-LOG(3), 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    loss = Alone("BCEWithLogitsLoss", x, t, reduction="batchmean")
    assert_allclose(loss.top(), (LOG(2) + LOG(4) + LOG(4 / 3) + LOG(2)) / 2)
    assert_allclose(gradient(loss), np.array([[-0.5, 0.75], [0.25, -0.5]]) / 2)
    assert_allclose(Alone("BCEWithLogitsLoss", x, t).top(), loss.top() / 2)


@pytest.mark.parametrize(("normalization", "m"), [("valid", 3), ("full", 6), ("batch_size", 2), ("none", 1)])
def test_ignored_targets_cost_nothing_and_caffes_normalisations_count(normalization: str, m: int) -> None:
    x, t = [[0.5, np.nan, -1.0], [np.inf, 2.0, -0.3]], [[1.0, -1.0, 0.0], [-1.7, 1.0, -1.0]]  # -1.7 is cut to -1
    loss = Alone("BCEWithLogitsLoss", x, t, ignore_index=-1, normalization=normalization)
    total = math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-2.0))
    assert_allclose(loss.top(), total / m)
    sigmoid = [1 / (1 + math.exp(-v)) for v in (0.5, -1.0, 2.0)]
    dx = loss.vjp(2.5)["bottom[0]"] * m / 2.5
    assert_allclose(dx, [[sigmoid[0] - 1, 0, sigmoid[1]], [0, sigmoid[2] - 1, 0]])


def test_where_all_targets_are_ignored_the_loss_is_zero() -> None:
    loss = Alone("BCEWithLogitsLoss", [[3.0]], [[7.0]], ignore_index=7)
    assert loss.top() == 0
    assert loss.vjp(1.5)["bottom[0]"] == 0


def test_sigmoid_cross_entropy_of_huge_scores() -> None:
    loss = Alone("BCEWithLogitsLoss", [1e4, -1e4, 1e4, -1e4], [1.0, 0.0, 0.0, 1.0], dtype="float32", reduction="none")
    assert_array_equal(loss.top(), [0, 0, 1e4, 1e4])
    assert_allclose(gradient(loss, np.ones(4)), [0, 0, 1, -1], atol=1e-30)


def test_pos_weight_weighs_the_positive_answers() -> None:
    x, t = [[LOG(3), LOG(3)]], [[1.0, 0.0]]
    assert_allclose(
        Alone("BCEWithLogitsLoss", x, t, pos_weight=5.0, reduction="none").top(), [[5 * LOG(4 / 3), LOG(4)]]
    )
    loss = Alone("BCEWithLogitsLoss", x, t, pos_weight=[2.0, 7.0], reduction="none")
    assert_allclose(loss.top(), [[2 * LOG(4 / 3), LOG(4)]])
    assert_allclose(gradient(loss, [[1.0, 1.0]]), [[-2 * 0.25, 0.75]])


def test_kl_divergence_by_hand() -> None:
    p, q = np.array([[0.5, 0.5, 0.0]]), np.array([[0.25, 0.5, 0.25]])
    loss = Alone("KLDivLoss", np.log(q), p, reduction="batchmean")
    assert_allclose(loss.top(), 0.5 * LOG(2))
    assert_allclose(gradient(loss), -p)
    in_logs = Alone("KLDivLoss", np.log(q[:, :2]), np.log(p[:, :2]), log_target=True, reduction="sum")
    assert_allclose(in_logs.top(), 0.5 * LOG(2))
    assert_allclose(gradient(in_logs, bottom=1), [[0.5 * (LOG(2) + 1), 0.5]])


# Over labels ----------------------------------------------------------------------------------------------------------


def test_cross_entropy_is_the_mean_of_minus_log_p() -> None:
    loss = Alone("SoftmaxCrossEntropy", np.log([[1.0, 3.0], [1.0, 1.0]]), [1, 0])
    assert_allclose(loss.top(), -(math.log(0.75) + math.log(0.5)) / 2)
    got = loss.vjp(4.0)["bottom[0]"]
    assert_allclose(got, 4 * np.array([[0.25, -0.25], [-0.5, 0.5]]) / 2)


def test_cross_entropy_of_equal_scores_is_log_k() -> None:
    assert_allclose(Alone("SoftmaxCrossEntropy", np.full((3, 10), 7.0), [0, 4, 9]).top(), math.log(10))


@pytest.mark.parametrize("of_probabilities", ["SoftmaxCrossEntropy", "NLLLoss"])
def test_ignored_positions_count_neither_in_the_sum_nor_in_the_mean(of_probabilities: str) -> None:
    x, labels = np.random.default_rng(0).normal(size=(4, 3)), np.array([2, -1, 0, -1])
    some = Alone(of_probabilities, x, labels, ignore_index=-1)
    only = Alone(of_probabilities, x[[0, 2]], labels[[0, 2]])
    assert_allclose(some.top(), only.top())
    dx = some.vjp(1.0)["bottom[0]"]
    assert_allclose(dx[[0, 2]], only.vjp(1.0)["bottom[0]"])
    assert_array_equal(dx[[1, 3]], 0)
    assert some.layer.mean_over(x, labels) == 2
    assert only.layer.mean_over(x[[0, 2]], labels[[0, 2]]) == 2


@pytest.mark.parametrize("name", ["SoftmaxCrossEntropy", "NLLLoss", "Accuracy"])
def test_without_a_position_that_counts_a_mean_is_zero_and_weighs_nothing(name: str) -> None:
    x, labels = np.ones((2, 3)), np.array([9, 9])
    layer = Alone(name, x, labels, ignore_index=9)
    assert layer.top() == 0
    assert layer.layer.mean_over(x, labels) == 0
    if name != "Accuracy":
        assert_array_equal(layer.vjp(1.0)["bottom[0]"], 0)


@pytest.mark.parametrize("name", ["SoftmaxCrossEntropy", "NLLLoss", "Accuracy"])
def test_a_label_per_position_is_the_same_as_more_samples(name: str) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    rows = x.transpose(0, 2, 3, 1).reshape(-1, 3)
    assert_allclose(Alone(name, x, labels).top(), Alone(name, rows, labels.reshape(-1)).top())
    assert Alone(name, x, labels).layer.mean_over(x, labels) == 40


def test_nll_loss_picks_one_number_per_position() -> None:
    loss = Alone("NLLLoss", [[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]], [2, 0])
    assert_allclose(loss.top(), (3 + 4) / 2)
    assert_allclose(loss.vjp(1.0)["bottom[0]"], [[0, 0, -0.5], [-0.5, 0, 0]])


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_caffe_limits_the_probability_in_the_loss_and_not_in_the_gradient(engine: str) -> None:
    least = 1.17549435e-38
    layer = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["x", "t"], "min_probability": least}
    inputs = {"x": {"shape": [2, 2], "grad": True}, "t": {"shape": [2], "dtype": "int64"}}
    net = Net.from_config({"inputs": inputs, "net": [layer], "engine": engine}, keep="all")
    x = np.array([[-500.0, 300.0], [0.0, math.log(3)]], "float32")
    loss = net.forward(x=x, t=np.array([0, 0]))["loss"]
    assert_allclose(loss, (-math.log(least) + math.log(4)) / 2, rtol=1e-6)
    net.backward()
    assert_allclose(net.blobs["x"].grad, [[-0.5, 0.5], [-0.375, 0.375]], rtol=1e-6)


def test_cross_entropy_is_log_softmax_and_nll() -> None:
    x, labels = np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
    log_p = Alone("LogSoftmax", x).top()
    assert_allclose(Alone("SoftmaxCrossEntropy", x, labels).top(), Alone("NLLLoss", log_p, labels).top())


@pytest.mark.parametrize("name", ["SoftmaxCrossEntropy", "NLLLoss", "Accuracy"])
@pytest.mark.parametrize("wrong", [3, -1, 255])
def test_a_label_out_of_range_is_named_with_its_position(name: str, wrong: int) -> None:
    with pytest.raises(LayerError) as caught:
        Alone(name, np.zeros((4, 3)), [0, 2, wrong, 9]).forward()
    assert f"label {wrong} at position 2 is out of range for 3 classes" in str(caught.value)
    assert "labels must be 0 to 2" in str(caught.value)
    assert name in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_label_out_of_range_in_an_image_is_named_with_all_its_coordinates() -> None:
    labels = np.zeros((2, 4, 5), int)
    labels[1, 2, 3] = 7
    with pytest.raises(LayerError, match=r"label 7 at position 1, 2, 3 is out of range for 3 classes"):
        Alone("SoftmaxCrossEntropy", np.zeros((2, 3, 4, 5)), labels).forward()
    Alone("SoftmaxCrossEntropy", np.zeros((2, 3, 4, 5)), labels, ignore_index=7).forward()


@pytest.mark.parametrize("kind", ["uint8", "int32"])
def test_labels_of_any_integer_type(kind: str) -> None:
    x, labels = np.log([[1.0, 3.0], [3.0, 1.0]]), np.array([1, 0], kind)
    assert_allclose(Alone("SoftmaxCrossEntropy", x, labels).top(), -math.log(0.75))


# Of classes -----------------------------------------------------------------------------------------------------------

SCORES = np.log([[1.0, 3.0], [1.0, 1.0]])  # probabilities 1/4 3/4, 1/2 1/2


def test_weights_of_classes_weigh_the_mean_too() -> None:
    loss = Alone("SoftmaxCrossEntropy", SCORES, [1, 0], weight=[1.0, 3.0])
    assert_allclose(loss.top(), (3 * LOG(4 / 3) + LOG(2)) / (1 + 3))
    assert_allclose(gradient(loss), np.array([[0.75, -0.75], [-0.5, 0.5]]) / 4)
    assert loss.layer.mean_over(*loss.bottoms) == 4


def test_label_smoothing_spreads_a_share_over_all_classes() -> None:
    loss = Alone("SoftmaxCrossEntropy", SCORES[:1], [1], label_smoothing=0.2)  # targets 0.1 and 0.9
    assert_allclose(loss.top(), 0.1 * LOG(4) + 0.9 * LOG(4 / 3))
    assert_allclose(gradient(loss), [[0.25 - 0.1, 0.75 - 0.9]])


def test_targets_that_are_probabilities() -> None:
    q = np.array([[0.5, 0.5], [0.0, 1.0]])
    loss = Alone("SoftmaxCrossEntropy", SCORES, q)
    assert_allclose(loss.top(), (0.5 * LOG(4) + 0.5 * LOG(4 / 3) + LOG(2)) / 2)
    assert_allclose(gradient(loss), (np.array([[0.25, 0.75], [0.5, 0.5]]) - q) / 2)
    assert_allclose(gradient(loss, bottom=1), np.array([[LOG(4), LOG(4 / 3)], [LOG(2), LOG(2)]]) / 2)


NORMALISERS = {"valid": 4, "full": 6, "batch_size": 2, "none": 1}


@pytest.mark.parametrize("normalization", NORMALISERS)
@pytest.mark.parametrize("name", ["SoftmaxCrossEntropy", "InfogainLoss"])
def test_caffes_normalisations(name: str, normalization: str) -> None:
    """Two samples with three positions each, two of the six ignored; every position that counts costs log 2."""
    x, labels = np.zeros((2, 2, 3)), [[0, 9, 1], [1, 1, 9]]
    params = {"matrix": [[1.0, 0.0], [0.0, 1.0]]} if name == "InfogainLoss" else {}
    loss = Alone(name, x, labels, ignore_index=9, normalization=normalization, **params)
    n = NORMALISERS[normalization]
    assert_allclose(loss.top(), 4 * LOG(2) / n)
    dx = np.array([[[-1, 0, 1], [1, 0, -1]], [[1, 1, 0], [-1, -1, 0]]]) / 2
    assert_allclose(gradient(loss), dx / n)
    assert loss.layer.mean_over(*loss.bottoms) == (None if normalization == "none" else n)


def test_caffe_divides_by_one_at_least() -> None:
    for normalization in NORMALISERS:
        loss = Alone("SoftmaxCrossEntropy", SCORES, [9, 9], ignore_index=9, normalization=normalization)
        assert loss.top() == 0
        assert_array_equal(gradient(loss), 0)


def test_multinomial_logistic_loss_takes_probabilities_and_has_a_floor() -> None:
    """-1/N Σ log max(p, 1e-20); the gradient is Caffe's, -1 / max(p, 1e-20)."""
    loss = Alone("MultinomialLogisticLoss", [[0.25, 0.75], [1.0, 0.0]], [0, 1])
    assert_allclose(loss.top(), (LOG(4) + 20 * LOG(10)) / 2)
    assert_allclose(gradient(loss), [[-4 / 2, 0], [0, -1e20 / 2]])


def test_hinge_loss_by_hand() -> None:
    """Margins 0.5 0.5 and 3 0.75."""
    x, labels = [[0.5, -0.5], [2.0, 0.25]], [0, 1]
    plain = Alone("HingeLoss", x, labels)
    assert_allclose(plain.top(), (0.5 + 0.5 + 3 + 0.75) / 2)
    assert_allclose(gradient(plain), np.array([[-1, 1], [1, -1]]) / 2)
    squared = Alone("HingeLoss", x, labels, norm="L2")
    assert_allclose(squared.top(), (0.25 + 0.25 + 9 + 0.5625) / 2)
    assert_allclose(gradient(squared), np.array([[-1, 1], [6, -1.5]]) / 2)


def test_hinge_loss_has_no_slope_on_the_margin() -> None:
    assert_array_equal(gradient(Alone("HingeLoss", [[1.0, -1.0], [5.0, -5.0]], [0, 0])), 0)


def test_infogain_loss_by_hand() -> None:
    """The softmax is inside; the row of the matrix is that of the label."""
    h = [[1.0, 0.5], [0.0, 2.0]]
    loss = Alone("InfogainLoss", SCORES, [0, 1], matrix=h)
    assert_allclose(loss.top(), (LOG(4) + 0.5 * LOG(4 / 3) + 2 * LOG(2)) / 2)
    assert_allclose(gradient(loss), np.array([[1.5 / 4 - 1, 4.5 / 4 - 0.5], [1, -1]]) / 2)
    of_bottom = Alone("InfogainLoss", SCORES, [0, 1], np.array(h))
    assert_allclose(of_bottom.top(), loss.top())
    assert_allclose(gradient(of_bottom, bottom=2), np.array([[LOG(4), LOG(4 / 3)], [LOG(2), LOG(2)]]) / 2)


def test_infogain_loss_of_the_unit_matrix_is_cross_entropy() -> None:
    x, labels = np.random.default_rng(0).normal(size=(5, 3)), [0, 2, 1, 1, 2]
    unit, plain = Alone("InfogainLoss", x, labels, matrix=np.eye(3).tolist()), Alone("SoftmaxCrossEntropy", x, labels)
    assert_allclose(unit.top(), plain.top())
    assert_allclose(gradient(unit), gradient(plain))


# Of vectors -----------------------------------------------------------------------------------------------------------


def test_margin_ranking_by_hand() -> None:
    loss = Alone("MarginRankingLoss", [1.0, 2.0, 0.0, 1.0], [3.0, 1.0, 0.0, 3.0], [1, 1, 1, -1], margin=0.5)
    assert_allclose(loss.top(), (2.5 + 0 + 0.5 + 0) / 4)
    assert_allclose(gradient(loss), [-0.25, 0, -0.25, 0])
    assert_allclose(gradient(loss, bottom=1), [0.25, 0, 0.25, 0])


FIRST, SECOND = [[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]], [[3.0, 4.0], [0.0, 0.0], [0.3, 0.4]]  # distances 5, 5, 0.5


def test_contrastive_loss_by_hand() -> None:
    """1/(2N) Σ y d² + (1 - y) max(margin - d, 0)²: the first pair matches, the second is far enough apart."""
    loss = Alone("ContrastiveLoss", FIRST, SECOND, [1, 0, 0], margin=2.0)
    assert_allclose(loss.top(), (25 + 0 + 1.5**2) / (2 * 3))
    assert_allclose(gradient(loss), np.array([[-3, -4], [0, 0], [1.5 * 0.6, 1.5 * 0.8]]) / 3)
    assert_allclose(gradient(loss, bottom=1), np.array([[3, 4], [0, 0], [-1.5 * 0.6, -1.5 * 0.8]]) / 3)


def test_caffe_adds_to_the_distance_in_the_gradient_only() -> None:
    loss = Alone("ContrastiveLoss", FIRST, SECOND, [1, 0, 0], margin=2.0, gradient_eps=0.25)
    assert_allclose(loss.top(), (25 + 0 + 1.5**2) / (2 * 3))
    slope = 1.5 / (0.5 + 0.25)
    assert_allclose(gradient(loss), np.array([[-3, -4], [0, 0], [slope * 0.3, slope * 0.4]]) / 3)


def test_contrastive_loss_of_early_caffe() -> None:
    """legacy_version: max(margin - d², 0)."""
    loss = Alone("ContrastiveLoss", FIRST, SECOND, [1, 0, 0], margin=2.0, legacy_version=True)
    assert_allclose(loss.top(), (25 + 0 + 2 - 0.25) / (2 * 3))
    assert_allclose(gradient(loss), np.array([[-3, -4], [0, 0], [0.3, 0.4]]) / 3)


def test_contrastive_loss_of_two_equal_samples_that_differ_in_class() -> None:
    """Where there is no direction to push them apart they stay; Caffe's divisor of 1e-4 does the same."""
    loss = Alone("ContrastiveLoss", [[1.0, 2.0]], [[1.0, 2.0]], [0])
    assert loss.top() == 0.5
    assert_array_equal(gradient(loss), 0)


def test_triplet_margin_by_hand() -> None:
    anchor, near, far = [[0.0, 0.0], [0.0, 0.0]], [[3.0, 4.0], [0.0, 1.0]], [[0.0, 2.0], [9.0, 0.0]]
    loss = Alone("TripletMarginLoss", anchor, near, far, eps=0.0)
    assert_allclose(loss.top(), (1 + 5 - 2 + 0) / 2)
    assert_allclose(gradient(loss), [[-0.6 / 2, (-0.8 + 1) / 2], [0, 0]])
    assert_allclose(gradient(loss, bottom=1), [[0.6 / 2, 0.8 / 2], [0, 0]])
    assert_allclose(gradient(loss, bottom=2), [[0, -0.5], [0, 0]])
    assert_allclose(Alone("TripletMarginLoss", anchor, near, far, eps=0.0, p=1.0, margin=0.5).top(), (0.5 + 7 - 2) / 2)


def test_cosine_embedding_by_hand() -> None:
    first, second = [[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], [[3.0, 4.0], [3.0, 4.0], [0.0, -1.0]]  # cosines 0.6, 0.6, -1
    loss = Alone("CosineEmbeddingLoss", first, second, [1, -1, -1], margin=0.1)
    assert_allclose(loss.top(), (0.4 + 0.5 + 0) / 3)
    assert_allclose(gradient(loss), np.array([[0, -0.8], [0, 0.8], [0, 0]]) / 3, atol=1e-12)


# CTCLoss --------------------------------------------------------------------------------------------------------------


def says(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    """What a path reads as: repeated classes joined, blanks removed."""
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def listed(log_x: np.ndarray, target: tuple[int, ...], blank: int) -> tuple[float, np.ndarray]:
    """The loss and its gradient from the list of all paths."""
    steps, classes = log_x.shape
    p, by_x = 0.0, np.zeros_like(log_x)
    for path in itertools.product(range(classes), repeat=steps):
        if says(path, blank) == target:
            chance = math.exp(sum(log_x[t, k] for t, k in enumerate(path)))
            p += chance
            for t, k in enumerate(path):
                by_x[t, k] += chance
    return -LOG(p), -by_x / p


def test_ctc_of_two_steps_by_hand() -> None:
    """The paths 11, 01 and 10 of four read as 1."""
    x = np.log([[[0.5, 0.5]], [[0.5, 0.5]]])
    loss = Alone("CTCLoss", x, [[1]])
    assert_allclose(loss.top(), -LOG(0.75))
    assert_allclose(gradient(loss), [[[-1 / 3, -2 / 3]], [[-1 / 3, -2 / 3]]])


def test_ctc_needs_a_blank_between_equal_labels() -> None:
    x = np.log(np.broadcast_to([0.2, 0.3, 0.5], (3, 1, 3)))
    assert_allclose(Alone("CTCLoss", x, [[1, 1]], reduction="sum").top(), -LOG(0.3 * 0.2 * 0.3))
    twice = 0.3 * 0.5 * (0.2 * 3 + 0.3 + 0.5)  # 012 102 120 112 122
    assert_allclose(Alone("CTCLoss", x, [[1, 2]], reduction="sum").top(), -LOG(twice))


@pytest.mark.parametrize(("blank", "target"), [(0, (1, 2)), (0, (2, 2)), (2, (0, 1, 0)), (1, ()), (0, (1, 1, 2))])
def test_ctc_is_the_sum_over_all_paths(blank: int, target: tuple[int, ...]) -> None:
    log_x = np.log(np.random.default_rng(0).dirichlet(np.ones(3), size=5))
    loss = Alone("CTCLoss", log_x[:, None], np.array([target], dtype=int), blank=blank, reduction="sum")
    value, slope = listed(log_x, target, blank)
    assert_allclose(loss.top(), value)
    assert_allclose(gradient(loss)[:, 0], slope, atol=1e-15)


def test_ctc_reads_each_sample_to_its_own_lengths() -> None:
    """Whatever is behind them, a label of another class and even no number at all."""
    rng = np.random.default_rng(1)
    log_x = np.log(rng.dirichlet(np.ones(3), size=(5, 2)))
    log_x[3:, 0] = -1e30
    steps, labels = [3, 5], [1, 2]
    loss = Alone("CTCLoss", log_x, [[2, -7], [1, 2]], steps, labels, reduction="none")
    wanted = [listed(log_x[:3, 0], (2,), 0), listed(log_x[:, 1], (1, 2), 0)]
    assert_allclose(loss.top(), [value for value, _ in wanted])
    dx = gradient(loss, [1.0, 10.0])
    assert_allclose(dx[:3, 0], wanted[0][1])
    assert_array_equal(dx[3:, 0], 0)
    assert_allclose(dx[:, 1], 10 * wanted[1][1])
    mean = Alone("CTCLoss", log_x, [[2, 0], [1, 2]], steps, labels)
    assert_allclose(mean.top(), (wanted[0][0] / 1 + wanted[1][0] / 2) / 2)
    assert mean.layer.mean_over(*mean.bottoms) == 2


@pytest.mark.parametrize(("zero_infinity", "cost"), [(False, INF), (True, 0.0)])
def test_a_target_that_fits_into_no_path(zero_infinity: bool, cost: float) -> None:
    x = np.log(np.full((2, 2, 3), 1 / 3))
    loss = Alone("CTCLoss", x, [[1, 1], [1, 2]], zero_infinity=zero_infinity, reduction="none")
    assert_allclose(loss.top(), [cost, LOG(9)])
    dx = gradient(loss, [1.0, 1.0])
    assert_array_equal(dx[:, 0], 0)
    assert_allclose(dx[:, 1], [[0, -1, 0], [0, 0, -1]])


def test_ctc_of_impossible_and_of_many_steps() -> None:
    certain = np.array([[[0.0, -INF]], [[-INF, 0.0]]])  # blank, then 1
    loss = Alone("CTCLoss", certain, [[1]], dtype="float32")
    assert loss.top() == 0
    assert_array_equal(gradient(loss), [[[-1, 0]], [[0, -1]]])
    long = Alone("CTCLoss", np.full((2000, 1, 4), -LOG(4)), [[1, 2, 3]], dtype="float32", reduction="sum")
    paths = math.comb(2000 + 3, 6)  # with three different labels: ways to choose the ends of their runs
    assert_allclose(long.top(), 2000 * LOG(4) - LOG(paths), rtol=1e-5)


def test_below_ctc_the_scores_get_probabilities_minus_shares() -> None:
    """What torch returns as the gradient by log-probabilities is the one by the scores below the LogSoftmax."""
    x = np.random.default_rng(2).normal(size=(4, 1, 3))
    net = Net.from_config({
        "dtype": "float64",
        "inputs": {"x": {"shape": [4, 1, 3], "grad": True}, "target": {"shape": [1, 2], "dtype": "int64"}},
        "net": [
            {"name": "log_p", "type": "LogSoftmax", "bottom": "x", "dim": 2},
            {"name": "loss", "type": "CTCLoss", "bottom": ["log_p", "target"], "reduction": "sum"},
        ],
    })  # fmt: skip
    net.forward(x=x, target=np.array([[1, 2]]))
    net.backward()
    log_p = net.blobs["log_p"].data[:, 0]
    assert_allclose(net.blobs["x"].grad[:, 0], np.exp(log_p) + listed(log_p, (1, 2), 0)[1], atol=1e-14)


def test_targets_of_a_small_integer_type_beside_a_large_blank() -> None:
    x = np.log(np.full((2, 1, 301), 1 / 301))
    targets, lengths = np.array([[7, 255]], "uint8"), np.array([2], "uint8")
    assert_allclose(Alone("CTCLoss", x, targets, lengths, lengths, blank=300, reduction="sum").top(), 2 * LOG(301))


@pytest.mark.parametrize(
    ("bottoms", "message"),
    [
        (([[0, 1]], [3], [2]), "label 0 at position 0, 0 is the blank"),
        (([[1, 4]], [3], [2]), "label 4 at position 0, 1 is out of range for 4 classes"),
        (([[1, 2]], [4], [2]), "input length 4 at position 0 is outside 1 to 3"),
        (([[1, 2]], [0], [2]), "input length 0 at position 0 is outside 1 to 3"),
        (([[1, 2]], [3], [3]), "target length 3 at position 0 is outside 0 to 2"),
    ],
)
def test_wrong_data_of_ctc_are_named(bottoms: tuple[Any, ...], message: str) -> None:
    with pytest.raises(LayerForgeError, match=message) as caught:
        Alone("CTCLoss", np.zeros((3, 1, 4)), *bottoms).forward()
    assert caught.value.exit_code == 3
