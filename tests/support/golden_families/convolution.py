"""Golden cases of convolutions."""

from __future__ import annotations

from .builders import learned

CONV = {"out_channels": 4, "kernel_size": 3}
EVERYTHING = {
    "out_channels": 4,
    "kernel_size": [3, 2],
    "stride": [2, 3],
    "padding": [2, 1],
    "dilation": [2, 1],
    "groups": 2,
}
CASES = [
    learned("Conv2d-plain", CONV, (2, 3, 5, 6), weight=(4, 3, 3, 3), bias=(4,)),
    learned("Conv2d-no-bias", {**CONV, "bias": False}, (2, 3, 5, 6), weight=(4, 3, 3, 3)),
    learned("Conv2d-1x1", {**CONV, "kernel_size": 1}, (2, 3, 4, 5), weight=(4, 3, 1, 1), bias=(4,)),
    learned("Conv2d-kernel-is-input", {**CONV, "kernel_size": [4, 5]}, (2, 3, 4, 5), weight=(4, 3, 4, 5), bias=(4,)),
    learned("Conv2d-stride", {**CONV, "stride": 2}, (2, 3, 8, 7), weight=(4, 3, 3, 3), bias=(4,)),
    learned("Conv2d-stride-skips", {**CONV, "stride": [4, 5]}, (2, 3, 9, 14), weight=(4, 3, 3, 3), bias=(4,)),
    learned("Conv2d-padding", {**CONV, "padding": 1}, (2, 3, 5, 4), weight=(4, 3, 3, 3), bias=(4,)),
    learned("Conv2d-padding-wide", {**CONV, "padding": [4, 0]}, (2, 3, 2, 5), weight=(4, 3, 3, 3), bias=(4,)),
    learned("Conv2d-dilation", {**CONV, "dilation": [2, 3]}, (2, 3, 6, 9), weight=(4, 3, 3, 3), bias=(4,)),
    learned("Conv2d-groups", {**CONV, "groups": 2}, (2, 6, 5, 4), weight=(4, 3, 3, 3), bias=(4,)),
    learned("Conv2d-depthwise", {**CONV, "out_channels": 6, "groups": 3}, (2, 3, 5, 4), weight=(6, 1, 3, 3), bias=(6,)),
    learned("Conv2d-everything", EVERYTHING, (3, 4, 7, 8), weight=(4, 2, 3, 2), bias=(4,)),
    learned("Conv2d-large", {"out_channels": 2, "kernel_size": 11}, (2, 4, 26, 40), weight=(2, 4, 11, 11), bias=(2,)),
    learned("Conv2d-one-sample", CONV, (1, 1, 3, 3), weight=(4, 1, 3, 3), bias=(4,)),
]
