"""Layers that combine blobs number by number, by value: factors, ties, Caffe's choice, zeros."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge import Net
from layerforge.schema.errors import LayerForgeError

NAN, INF = float("nan"), float("inf")


def gradients(layer: Alone, dy: object) -> list[np.ndarray]:
    """The gradients of the bottoms, in order."""
    found = layer.vjp(dy)
    return [found[f"bottom[{i}]"] for i in range(len(layer.bottoms))]


# Add, Sub, Div --------------------------------------------------------------------------------------------------------


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


def test_add_weighs_its_bottoms_and_their_gradients() -> None:
    add = Alone("Add", [1.0, 2.0], [10.0, 20.0], [[1.0], [2.0]], coeff=[2, -1, 0.5])
    assert_array_equal(add.top(), [[-7.5, -15.5], [-7.0, -15.0]])
    a, b, c = gradients(add, [[1.0, 2.0], [3.0, 4.0]])
    assert_array_equal(a, [8, 12])
    assert_array_equal(b, [-4, -6])
    assert_array_equal(c, [[1.5], [3.5]])


def test_a_factor_of_zero_still_gives_a_gradient_of_zero() -> None:
    assert_array_equal(gradients(Alone("Add", [1.0], [2.0], coeff=[0, 1]), [5.0])[0], [0])


def test_sub_and_div_by_hand() -> None:
    a, b = gradients(Alone("Sub", [[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0]), [[1.0, 2.0], [3.0, 4.0]])
    assert_array_equal(a, [[1, 2], [3, 4]])
    assert_array_equal(b, [-4, -6])
    div = Alone("Div", [6.0, -3.0], [2.0, -4.0])
    assert_array_equal(div.top(), [3, 0.75])
    a, b = gradients(div, [1.0, 8.0])
    assert_array_equal(a, [0.5, -2])
    assert_array_equal(b, [-1.5, 1.5])


def test_div_keeps_its_gradient_where_the_square_would_overflow() -> None:
    div = Alone("Div", [1e30], [1e30], dtype="float32")
    assert_allclose(gradients(div, [1.0])[1], [-1e-30], rtol=1e-6)


# PowBinary ------------------------------------------------------------------------------------------------------------


def test_pow_where_the_base_or_the_exponent_is_zero() -> None:
    """torch: 0⁰ = 1 with slope 0 both ways; 0ᵇ has slope 0 in b, and b 0ᵇ⁻¹ in the base."""
    power = Alone("PowBinary", [0.0, 0.0, 0.0, 2.0, -2.0], [0.0, 1.0, 2.0, 0.0, 0.0])
    assert_array_equal(power.top(), [1, 0, 0, 1, 1])
    power.layer.needs_grad = (True, False)
    assert_array_equal(power.vjp([1.0] * 5)["bottom[0]"], [0, 1, 0, 0, 0])
    zeros = Alone("PowBinary", [0.0, 0.0, 0.0], [0.0, 1.0, 2.0])
    assert_array_equal(gradients(zeros, [1.0] * 3)[1], [0, 0, 0])


def test_pow_of_a_negative_base_to_a_whole_power() -> None:
    power = Alone("PowBinary", [-2.0, -2.0], [3.0, 2.0])
    assert_array_equal(power.top(), [-8, 4])
    power.layer.needs_grad = (True, False)
    assert_array_equal(power.vjp([1.0, 1.0])["bottom[0]"], [12, -4])


# Maximum and Minimum --------------------------------------------------------------------------------------------------


def test_bottoms_that_tie_share_the_gradient() -> None:
    a, b = gradients(Alone("Maximum", [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]), [8.0, 8.0, 8.0])
    assert_array_equal(a, [4, 0, 8])
    assert_array_equal(b, [4, 8, 0])
    thirds = gradients(Alone("Minimum", [5.0, 1.0], [5.0, 1.0], [5.0, 2.0]), [6.0, 6.0])
    assert_array_equal(thirds, [[2, 3], [2, 3], [2, 0]])


@pytest.mark.parametrize(
    ("values", "winner"),
    [
        ((1, 1), 1),  # a > b else b: the second
        ((2, 1), 0),
        ((1, 1, 1), 1),
        ((1, 0, 1), 0),  # a later bottom must be strictly better
        ((0, 1, 1), 1),
        ((0, 0, 1), 2),
        ((0, 0, 1, 1), 2),
    ],
)
@pytest.mark.parametrize(("layer", "sign"), [("Maximum", 1.0), ("Minimum", -1.0)])
def test_caffe_gives_a_tie_to_one_bottom(values: tuple[int, ...], winner: int, layer: str, sign: float) -> None:
    alone = Alone(layer, *([sign * v] for v in values), ties="caffe")
    assert_array_equal(gradients(alone, [3.0]), [[3.0 * (i == winner)] for i in range(len(values))])


@pytest.mark.parametrize("ties", ["share", "caffe"])
def test_the_gradients_of_a_tie_add_up_to_dy_also_when_it_is_broadcast(ties: str) -> None:
    grads = gradients(
        Alone("Maximum", [[1.0, 1.0], [1.0, 0.0]], [1.0, 1.0], [[1.0]], ties=ties), [[1.0, 2.0], [4.0, 8.0]]
    )
    assert sum(g.sum() for g in grads) == 15


def test_not_a_number_wins() -> None:
    alone = Alone("Maximum", [NAN, 1.0, -INF], [1.0, NAN, -INF])
    assert_array_equal(alone.top(), [NAN, NAN, -INF])
    assert sum(g.sum() for g in gradients(alone, [1.0, 1.0, 1.0])) == 3


# In a net -------------------------------------------------------------------------------------------------------------


def test_a_number_of_factors_that_does_not_fit_is_refused() -> None:
    net = {
        "inputs": {"a": {"shape": [2, 3]}, "b": {"shape": [2, 3]}},
        "net": [{"name": "y", "type": "Add", "bottom": ["a", "b"], "coeff": [1, 2, 3]}],
    }
    with pytest.raises(LayerForgeError, match="coeff has 3 numbers for 2 bottoms") as found:
        Net.from_config(net)
    assert found.value.exit_code == 2


def test_the_same_blob_on_both_sides() -> None:
    """x - x is 0 and so is its gradient; x / x is 1; x·x has 2x."""
    for layer, top, grad in (("Sub", 0.0, 0.0), ("Div", 1.0, 0.0), ("Mul", 9.0, 6.0), ("Maximum", 3.0, 1.0)):
        net = Net.from_config(
            {
                "dtype": "float64",
                "inputs": {"x": {"shape": [1, 1], "grad": True}},
                "net": [{"name": "y", "type": layer, "bottom": ["x", "x"]}],
            }
        )
        found = net.forward(backward=True, x=np.array([[3.0]]))
        net.backward(y=np.array([[1.0]]))
        assert (found["y"].item(), net.blobs["x"].grad.item()) == (top, grad), layer


# Where ----------------------------------------------------------------------------------------------------------------


def test_where_sends_each_gradient_to_the_blob_that_was_chosen() -> None:
    layer = Alone("Where", np.array([[1, 0, 2]]), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[10.0]])
    assert_array_equal(layer.top(), [[1, 10, 3], [4, 10, 6]])
    got = layer.vjp([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert_array_equal(got["bottom[1]"], [[1, 0, 3], [4, 0, 6]])
    assert_array_equal(got["bottom[2]"], [[7]])


def test_what_where_does_not_choose_may_be_anything() -> None:
    layer = Alone("Where", np.array([1, 0]), [1.0, NAN], [INF, 2.0])
    assert_array_equal(layer.top(), [1, 2])
    got = layer.vjp([NAN, 5.0])
    assert_array_equal(got["bottom[1]"], [NAN, 0])
    assert_array_equal(got["bottom[2]"], [0, 5])


def test_a_tangent_of_one_choice_alone_is_spread_as_the_top_is() -> None:
    layer = Alone("Where", np.array([[1], [0]]), [1.0, 2.0], [[[3.0]]])
    layer.forward()
    assert_array_equal(layer.layer.jvp(None, None, np.array([[[7.0]]])), [[[0, 0], [7, 7]]])
    assert_array_equal(layer.layer.jvp(None, np.array([1.0, 2.0]), None), [[[1, 2], [0, 0]]])
