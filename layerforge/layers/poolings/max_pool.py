"""MaxPool1d, MaxPool2d, MaxPool3d: the maximum of each window, and where it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.formula import formula
from ...arrays.sliding_windows import Windows, planes
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import Pair, PerAxis, Single, Triple, param
from ...schema.registry import register
from .pooling import BAD_PADDED_WINDOWS, PaddedPooling


@formula
def maxima(xp: Any, x: Any, windows: Windows) -> Any:
    """The largest element of each window of x (N, C, *S): (N, C, *P)."""
    y = xp.full_like(x, -xp.inf, shape=(*x.shape[:2], *windows.counts))
    for at in planes(xp, x):
        for tap in windows.taps():
            part = y[*at, *tap.outputs]
            xp.maximum(part, x[*at, *tap.inputs], out=part)
    return y


@formula
def find_winners(xp: Any, x: Any, y: Any, windows: Windows) -> Any:
    """The rank of the element that y was taken from in each window, 0 where there is none.

    The first element has the highest rank, the number of elements, so that the first of equals wins.
    """
    kind, elements = rank_type(xp, windows), windows.elements
    winner = xp.zeros_like(y, dtype=kind)
    for at in planes(xp, x):
        for tap in windows.taps():
            part = winner[*at, *tap.outputs]
            equal = x[*at, *tap.inputs] == y[*at, *tap.outputs]
            xp.maximum(part, equal * kind(elements - tap.number), out=part)
    return winner


def rank_type(xp: Any, windows: Windows) -> Any:
    """The smallest type for the ranks of a window's elements."""
    return xp.uint8 if windows.elements < 256 else xp.uint32


@formula
def to_winners(xp: Any, dy: Any, winner: Any, windows: Windows) -> Any:
    """Every element of dy (N, C, *P) at the place of its window's winner, sums where windows share one: (N, C, *S)."""
    dx, elements = xp.zeros_like(dy, shape=(*dy.shape[:2], *windows.size)), windows.elements
    for at in planes(xp, dx):
        for tap in windows.taps():
            won = winner[*at, *tap.outputs] == elements - tap.number
            dx[*at, *tap.inputs] += won * dy[*at, *tap.outputs]
    return dx


@formula
def of_winners(xp: Any, dx: Any, winner: Any, windows: Windows) -> Any:
    """The transpose of `to_winners`: what dx (N, C, *S) is at the winner of each window."""
    dy = xp.zeros_like(dx, shape=winner.shape)
    for tap in windows.taps():
        won = winner[:, :, *tap.outputs] == windows.elements - tap.number
        dy[:, :, *tap.outputs] += won * dx[:, :, *tap.inputs]
    return dy


@formula
def places_of_maxima(xp: Any, x: Any, y: Any, winner: Any, windows: Windows) -> Any:
    """Where each window's winner is in x, counted in row-major order over the spatial axes; of NaN the first one."""
    nan = xp.isnan(y)
    if xp is not np or bool(nan.any()):
        winner = winner + nan * find_winners(xp, xp.isnan(x), nan, windows)
    numbers = xp.arange(math.prod(windows.size)).reshape(windows.size)
    places = xp.zeros(y.shape, dtype="int64")
    for tap in windows.taps():
        won = winner[:, :, *tap.outputs] == windows.elements - tap.number
        places[:, :, *tap.outputs] += won * numbers[tap.inputs]
    return places


