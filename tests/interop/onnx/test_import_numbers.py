"""Operators of ONNX whose numbers go wrong easily: the import computes what ONNX Runtime does, or says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, computed, drawn, imported, judged, model, node
from support.tools import demand

from layerforge.interop.onnx.model import Model
from layerforge.schema.errors import LayerForgeError


@pytest.fixture(autouse=True)
def _tools() -> None:
    demand("onnx")
    demand("onnxruntime")


def whole(*values: int) -> np.ndarray:
    """Integers of 64 bits."""
    return np.array(values, np.int64)


def types(made: Model) -> list[str]:
    return [layer["type"] for layer in made.config["net"]]


def notes(made: Model) -> str:
    return "; ".join(note for entry in made.report.entries for note in entry.notes)


# Fractional scales ------------------------------------------------------------------------------------------------

FLOOR = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


@pytest.mark.parametrize(("size", "scale"), [(6, 8 / 6), (3, 5 / 3), (7, 9 / 7), (13, 16 / 13), (10, 1.3), (9, 0.7)])
@pytest.mark.parametrize("attributes", [FLOOR, {"mode": "nearest"}, {"mode": "linear"}], ids=str)
def test_places_of_a_resize_are_those_of_float32(size: int, scale: float, attributes: dict[str, Any]) -> None:
    scales = np.array([1, 1, scale, scale], np.float32)
    proto = model([node("Resize", "x - s", "y", **attributes)], {"x": ["N", 2, size, size]}, ["y"], {"s": scales})
    compare(proto, {"x": drawn([3, 2, size, size])})


def test_a_fractional_scale_of_an_open_length_is_right_at_each_length_or_refused() -> None:
    for scale in (8 / 6, 5 / 3, 1.5, 2.0):
        scales = np.array([1, 1, scale, scale], np.float32)
        proto = model([node("Resize", "x - s", "y", **FLOOR)], {"x": ["N", 2, "H", "W"]}, ["y"], {"s": scales})
        made = imported(proto, {"x": [2, 2, 12, 12]})
        for size in (12,) if made.config["inputs"]["x"]["shape"][2] == 12 and "Upsample" not in types(made) else (3, 6):
            compare(proto, {"x": drawn([3, 2, size, size])}, inputs={"x": [2, 2, 12, 12]})


# Equations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("equation", ["...ij,...jk", "...ij,...jk->...ik", "nij,njk", "...ji,...ik", "b...j,b...k"])
def test_equations_without_an_arrow_keep_the_batch(equation: str) -> None:
    proto = model([node("Einsum", "x z", "y", equation=equation)], {"x": ["N", 4, 4], "z": ["N", 4, 4]}, ["y"])
    compare(proto, *({"x": drawn([n, 4, 4]), "z": drawn([n, 4, 4], 1)} for n in (2, 7)))


@pytest.mark.parametrize("equation", ["...ij", "...ji", "ba", "...i->i...", "...ij->...j"])
def test_equations_of_one_factor(equation: str) -> None:
    shape = ["N", 4, 3] if "..." in equation else ["N", 4]
    proto = model([node("Einsum", "x", "y", equation=equation)], {"x": shape}, ["y"])
    compare(proto, *({"x": drawn([n, *shape[1:]])} for n in (2, 7)))


@pytest.mark.parametrize("equation", ["...ij->ij", "ij,jk->ik", "nijk", "nij->nn"])
def test_equations_that_do_not_fit_are_refused(equation: str) -> None:
    with pytest.raises(LayerForgeError, match="Einsum"):
        imported(model([node("Einsum", "x", "y", equation=equation)], {"x": ["N", 4, 4]}, ["y"]))


# Other batches than those that it is tried with -------------------------------------------------------------------

FAR = np.iinfo(np.int64).max
CUTS = [(0, 16, 1), (16, FAR, 1), (-16, FAR, 1), (0, -16, 1), (30, 2, -1), (-1, -FAR, -1), (FAR, 20, -1), (-40, 20, 2)]
BATCHES = (2, 20, 40, 1)


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_slice_of_samples_cuts_as_the_file_has_it(cut: tuple[int, int, int]) -> None:
    start, end, step = (whole(n) for n in cut)
    weights = {"s": start, "e": end, "a": whole(0), "step": step}
    nodes = [node("Relu", "x", "h"), node("Slice", "h s e a step", "y")]
    proto = model(nodes, {"x": ["N", 3]}, ["y"], weights)
    compare(proto, *({"x": drawn([n, 3])} for n in BATCHES))


@pytest.mark.parametrize("op", ["Min", "Max", "Mod", "Div"])
def test_a_number_that_follows_the_batch_up_to_a_limit_is_refused(op: str) -> None:
    nodes = [
        node("Shape", "x", "l"), node("Gather", "l zero", "n"), node(op, "n limit", "m"),
        node("Cast", "m", "r", to=1), node("Mul", "x r", "y"),
    ]  # fmt: skip
    proto = model(nodes, {"x": ["N", 3]}, ["y"], {"zero": np.array(0), "limit": np.array(1000)})
    with pytest.raises(LayerForgeError, match="depend on the sizes"):
        imported(proto)


def test_a_slice_up_to_the_smaller_of_the_batch_and_a_number_is_refused() -> None:
    nodes = [node("Shape", "x", "l"), node("Min", "n limit", "e"), node("Slice", "x zero e zero", "y")]
    nodes.insert(1, node("Slice", "l zero one", "n"))
    weights = {"zero": whole(0), "one": whole(1), "limit": whole(100)}
    with pytest.raises(LayerForgeError, match="where it cuts depends"):
        imported(model(nodes, {"x": ["N", 3]}, ["y"], weights))


def test_known_numbers_that_are_many_for_each_sample_are_tried_with_small_batches_alone() -> None:
    nodes = [
        node("Shape", "x", "l"), node("Slice", "l zero one", "n"), node("Concat", "n wide", "s", axis=0),
        node("Expand", "mask s", "m"), node("Mul", "x m", "y"),
    ]  # fmt: skip
    weights = {"zero": whole(0), "one": whole(1), "wide": whole(80, 80), "mask": np.tri(80, dtype=np.float32)[None]}
    compare(model(nodes, {"x": ["N", 80, 80]}, ["y"], weights), {"x": drawn([7, 80, 80])})


# Formulas that lose nothing ---------------------------------------------------------------------------------------

SIGNED = [[1e20, 3e38, 1e10, 1e5, 1.0, 0.3, 1e-3, 1e-5, 1e-9, 0.0, np.inf]]
EDGES = {
    "Asinh": np.array([SIGNED[0], [-n for n in SIGNED[0]]], np.float32),
    "Acosh": np.array([[1e20, 3e38, 1e10, 1.00001, 1.0000001, 1.0, 2.0, 0.5, np.inf]], np.float32),
    "Atanh": np.array([[1e-5, -1e-9, 1e-3, 0.0, 0.5, -0.99, 0.99999, 1.0, -1.0, 1.5]], np.float32),
}


@pytest.mark.parametrize("op", EDGES)
def test_inverse_hyperbolic_functions_are_right_for_each_number(op: str) -> None:
    x = EDGES[op]
    proto = model([node(op, "x", "y")], {"x": ["N", x.shape[1]]}, ["y"])
    with np.errstate(all="ignore"):
        mine = computed(imported(proto), {"x": x})["y"].astype(np.float64)
        wanted = {"Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh}[op](x.astype(np.float64))
    np.testing.assert_allclose(mine, wanted, rtol=2e-6)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_exclusive_running_sum_adds_only_what_it_has(reverse: int, axis: int) -> None:
    x = np.array([[[1, 1e8, 2], [1e8, 3, 4]], [[5, 1, 1e9], [7, 8, 1]]], np.float32)
    cumsum = node("CumSum", "x a", "y", exclusive=1, reverse=reverse)
    proto = model([cumsum], {"x": ["N", 2, 3]}, ["y"], {"a": np.array(axis)})
    assert np.array_equal(computed(imported(proto), {"x": x})["y"], judged(proto, {"x": x})["y"])


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_a_sample_of_zeros_has_no_norm(norm: str) -> None:
    x = np.array([[0, 0, 0], [-2, -4, -1], [1, 2, -8], [-3, 0, -1]], np.float32)
    scale = node("Normalizer", "x", "y", domain="ai.onnx.ml", norm=norm)
    compare(model([scale], {"x": ["N", 3]}, ["y"], domains={"ai.onnx.ml": 3}), {"x": x})


# Attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [-1e4, -1e9])
@pytest.mark.parametrize("factor", [1e-4, -1.0, 0.5, 2.0])
@pytest.mark.parametrize("chosen", [False, True])
def test_a_mask_in_front_of_a_factor_hides_as_much_as_is_left_of_it(hidden: float, factor: float, chosen: bool) -> None:
    mask = np.where(np.tri(3, dtype=bool), 0, hidden).astype(np.float32)
    masked = node("Where", "seen s hidden", "m") if chosen else node("Add", "s mask", "m")
    nodes = [
        node("Transpose", "k", "kt", perm=[0, 1, 3, 2]), node("MatMul", "q kt", "s"), masked,
        node("Mul", "m factor", "f"), node("Softmax", "f", "p", axis=-1), node("MatMul", "p v", "y"),
    ]  # fmt: skip
    weights = {"mask": mask, "seen": mask == 0, "hidden": np.float32(hidden), "factor": np.float32(factor)}
    proto = model(nodes, {name: ["N", 2, 3, 4] for name in "qkv"}, ["y"], weights)
    made = compare(proto, {name: drawn([2, 2, 3, 4], seed) for seed, name in enumerate("qkv")})
    whole_layer = "ScaledDotProductAttention" in types(made)
    assert whole_layer == (factor > 0 and hidden * factor <= -1e4)


# Integers ---------------------------------------------------------------------------------------------------------


OF_INTEGERS: list[tuple[str, str, dict[str, Any]]] = [
    ("Add", "x c", {}), ("Mul", "x x", {}), ("Sub", "x c", {}), ("Pow", "x c", {}), ("Clip", "x c", {}),
    ("Mod", "x c", {}), ("Div", "x c", {}), ("ReduceSum", "x", {}), ("ReduceMax", "x", {}), ("Greater", "x c", {}),
    ("Equal", "x c", {}), ("LessOrEqual", "x z", {}), ("Max", "x z", {}), ("Abs", "x", {}), ("Neg", "x", {}),
    ("CumSum", "x c", {}), ("TopK", "x k", {}), ("ArgMax", "x", {"axis": 1}), ("Sum", "x z", {}), ("Sign", "x", {}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "attributes"), OF_INTEGERS, ids=lambda one: str(one))
def test_integers_that_are_computed_as_float32_are_noted(op: str, inputs: str, attributes: dict[str, Any]) -> None:
    given = {name: (["N", 3], "int64") for name in "xz" if name in inputs}
    weights = {name: array for name, array in (("c", np.array(1)), ("k", whole(2))) if name in inputs}
    made = imported(model([node(op, inputs, "y places" if op == "TopK" else "y", **attributes)], given, ["y"], weights))
    assert "exact up to 2^24" in notes(made)
    assert "infinite" not in notes(made)


def test_integers_that_are_only_moved_or_cast_are_exact() -> None:
    big = np.array([[20000001, 33554435, 5], [1, 2, 16777217]])
    nodes = [node("Transpose", "x", "t", perm=[1, 0]), node("Concat", "t t", "y", axis=0), node("Cast", "x", "f", to=1)]
    made = imported(model(nodes, {"x": (["N", 3], "int64")}, ["y", "f"]))
    assert notes(made) == ""
    assert np.array_equal(computed(made, {"x": big})["y"], np.concatenate([big.T, big.T]))


@pytest.mark.parametrize("dtype", [2, 3, 4, 5, 6, 12, 13])
@pytest.mark.parametrize("source", ["float32", "int64"])
def test_a_cast_to_integers_with_narrower_limits_is_noted(dtype: int, source: str) -> None:
    nodes = [node("Cast", "x", "i", to=dtype), node("Cast", "i", "y", to=1)]
    made = imported(model(nodes, {"x": (["N", 3], source)}, ["y"]))
    assert "beyond its limits they do not wrap" in notes(made)
    truth = [node("Greater", "x x", "b"), node("Cast", "b", "i", to=dtype), node("Cast", "i", "y", to=1)]
    assert "wrap" not in notes(imported(model(truth, {"x": (["N", 3], source)}, ["y"])))


# Places that are not there ----------------------------------------------------------------------------------------


def test_places_that_are_not_read_are_noted() -> None:
    index = {"i": (["N", 3], "int64")}
    table = model([node("Gather", "w i", "y")], index, ["y"], {"w": drawn([5, 4])})
    assert "negative ones are an error" in notes(imported(table))
    hot = model([node("OneHot", "i d v", "y")], index, ["y"], {"d": np.array(4), "v": np.float32([0, 1])})
    assert "indices from 0 to 3 are read" in notes(imported(hot))


def test_one_hot_vectors_along_an_axis_that_is_dynamic_are_refused() -> None:
    with pytest.raises(LayerForgeError, match="dynamic"):
        imported(model([node("Hardmax", "x", "y", axis=0)], {"x": ["N", 3]}, ["y"]))


def test_axes_that_nobody_names_are_noted_where_one_sample_would_lose_its_own() -> None:
    squeezed = node("Squeeze", "x", "y")
    assert "one sample" in notes(imported(model([squeezed], {"x": ["N", 1, 3]}, ["y"])))
    assert notes(imported(model([squeezed], {"x": [2, 1, 3]}, ["y"]))) == ""
