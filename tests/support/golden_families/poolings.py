"""Golden cases of the poolings beside MaxPool2d, AvgPool2d and GlobalAvgPool2d, which have a file of their own."""

from __future__ import annotations

from layerforge.arrays.spec import Spec

from .builders import few_values, one

LINE, IMAGE, VOLUME = Spec((2, 3, 9)), Spec((2, 3, 7, 8)), Spec((2, 2, 5, 4, 3))
POSITIVE = Spec((3, 2, 6, 7), low=0.1, high=2)
CAFFE = {"kernel_size": 3, "stride": 2, "caffe_rounding": True}
LINE_POOL = {
    "plain": {"kernel_size": 2},
    "padding": {"kernel_size": 4, "stride": 3, "padding": 2},
    "ceil": {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    "caffe": {**CAFFE, "padding": 2},
}
VOLUME_POOL = {
    "plain": {"kernel_size": 2},
    "oblong": {"kernel_size": [1, 3, 2], "stride": [2, 1, 3], "padding": [0, 1, 1]},
    "ceil": {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True},
    "caffe": {**CAFFE, "padding": [2, 0, 1]},
}
IMAGE_CAFFE = {
    "caffe": CAFFE,
    "caffe-padding": {**CAFFE, "padding": 1},
    "caffe-wide-padding": {**CAFFE, "kernel_size": [4, 3], "padding": [3, 2]},
}
INSIDE = {"count_include_pad": False}
LP = {"norm_type": 2, "kernel_size": 2}
CASES = [
    *(one(f"MaxPool1d-{what}", hyper, LINE) for what, hyper in LINE_POOL.items()),
    one("MaxPool1d-dilation", {"kernel_size": 3, "stride": 1, "dilation": 3}, LINE),
    *(one(f"MaxPool3d-{what}", hyper, VOLUME) for what, hyper in VOLUME_POOL.items()),
    one("MaxPool3d-dilation", {"kernel_size": 2, "stride": 1, "dilation": [3, 2, 1]}, VOLUME),
    one("MaxPool3d-ties", {"kernel_size": 2, "stride": 1}, Spec(VOLUME.shape, draw=few_values)),
    *(one(f"AvgPool1d-{what}", hyper, LINE) for what, hyper in LINE_POOL.items()),
    one("AvgPool1d-inside", {"kernel_size": 3, "stride": 2, "padding": 1, **INSIDE}, LINE),
    *(one(f"AvgPool3d-{what}", hyper, VOLUME) for what, hyper in VOLUME_POOL.items()),
    one("AvgPool3d-inside", {**VOLUME_POOL["ceil"], **INSIDE}, VOLUME),
    *(one(f"MaxPool2d-{what}", hyper, IMAGE) for what, hyper in IMAGE_CAFFE.items()),
    *(one(f"AvgPool2d-{what}", hyper, IMAGE) for what, hyper in IMAGE_CAFFE.items()),
    one("LPPool2d-norm", LP, IMAGE),
    one("LPPool2d-overlap", {**LP, "stride": 1, "kernel_size": [3, 2]}, IMAGE),
    one("LPPool2d-ceil", {**LP, "ceil_mode": True}, IMAGE),
    one("LPPool2d-sum", {**LP, "norm_type": 1}, IMAGE),
    one("LPPool2d-high", {**LP, "norm_type": 6}, IMAGE),
    one("LPPool2d-odd", {**LP, "norm_type": 3}, POSITIVE),
    one("LPPool2d-fractional", {**LP, "norm_type": 1.7}, POSITIVE),
    one("LPPool2d-zeros", LP, Spec(IMAGE.shape, draw=few_values)),
    *(
        one(f"StochasticPool2d-{what}-{phase}", hyper, spec, phase=phase)
        for phase in ("train", "eval")
        for what, hyper, spec in (
            ("plain", {"kernel_size": 2}, POSITIVE),
            ("overlap", {"kernel_size": 3, "stride": [1, 2]}, POSITIVE),
            ("ceil", {"kernel_size": 4, "ceil_mode": True}, POSITIVE),
            ("negative", {"kernel_size": 2}, IMAGE),
        )
    ),
    one("SpatialPyramidPool-max", {"pyramid_height": 3}, Spec((2, 2, 11, 8))),
    one("SpatialPyramidPool-avg", {"pyramid_height": 3, "pool": "avg"}, Spec((2, 2, 11, 7))),
    one("SpatialPyramidPool-one", {"pyramid_height": 1}, IMAGE),
]
