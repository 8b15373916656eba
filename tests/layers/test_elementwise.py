"""Element-wise layers by values worked out by hand: kinks, Caffe's rules, float32 at its extremes, erf against a table.

tests/contract/test_contract.py has their gradients, tests/layers/test_golden.py torch's values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge import Net
from layerforge.arrays.erf import erf
from layerforge.layers.elementwise.elementwise import elementwise
from layerforge.schema.errors import ConfigError, LayerForgeError
from layerforge.schema.registry import LAYERS


def value_and_slope(type_name: str, x: Any, **params: Any) -> tuple[np.ndarray, np.ndarray]:
    """f(x) and f'(x) in float64."""
    layer = Alone(type_name, x, **params)
    return layer.top(), layer.vjp(np.ones(np.shape(x)))["bottom[0]"]


# ReLU, Sigmoid, Tanh, and the table -----------------------------------------------------------------------------------


def test_relu_and_its_gradient_at_zero() -> None:
    x, dy = [-2.0, -0.0, 0.0, 3.0], [1.0, 2.0, 3.0, 4.0]
    plain, leaky = Alone("ReLU", x), Alone("ReLU", x, negative_slope=0.1)
    assert_array_equal(plain.top(), [0, 0, 0, 3])
    assert_array_equal(plain.vjp(dy)["bottom[0]"], [0, 0, 0, 4])
    assert_allclose(leaky.top(), [-0.2, 0, 0, 3])
    assert_allclose(leaky.vjp(dy)["bottom[0]"], [0.1, 0.2, 0.3, 4])


@pytest.mark.parametrize("slope", [-0.5, 2.5])
@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU"])
def test_a_rectifier_of_any_slope(name: str, slope: float) -> None:
    x, dy = [-2.0, -0.0, 0.0, 3.0, np.inf, -np.inf, np.nan], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    steep = Alone(name, x, negative_slope=slope)
    assert_array_equal(steep.top(), [-2 * slope, 0, 0, 3, np.inf, -slope * np.inf, np.nan])
    assert_array_equal(steep.vjp(dy)["bottom[0]"], [slope, 2 * slope, 3 * slope, 4, 5, 6 * slope, 7 * slope])


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_a_rectifier_of_negative_slope_is_refused_where_it_overwrites_its_bottom(engine: str) -> None:
    def net(slope: float, top: str) -> Net:
        layers = [{"name": "p", "type": "Pow", "exponent": 3}, {"name": "r", "type": "ReLU", "top": top}]
        layers[-1]["negative_slope"] = slope
        return Net.from_config({"inputs": {"x": {"shape": [2, 3]}}, "net": layers, "engine": engine})

    with pytest.raises(LayerForgeError, match="cannot write its top over its bottom"):
        net(-0.5, "p")
    x = np.array([[-1.0, 2.0, -3.0], [0.5, 0.0, -2.0]], "float32")
    for slope, top in ((-0.5, "r"), (2.5, "p"), (2.5, "r")):
        (y,) = net(slope, top).forward(x=x).values()
        assert_allclose(y, np.where(x > 0, x**3, slope * x**3), rtol=1e-6)


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


# erf ------------------------------------------------------------------------------------------------------------------

# (x, erf x), correctly rounded: printed by scripts/fit_erf.py, which computes with 50 digits.
ERF = [
    (0.0, 0.0),
    (0.0625, 0.07043197772238707),
    (0.125, 0.1403162048013338),
    (0.1875, 0.20911767705937584),
    (0.25, 0.27632639016823696),
    (0.3125, 0.341468633501595),
    (0.375, 0.4041169094348223),
    (0.4375, 0.463898135749933),
    (0.5, 0.5204998778130465),
    (0.5625, 0.5736744566155919),
    (0.625, 0.623240882188418),
    (0.6875, 0.6690846628860813),
    (0.75, 0.7111556336535151),
    (0.8125, 0.749464025586362),
    (0.875, 0.7840750610598597),
    (0.9375, 0.8151024010343998),
    (1.0, 0.8427007929497149),
    (1.0625, 0.8670582694349528),
    (1.125, 0.8883882317017078),
    (1.1875, 0.9069217197816865),
    (1.25, 0.9229001282564583),
    (1.3125, 0.9365685747113888),
]


