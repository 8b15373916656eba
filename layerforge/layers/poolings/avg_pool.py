"""AvgPool1d, AvgPool2d, AvgPool3d: the mean of each window; and GlobalAvgPool2d, that of each channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ...arrays.formula import formula
from ...arrays.functional import mean_of
from ...arrays.sliding_windows import Windows, spatial
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import Pair, Single, Triple, param
from ...schema.registry import register
from ..shapes.linear_map import LinearMap
from .pooling import BAD_PADDED_WINDOWS, PaddedPooling

CHAIN = 32  # terms of a sum in the type of x; those sums are added up in float64


@formula
def window_sums(xp: Any, x: Any, windows: Windows) -> Any:
    """The sum of each window of x (N, C, *S): (N, C, *P). The padding is 0."""
    y = xp.zeros_like(x, shape=(*x.shape[:2], *windows.counts))
    return _added_up(y, x, ((tap.outputs, tap.inputs) for tap in windows.taps()))


@formula
def to_windows(xp: Any, dy: Any, windows: Windows) -> Any:
    """The transpose of `window_sums`: at each position the sum of dy over the windows that it is in."""
    dx = xp.zeros_like(dy, shape=(*dy.shape[:2], *windows.size))
    return _added_up(dx, dy, ((tap.inputs, tap.outputs) for tap in windows.taps()))


def _added_up(out: Any, x: Any, pairs: Iterable[tuple[Any, Any]]) -> Any:
    """`out`, which is 0, after out[to] += x[from] for all pairs (to, from) of positions; more of them than CHAIN in
    float64, since a running sum in float32 loses digits with every term: of 50 x 50 times 3.3 the fifth."""
    total: Any = None
    for number, (to, source) in enumerate(pairs):
        if number and number % CHAIN == 0:
            total = out.astype("float64") if total is None else total + out
            out[...] = 0
        out[:, :, *to] += x[:, :, *source]
    return out if total is None else (total + out).astype(out.dtype)


def counted(windows: Windows, *, with_padding: bool = True) -> np.ndarray:
    """How many elements count in each window: those in the input, and in the padding where that counts."""
    places = [(axis, range(axis.count)) for axis in windows.axes]
    per_axis = (np.array([axis.covered(o, with_padding=with_padding) for o in every]) for axis, every in places)
    return reduce(np.multiply.outer, per_axis)


class AvgPooling(PaddedPooling, LinearMap):
    """Base of AvgPool1d, AvgPool2d and AvgPool3d."""

    count_include_pad: bool = param(True, help="count the zeros of the padding as elements of the window")

    def apply(self, x: Any) -> Any:
        windows = self.windows(x.shape[2:])
        y = window_sums(self.xp, x, windows)
        y /= self.divisor(windows, x.dtype)
        return y

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        windows = self.windows(shape[2:])
        return to_windows(self.xp, dy / self.divisor(windows, dy.dtype), windows)

    def divisor(self, windows: Windows, dtype: Any) -> Any:
        """What the sum of each window is divided by."""
        padded = self.count_include_pad
        return self.constant("divisor", (windows, padded), lambda: counted(windows, with_padding=padded), dtype)


@register
class AvgPool2d(AvgPooling, axes=Pair):
    """AvgPool2d: the mean of each window (Caffe: Pooling with pool AVE)

        y[n, c, p] = Σₖ x[n, c, p · stride + k - padding] / count[p]

    over the elements k of window p that are in the input. count[p] is the number of elements that are in the input or
    in the padding, or in the input alone with count_include_pad: false; what hangs over the end of the padding with
    ceil_mode never counts (Caffe's rule, too). The output has the shape that MaxPool2d's would have.

    Shapes    x (N, C, H, W) real, y (N, C, H', W')
    Backward  x[n, c, i] moves the mean of every window p that it is in by 1 / count[p]:
                  dx[n, c, i] = Σₚ dy[n, c, p] / count[p]    over all windows p that contain i
    Keeps     the shape of x
    Cost      one addition per element of a window, forward and backward
    Errors    LayerError when a window is larger than the padded input
    Source    LeCun et al. 1990 (NIPS 2); compare torch.nn.AvgPool2d
    """

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 3, 4, 6))]),
        Example({"kernel_size": 2}, [Spec((2, 2, 5, 3))], "a row and a column left out"),
        Example({"kernel_size": 2, "ceil_mode": True}, [Spec((2, 2, 5, 3))], "windows over the end"),
        Example({"kernel_size": 3, "stride": 2, "padding": 1}, [Spec((2, 2, 6, 5))], "overlap"),
        Example({"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}, [Spec((2, 2, 6, 5))]),
        Example({"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, [Spec((2, 2, 6, 7))]),
        Example(
            {"kernel_size": 4, "stride": 3, "padding": [2, 1], "ceil_mode": True, "count_include_pad": False},
            [Spec((2, 2, 7, 5))],
        ),
        Example({"kernel_size": [3, 2], "stride": [1, 3], "padding": [1, 0]}, [Spec((2, 3, 4, 5))]),
        Example({"kernel_size": [1, 3], "stride": 1}, [Spec((2, 1, 1, 3))], "one window"),
        Example({"kernel_size": [3, 2], "stride": 2, "padding": [2, 1], "caffe_rounding": True}, [Spec((2, 2, 4, 3))]),
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1))]),
        Example(
            {"kernel_size": 3, "stride": 2, "padding": [2, 1], "caffe_rounding": True, "count_include_pad": False},
            [Spec((2, 2, 4, 3))],
        ),
    ]
    bad_examples = [*BAD_PADDED_WINDOWS, Bad({"kernel_size": 2, "dilation": 2}, "unknown key 'dilation'")]


@register
class AvgPool1d(AvgPooling, axes=Single):
    """AvgPool1d: the mean of each window of a sequence

        y[n, c, p] = Σₖ x[n, c, p · stride + k - padding] / count[p]

    The same as AvgPool2d along one axis: the same windows, the same rule for what count[p] counts.

    Shapes    x (N, C, L) real, y (N, C, L')
    Backward  AvgPool2d's: dx[n, c, i] = Σₚ dy[n, c, p] / count[p] over all windows p that contain i
    Keeps     the shape of x
    Cost      one addition per element of a window, forward and backward
    Errors    LayerError when a window is larger than the padded input
    Source    LeCun et al. 1990 (NIPS 2); compare torch.nn.AvgPool1d
    """

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 3, 7))]),
        Example({"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, [Spec((2, 2, 6))]),
        Example({"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False}, [Spec((3, 1, 2))]),
        Example({"kernel_size": 3, "stride": 2, "padding": 2, "caffe_rounding": True}, [Spec((2, 2, 4))]),
        Example({"kernel_size": [1]}, [Spec((1, 1, 1))]),
    ]
    bad_examples = [
        Bad({"kernel_size": [2, 2]}, "an integer or a list [length]"),
        Bad({"kernel_size": 2}, "expected 3", [Spec((2, 3, 4, 4))]),
        Bad({"kernel_size": 3, "padding": 2}, "more than half"),
    ]


@register
class AvgPool3d(AvgPooling, axes=Triple):
    """AvgPool3d: the mean of each window of a volume

        y[n, c, p] = Σₖ x[n, c, p · stride + k - padding] / count[p]

    The same as AvgPool2d along three axes: the same windows, the same rule for what count[p] counts.

    Shapes    x (N, C, D, H, W) real, y (N, C, D', H', W')
    Backward  AvgPool2d's: dx[n, c, i] = Σₚ dy[n, c, p] / count[p] over all windows p that contain i
    Keeps     the shape of x
    Cost      one addition per element of a window, forward and backward
    Errors    LayerError when a window is larger than the padded input
    Source    LeCun et al. 1990 (NIPS 2); compare torch.nn.AvgPool3d
    """

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 2, 4, 3, 5))]),
        Example({"kernel_size": [1, 2, 3], "stride": 1, "padding": [0, 1, 1]}, [Spec((2, 1, 2, 3, 2))]),
        Example(
            {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
            [Spec((1, 2, 3, 4, 3))],
        ),
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1, 1))]),
    ]
    bad_examples = [
        Bad({"kernel_size": [2, 2]}, "an integer or a triple [depth, height, width]"),
        Bad({"kernel_size": 2}, "expected 5", [Spec((2, 3, 4, 4))]),
    ]


@register
class GlobalAvgPool2d(LinearMap):
    """GlobalAvgPool2d: the mean of each channel (Caffe: Pooling with global_pooling)

        y[n, c, 0, 0] = Σᵢⱼ x[n, c, i, j] / (H W)

    Shapes    x (N, C, H, W) real, y (N, C, 1, 1); a Flatten after it makes (N, C)
    Backward  dx[n, c, i, j] = dy[n, c, 0, 0] / (H W)
    Keeps     the shape of x
    Cost      one operation per element, forward and backward
    Errors    LayerError when x has no positions
    Source    Lin, Chen & Yan 2014; compare torch.nn.AdaptiveAvgPool2d(1)
    """

    examples = [
        Example({}, [Spec((2, 3, 4, 5))]),
        Example({}, [Spec((3, 2, 1, 7))]),
        Example({}, [Spec((1, 1, 1, 1))]),
    ]
    bad_examples = [
        Bad({}, "expected 4", [Spec((2, 3))]),
        Bad({}, "no positions", [Spec((2, 3, 0, 4))]),
        Bad({}, "must be real numbers", [Spec((2, 3, 4, 4), role="index")]),
        Bad({"output_size": 1}, "unknown key 'output_size'"),
    ]

    def setup(self, x: Spec) -> Spec:
        size = spatial(x, 2)
        if 0 in size:
            raise LayerError(f"the bottom has shape {x.shape}: no positions to take the mean of")
        return x.with_shape((*x.shape[:2], *(1 for _ in size)))

    def apply(self, x: Any) -> Any:
        return mean_of(x, (2, 3), keepdims=True)

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        return self.xp.broadcast_to(dy / (shape[2] * shape[3]), shape)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size
