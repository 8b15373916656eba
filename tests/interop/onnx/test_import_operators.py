"""Operators of ONNX, imported one at a time: the net computes what ONNX Runtime does, for several batch sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, model, node
from support.tools import demand

Shapes = Mapping[str, Any]
SAMPLES = (3, 12, 1)  # others than those that an import tries
IMAGE = {"x": ["N", 4, 6, 5]}
ROWS = {"x": ["N", 6]}


def w(*shape: int, low: float | None = None, seed: int = 1) -> np.ndarray:
    """Random weights; with `low` uniform from there to 1 more."""
    rng = np.random.default_rng([seed, *shape])
    return (rng.normal(size=shape) if low is None else rng.uniform(low, low + 1, shape)).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    """Integers of 64 bits."""
    return np.array(values, np.int64)


def check(
    nodes: Sequence[tuple[Any, ...]],
    inputs: Shapes,
    weights: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    output: str = "y",
    about: float = 0.0,
    positive: bool = False,
    batches: Sequence[int] = SAMPLES,
) -> Any:
    """Import nodes (op, inputs, outputs, attributes) and compare; returns the types of layers."""
    demand("onnx")
    demand("onnxruntime")
    made = [node(*one[:-1], **one[-1]) if isinstance(one[-1], dict) else node(*one) for one in nodes]
    proto = model(made, inputs, output.split(), weights, opset)
    feeds = []
    open_ = any("N" in _shape(told) for told in inputs.values())
    for samples in batches if open_ else (0,):
        given = {}
        for seed, (name, told) in enumerate(inputs.items()):
            shape = [samples if n == "N" else n for n in _shape(told)]
            array = drawn(shape, seed, told[1] if isinstance(told, tuple) else "float32")
            if array.dtype.kind == "f":
                array = abs(array) + 0.1 if positive else array + np.float32(about)
            given[name] = np.asarray(array)
        feeds.append(given)
    done = compare(proto, *feeds)
    return [layer["type"] for layer in done.config["net"]]


def _shape(told: Any) -> Sequence[Any]:
    shape: Sequence[Any] = told[0] if isinstance(told, tuple) else told
    return shape


# Element by element -----------------------------------------------------------------------------------------------

ONE = [
    ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("Exp", {}), ("Abs", {}), ("Neg", {}), ("Floor", {}), ("Ceil", {}),
    ("Sign", {}), ("Erf", {}), ("Sin", {}), ("Cos", {}), ("Atan", {}), ("Sinh", {}), ("Cosh", {}), ("Softsign", {}),
    ("HardSwish", {}), ("Mish", {}), ("Softplus", {}), ("LeakyRelu", {}), ("LeakyRelu", {"alpha": 0.3}), ("Elu", {}),
    ("Elu", {"alpha": 0.5}), ("Celu", {"alpha": 2.0}), ("Selu", {}), ("Selu", {"alpha": 1.5, "gamma": 2.0}),
    ("HardSigmoid", {}), ("HardSigmoid", {"alpha": 1 / 6}), ("ThresholdedRelu", {"alpha": 0.7}), ("Round", {}),
    ("Shrink", {"lambd": 0.4, "bias": 0.2}), ("Asinh", {}), ("Identity", {}), ("Tan", {}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attributes"), ONE, ids=lambda one: str(one))
def test_of_one_input(op: str, attributes: dict[str, Any]) -> None:
    check([(op, "x", "y", attributes)], IMAGE, opset=18)


@pytest.mark.parametrize("op", ["Log", "Sqrt", "Reciprocal", "Acosh"])
def test_of_one_positive_input(op: str) -> None:
    before = [("Add", "x one", "z")] if op == "Acosh" else [("Identity", "x", "z")]
    check([*before, (op, "z", "y")], ROWS, {"one": np.float32(1)}, positive=True)


@pytest.mark.parametrize("op", ["Asin", "Acos", "Atanh"])
def test_of_one_input_between_minus_one_and_one(op: str) -> None:
    check([("Tanh", "x", "z"), (op, "z", "y")], ROWS)


def test_halves_are_rounded_to_the_even_one() -> None:
    halves = np.array([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, 1.4999999, 8388607.5, -3.2, 7.0]], np.float32)
    demand("onnxruntime")
    compare(model([node("Round", "x", "y")], {"x": ["N", 11]}, ["y"]), {"x": halves})


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    assert check([("Gelu", "x", "y", {"approximate": approximate})], ROWS, opset=20) == ["GELU"]


@pytest.mark.parametrize("shape", [(4, 1, 1), (1,), (1, 4, 1, 1), (4, 6, 5), (5,)])
def test_p_relu(shape: tuple[int, ...]) -> None:
    check([("PRelu", "x s", "y")], IMAGE, {"s": w(*shape, low=0)})


@pytest.mark.parametrize(("low", "high"), [(0, 6), (-0.5, 0.7), (None, 0.3), (0.1, None), (0, None), (0.5, 0.2)])
@pytest.mark.parametrize("opset", [9, 13])
def test_clip(low: float | None, high: float | None, opset: int) -> None:
    if opset < 11 and low == 0.5:
        high = 0.7  # ONNX Runtime refuses attributes the other way round
    limits = {"min": low, "max": high}
    if opset < 11:
        check([("Clip", "x", "y", {k: float(v) for k, v in limits.items() if v is not None})], ROWS, opset=opset)
        return
    names = " ".join("-" if v is None else k for k, v in limits.items())
    values = {k: np.float32(v) for k, v in limits.items() if v is not None}
    check([("Clip", f"x {names}", "y")], ROWS, values, opset=opset)


def test_clip_between_blobs() -> None:
    check([("Clip", "x low", "y")], {"x": ["N", 6], "low": []})


@pytest.mark.parametrize("opset", [7, 13])
def test_dropout_passes_on(opset: int) -> None:
    nodes = [("Dropout", "x", "y", {"ratio": 0.3})] if opset < 12 else [("Dropout", "x p", "y")]
    types = check(nodes, ROWS, {"p": np.float32(0.3)} if opset > 12 else None, opset=opset)
    assert types == ["Dropout"]


def test_casts() -> None:
    nodes = [("Cast", "x", "i", {"to": 7}), ("Cast", "i", "b", {"to": 9}), ("Cast", "b", "f", {"to": 1})]
    check([*nodes, ("Add", "f x", "y")], ROWS)
    check([("Cast", "x", "y", {"to": 1})], {"x": (["N", 4], "int64")})
    check([("Cast", "x", "h", {"to": 11}), ("Cast", "h", "y", {"to": 1})], ROWS)


# Several inputs ---------------------------------------------------------------------------------------------------

SHAPES = [(6,), (1, 6), (4, 1, 1), (4, 6, 5), (1,), (), (1, 1, 1, 5)]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", SHAPES[2:], ids=str)
@pytest.mark.parametrize("first", [True, False])
def test_arithmetic_with_numbers(op: str, shape: tuple[int, ...], first: bool) -> None:
    check([(op, "c x" if first else "x c", "y")], IMAGE, {"c": w(*shape, low=0.5)}, about=3.0)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Pow"])
def test_arithmetic_of_blobs(op: str) -> None:
    check([(op, "x z", "y")], {"x": ["N", 4, 1], "z": ["N", 1, 5]}, positive=op == "Pow", about=3.0)


@pytest.mark.parametrize("op", ["Max", "Min", "Sum", "Mean"])
def test_of_any_number(op: str) -> None:
    check([(op, "x z c", "y")], {"x": ["N", 4], "z": ["N", 4]}, {"c": w(4)})
    check([(op, "x", "y")], ROWS)


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -1.0, 1.5, -0.5])
def test_powers(exponent: float) -> None:
    check([("Pow", "x c", "y")], ROWS, {"c": np.float32(exponent)}, positive=True)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max"])
def test_arithmetic_of_integers(op: str) -> None:
    nodes = [("Add", "x one", "i"), ("Sub", "z five", "j"), (op, "j i", "y")]
    check(nodes, {"x": (["N", 4], "int64"), "z": (["N", 4], "int64")}, {"one": whole(1), "five": whole(5)})


@pytest.mark.parametrize("op", ["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"])
def test_comparisons(op: str) -> None:
    nodes = [("Floor", "x", "a"), ("Floor", "z", "b"), (op, "a b", "t"), ("Where", "t x z", "y")]
    check(nodes, {"x": ["N", 12], "z": ["N", 12]})
    check([(op, "x c", "t"), ("Cast", "t", "y", {"to": 1})], {"x": (["N", 12], "int64")}, {"c": whole(1)})


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op: str) -> None:
    nodes = [("Greater", "x z", "s"), (op, "s b", "t"), ("Not", "t", "n"), ("Cast", "n", "y", {"to": 1})]
    check(nodes, {"x": ["N", 8], "z": ["N", 8], "b": (["N", 8], "bool")})


def test_where_with_constants() -> None:
    mask = np.tril(np.ones((5, 5), bool))
    nodes = [("Where", "m x low", "z"), ("Softmax", "z", "y", {"axis": -1})]
    check(nodes, {"x": ["N", 5, 5]}, {"m": mask, "low": np.float32(-np.inf)})
    check([("Where", "m x low", "y")], {"x": ["N", 20, 20]}, {"m": np.tri(20) > 0, "low": w(20, 20)})


def test_rest_of_a_division() -> None:
    check([("Mod", "x c", "y")], {"x": (["N", 9], "int64")}, {"c": whole(2)})


# Products ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("c", [None, (3,), (1, 3), (1,), ()])
def test_gemm(turned: int, c: tuple[int, ...] | None) -> None:
    weights = {"b": w(3, 6) if turned else w(6, 3)} | ({} if c is None else {"c": w(*c)})
    attributes = {"transB": turned} | ({"alpha": 0.5, "beta": 2.0} if c == (3,) else {})
    types = check([("Gemm", "x b" if c is None else "x b c", "y", attributes)], ROWS, weights)
    assert types == ["Linear"]


def test_gemm_of_blobs() -> None:
    nodes = [("Gemm", "x z c", "y", {"transA": 1, "alpha": 0.5, "beta": 3.0})]
    check(nodes, {"x": ["N", 4], "z": ["N", 5]}, {"c": w(4, 5)})
    check([("Gemm", "x z", "y", {"transB": 1})], {"x": ["N", 4], "z": [5, 4]})
    check([("Gemm", "x b c", "y")], {"x": [3, 4]}, {"b": w(4, 2), "c": w(3, 2)})


@pytest.mark.parametrize("shape", [["N", 6], ["N", 5, 6], ["N", 2, 5, 6]])
def test_mat_mul_with_a_bias_is_one_linear(shape: list[Any]) -> None:
    nodes = [("MatMul", "x w", "h"), ("Add", "b h", "z"), ("Relu", "z", "y")]
    assert check(nodes, {"x": shape}, {"w": w(6, 3), "b": w(3)}) == ["Linear", "ReLU"]


def test_mat_mul() -> None:
    check([("MatMul", "x z", "y")], {"x": ["N", 4, 5], "z": ["N", 5, 2]})
    check([("MatMul", "x w", "y")], {"x": ["N", 2, 4, 5]}, {"w": w(2, 5, 3)})
    check([("MatMul", "w x", "y")], {"x": ["N", 4, 5]}, {"w": w(3, 4)})
    nodes = [("MatMul", "x w", "h"), ("Add", "h b", "y"), ("Neg", "h", "z")]
    check(nodes, ROWS, {"w": w(6, 3), "b": w(3)}, output="y z")


@pytest.mark.parametrize("equation", ["bij,bjk->bik", "bij,bkj->bik", "...ij,...jk->...ik", "bij,bjk"])
def test_einsum(equation: str) -> None:
    other = ["N", 5, 4] if equation == "bij,bkj->bik" else ["N", 4, 5]
    check([("Einsum", "x z", "y", {"equation": equation})], {"x": ["N", 3, 4], "z": other})


@pytest.mark.parametrize("equation", ["bij->bji", "bij->b", "bij->jb", "...ij->...i"])
def test_einsum_of_one(equation: str) -> None:
    check([("Einsum", "x", "y", {"equation": equation})], {"x": ["N", 3, 4]})


def test_determinants() -> None:
    check([("Det", "x", "y")], {"x": ["N", 3, 3]})


# Windows ----------------------------------------------------------------------------------------------------------

CONVOLUTIONS = [
    {}, {"strides": [2, 1]}, {"pads": [1, 1, 1, 1]}, {"pads": [0, 1, 2, 1]}, {"dilations": [2, 1]},
    {"auto_pad": "VALID"}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 3]}, {"group": 2},
]  # fmt: skip


@pytest.mark.parametrize("attributes", CONVOLUTIONS, ids=str)
def test_conv(attributes: dict[str, Any]) -> None:
    weight = w(6, 4 // attributes.get("group", 1), 2, 3)
    check([("Conv", "x w b", "y", attributes)], IMAGE, {"w": weight, "b": w(6)})


def test_conv_along_one_and_three_axes() -> None:
    check([("Conv", "x w", "y", {"strides": [2], "pads": [1, 0]})], {"x": ["N", 4, 9]}, {"w": w(2, 4, 3)})
    check([("Conv", "x w", "y", {"group": 4})], {"x": ["N", 4, 4, 3, 5]}, {"w": w(4, 1, 2, 2, 3)})


TRANSPOSED = [
    {}, {"strides": [2, 3]}, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]},
    {"pads": [0, 1, 1, 0]}, {"dilations": [2, 1]}, {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "SAME_LOWER"}, {"strides": [2, 2], "output_shape": [12, 11]}, {"group": 2},
    {"strides": [3, 2], "output_shape": [18, 12]},
]  # fmt: skip


@pytest.mark.parametrize("attributes", TRANSPOSED, ids=str)
def test_conv_transpose(attributes: dict[str, Any]) -> None:
    weights = {"w": w(4, 3, 2, 3), "b": w(3 * attributes.get("group", 1))}
    check([("ConvTranspose", "x w b", "y", attributes)], IMAGE, weights)


def test_conv_transpose_along_one_and_three_axes() -> None:
    check([("ConvTranspose", "x w", "y", {"strides": [2]})], {"x": ["N", 4, 5]}, {"w": w(4, 2, 3)})
    check([("ConvTranspose", "x w", "y", {})], {"x": ["N", 2, 3, 2, 3]}, {"w": w(2, 2, 2, 2, 2)})


POOLS = [
    {"kernel_shape": [2, 2]}, {"kernel_shape": [2, 3], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1]}, {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [2, 2], "dilations": [2, 1]}, {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2], "strides": [2, 2]},
]  # fmt: skip


@pytest.mark.parametrize("attributes", POOLS, ids=str)
def test_max_pool(attributes: dict[str, Any]) -> None:
    check([("MaxPool", "x", "y", attributes)], IMAGE)


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("attributes", POOLS, ids=str)
def test_average_pool(attributes: dict[str, Any], count: int) -> None:
    opset = 19 if "dilations" in attributes else 17
    check([("AveragePool", "x", "y", {**attributes, "count_include_pad": count})], IMAGE, opset=opset)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_pools_along_one_and_three_axes(op: str) -> None:
    check([(op, "x", "y", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]})], {"x": ["N", 2, 9]})
    check([(op, "x", "y", {"kernel_shape": [2, 2, 1]})], {"x": ["N", 2, 3, 4, 3]})


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(p: int) -> None:
    check([("LpPool", "x", "y", {"kernel_shape": [2, 3], "p": p, "pads": [1, 0, 1, 0]})], IMAGE, opset=18)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("shape", [["N", 3, 4, 5], ["N", 3, 7], ["N", 2, 3, 2, 4]])
def test_global_pools(op: str, shape: list[Any]) -> None:
    check([(op, "x", "y")], {"x": shape})


def test_regions() -> None:
    rois = np.array([[0, 0, 0, 4, 3], [1, 1, 1, 3, 5], [2, 0, 2, 4, 5]], np.float32)
    check([("MaxRoiPool", "x r", "y", {"pooled_shape": [2, 3]})], IMAGE, {"r": rois}, batches=(3, 12))


# Normalisations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [["N", 4], ["N", 4, 5], ["N", 4, 3, 2]])
def test_batch_normalization(shape: list[Any]) -> None:
    weights = {"s": w(4), "b": w(4), "m": w(4), "v": w(4, low=0.5)}
    attributes = {"epsilon": 1e-3, "momentum": 0.8}
    assert check([("BatchNormalization", "x s b m v", "y", attributes)], {"x": shape}, weights) == ["BatchNorm"]


def test_batch_normalization_by_the_batch() -> None:
    weights = {"s": w(4), "b": w(4, seed=2), "m": w(4, seed=3), "v": w(4, low=0.5)}
    check([("BatchNormalization", "x s b m v", "y mo vo", {"training_mode": 1})], IMAGE, weights)


@pytest.mark.parametrize("op", ["InstanceNormalization", "GroupNormalization", "LRN", "MeanVarianceNormalization"])
def test_normalizations(op: str) -> None:
    of_groups, of_neighbours = {"num_groups": 2, "epsilon": 1e-3}, {"size": 3, "alpha": 0.5, "bias": 2.0}
    attributes = {"GroupNormalization": of_groups, "LRN": of_neighbours}
    inputs = "x s b" if op in ("InstanceNormalization", "GroupNormalization") else "x"
    weights = {"s": w(4), "b": w(4)} if inputs != "x" else {}
    check([(op, inputs, "y", attributes.get(op, {}))], IMAGE, weights, opset=21 if op.startswith("Group") else 17)


@pytest.mark.parametrize("axes", [[2, 3], [1, 2, 3], [0, 2, 3], [1]])
def test_mean_variance_normalization(axes: list[int]) -> None:
    check([("MeanVarianceNormalization", "x", "y", {"axes": axes})], IMAGE)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization(axis: int, bias: bool) -> None:
    shape = (5,) if axis == -1 else (4, 5)
    weights = {"s": w(*shape), **({"b": w(*shape)} if bias else {})}
    nodes = [("LayerNormalization", "x s b" if bias else "x s", "y", {"axis": axis, "epsilon": 1e-3})]
    assert check(nodes, {"x": ["N", 4, 5]}, weights) == ["LayerNorm"]


def test_rms_normalization() -> None:
    assert check([("RMSNormalization", "x s", "y", {"epsilon": 1e-3})], {"x": ["N", 4, 5]}, {"s": w(5)}, opset=23)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization(p: int) -> None:
    check([("Relu", "x", "z"), ("LpNormalization", "z", "y", {"axis": 1, "p": p})], IMAGE)


# Axes taken together ----------------------------------------------------------------------------------------------

REDUCTIONS = [
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp"),
    *("ReduceSumSquare", "ReduceLogSum"),
]


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize(("axes", "keep"), [([1], 1), ([-1, 1], 0), (None, 0), ([2, 3], 1)], ids=str)
def test_reductions(op: str, axes: list[int] | None, keep: int) -> None:
    given = {} if axes is None else {"axes": axes}
    positive = op in ("ReduceLogSum", "ReduceProd")
    if op == "ReduceSum":
        weights = {} if axes is None else {"axes": whole(*axes)}
        check([(op, "x axes" if axes else "x", "y", {"keepdims": keep})], IMAGE, weights)
    else:
        check([(op, "x", "y", {**given, "keepdims": keep})], IMAGE, positive=positive)
    if axes:
        check([(op, "x axes", "y", {"keepdims": keep})], IMAGE, {"axes": whole(*axes)}, opset=18, positive=positive)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [None, 1, 2, -1])
def test_softmax(op: str, opset: int, axis: int | None) -> None:
    check([(op, "x", "y", {} if axis is None else {"axis": axis})], IMAGE, opset=opset)
    check([(op, "x", "y")], ROWS, opset=opset)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize(("axis", "keep", "last"), [(1, 1, 0), (-1, 0, 0), (1, 0, 1)])
def test_places_of_extremes(op: str, axis: int, keep: int, last: int) -> None:
    nodes = [("Floor", "x", "z"), (op, "z", "y", {"axis": axis, "keepdims": keep, "select_last_index": last})]
    check(nodes, {"x": ["N", 9, 4]})


def test_top_k() -> None:
    check([("TopK", "x k", "v i", {"axis": 1})], {"x": ["N", 8]}, {"k": whole(3)}, output="v i")
    check([("TopK", "x k", "v i", {"largest": 0})], {"x": ["N", 8]}, {"k": whole(3)}, output="i")
    check([("TopK", "x k", "v i", {"axis": 1})], {"x": ["N", 8]}, {"k": whole(3)}, output="v")


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_running_sums(reverse: int, exclusive: int) -> None:
    attributes = {"reverse": reverse, "exclusive": exclusive}
    check([("CumSum", "x a", "y", attributes)], {"x": ["N", 5, 2]}, {"a": np.array(1)})
    check([("CumSum", "x a", "y", attributes)], {"x": (["N", 5], "int64")}, {"a": np.array(-1)})


# Shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(-1, 120), (0, -1), (0, 0, 30), (-1, 4, 5, 6), (0, 2, 2, -1)])
def test_reshape(shape: tuple[int, ...]) -> None:
    check([("Reshape", "x s", "y")], IMAGE, {"s": whole(*shape)})


@pytest.mark.parametrize("axis", [0, 1, 2, -1, 4])
def test_flatten(axis: int) -> None:
    check([("Flatten", "x", "y", {"axis": axis})], IMAGE)


def test_axes_of_length_one() -> None:
    one = {"x": ["N", 1, 5, 1]}
    check([("Squeeze", "x a", "y")], one, {"a": whole(3)})
    check([("Squeeze", "x a", "y")], one, {"a": whole(1, -1)})
    check([("Squeeze", "x", "y")], one, batches=(3, 12))  # of one sample ONNX takes its axis away, too
    check([("Squeeze", "x", "y", {"axes": [1]})], one, opset=11)
    check([("Unsqueeze", "x a", "y")], ROWS, {"a": whole(1)})
    check([("Unsqueeze", "x a", "y")], ROWS, {"a": whole(-1, 1)})
    check([("Unsqueeze", "x", "y", {"axes": [0, 2]})], ROWS, opset=11)


def test_transpose_and_concat() -> None:
    check([("Transpose", "x", "y", {"perm": [0, 3, 1, 2]})], IMAGE)
    check([("Transpose", "x", "y")], {"x": [3, 4, 5]})
    check([("Concat", "x z", "y", {"axis": -1})], {"x": ["N", 4], "z": ["N", 2]})
    check([("Concat", "x i", "y", {"axis": 1})], {"x": (["N", 4], "int64"), "i": (["N", 2], "int64")})


def test_split() -> None:
    check([("Split", "x", "a b", {"axis": 1})], ROWS, output="a b")
    check([("Split", "x s", "a b", {"axis": 1})], ROWS, {"s": whole(2, 4)}, output="a b")
    check([("Split", "x s", "a b c", {"axis": 1})], ROWS, {"s": whole(2, 3, 1)}, output="b")
    check([("Split", "x", "a b", {"axis": 1, "split": [1, 5]})], ROWS, output="b a", opset=11)
    check([("Split", "x", "a b c d", {"axis": 1, "num_outputs": 4})], {"x": ["N", 7]}, output="a d", opset=18)


CUTS = [
    ((1,), (3,), (1,), None), ((-2,), (2**62,), (3,), None), ((0, 1), (-1, 9), (2, 3), None),
    ((5,), (-(2**62),), (2,), (-2,)), ((0,), (6,), (2,), (3,)), ((-1,), (-(2**62),), (3,), (-1,)),
    ((0,), (9,), (1,), None),
]  # fmt: skip


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_slice(cut: Any) -> None:
    parts = {name: whole(*one) for name, one in zip("seat", cut, strict=True) if one is not None}
    check([("Slice", f"x {' '.join(parts)}", "y")], IMAGE, parts)


def test_slice_of_the_last_samples() -> None:
    check([("Slice", "x s e", "y")], IMAGE, {"s": whole(-2), "e": whole(99)})
    check([("Slice", "x", "y", {"starts": [1], "ends": [3], "axes": [1]})], IMAGE, opset=9)


def test_copies() -> None:
    check([("Expand", "x s", "y")], {"x": ["N", 1, 4]}, {"s": whole(1, 3, 1)})
    check([("Expand", "x s", "y")], {"x": ["N", 4]}, {"s": whole(2, 1, 4)})
    check([("Tile", "x r", "y")], {"x": ["N", 2, 3]}, {"r": whole(1, 2, 3)})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode: str) -> None:
    check([("Pad", "x p", "y", {"mode": mode})], IMAGE, {"p": whole(0, 0, 1, 2, 0, 0, 2, 0)})
    check([("Pad", "x", "y", {"mode": mode, "pads": [0, 0, 1, 2, 0, 0, 2, 0]})], IMAGE, opset=10)


def test_pad_with_a_value_and_negative_widths() -> None:
    check([("Pad", "x p v", "y")], IMAGE, {"p": whole(0, 1, -1, 2, 0, 0, 2, -1), "v": np.float32(1.5)})
    check([("Pad", "x p v a", "y")], IMAGE, {"p": whole(1, 2), "v": np.float32(0), "a": whole(2)}, opset=18)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_blocks(mode: str) -> None:
    check([("DepthToSpace", "x", "y", {"blocksize": 2, "mode": mode})], {"x": ["N", 8, 2, 3]})
    check([("SpaceToDepth", "x", "y", {"blocksize": 2})], {"x": ["N", 2, 4, 6]})


@pytest.mark.parametrize("upper", [0, 1])
def test_triangles(upper: int) -> None:
    check([("Trilu", "x k", "y", {"upper": upper})], {"x": ["N", 4, 5]}, {"k": np.array(1)})


# Indices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [np.array(1), np.array(-1), whole(2, 0, 2), whole(1, -2).reshape(2, 1)], ids=str)
def test_gather_at_known_places(index: np.ndarray) -> None:
    check([("Gather", "x i", "y", {"axis": 2})], IMAGE, {"i": index})
    check([("Gather", "x i", "y", {"axis": -1})], {"x": (["N", 4], "int64")}, {"i": index})


def test_gather_at_computed_places() -> None:
    assert check([("Gather", "w x", "y")], {"x": (["N", 4], "int64")}, {"w": w(3, 5)}) == ["Embedding"]
    check([("Gather", "x i", "y", {"axis": 1})], {"x": ["N", 5], "i": ([4], "int64")})
    check([("Gather", "x i", "y", {"axis": 1})], {"x": ["N", 5, 2], "i": ([2, 3], "int64")})
    check([("Gather", "c i", "y", {"axis": 0})], {"i": (["N"], "int64")}, {"c": whole(5, 7, 9)})


def test_elements_by_indices() -> None:
    check([("GatherElements", "x i", "y", {"axis": 1})], {"x": ["N", 5], "i": (["N", 2], "int64")})
    check([("GatherND", "x i", "y")], {"x": [3, 4, 5]}, {"i": whole(0, 1, 2, 3).reshape(2, 2)})
    scatter = {"x": ["N", 5], "i": (["N", 1], "int64"), "u": ["N", 1]}
    check([("ScatterElements", "x i u", "y", {"axis": 1})], scatter)
    check([("ScatterElements", "x i u", "y", {"axis": 1, "reduction": "add"})], scatter)
    places = whole(0, 1, 2, -1).reshape(2, 2)
    check([("ScatterND", "x i u", "y")], {"x": [3, 4, 2], "u": [2, 2]}, {"i": places})
    check([("ScatterND", "x i u", "y", {"reduction": "add"})], {"x": [3, 4, 2], "u": [2, 2]}, {"i": places})


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    weights = {"d": np.array(4), "v": np.array([-1, 2], np.float32)}
    check([("OneHot", "x d v", "y", {"axis": axis})], {"x": (["N", 3], "int64")}, weights)
    check([("OneHot", "x d v", "y")], {"x": (["N"], "int64")}, {"d": np.array(4), "v": whole(0, 1)})


# Images -----------------------------------------------------------------------------------------------------------

RESIZES = [
    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"mode": "nearest"}, {"mode": "nearest", "nearest_mode": "ceil"}, {"mode": "linear"}, {"mode": "cubic"},
    {"mode": "nearest", "coordinate_transformation_mode": "align_corners"},
    {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
    {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
    {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
    {"mode": "cubic", "coordinate_transformation_mode": "align_corners"},
]  # fmt: skip


@pytest.mark.parametrize("attributes", RESIZES, ids=str)
def test_resize(attributes: dict[str, Any]) -> None:
    for scales in ((2, 2), (1.7, 0.6), (1, 3)):
        weights = {"s": np.array([1, 1, *scales], np.float32)}
        check([("Resize", "x - s", "y", attributes)], {"x": ["N", 2, 4, 5]}, weights)


def test_resize_becomes_an_upsample() -> None:
    for attributes in (RESIZES[0], RESIZES[1], RESIZES[3], RESIZES[6]):
        weights = {"s": np.array([1, 1, 2, 2], np.float32)}
        assert check([("Resize", "x - s", "y", attributes)], {"x": ["N", 2, 4, 5]}, weights) == ["Upsample"]


def test_resize_to_sizes() -> None:
    nodes = [
        ("Shape", "x", "l"), ("Slice", "l zero two", "front"), ("Concat", "front to", "size", {"axis": 0}),
        ("Resize", "x - - size", "y", {"mode": "linear"}),
    ]  # fmt: skip
    assert check(nodes, IMAGE, {"zero": whole(0), "two": whole(2), "to": whole(9, 8)}) == ["Upsample"]
    check([("Resize", "x - s", "y", {"mode": "linear"})], {"x": ["N", 2, 5]}, {"s": np.array([1, 1, 2], np.float32)})
    volume = {"s": np.array([1, 1, 2, 1.5, 2], np.float32)}
    check([("Resize", "x - s", "y", {"mode": "linear"})], {"x": ["N", 2, 2, 4, 3]}, volume)


def test_old_resizes() -> None:
    scales = {"s": np.array([1, 1, 2, 3], np.float32)}
    for mode in ("nearest", "linear"):
        check([("Upsample", "x s", "y", {"mode": mode})], {"x": ["N", 2, 4, 5]}, scales, opset=9)
        check([("Upsample", "x", "y", {"mode": mode, "scales": [1.0, 1.0, 2.0, 3.0]})], {"x": ["N", 2, 4, 5]}, opset=8)
        check([("Resize", "x s", "y", {"mode": mode})], {"x": ["N", 2, 4, 5]}, scales, opset=10)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample(mode: str, padding: str, corners: int) -> None:
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    check([("GridSample", "x g", "y", attributes)], {"x": ["N", 2, 4, 5], "g": ["N", 3, 2, 2]})


# Losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [True, False])
def test_losses(reduction: str, weighted: bool) -> None:
    weights = {"w": w(4, low=0.2)} if weighted else {}
    inputs = {"x": ["N", 4, 5], "t": (["N", 5], "int64")}
    attributes = {"reduction": reduction, "ignore_index": 1}
    names = "x t w" if weighted else "x t"
    check([("SoftmaxCrossEntropyLoss", names, "y", attributes)], inputs, weights)
    check([("SoftmaxCrossEntropyLoss", names, "y l", attributes)], inputs, weights, output="y l")
    logs = ("LogSoftmax", "x", "l", {"axis": 1})
    check([logs, ("NegativeLogLikelihoodLoss", names.replace("x", "l"), "y", attributes)], inputs, weights)


# What depends on the batch, and what is not finite ----------------------------------------------------------------


@pytest.mark.parametrize("nodes", [
    [("ReduceSum", "x", "s", {"keepdims": 0}), ("Div", "s n", "y")],
    [("ReduceSum", "x", "s", {"keepdims": 0}), ("Reciprocal", "n", "r"), ("Mul", "s r", "y")],
    [("Mul", "n three", "m"), ("Sub", "m three", "k"), ("Add", "x k", "y")],
])  # fmt: skip
def test_numbers_of_samples_are_counted_by_the_net(nodes: list[tuple[Any, ...]]) -> None:
    count = [("Shape", "x", "l"), ("Gather", "l zero", "i"), ("Cast", "i", "n", {"to": 1})]
    check([*count, *nodes], ROWS, {"zero": np.array(0), "three": np.float32(3)})


def test_a_vector_for_each_sample() -> None:
    nodes = [
        ("Shape", "x", "l"), ("Slice", "l zero one", "n"), ("Concat", "n one one", "s", {"axis": 0}),
        ("Expand", "token s", "tokens"), ("Concat", "tokens x", "y", {"axis": 1}),
    ]  # fmt: skip
    check(nodes, {"x": ["N", 3, 6]}, {"token": w(1, 1, 6), "zero": whole(0), "one": whole(1)})


@pytest.mark.parametrize("attributes", [None, {}, {"detect_negative": 0}, {"detect_positive": 0}])
def test_what_is_not_finite(attributes: dict[str, int] | None) -> None:
    demand("onnxruntime")
    op = node("IsNaN", "x", "t") if attributes is None else node("IsInf", "x", "t", **attributes)
    proto = model([op, node("Cast", "t", "y", to=1)], {"x": ["N", 6]}, ["y"])
    compare(proto, {"x": np.array([[np.nan, np.inf, -np.inf, 3.4e38, 0.0, -2.0]] * 2, np.float32)})


@pytest.mark.parametrize("batch", [0, 1])
def test_places_by_computed_tuples(batch: int) -> None:
    if batch:
        check([("GatherND", "x i", "y", {"batch_dims": 1})], {"x": ["N", 3, 4, 2], "i": (["N", 5, 2], "int64")})
        check([("GatherND", "x i", "y", {"batch_dims": 1})], {"x": ["N", 3], "i": (["N", 1], "int64")})
    else:
        check([("GatherND", "x i", "y")], {"x": [3, 4, 2], "i": (["N", 2], "int64")})
