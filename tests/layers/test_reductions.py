"""Reductions by value: zeros, ties, constants, infinities, what has no elements to reduce, and Caffe's operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge import Net
from layerforge.schema.errors import LayerForgeError

NAN, INF = float("nan"), float("inf")
BIG = 1e4


def slope(layer: Alone, dy: object) -> np.ndarray:
    """The gradient of the only bottom."""
    return layer.vjp(dy)["bottom[0]"]


def grad(layer: str, x: object, dy: object, **params: object) -> np.ndarray:
    return slope(Alone(layer, x, **params), dy)


# Sums -----------------------------------------------------------------------------------------------------------------


def test_caffes_reductions_of_all_axes_from_one_on() -> None:
    """Caffe's axis: 1 reduces axes 1 to the last."""
    x = np.array([[[1.0, -2.0], [3.0, -4.0]], [[0.0, 1.0], [1.0, 2.0]]])
    wanted = {"Sum": [-2, 4], "AbsSum": [10, 4], "SumSquare": [30, 6], "Mean": [-0.5, 1]}
    for layer, top in wanted.items():
        assert_array_equal(Alone(layer, x, dim=[1, 2]).top(), top)
    assert_array_equal(grad("AbsSum", x, [1.0, 2.0], dim=[1, 2])[1], [[0, 2], [2, 2]])


def test_what_has_no_numbers() -> None:
    nothing = np.zeros((2, 0))
    assert_array_equal(Alone("Sum", nothing, dim=1).top(), [0, 0])
    assert_array_equal(Alone("Prod", nothing, dim=1).top(), [1, 1])
    for layer in ("Mean", "Max", "Min", "Norm", "LogSumExp", "Var", "Std"):
        with pytest.raises(LayerForgeError, match=f"{layer} of 0 number") as found:
            Alone(layer, nothing, dim=1)
        assert found.value.exit_code == 2


def test_a_sum_is_no_mean_over_batches() -> None:
    assert Alone("Sum", [1.0, 2.0]).layer.mean_over(np.ones(2)) is None
    assert Alone("Mean", [1.0, 2.0]).layer.mean_over(np.ones(2)) == 2


# Prod -----------------------------------------------------------------------------------------------------------------


def test_the_gradient_of_a_product_with_zeros() -> None:
    assert_array_equal(grad("Prod", [2.0, 0.0, 5.0], 1.0), [0, 10, 0])
    assert_array_equal(grad("Prod", [0.0, 0.0, 5.0], 1.0), [0, 0, 0])
    assert_array_equal(grad("Prod", [[2.0, 3.0], [0.0, 7.0]], [1.0, 2.0], dim=0), [[0, 14], [2, 6]])


# Var and Std ----------------------------------------------------------------------------------------------------------


def test_variance_by_hand() -> None:
    x = [[1.0, 2.0, 3.0, 6.0]]
    assert_allclose(Alone("Var", x, dim=1).top(), [14 / 3])
    assert_allclose(Alone("Var", x, dim=1, correction=0).top(), [3.5])
    assert_allclose(grad("Var", x, [3.0], dim=1), [[-4, -2, 0, 6]])
    assert_allclose(Alone("Std", x, dim=1, correction=0).top(), [math.sqrt(3.5)])


def test_the_deviation_of_a_constant_is_zero_and_so_is_its_gradient() -> None:
    std = Alone("Std", [[0.5, 0.5], [1.0, 3.0]], dim=1, correction=0)
    assert_array_equal(std.top(), [0, 1])
    assert_array_equal(slope(std, [1.0, 1.0]), [[0, 0], [-0.5, 0.5]])


def test_variance_where_the_mean_is_far_larger_than_the_spread() -> None:
    x = np.random.default_rng(0).normal(1e4, 1.0, (4, 1000)).astype(np.float32)
    exact = x.astype(np.float64).var(axis=1, ddof=1)
    assert_allclose(Alone("Var", x, dim=1, dtype="float32").top(), exact, rtol=1e-4)


def test_too_few_numbers_for_the_correction() -> None:
    with pytest.raises(LayerForgeError, match=r"Std of 2 number\(s\) is not defined"):
        Alone("Std", [[1.0, 2.0]], dim=1, correction=2)


# Norm and LogSumExp ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "top"), [(1.0, 7.0), (2.0, 5.0), (INF, 4.0), (0.5, 3 + 4 + 2 * math.sqrt(12))])
def test_norms_by_hand(p: float, top: float) -> None:
    assert_allclose(Alone("Norm", [3.0, 0.0, -4.0], p=p).top(), top)