class MaxPooling(PaddedPooling):
    """Base of MaxPool1d, MaxPool2d and MaxPool3d."""

    tops = (1, 2)

    dilation: PerAxis = param(1, help="step from one element of a window to the next", ge=1)

    def setup(self, x: Spec) -> Any:
        top = super().setup(x)
        for axis in self.windows(x.shape[2:]).axes:
            for o in axis.overhanging():
                if not axis.covered(o, with_padding=False):
                    raise LayerError(
                        f"a window of kernel_size {self.kernel_size} with dilation {self.dilation} and padding"
                        f" {self.padding} sees nothing of the input, {x.shape[2:]}",
                        hint="less padding or less dilation",
                    )
        return top if self.tops_wanted == 1 else (top, index(top.shape, math.prod(x.shape[2:])))

    def forward(self, x: Any) -> Any:
        windows = self.windows(x.shape[2:])
        y = maxima(self.xp, x, windows)
        if self.tops_wanted == 1 and not self.run.keep:
            return y
        winner = find_winners(self.xp, x, y, windows)
        self.save(winner=winner, shape=x.shape)
        return y if self.tops_wanted == 1 else (y, places_of_maxima(self.xp, x, y, winner, windows))

    def backward(self, dy: Any, *no_gradient: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        return to_winners(self.xp, dy, self.saved.winner, self.windows(self.saved.shape[2:]))

    def jvp(self, dx: Any) -> Any:
        dy = of_winners(self.xp, dx, self.saved.winner, self.windows(dx.shape[2:]))
        return dy if self.tops_wanted == 1 else (dy, None)


@register
class MaxPool2d(MaxPooling, axes=Pair):
    """MaxPool2d: the maximum of each window (Caffe: Pooling with pool MAX)

        y[n, c, p] = maxₖ x[n, c, p · stride + k · dilation - padding]

    over the elements k of window p that are in the input: padding is never the maximum. Per axis the output has
    floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1 positions; with ceil_mode the quotient is rounded
    up, unless the last window would then start after the end of the input. (Caffe always rounds up: caffe_rounding.)

    A second top says where the maximum is, as h W + w within its plane, of several the first in row-major order (of
    NaN, too): what MaxUnpool2d takes (torch: return_indices; Caffe has the same numbers as reals).

    Shapes    x (N, C, H, W) real, y (N, C, H', W'), the optional second top index, the same
    Backward  y is one of the elements of its window, and the others do not move it: dy goes to the place of the
              maximum, the first one in row-major order where several are equal. An element that is the maximum of
              several windows gets the sum:
                  dx[n, c, i] = Σₚ dy[n, c, p]    over all windows p whose maximum is at i
              A window with a NaN is NaN and has no gradient.
    Keeps     for every window where its maximum is, one byte (four where windows have more than 255 elements)
    Cost      about 5 operations per element of a window forward, 3 backward
    Errors    LayerError when a window is larger than the padded input, or sees nothing of the input
    Source    Riesenhuber & Poggio 1999; compare torch.nn.MaxPool2d
    """

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 3, 4, 6))]),
        Example({"kernel_size": 2}, [Spec((2, 2, 5, 3))], "a row and a column left out"),
        Example({"kernel_size": 2, "ceil_mode": True}, [Spec((2, 2, 5, 3))], "windows over the end"),
        Example({"kernel_size": 3, "stride": 2}, [Spec((2, 2, 7, 5))], "overlap"),
        Example({"kernel_size": 3, "stride": 2, "padding": 1}, [Spec((2, 2, 6, 5))]),
        Example({"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, [Spec((2, 2, 6, 7))]),
        Example({"kernel_size": [3, 2], "stride": [1, 2], "padding": [1, 0]}, [Spec((2, 3, 4, 5))]),
        Example({"kernel_size": 2, "dilation": [2, 3], "stride": 1}, [Spec((2, 2, 5, 6))]),
        Example({"kernel_size": 2, "stride": 3}, [Spec((2, 2, 6, 8))], "gaps"),
        Example({"kernel_size": [1, 3], "stride": 1}, [Spec((2, 1, 1, 3))], "one window"),
        Example({"kernel_size": 17, "stride": 1}, [Spec((2, 1, 18, 17))], "more than 255 elements"),
        Example({"kernel_size": 2}, [Spec((2, 2, 4, 4), low=-1e4, high=-9e3)], "padding would win if it were 0"),
        Example({"kernel_size": [3, 2], "stride": 2, "padding": [2, 1], "caffe_rounding": True}, [Spec((2, 2, 4, 3))]),
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1))]),
        Example(
            {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, [Spec((2, 2, 6, 5))], "places", tops=2
        ),
        Example(
            {"kernel_size": [2, 3], "stride": 3, "padding": 1, "dilation": [3, 1], "caffe_rounding": True},
            [Spec((2, 1, 5, 6))],
        ),
    ]
    bad_examples = [
        *BAD_PADDED_WINDOWS,
        Bad({"kernel_size": 2, "return_indices": True}, "unknown key 'return_indices'"),
        Bad({"kernel_size": 2, "padding": 1, "dilation": 3}, "nothing of the input", [Spec((2, 3, 2, 9))]),
    ]