def units_off(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """The distance in units of want's last place."""
    return np.abs(got.astype(np.float64) - want) / np.spacing(want.astype(got.dtype)).astype(np.float64)


@pytest.mark.parametrize(("dtype", "units"), [("float64", 2), ("float32", 3)])
def test_erf_is_right_to_the_last_places(dtype: str, units: float) -> None:
    x, want = np.array([row for row in ERF if row[0] == 0 or row[0] > 1e-30 or dtype == "float64"]).T
    if dtype == "float32":  # tiny steps away from the table's x, as far as the slope tells
        exact = x.astype(dtype).astype(np.float64)
        want = want + 2 / math.sqrt(math.pi) * np.exp(-x * x) * (exact - x)
    got = erf(np, x.astype(dtype))
    assert got.dtype == dtype
    assert units_off(got, want).max() <= units
    assert_array_equal(erf(np, -x.astype(dtype)), -got)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_erf_is_as_good_between_the_points_of_the_table(dtype: str) -> None:
    """Against the C library's, which may be off by a unit itself."""
    x = np.concatenate([np.geomspace(1e-6, 0.1, 5_000), np.linspace(0.1, 6.5, 20_000)]).astype(dtype)
    want = np.array([math.erf(float(number)) for number in x])
    assert units_off(erf(np, x), want).max() <= 3


def test_erf_at_the_ends() -> None:
    x = np.array([np.inf, -np.inf, 1e30, -7.0, -0.0, np.nan])
    assert_array_equal(erf(np, x), [1, -1, 1, -1, 0, np.nan])
    assert np.signbit(erf(np, x))[4]
    assert erf(np, np.array(0.5)) == pytest.approx(0.5204998778130465, rel=3e-16)
    assert erf(np, x, out=x) is x


# Values and slopes ----------------------------------------------------------------------------------------------------

PHI1 = 0.8413447460685429  # of the normal distribution at 1, and its density
DENSITY1 = math.exp(-0.5) / math.sqrt(2 * math.pi)
S1 = 1 / (1 + math.exp(-1))
SELU_LIMIT = 1.7580993408473766  # λ α
SELU_SCALE = 1.0507009873554805  # λ


@pytest.mark.parametrize(
    ("layer", "params", "x", "y", "slope"),
    [
        ("Abs", {}, [-2.0, 0.0, 3.0], [2, 0, 3], [-1, 0, 1]),
        ("Neg", {}, [-2.0, 3.0], [2, -3], [-1, -1]),
        ("Reciprocal", {}, [-2.0, 0.5], [-0.5, 2], [-0.25, -4]),
        ("Square", {}, [-3.0, 0.0], [9, 0], [-6, 0]),
        ("Sqrt", {}, [4.0, 0.25], [2, 0.5], [0.25, 1]),
        ("Rsqrt", {}, [4.0, 0.25], [0.5, 2], [-1 / 16, -4]),
        ("Sign", {}, [-2.0, 0.0, 0.1], [-1, 0, 1], [0, 0, 0]),
        ("Floor", {}, [-1.5, -1.0, 0.9], [-2, -1, 0], [0, 0, 0]),
        ("Exp", {}, [0.0, 1.0], [1, math.e], [1, math.e]),
        ("Exp", {"base": 2, "scale": 3, "shift": 1}, [0.0, 1.0], [2, 16], [6 * math.log(2), 48 * math.log(2)]),
        ("Log", {}, [1.0, math.e], [0, 1], [1, 1 / math.e]),
        ("Log", {"base": 10, "scale": 9, "shift": 1}, [0.0, 11.0], [0, 2], [9 / math.log(10), 0.09 / math.log(10)]),
        ("Pow", {"exponent": 3}, [-2.0, 0.0], [-8, 0], [12, 0]),
        ("Pow", {"exponent": 2, "scale": 3, "shift": 1}, [1.0, -1.0], [16, 4], [24, -12]),
        ("Pow", {"exponent": 1, "scale": 2}, [0.0, 3.0], [0, 6], [2, 2]),
        ("Tan", {}, [0.0, math.pi / 4], [0, 1], [1, 2]),
        ("Asin", {}, [0.0, 0.5], [0, math.pi / 6], [1, 2 / math.sqrt(3)]),
        ("Acos", {}, [0.0, 0.5], [math.pi / 2, math.pi / 3], [-1, -2 / math.sqrt(3)]),
        ("Atan", {}, [0.0, 1.0], [0, math.pi / 4], [1, 0.5]),
        ("Sinh", {}, [0.0, math.log(2)], [0, 0.75], [1, 1.25]),
        ("Cosh", {}, [0.0, math.log(2)], [1, 1.25], [0, 0.75]),
        ("Erf", {}, [0.0, 0.5], [0, 0.5204998778130465], np.exp([0, -0.25]) * 2 / math.sqrt(math.pi)),
        ("LogSigmoid", {}, [0.0, math.log(3)], [-math.log(2), math.log(0.75)], [0.5, 0.25]),
        ("Softplus", {}, [0.0, math.log(3), 21.0], [math.log(2), math.log(4), 21], [0.5, 0.75, 1]),
        ("Softplus", {"beta": 2, "threshold": 3}, [0.0, 1.5, 1.6], [0.5 * math.log(2), 1.524293675, 1.6], None),
        ("Softsign", {}, [-3.0, 0.0, 1.0], [-0.75, 0, 0.5], [1 / 16, 1, 0.25]),
        ("GELU", {}, [0.0, 1.0, -1.0], [0, PHI1, PHI1 - 1], [0.5, PHI1 + DENSITY1, 1 - PHI1 - DENSITY1]),
        ("GELU", {"approximate": "tanh"}, [0.0, 1.0], [0, 0.8411919906082768], [0.5, 1.0829640838457826]),
        ("SiLU", {}, [0.0, 1.0], [0, S1], [0.5, S1 + S1 * (1 - S1)]),
        ("SiLU", {"beta": 0.0}, [2.0, -4.0], [1, -2], [0.5, 0.5]),
        ("Mish", {}, [0.0, math.log(2)], [0, 0.8 * math.log(2)], [0.6, 0.8 + math.log(2) * 0.36 * 2 / 3]),
        ("LeakyReLU", {}, [-2.0, 0.0, 3.0], [-0.02, 0, 3], [0.01, 0.01, 1]),
        ("ReLU6", {}, [-1.0, 0.0, 5.0, 6.0, 7.0], [0, 0, 5, 6, 6], [0, 0, 1, 0, 0]),
        ("ELU", {"alpha": 2}, [-math.log(2), 0.0, 3.0], [-1, 0, 3], [1, 2, 1]),
        ("SELU", {}, [-math.log(2), 1.0], [-SELU_LIMIT / 2, SELU_SCALE], [SELU_LIMIT / 2, SELU_SCALE]),
        ("CELU", {"alpha": 2}, [-2 * math.log(2), 0.0, 3.0], [-1, 0, 3], [0.5, 1, 1]),
        ("HardSigmoid", {}, [-4.0, -3.0, 0.0, 1.5, 3.0], [0, 0, 0.5, 0.75, 1], [0, 0, 1 / 6, 1 / 6, 0]),
        ("HardSwish", {}, [-4.0, -3.0, 0.0, 1.5, 3.0, 4.0], [0, 0, 0, 1.125, 3, 4], [0, 0, 0.5, 1, 1, 1]),
        ("Hardtanh", {}, [-2.0, -1.0, 0.5, 1.0], [-1, -1, 0.5, 1], [0, 0, 1, 0]),
        ("Clamp", {"min": -1, "max": 1}, [-2.0, -1.0, 0.5, 1.0, 2.0], [-1, -1, 0.5, 1, 1], [0, 1, 1, 1, 0]),
        ("Clamp", {"max": 1}, [-9.0, 2.0], [-9, 1], [1, 0]),
        ("Threshold", {"threshold": 1, "value": 7}, [0.0, 1.0, 1.5], [7, 7, 1.5], [0, 0, 1]),
    ],
)
def test_values_and_slopes(layer: str, params: dict[str, Any], x: list[float], y: Any, slope: Any) -> None:
    got, got_slope = value_and_slope(layer, x, **params)
    assert_allclose(got, y, rtol=1e-9, atol=1e-15)
    if slope is not None:
        assert_allclose(got_slope, slope, rtol=1e-9, atol=1e-15)


def test_the_gradient_of_a_root_at_zero_is_infinite() -> None:
    with np.errstate(divide="ignore"):
        assert_array_equal(value_and_slope("Sqrt", [0.0])[1], [np.inf])
        assert_array_equal(value_and_slope("Asin", [1.0, -1.0])[1], [np.inf, np.inf])


def test_sine_and_cosine_derive_into_each_other() -> None:
    x = np.linspace(-4, 4, 9)
    assert_allclose(value_and_slope("Sin", x), [np.sin(x), np.cos(x)])
    assert_allclose(value_and_slope("Cos", x), [np.cos(x), -np.sin(x)])


def test_jvp_is_slope_times_tangent() -> None:
    layer = Alone("Tanh", [0.0, math.log(2)])
    layer.forward()
    assert_allclose(layer.layer.jvp(np.array([3.0, 10.0])), [3, 6.4])


# Caffe's rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{"exponent": 0, "shift": -2.0}, {"exponent": 0}, {"exponent": 0, "scale": 0.0}])
def test_power_zero_is_the_constant_one_without_gradient(params: dict[str, float]) -> None:
    y, slope = value_and_slope("Pow", [-2.0, 0.0, 2.0], **params)
    assert_array_equal(y, [1, 1, 1])
    assert_array_equal(slope, [0, 0, 0])


def test_scale_zero_is_the_constant_power_of_shift_without_gradient() -> None:
    y, slope = value_and_slope("Pow", [-2.0, 0.0], exponent=3, scale=0, shift=-2)
    assert_array_equal(y, [-8, -8])
    assert_array_equal(slope, [0, 0])


def test_the_slope_of_an_elu_at_zero_is_that_of_its_left_side() -> None:
    """Caffe: dy ((x > 0) + (alpha + y) (x <= 0))."""
    assert_array_equal(value_and_slope("ELU", [0.0], alpha=0.25)[1], [0.25])


def test_swish_is_silu() -> None:
    """Caffe: dy (beta y + s (1 - beta y)) with s the logistic function of beta x."""
    x, beta = np.array([-2.0, 0.5, 3.0]), 1.7
    y, slope = value_and_slope("SiLU", x, beta=beta)
    s = 1 / (1 + np.exp(-beta * x))
    assert_allclose(y, x * s)
    assert_allclose(slope, beta * y + s * (1 - beta * y))


def test_bnll_is_softplus() -> None:
    x = np.array([-60.0, -1.0, 0.0, 2.0, 19.0, 60.0])
    y, slope = value_and_slope("Softplus", x)
    assert_allclose(y, np.where(x > 0, x + np.log1p(np.exp(-x)), np.log1p(np.exp(np.minimum(x, 0)))))
    assert_allclose(slope, np.exp(np.minimum(x, 50)) / (1 + np.exp(np.minimum(x, 50))))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("AbsVal", "Abs"), ("Power", "Pow"), ("BNLL", "Softplus"), ("Swish", "SiLU"), ("Clip", "Clamp")],
)
def test_names_of_caffe_are_errors_that_say_ours(theirs: str, ours: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LAYERS.get(theirs)
    assert caught.value.hint == f"did you mean {ours} (Caffe's {theirs})?"


# PReLU ----------------------------------------------------------------------------------------------------------------


def test_prelu_has_one_weight_or_one_for_each_channel() -> None:
    x = np.array([[[-2.0, 4.0], [-6.0, 0.0]], [[1.0, -1.0], [-0.5, 2.0]]])  # (N, C, T)
    dy = np.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    one = Alone("PReLU", x)
    assert_array_equal(one.layer.params.weight, [0.25])
    assert_array_equal(one.top(), [[[-0.5, 4], [-1.5, 0]], [[1, -0.25], [-0.125, 2]]])
    assert_array_equal(one.vjp(dy)["bottom[0]"], [[[0.25, 2], [0.75, 1]], [[5, 1.5], [1.75, 8]]])
    assert_array_equal(one.vjp(dy)["weight"], [-2 - 18 - 6 - 3.5])
    each = Alone("PReLU", x, num_parameters=2, init=0.5)
    each.layer.params.weight[1] = 2
    assert_array_equal(each.top(), [[[-1, 4], [-12, 0]], [[1, -0.5], [-1, 2]]])
    assert_array_equal(each.vjp(dy)["bottom[0]"], [[[0.5, 2], [6, 8]], [[5, 3], [14, 8]]])
    assert_array_equal(each.vjp(dy)["weight"], [-2 - 6, -18 - 3.5])


def test_prelu_is_learned_and_does_not_decay() -> None:
    inputs = {"x": {"shape": [2, 3], "dtype": None, "grad": True}}
    net = Net.from_config({"inputs": inputs, "net": [{"name": "act", "type": "PReLU", "num_parameters": 3}]})
    weight = net.params["act"]["weight"]
    assert weight.data.shape == (3,)
    assert_array_equal(weight.data, 0.25)
    assert net.layers["act"].param_decls["weight"].decay_mult == 0


def test_prelu_refuses_another_number_of_channels() -> None:
    with pytest.raises(LayerForgeError, match="4 parameters for 3 channels") as caught:
        Alone("PReLU", np.zeros((2, 3)), num_parameters=4)
    assert caught.value.exit_code == 2


# float32 at its extremes ----------------------------------------------------------------------------------------------

BIG = 1e4


@pytest.mark.parametrize(
    ("layer", "params", "y", "slope"),
    [
        ("LogSigmoid", {}, [-BIG, 0], [1, 0]),
        ("Softplus", {}, [0, BIG], [0, 1]),
        ("Softplus", {"threshold": 1e6}, [0, BIG], [0, 1]),
        ("Softsign", {}, [-1, 1], [0, 0]),
        ("Erf", {}, [-1, 1], [0, 0]),
        ("GELU", {}, [0, BIG], [0, 1]),
        ("GELU", {"approximate": "tanh"}, [0, BIG], [0, 1]),
        ("SiLU", {}, [0, BIG], [0, 1]),
        ("Mish", {}, [0, BIG], [0, 1]),
        ("ELU", {}, [-1, BIG], [0, 1]),
        ("SELU", {}, [-SELU_LIMIT, SELU_SCALE * BIG], [0, SELU_SCALE]),
        ("CELU", {"alpha": 0.01}, [-0.01, BIG], [0, 1]),
        ("HardSwish", {}, [0, BIG], [0, 1]),
        ("Atan", {}, [-math.pi / 2, math.pi / 2], [0, 0]),
    ],
)
def test_huge_numbers_saturate_without_overflow(layer: str, params: dict[str, Any], y: Any, slope: Any) -> None:
    single = Alone(layer, [-BIG, BIG], dtype="float32", **params)
    assert_allclose(single.top(), y, rtol=2e-4, atol=1e-7)
    assert_allclose(single.vjp([1.0, 1.0])["bottom[0]"], slope, atol=2e-7)


def test_small_numbers_keep_their_digits() -> None:
    x = np.float32([1e-6, -1e-6, 3e-20])
    for layer in ("ELU", "CELU", "Sinh", "Asin", "Atan", "Softsign", "Sin", "Tan"):
        assert_allclose(Alone(layer, x, dtype="float32").top(), x, rtol=2e-6)
    assert_allclose(Alone("Erf", x, dtype="float32").top(), 2 / math.sqrt(math.pi) * x, rtol=2e-6)
    far = np.float32([-80.0, -30.0])
    for layer in ("Softplus", "Sigmoid"):
        assert_allclose(Alone(layer, far, dtype="float32").top(), np.exp([-80.0, -30.0]), rtol=1e-5)
    assert_allclose(Alone("LogSigmoid", -far, dtype="float32").top(), -np.exp([-80.0, -30.0]), rtol=1e-5)
    assert_allclose(Alone("LogSigmoid", -far, dtype="float32").vjp([1, 1])["bottom[0]"], np.exp(far), rtol=1e-5)
    assert_allclose(Alone("Exp", [88.0, -80.0], dtype="float32").top(), np.exp([88.0, -80.0]), rtol=1e-5)
    assert_allclose(Alone("Log", [1e-30, 1e30], dtype="float32").top(), np.log([1e-30, 1e30]), rtol=1e-6)


# Dropout and Dropout2d ------------------------------------------------------------------------------------------------


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


def test_dropout2d_drops_whole_channels() -> None:
    x = np.ones((50, 20, 3, 3))
    layer = Alone("Dropout2d", x, p=0.25)
    y = layer.top()
    assert set(np.unique(y)) == {0, 4 / 3}
    assert_array_equal(y, np.broadcast_to(y[:, :, :1, :1], x.shape))
    assert abs((y == 0).mean() - 0.25) < 0.03
    assert_array_equal(layer.vjp(x)["bottom[0]"], y)


# GLU ------------------------------------------------------------------------------------------------------------------


def test_glu_by_hand() -> None:
    layer = Alone("GLU", [[2.0, 3.0, 0.0, math.log(3)]])
    assert_allclose(layer.top(), [[1, 2.25]])
    assert_allclose(layer.vjp([[1.0, 10.0]])["bottom[0]"], [[0.5, 7.5, 0.5, 30 * 0.1875]])


def test_the_gate_of_glu_is_the_second_half_of_its_axis() -> None:
    x = np.arange(8.0).reshape(1, 4, 2)
    assert_allclose(Alone("GLU", x, dim=1).top(), x[:, :2] / (1 + np.exp(-x[:, 2:])))


def test_gates_of_glu_at_their_ends_do_not_overflow() -> None:
    layer = Alone("GLU", [[2.0, 3.0, 1e4, -1e4]], dtype="float32")
    assert_allclose(layer.top(), [[2, 0]], atol=1e-30)
    assert_allclose(layer.vjp([[1.0, 1.0]])["bottom[0]"], [[1, 0, 0, 0]], atol=1e-30)
