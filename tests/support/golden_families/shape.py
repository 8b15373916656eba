"""Golden cases of layers that give numbers another shape, another order or more places."""

from __future__ import annotations

from layerforge.arrays.spec import Spec, index

from .builders import moved, one

CASES = [
    *moved("Reshape", {
        "flat": ({"shape": [0, -1]}, (2, 3, 4)),
        "copied": ({"shape": [0, 2, -1, 0, 2]}, (2, 12, 1, 4)),
        "no-axis-open": ({"shape": [0, 3, 4]}, (3, 12)),
        "batch-too": ({"shape": [-1, 4]}, (2, 3, 8)),
    }),
    *moved("Squeeze", {
        "one": ({"dim": 1}, (2, 1, 3)),
        "several": ({"dim": [-1, 1]}, (2, 1, 3, 1)),
        "batch": ({"dim": 0}, (1, 3)),
    }),
    *moved("Unsqueeze", {"middle": ({"dim": 1}, (2, 3)), "last": ({"dim": -1}, (2, 3)), "batch": ({"dim": 0}, (3,))}),
    *moved("Transpose", {
        "inner": ({"dim0": 1, "dim1": 2}, (2, 3, 4)),
        "negative": ({"dim0": -1, "dim1": 1}, (2, 3, 4, 5)),
        "batch": ({"dim0": 0, "dim1": 1}, (3, 2, 4)),
    }),
    *moved("Permute", {
        "channels-last": ({"dims": [0, 2, 3, 1]}, (2, 3, 4, 5)),
        "batch": ({"dims": [2, 0, -2]}, (2, 3, 4)),
        "cycle": ({"dims": [3, 0, 1, 2]}, (2, 3, 4, 5)),
    }),
    *moved("Flip", {
        "one": ({"dims": 1}, (2, 3)),
        "several": ({"dims": [1, -1]}, (2, 3, 4)),
        "batch": ({"dims": [0]}, (3, 2)),
    }),
    *moved("Expand", {
        "last": ({"shape": [-1, 4]}, (2, 1)),
        "several": ({"shape": [-1, 3, 2, -1]}, (2, 1, 1, 3)),
        "new-axis": ({"shape": [3, -1, -1]}, (2, 4)),
        "nothing": ({"shape": [2, 3]}, (2, 3)),
        "number": ({"shape": [2, 3]}, ()),
    }),
    *moved("Repeat", {
        "last": ({"repeats": [1, 3]}, (2, 2)),
        "all": ({"repeats": [3, 2, 2]}, (2, 3, 1)),
        "new-axis": ({"repeats": [2, 1, 3]}, (2, 3)),
    }),
    *moved("Tile", {
        "last": ({"dims": [3]}, (2, 2)),
        "middle": ({"dims": [3, 1, 2]}, (2, 2, 3, 4)),
        "new-axis": ({"dims": [2, 1, 3]}, (2, 3)),
        "batch": ({"dims": [2, 2]}, (2, 3)),
    }),
    *moved("RepeatInterleave", {
        "middle": ({"repeats": 2, "dim": 1}, (2, 3, 2)),
        "last": ({"repeats": 3, "dim": -1}, (2, 3)),
        "batch": ({"repeats": 2, "dim": 0}, (2, 3)),
    }),
    *moved("Pad", {
        "constant": ({"padding": [1, 2]}, (2, 3)),
        "value": ({"padding": [1, 0, 0, 2], "value": -3.0}, (2, 2, 3, 1)),
        "batch": ({"padding": [0, 1, 1, 2]}, (2, 3)),
        "reflect": ({"padding": [2, 1], "mode": "reflect"}, (2, 3, 4)),
        "reflect-widest": ({"padding": [2, 2, 1, 0], "mode": "reflect"}, (2, 2, 2, 3)),
        "reflect-3d": ({"padding": [1, 0, 0, 1, 1, 1], "mode": "reflect"}, (1, 2, 2, 3, 2)),
        "replicate": ({"padding": [3, 1], "mode": "replicate"}, (2, 2, 1)),
        "replicate-wide": ({"padding": [4, 0, 1, 5], "mode": "replicate"}, (2, 2, 3, 2)),
    }),
    one("Stack-two", {}, Spec((2, 3)), Spec((2, 3))),
    one("Stack-last", {"dim": -1}, *[Spec((2, 3))] * 3),
    one("Stack-batch", {"dim": 0}, Spec((2, 3)), Spec((2, 3))),
    one("Stack-one", {}, Spec((2, 3))),
    one("Stack-labels", {}, index((3,), 5), index((3,), 5), differentiable=False),
    one("Split-sizes", {"split_size": [1, 3, 2]}, Spec((2, 6, 3)), tops=3),
    one("Split-uneven", {"split_size": 2}, Spec((2, 5)), tops=3),
    one("Split-last", {"split_size": 2, "dim": -1}, Spec((2, 3, 4)), tops=2),
    one("Split-batch", {"split_size": 3, "dim": 0}, Spec((4, 3)), tops=2),
    one("Split-one", {"split_size": 9}, Spec((2, 3))),
    one("Split-labels", {"split_size": 1}, index((3, 2), 5), tops=2, differentiable=False),
    # Real numbers in the second bottom would have no gradient at all; only its shape counts.
    one("Crop-plain", {}, Spec((2, 3, 5, 4)), index((2, 7, 3, 4), 2)),
    one("Crop-offset", {"offset": 1}, Spec((2, 3, 5, 4)), index((2, 1, 3, 2), 2)),
    one("Crop-offsets", {"offset": [2, 0]}, Spec((2, 3, 5, 4)), index((2, 1, 3, 3), 2)),
    one("Crop-last", {"dim": -1, "offset": 2}, Spec((2, 3, 5)), index((9, 9, 1), 2)),
    one("Crop-batch", {"dim": 0, "offset": [1, 0]}, Spec((4, 3)), index((2, 3), 2)),
]  # fmt: skip
