"""Operators of ONNX whose numbers go wrong easily: the import computes what ONNX Runtime does, or says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, imported, model, node
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