@register
class MaxPool1d(MaxPooling, axes=Single):
    """MaxPool1d: the maximum of each window of a sequence

        y[n, c, p] = maxₖ x[n, c, p · stride + k · dilation - padding]

    The same as MaxPool2d along one axis: the same windows, and as many; a second top says where the maximum is.

    Shapes    x (N, C, L) real, y (N, C, L'), the optional second top index, the same
    Backward  MaxPool2d's: dy goes to the place of the maximum, the first where several are equal
    Keeps     for every window where its maximum is, one byte (four where windows have more than 255 elements)
    Cost      about 5 operations per element of a window forward, 3 backward
    Errors    LayerError when a window is larger than the padded input, or sees nothing of the input
    Source    Yamaguchi et al. 1990, Collobert et al. 2011; compare torch.nn.MaxPool1d
    """

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 3, 7))]),
        Example({"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, [Spec((2, 2, 6))]),
        Example({"kernel_size": 2, "stride": 1, "dilation": 3}, [Spec((3, 1, 6))]),
        Example({"kernel_size": 3, "stride": 2, "padding": 2, "caffe_rounding": True}, [Spec((2, 2, 4))]),
        Example({"kernel_size": [1]}, [Spec((1, 1, 1))]),
        Example({"kernel_size": 2, "stride": 1, "dilation": 2}, [Spec((2, 2, 5))], "places", tops=2),
    ]
    bad_examples = [
        Bad({"kernel_size": [2, 2]}, "an integer or a list [length]"),
        Bad({"kernel_size": 2}, "expected 3", [Spec((2, 3, 4, 4))]),
        Bad({"kernel_size": 3, "padding": 2}, "more than half"),
        Bad({"kernel_size": 5}, "covers 5, more than", [Spec((2, 3, 4))]),
    ]


@register
class MaxPool3d(MaxPooling, axes=Triple):
    """MaxPool3d: the maximum of each window of a volume

        y[n, c, p] = maxₖ x[n, c, p · stride + k · dilation - padding]

    The same as MaxPool2d along three axes: the same windows, and as many; a second top says where the maximum is, as
    (d H + h) W + w within its volume.

    Shapes    x (N, C, D, H, W) real, y (N, C, D', H', W'), the optional second top index, the same
    Backward  MaxPool2d's: dy goes to the place of the maximum, the first in row-major order where several are equal
    Keeps     for every window where its maximum is, one byte (four where windows have more than 255 elements)
    Cost      about 5 operations per element of a window forward, 3 backward
    Errors    LayerError when a window is larger than the padded input, or sees nothing of the input
    Source    Tran et al. 2015; compare torch.nn.MaxPool3d
    """

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 2, 4, 3, 5))]),
        Example({"kernel_size": [1, 2, 3], "stride": 1, "padding": [0, 1, 1]}, [Spec((2, 1, 2, 3, 2))]),
        Example({"kernel_size": 2, "dilation": [1, 2, 1], "ceil_mode": True}, [Spec((1, 2, 3, 4, 3))]),
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1, 1))]),
        Example({"kernel_size": [2, 1, 2]}, [Spec((2, 1, 2, 3, 4))], "places", tops=2),
    ]
    bad_examples = [
        Bad({"kernel_size": [2, 2]}, "an integer or a triple [depth, height, width]"),
        Bad({"kernel_size": 2}, "expected 5", [Spec((2, 3, 4, 4))]),
        Bad({"kernel_size": 4}, "covers 4 x 4 x 4, more than", [Spec((2, 3, 4, 4, 3))]),
    ]
