"""What the layers compute, by values that were worked out by hand. (tests/contract has their gradients.)"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge.layers.elementwise.elementwise import elementwise
from layerforge.schema.errors import LayerError
from layerforge.schema.registry import LAYERS

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


# Element-wise ---------------------------------------------------------------------------------------------------------


def test_relu_and_its_gradient_at_zero() -> None:
    x, dy = [-2.0, -0.0, 0.0, 3.0], [1.0, 2.0, 3.0, 4.0]
    plain, leaky = Alone("ReLU", x), Alone("ReLU", x, negative_slope=0.1)
    assert_array_equal(plain.top(), [0, 0, 0, 3])
    assert_array_equal(plain.vjp(dy)["bottom[0]"], [0, 0, 0, 4])
    assert_allclose(leaky.top(), [-0.2, 0, 0, 3])
    assert_allclose(leaky.vjp(dy)["bottom[0]"], [0.1, 0.2, 0.3, 4])


def test_sigmoid_and_tanh() -> None:
    assert_allclose(Alone("Sigmoid", [0.0, math.log(3), -math.log(3)]).top(), [0.5, 0.75, 0.25])
    assert_allclose(Alone("Sigmoid", [math.log(3)]).vjp([2.0])["bottom[0]"], [2 * 0.75 * 0.25])
    assert_allclose(Alone("Tanh", [0.0, math.log(2)]).top(), [0, 0.6])
    assert_allclose(Alone("Tanh", [math.log(2)]).vjp([2.0])["bottom[0]"], [2 * (1 - 0.36)])


def test_a_new_entry_of_the_element_wise_table_is_a_layer() -> None:
    elementwise(
        "Cube", "third power", y="x³", f=lambda self, x, y: self.xp.multiply(x * x, x, out=y),
        dx="3 dy x²", df=lambda self, dy, x: 3 * dy * x * x, reads="bottom", source="a test",
    )  # fmt: skip
    try:
        cube = Alone("Cube", [2.0, -1.0])
        assert_array_equal(cube.top(), [8, -1])
        assert_array_equal(cube.vjp([1.0, 1.0])["bottom[0]"], [12, 3])
        assert not cube.layer.inplace
        assert "dx = 3 dy x²" in str(type(cube.layer).__doc__)
    finally:
        LAYERS.remove("Cube")


# Dropout and Flatten --------------------------------------------------------------------------------------------------


def test_dropout_keeps_its_share_and_the_expectation() -> None:
    drop = Alone("Dropout", np.ones((100, 200)), p=0.3)
    y = drop.top()
    assert set(np.unique(y)) == {0, 1 / (1 - 0.3)}
    assert abs((y > 0).mean() - 0.7) < 0.01  # three standard deviations
    assert abs(y.mean() - 1) < 0.015
    assert_array_equal(drop.vjp(np.ones_like(y))["bottom[0]"], y)
    drop.layer.run.iteration += 1
    assert 0.5 < (drop.top() == y).mean() < 0.66  # 0.3² + 0.7² where masks are independent


def test_dropout_in_eval_is_a_copy() -> None:
    x = np.arange(6.0).reshape(2, 3)
    drop = Alone("Dropout", x, phase="eval", p=0.9)
    assert_array_equal(drop.top(), x)
    assert_array_equal(drop.vjp(x)["bottom[0]"], x)
    assert not np.shares_memory(drop.forward()[0], drop.bottoms[0])


def test_flatten_joins_axes_in_row_major_order() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    assert_array_equal(Alone("Flatten", x).top(), x.reshape(2, 12))
    assert Alone("Flatten", x, start_dim=0, end_dim=1).top().shape == (6, 4)
    assert Alone("Flatten", x, start_dim=-1).top().shape == (2, 3, 4)
    assert_array_equal(Alone("Flatten", x).vjp(x.reshape(2, 12))["bottom[0]"], x)


# Softmax and the losses over labels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "axis"), [(1, 1), (-1, 2), (2, 2)])
def test_softmax_sums_to_one_along_dim(dim: int, axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    y = Alone("Softmax", x, dim=dim).top()
    assert_allclose(y.sum(axis=axis), 1)
    assert_allclose(Alone("LogSoftmax", x, dim=dim).top(), np.log(y))


def test_softmax_by_hand() -> None:
    soft = Alone("Softmax", np.log([[1.0, 3.0]]))
    assert_allclose(soft.top(), [[0.25, 0.75]])
    assert_allclose(soft.vjp([[1.0, 0.0]])["bottom[0]"], [[0.1875, -0.1875]])
    assert_allclose(Alone("LogSoftmax", np.log([[1.0, 3.0]])).vjp([[1.0, 0.0]])["bottom[0]"], [[0.75, -0.75]])


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


# Accuracy -------------------------------------------------------------------------------------------------------------


def test_accuracy_counts_the_best_class() -> None:
    x = [[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]
    assert Alone("Accuracy", x, [1, 0, 0, 0]).top() == 0.75


def test_accuracy_top_k() -> None:
    x = np.tile([5.0, 4.0, 3.0, 2.0, 1.0], (5, 1))
    for k in range(1, 6):
        assert Alone("Accuracy", x, np.arange(5), top_k=k).top() == k / 5


def test_accuracy_calls_a_tie_wrong() -> None:
    assert Alone("Accuracy", np.zeros((4, 10)), [0, 1, 2, 3]).top() == 0
    assert Alone("Accuracy", [[2.0, 2.0, 1.0]], [0], top_k=1).top() == 0
    assert Alone("Accuracy", [[2.0, 2.0, 1.0]], [0], top_k=2).top() == 1


def test_accuracy_of_a_net_that_has_diverged_is_zero() -> None:
    assert Alone("Accuracy", np.full((3, 4), np.nan), [0, 1, 2]).top() == 0


def test_accuracy_ignores() -> None:
    x, labels = np.eye(4), np.array([0, 0, 2, 0])
    assert Alone("Accuracy", x, labels).top() == 0.5
    assert Alone("Accuracy", x, labels, ignore_index=0).top() == 1.0


# MSELoss, arithmetic --------------------------------------------------------------------------------------------------


def test_mse_is_the_mean_over_all_numbers() -> None:
    loss = Alone("MSELoss", [[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 4.0]])
    assert_allclose(loss.top(), (4 + 9) / 4)
    got = loss.vjp(2.0)
    assert_allclose(got["bottom[0]"], [[0, 2], [3, 0]])
    assert_allclose(got["bottom[1]"], [[0, -2], [-3, 0]])


def test_add_and_mul_broadcast_and_sum_the_gradient_back() -> None:
    column, row, dy = [[1.0], [2.0]], [[10.0, 20.0, 30.0]], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    add, mul = Alone("Add", column, row), Alone("Mul", column, row)
    assert_array_equal(add.top(), [[11, 21, 31], [12, 22, 32]])
    assert_array_equal(mul.top(), [[10, 20, 30], [20, 40, 60]])
    got = add.vjp(dy)
    assert_array_equal(got["bottom[0]"], [[6], [15]])
    assert_array_equal(got["bottom[1]"], [[5, 7, 9]])
    got = mul.vjp(dy)
    assert_array_equal(got["bottom[0]"], [[10 + 40 + 90], [40 + 100 + 180]])
    assert_array_equal(got["bottom[1]"], [[1 + 8, 2 + 10, 3 + 12]])


def test_add_and_mul_of_three_with_a_zero_factor() -> None:
    xs = ([2.0, 0.0], [3.0, 5.0], [4.0, 7.0])
    assert_array_equal(Alone("Add", *xs).top(), [9, 12])
    mul = Alone("Mul", *xs)
    assert_array_equal(mul.top(), [24, 0])
    got = mul.vjp([1.0, 1.0])
    assert [got[f"bottom[{i}]"].tolist() for i in range(3)] == [[12, 35], [8, 0], [6, 0]]


def test_add_in_place_reads_every_bottom_before_it_writes() -> None:
    add = Alone("Add", [1.0, 2.0], [10.0, 20.0], [1.0, 2.0])
    x, z, _ = add.bottoms
    add.layer.runs_in_place = True
    (y,) = add.forward([x, z, x])
    assert y is x
    assert_array_equal(y, [12, 24])


# Concat and Slice -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_slice_undoes_concat(dim: int) -> None:
    rng = np.random.default_rng(0)
    shapes = [[4, 5, 6] for _ in range(3)]
    for shape, size in zip(shapes, (1, 3, 2), strict=True):
        shape[dim] = size
    parts = [rng.normal(size=shape) for shape in shapes]
    whole = Alone("Concat", *parts, dim=dim).top()
    assert whole.shape[dim] == 6
    pieces = Alone("Slice", whole, dim=dim, points=[1, 4], tops=3)
    for got, want in zip(pieces.forward(), parts, strict=True):
        assert_array_equal(got, want)
    assert_array_equal(pieces.vjp(*parts)["bottom[0]"], whole)
    back = Alone("Concat", *parts, dim=dim).vjp(whole)
    for i, want in enumerate(parts):
        assert_array_equal(back[f"bottom[{i}]"], want)


def test_slice_without_points_makes_as_many_equal_pieces_as_there_are_tops() -> None:
    x = np.arange(12.0).reshape(2, 6)
    for tops in (1, 2, 3, 6):
        pieces = Alone("Slice", x, tops=tops).forward()
        assert [p.shape for p in pieces] == [(2, 6 // tops)] * tops
        assert_array_equal(np.concatenate(pieces, axis=1), x)
    with pytest.raises(LayerError, match="axis 1 of size 6 has no 4 equal parts") as caught:
        Alone("Slice", x, tops=4)
    assert caught.value.exit_code == 2


def test_slice_refuses_another_number_of_tops_than_points_make() -> None:
    with pytest.raises(LayerError, match="makes 2 pieces for 3"):
        Alone("Slice", np.zeros((2, 6)), points=[2], tops=3)
