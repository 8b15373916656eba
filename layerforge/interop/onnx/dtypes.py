"""ONNX's numbers of dtypes, and what NumPy calls them; bfloat16 is none of NumPy's."""

from __future__ import annotations

NAMES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
NUMBERS = {name: number for number, name in NAMES.items()}
TEXTS = 8  # of a tensor of texts
