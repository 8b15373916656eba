"""Golden cases of poolings."""

from __future__ import annotations

from layerforge.arrays.spec import Spec

from .builders import few_values, one

IMAGE = Spec((2, 3, 7, 8))
WINDOW = {"kernel_size": 3}
POOL = {
    "plain": {"kernel_size": 2},
    "stride": {**WINDOW, "stride": 2},
    "stride-skips": {"kernel_size": 2, "stride": [3, 4]},
    "overlap": {**WINDOW, "stride": 1},
    "padding": {**WINDOW, "stride": 2, "padding": 1},
    "oblong": {"kernel_size": [2, 3], "stride": [1, 2], "padding": [0, 1]},
    "ceil": {"kernel_size": 2, "stride": 2, "ceil_mode": True},
    "ceil-wide": {**WINDOW, "stride": [5, 3], "ceil_mode": True},
    "ceil-padding": {**WINDOW, "stride": [2, 3], "padding": 1, "ceil_mode": True},
    "ceil-last-in-padding": {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    "whole": {"kernel_size": [7, 8]},
}
DILATED_POOL = {
    "dilation": {**WINDOW, "stride": 1, "dilation": 2},
    "dilation-everything": {
        "kernel_size": [2, 3],
        "stride": [2, 3],
        "padding": 1,
        "dilation": [3, 2],
        "ceil_mode": True,
    },
}
INSIDE = {"count_include_pad": False}
INSIDE_POOL = {
    "inside": {**WINDOW, "stride": 2, "padding": 1, **INSIDE},
    "inside-ceil": {**WINDOW, "stride": [2, 3], "padding": 1, "ceil_mode": True, **INSIDE},
    "inside-no-padding": {"kernel_size": 2, "ceil_mode": True, **INSIDE},
}
CASES = [
    *(one(f"MaxPool2d-{what}", hyper, IMAGE) for what, hyper in (POOL | DILATED_POOL).items()),
    *(one(f"AvgPool2d-{what}", hyper, IMAGE) for what, hyper in (POOL | INSIDE_POOL).items()),
    one("MaxPool2d-negative", {**WINDOW, "padding": 1}, Spec((2, 3, 5, 5), low=-3, high=-1)),
    one("MaxPool2d-ties", {**WINDOW, "stride": 1, "padding": 1}, Spec((2, 3, 5, 5), draw=few_values)),
    one("MaxPool2d-wide", {"kernel_size": 17, "stride": 1}, Spec((1, 1, 19, 18))),
    one("AvgPool2d-wide", {"kernel_size": 17, "stride": 1}, Spec((1, 1, 19, 18))),
    one("GlobalAvgPool2d", {}, IMAGE),
    one("GlobalAvgPool2d-one", {}, Spec((2, 3, 1, 1))),
]