def test_the_gradient_of_norms_by_hand() -> None:
    assert_allclose(grad("Norm", [3.0, 0.0, -4.0], 5.0), [3, 0, -4])
    assert_array_equal(grad("Norm", [3.0, 0.0, -4.0], 5.0, p=1.0), [5, 0, -5])
    assert_array_equal(grad("Norm", [4.0, 0.0, -4.0], 6.0, p=INF), [3, 0, -3])
    for p in (0.5, 1.0, 2.0, 3.0, INF):
        assert_array_equal(grad("Norm", [0.0, 0.0], 1.0, p=p), [0, 0])


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_a_norm_does_not_overflow_nor_vanish_in_float32(size: float) -> None:
    norm = Alone("Norm", [3 * size, 4 * size], dtype="float32")
    assert_allclose(norm.top(), 5 * size, rtol=1e-6)
    assert_allclose(slope(norm, 1.0), [0.6, 0.8], rtol=1e-6)


def test_log_sum_exp_of_extremes_and_infinities() -> None:
    x = [[BIG, BIG, 0.0], [-BIG, -BIG, -2 * BIG], [-INF, 0.0, 0.0], [-INF, -INF, -INF], [INF, 0.0, -INF]]
    log2 = math.log(2)
    assert_allclose(
        Alone("LogSumExp", x, dim=1, dtype="float32").top(), [BIG + log2, -BIG + log2, log2, -INF, INF], rtol=1e-6
    )
    dx = grad("LogSumExp", x[:4], [1.0] * 4, dim=1)
    assert_allclose(dx, [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 0]], atol=1e-12)


# Max, Min, ArgMax -----------------------------------------------------------------------------------------------------


def test_one_dim_has_indices_and_gives_a_tie_to_the_first() -> None:
    largest = Alone("Max", [[1.0, 3.0, 3.0], [5.0, 5.0, 4.0]], dim=-1, tops=2)
    values, indices = largest.forward()
    assert_array_equal(values, [3, 5])
    assert_array_equal(indices, [1, 0])
    assert indices.dtype == np.int64
    assert_array_equal(largest.vjp([1.0, 2.0], None)["bottom[0]"], [[0, 1, 0], [2, 0, 0]])


def test_without_a_dim_or_with_several_a_tie_shares() -> None:
    x = [[1.0, 3.0], [3.0, 2.0]]
    assert_array_equal(grad("Max", x, 4.0), [[0, 2], [2, 0]])
    assert_array_equal(grad("Max", x, 4.0, dim=[0, 1]), [[0, 2], [2, 0]])
    assert_array_equal(grad("Min", [[1.0, 1.0], [1.0, 2.0]], 6.0, dim=[1, 0]), [[2, 2], [2, 0]])


def test_not_a_number_is_the_extreme() -> None:
    x = [[1.0, NAN, 3.0]]
    values, indices = Alone("Min", x, dim=1, tops=2).forward()
    assert np.isnan(values[0])
    assert indices[0] == 1
    assert_array_equal(grad("Max", x, 3.0), [[1, 1, 1]])


def test_indices_need_one_dim() -> None:
    for dim in (None, [0, 1]):
        with pytest.raises(LayerForgeError, match="indices are counted along one axis"):
            Alone("Max", [[1.0, 2.0]], dim=dim, tops=2)


