"""Operators of ONNX whose numbers are easily wrong at an edge: the import computes what ONNX Runtime does, or says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, imported, judged, model, node
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
