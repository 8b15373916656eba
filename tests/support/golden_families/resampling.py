"""Golden cases of the layers that give images another size or order."""

from __future__ import annotations

from layerforge.arrays.spec import Spec

from .builders import one

IMAGE = Spec((2, 3, 4, 5))
BILINEAR = {"mode": "bilinear"}
CORNERS = {**BILINEAR, "align_corners": True}
UNFOLD = {
    "plain": {"kernel_size": 2},
    "stride": {"kernel_size": 3, "stride": [2, 1]},
    "everything": {"kernel_size": [3, 2], "dilation": [1, 3], "padding": [2, 1], "stride": [3, 2]},
}
CASES = [
    *(one(f"AdaptiveAvgPool2d-{h}x{w}", {"output_size": [h, w]}, IMAGE) for h, w in ((1, 1), (2, 5), (3, 4), (7, 11))),
    one("AdaptiveAvgPool2d-large", {"output_size": 7}, Spec((1, 1, 23, 20))),
    one("Upsample-nearest", {"scale_factor": 2}, IMAGE),
    one("Upsample-nearest-fractions", {"scale_factor": [1.5, 2.5]}, IMAGE),
    one("Upsample-nearest-smaller", {"scale_factor": [0.5, 0.75]}, IMAGE),
    one("Upsample-bilinear", {"scale_factor": 2, **BILINEAR}, IMAGE),
    one("Upsample-bilinear-fractions", {"scale_factor": [2.3, 0.7], **BILINEAR}, IMAGE),
    one("Upsample-corners", {"scale_factor": [3, 2], **CORNERS}, IMAGE),
    one("Upsample-corners-fractions", {"scale_factor": [1.7, 0.4], **CORNERS}, IMAGE),
    one("Upsample-corners-of-one", {"scale_factor": 3, **CORNERS}, Spec((2, 2, 1, 1))),
    one("PixelShuffle-2", {"upscale_factor": 2}, Spec((2, 12, 3, 2))),
    one("PixelShuffle-3", {"upscale_factor": 3}, Spec((2, 9, 2, 3))),
    *(one(f"Unfold-{what}", hyper, IMAGE) for what, hyper in UNFOLD.items()),
]
