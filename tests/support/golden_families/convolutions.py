"""Golden cases of the convolutions beside Conv2d, which has a file of its own."""

from __future__ import annotations

from .builders import learned

PLAIN = {"out_channels": 4, "kernel_size": 3}
LINE = {
    **PLAIN,
    "stride": 2,
    "padding": 3,
    "dilation": 2,
    "groups": 2,
}
VOLUME = {
    "out_channels": 4,
    "kernel_size": [2, 3, 1],
    "stride": [2, 1, 3],
    "padding": [1, 0, 2],
    "dilation": [2, 1, 2],
    "groups": 2,
}
UPWARDS = {**PLAIN, "stride": 2, "padding": 1}
EVERYTHING = {
    "out_channels": 4,
    "kernel_size": [3, 2],
    "stride": [3, 2],
    "padding": [2, 1],
    "output_padding": [1, 2],
    "dilation": [2, 3],
    "groups": 2,
}
DEPTHWISE = {"out_channels": 3, "kernel_size": 3, "groups": 3}
TRANSPOSED = (
    learned("ConvTranspose2d-plain", PLAIN, (2, 3, 4, 3), weight=(3, 4, 3, 3), bias=(4,)),
    learned("ConvTranspose2d-no-bias", {**PLAIN, "bias": False}, (2, 3, 4, 3), weight=(3, 4, 3, 3)),
    learned("ConvTranspose2d-1x1", {**PLAIN, "kernel_size": 1}, (2, 3, 4, 3), weight=(3, 4, 1, 1), bias=(4,)),
    learned("ConvTranspose2d-stride", UPWARDS, (2, 3, 4, 3), weight=(3, 4, 3, 3), bias=(4,)),
    learned("ConvTranspose2d-even", {**UPWARDS, "output_padding": 1}, (2, 3, 4, 3), weight=(3, 4, 3, 3), bias=(4,)),
    learned(
        "ConvTranspose2d-output-padding-beyond-the-stride",
        {**PLAIN, "dilation": 3, "padding": 1, "output_padding": [2, 1]},
        (2, 3, 4, 3),
        weight=(3, 4, 3, 3),
        bias=(4,),
    ),
    learned("ConvTranspose2d-gaps", {**PLAIN, "stride": [4, 5]}, (2, 3, 2, 3), weight=(3, 4, 3, 3), bias=(4,)),
    learned("ConvTranspose2d-groups", {**UPWARDS, "groups": 2}, (2, 6, 3, 3), weight=(6, 2, 3, 3), bias=(4,)),
    learned("ConvTranspose2d-depthwise", DEPTHWISE, (2, 3, 3, 4), weight=(3, 1, 3, 3), bias=(3,)),
    learned("ConvTranspose2d-several-into-one", DEPTHWISE, (2, 6, 3, 4), weight=(6, 1, 3, 3), bias=(3,)),
    learned("ConvTranspose2d-everything", EVERYTHING, (3, 4, 3, 4), weight=(4, 2, 3, 2), bias=(4,)),
    learned("ConvTranspose2d-one-sample", PLAIN, (1, 1, 1, 1), weight=(1, 4, 3, 3), bias=(4,)),
)
CASES = [
    learned("Conv1d-plain", PLAIN, (2, 3, 7), weight=(4, 3, 3), bias=(4,)),
    learned("Conv1d-no-bias", {**PLAIN, "bias": False}, (2, 3, 7), weight=(4, 3, 3)),
    learned("Conv1d-one-window", PLAIN, (2, 3, 3), weight=(4, 3, 3), bias=(4,)),
    learned("Conv1d-depthwise", {**DEPTHWISE, "out_channels": 6}, (2, 3, 7), weight=(6, 1, 3), bias=(6,)),
    learned("Conv1d-everything", LINE, (3, 4, 8), weight=(4, 2, 3), bias=(4,)),
    learned("Conv3d-plain", PLAIN, (2, 2, 4, 3, 5), weight=(4, 2, 3, 3, 3), bias=(4,)),
    learned("Conv3d-no-bias", {**PLAIN, "bias": False}, (2, 2, 3, 3, 4), weight=(4, 2, 3, 3, 3)),
    learned("Conv3d-depthwise", {**DEPTHWISE, "padding": 1}, (2, 3, 3, 2, 4), weight=(3, 1, 3, 3, 3), bias=(3,)),
    learned("Conv3d-everything", VOLUME, (2, 4, 5, 4, 3), weight=(4, 2, 2, 3, 1), bias=(4,)),
    learned("Conv2d-depthwise-stride", {**DEPTHWISE, "stride": 2}, (2, 3, 6, 7), weight=(3, 1, 3, 3), bias=(3,)),
    *TRANSPOSED,
]
