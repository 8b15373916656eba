"""Pooling: a window becomes one number, its maximum or its mean. Channels stay apart and nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..errors import ConfigError, LayerError
from ..layer import Bad, Example, Layer
from ..params import Pair, param
from ..registry import register
from ..spec import Spec
from ..windows import Windows, slide, spatial


class Pooling(Layer):
    """Base of the layers that pool windows: their geometry."""

    kernel_size: Pair = param(help="height and width of a window", ge=1)
    stride: Pair | None = param(None, help="step from one window to the next; kernel_size where not given", ge=1)
    padding: Pair = param(0, help="margin on each side, at most half a window", ge=0)
    ceil_mode: bool = param(False, help="let a last window hang over the end rather than leave positions out")

    def validate(self) -> None:
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ConfigError(
                f"padding {self.padding} is more than half of kernel_size {self.kernel_size}",
                hint="otherwise a window could see nothing but padding",
            )

    def setup(self, x: Spec) -> Spec:
        return x.with_shape((*x.shape[:2], *self.windows(spatial(x, len(self.kernel_size))).counts))

    def windows(self, size: Sequence[int]) -> Windows:
        """The windows over an input of this spatial shape."""
        stride = self.stride or self.kernel_size
        return slide(size, self.kernel_size, stride, self.padding, ceil_mode=self.ceil_mode)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return tops[0].size * self.windows(bottoms[0].shape[2:]).elements


BAD_WINDOWS = [
    Bad({}, "kernel_size is required"),
    Bad({"kernel_size": 0}, "must be >= 1"),
    Bad({"kernel_size": 2, "stride": 0}, "must be >= 1"),
    Bad({"kernel_size": 3, "padding": [1, 2]}, "padding (1, 2) is more than half of kernel_size (3, 3)"),
    Bad({"kernel_size": 2}, "expected 4", [Spec((2, 3))]),
    Bad({"kernel_size": 4, "padding": 1}, "covers 4 x 4, more than the padded input", [Spec((2, 3, 1, 9))]),
    Bad({"kernel_size": 2}, "must be real numbers", [Spec((2, 3, 4, 4), role="index")]),
    Bad({"pool_size": 2}, "did you mean 'kernel_size'?"),
]


@register
class MaxPool2d(Pooling):
    """MaxPool2d: the maximum of each window (Caffe: Pooling with pool MAX)

        yₙ_cₚ = maxₖ x_nc(p · stride + k · dilation - padding)

    over the elements k of the window that lie in the input: padding never wins. Per axis the output has
    floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1 positions; with ceil_mode the quotient is rounded
    up, unless the last window would then start behind the input. (Caffe always rounds up.)

    Shapes    x (N, C, H, W) real, y (N, C, H', W')
    Backward  y is one of the numbers of its window, and the others do not move it: dy goes to the place of the maximum,
              the first one in row-major order where several are equal. A place that wins several windows gets the sum:
                  dx_nc(i) = Σ dyₙ_cₚ    over all windows p whose maximum is at i
              A window with a NaN is NaN and has no gradient.
    Keeps     for every window which element won, one byte (four where windows have more than 255 elements)
    Cost      about 5 operations per element of a window forward, 3 backward
    Errors    LayerError when a window is larger than the padded input, or sees nothing of the input
    Source    Yamaguchi et al. 1990, Riesenhuber & Poggio 1999; compare torch.nn.MaxPool2d
    """

    dilation: Pair = param(1, help="step from one element of a window to the next", ge=1)

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
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1))]),
    ]
    bad_examples = [
        *BAD_WINDOWS,
        Bad({"kernel_size": 2, "padding": 1, "dilation": 3}, "nothing of the input", [Spec((2, 3, 2, 9))]),
    ]

    def windows(self, size: Sequence[int]) -> Windows:
        stride = self.stride or self.kernel_size
        return slide(size, self.kernel_size, stride, self.padding, self.dilation, self.ceil_mode)

    def setup(self, x: Spec) -> Spec:
        top = super().setup(x)
        for axis in self.windows(x.shape[2:]).axes:
            for o in range(axis.count):
                if not axis.covered(o, with_padding=False):
                    raise LayerError(
                        f"a window of kernel_size {self.kernel_size} with dilation {self.dilation} and padding"
                        f" {self.padding} sees nothing of the input, {x.shape[2:]}",
                        hint="less padding or less dilation",
                    )
        return top

    def forward(self, x: Any) -> Any:
        xp, windows = self.xp, self.windows(x.shape[2:])
        y = xp.full_like(x, -xp.inf, shape=(*x.shape[:2], *windows.counts))
        for tap in windows.taps():
            part = y[:, :, *tap.outputs]
            xp.maximum(part, x[:, :, *tap.inputs], out=part)
        if self.run.keep:
            self.save(winner=self.find_winners(x, y, windows), shape=x.shape)
        return y

    def find_winners(self, x: Any, y: Any, windows: Windows) -> Any:
        """The rank of the element that won each window. The first has the highest, so the first of equals wins."""
        xp = self.xp
        kind = xp.uint8 if windows.elements < 256 else xp.uint32
        winner = xp.zeros_like(y, dtype=kind)
        for tap in windows.taps():
            part = winner[:, :, *tap.outputs]
            equal = x[:, :, *tap.inputs] == y[:, :, *tap.outputs]
            xp.maximum(part, equal * kind(windows.elements - tap.number), out=part)
        return winner

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        winner, shape = self.saved.winner, self.saved.shape
        windows = self.windows(shape[2:])
        dx = self.xp.zeros_like(dy, shape=shape)
        for tap in windows.taps():
            won = winner[:, :, *tap.outputs] == windows.elements - tap.number
            dx[:, :, *tap.inputs] += won * dy[:, :, *tap.outputs]
        return dx


@register
class AvgPool2d(Pooling):
    """AvgPool2d: the mean of each window (Caffe: Pooling with pool AVE)

        yₙ_cₚ = Σₖ x_nc(p · stride + k - padding) / countₚ

    over the elements k of the window that lie in the input. countₚ is the number of elements that lie in the input or
    in the padding, or in the input alone with count_include_pad: false; what hangs over the end of the padding with
    ceil_mode never counts. The output has the shape that MaxPool2d's would have.

    Shapes    x (N, C, H, W) real, y (N, C, H', W')
    Backward  xᵢ moves the mean of every window that it lies in by 1 / count:
                  dx_nc(i) = Σ dyₙ_cₚ / countₚ    over all windows p that contain i
    Keeps     the shape of x
    Cost      one addition per element of a window, forward and backward
    Errors    LayerError when a window is larger than the padded input
    Source    LeCun et al. 1989; compare torch.nn.AvgPool2d
    """

    count_include_pad: bool = param(True, help="count the zeros of the padding as elements of the window")

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
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1))]),
    ]
    bad_examples = [*BAD_WINDOWS, Bad({"kernel_size": 2, "dilation": 2}, "unknown key 'dilation'")]

    def forward(self, x: Any) -> Any:
        windows = self.windows(x.shape[2:])
        self.save(shape=x.shape)
        y = self.xp.zeros_like(x, shape=(*x.shape[:2], *windows.counts))
        for tap in windows.taps():
            y[:, :, *tap.outputs] += x[:, :, *tap.inputs]
        y /= self.counted(windows, x.dtype)
        return y

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        windows = self.windows(self.saved.shape[2:])
        share = dy / self.counted(windows, dy.dtype)
        dx = self.xp.zeros_like(dy, shape=self.saved.shape)
        for tap in windows.taps():
            dx[:, :, *tap.inputs] += share[:, :, *tap.outputs]
        return dx

    def counted(self, windows: Windows, dtype: Any) -> Any:
        """The number of elements that count in each window, in the spatial shape of the output."""
        per_axis = [
            [axis.covered(o, with_padding=self.count_include_pad) for o in range(axis.count)] for axis in windows.axes
        ]
        return self.xp.asarray(np.asarray(reduce(np.multiply.outer, per_axis), dtype=dtype))


@register
class GlobalAvgPool2d(Layer):
    """GlobalAvgPool2d: the mean of each channel (Caffe: Pooling with global_pooling)

        yₙ_c = Σᵢⱼ x_ncᵢⱼ / (H W)

    Shapes    x (N, C, H, W) real, y (N, C, 1, 1); a Flatten behind it makes (N, C)
    Backward  dx_ncᵢⱼ = dyₙ_c / (H W)
    Keeps     the shape of x
    Cost      one operation per number, forward and backward
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

    def forward(self, x: Any) -> Any:
        self.save(shape=x.shape)
        return x.mean(axis=(2, 3), keepdims=True)

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        shape = self.saved.shape
        dx = self.xp.zeros_like(dy, shape=shape)
        dx += dy / (shape[2] * shape[3])
        return dx

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size