def test_indices_feed_a_metric_in_a_net() -> None:
    net = Net.from_config(
        {
            "inputs": {"x": {"shape": [2, 3], "grad": True}},
            "net": [
                {"name": "max", "type": "Max", "dim": 1, "top": ["best", "class"]},
                {"name": "loss", "type": "Sum", "bottom": "best", "loss_weight": 1},
            ],
        }
    )
    found = net.forward(backward=True, x=np.array([[1, 5, 2], [7, 0, 7]], dtype=np.float32))
    net.backward()
    assert found["loss"] == 12
    assert_array_equal(net.blobs["class"].data, [1, 0])
    assert_array_equal(net.blobs["x"].grad, [[0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("ties", ["first", "caffe"])
def test_the_largest_elements_come_with_their_indices_and_have_the_gradient(ties: str) -> None:
    x = [[1.0, 5.0, 2.0, 5.0], [7.0, 0.0, 7.0, 7.0]]
    best = Alone("ArgMax", x, dim=1, top_k=2, ties=ties, tops=2)
    places, values = best.forward()
    assert places.tolist() == ([[1, 3], [0, 2]] if ties == "first" else [[3, 1], [3, 2]])
    assert values.tolist() == [[5, 5], [7, 7]]
    dx = best.vjp(None, [[2.0, 3.0], [4.0, 5.0]])["bottom[0]"]
    assert dx.tolist() == ([[0, 2, 0, 3], [4, 0, 5, 0]] if ties == "first" else [[0, 3, 0, 2], [0, 0, 5, 4]])


def test_the_order_of_equal_numbers_is_caffes_on_request() -> None:
    """Caffe sorts pairs (number, index) from the largest on."""
    x = [[2.0, 7.0, 2.0, 7.0]]
    assert_array_equal(Alone("ArgMax", x, dim=1).top(), [1])
    assert_array_equal(Alone("ArgMax", x, dim=1, ties="caffe").top(), [3])
    assert_array_equal(Alone("ArgMax", x, dim=1, top_k=3).top(), [[1, 3, 0]])
    assert_array_equal(Alone("ArgMax", x, dim=1, top_k=3, ties="caffe").top(), [[3, 1, 2]])
    assert Alone("ArgMax", [[1.0, 2.0], [9.0, 0.0]]).top() == 2


# Softmax --------------------------------------------------------------------------------------------------------------


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


# TopK -----------------------------------------------------------------------------------------------------------------


def test_top_k_by_hand() -> None:
    top = Alone("TopK", [[3.0, 1.0, 2.0], [5.0, 6.0, 4.0]], k=2, tops=2)
    values, places = top.forward()
    assert_array_equal(values, [[3, 2], [6, 5]])
    assert_array_equal(places, [[0, 2], [1, 0]])
    assert_array_equal(gradient_of_values(top, [[1.0, 2.0], [3.0, 4.0]]), [[1, 0, 2], [4, 3, 0]])
    assert_array_equal(Alone("TopK", [[3.0, 1.0, 2.0]], k=2, largest=False).top(), [[1, 2]])
    assert_array_equal(Alone("TopK", [[1.0, 5.0], [4.0, 2.0], [3.0, 3.0]], k=2, dim=0).top(), [[4, 5], [3, 3]])


def gradient_of_values(top: Alone, dy: Any) -> np.ndarray:
    return top.vjp(dy, None)["bottom[0]"]


@pytest.mark.parametrize(("largest", "places"), [(True, [1, 3, 0, 2, 4]), (False, [4, 0, 2, 1, 3])])
def test_equal_numbers_keep_their_order(largest: bool, places: list[int]) -> None:
    top = Alone("TopK", [1.0, 2.0, 1.0, 2.0, 0.0], k=5, largest=largest, tops=2)
    assert_array_equal(top.forward()[1], places)


def test_not_a_number_is_the_largest() -> None:
    assert_array_equal(Alone("TopK", [1.0, NAN, 2.0], k=2).top(), [NAN, 2])
    assert_array_equal(Alone("TopK", [1.0, NAN, 2.0], k=2, largest=False).top(), [1, 2])
    assert_array_equal(Alone("ArgMax", [1.0, NAN, 2.0], top_k=2).top(), [1, 2])


# Sort -----------------------------------------------------------------------------------------------------------------


def test_sort_by_hand() -> None:
    layer = Alone("Sort", [[3.0, 1.0, 2.0]], tops=2)
    values, places = layer.forward()
    assert_array_equal(values, [[1, 2, 3]])
    assert_array_equal(places, [[1, 2, 0]])
    assert_array_equal(gradient_of_values(layer, [[1.0, 10.0, 100.0]]), [[100, 1, 10]])
    assert_array_equal(Alone("Sort", [[1.0, 5.0], [4.0, 2.0]], dim=0, descending=True).top(), [[4, 5], [1, 2]])


@pytest.mark.parametrize(("descending", "places"), [(False, [4, 0, 2, 1, 3]), (True, [1, 3, 0, 2, 4])])
def test_sorting_is_stable_both_ways_and_so_are_the_gradients(descending: bool, places: list[int]) -> None:
    layer = Alone("Sort", [1.0, 2.0, 1.0, 2.0, 0.0], descending=descending, tops=2)
    assert_array_equal(layer.forward()[1], places)
    dy = np.array([1.0, 10.0, 100.0, 1000.0, 1e4])
    assert_array_equal(gradient_of_values(layer, dy)[places], dy)


def test_sort_puts_nan_where_the_largest_number_is() -> None:
    assert_array_equal(Alone("Sort", [1.0, NAN, INF, -INF]).top(), [-INF, 1, INF, NAN])
    assert_array_equal(Alone("Sort", [1.0, NAN, INF, -INF], descending=True).top(), [NAN, INF, 1, -INF])


# Running sums and products --------------------------------------------------------------------------------------------


def test_running_sums_by_hand() -> None:
    scan = Alone("Cumsum", [[1.0, 2.0, 3.0]], dim=1)
    assert_array_equal(scan.top(), [[1, 3, 6]])
    assert_array_equal(scan.vjp([[1.0, 10.0, 100.0]])["bottom[0]"], [[111, 110, 100]])


def test_running_products_and_their_gradient_at_zeros() -> None:
    """y = (a, ab, abc, abcd) at b = 0: dx = (dy₁, a dy₂ + ac dy₃ + acd dy₄, 0, 0)."""
    scan = Alone("Cumprod", [2.0, 0.0, 3.0, 5.0], dim=0)
    assert_array_equal(scan.top(), [2, 0, 0, 0])
    assert_array_equal(scan.vjp([1.0, 10.0, 100.0, 1000.0])["bottom[0]"], [1, 20 + 600 + 30000, 0, 0])
    twice = Alone("Cumprod", [2.0, 0.0, 0.0, 5.0], dim=0)
    assert_array_equal(twice.vjp([1.0, 10.0, 100.0, 1000.0])["bottom[0]"], [1, 20, 0, 0])


def test_along_the_batch() -> None:
    assert_array_equal(Alone("Cumprod", [[1.0, 2.0], [3.0, 4.0]], dim=0).top(), [[1, 2], [3, 8]])
