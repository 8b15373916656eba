"""ConvTranspose1d, ConvTranspose2d, ConvTranspose3d: convolution reversed. ConvTranspose2d's has the derivation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.sliding_windows import Axis, Windows, batch_first, batch_last, spatial
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError, LayerError
from ...schema.params import Pair, PerAxis, Single, Triple, param
from ...schema.registry import register
from .conv import Kernels
from .correlation import correlate, spread, weigh


class Transposed(Kernels):
    """Base of ConvTranspose1d, ConvTranspose2d and ConvTranspose3d."""

    output_padding: PerAxis = param(0, help="positions added at the end of each axis of the output", ge=0)

    def validate(self) -> None:
        super().validate()
        if any(o >= max(s, d) for o, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True)):
            raise ConfigError(
                f"output_padding {self.output_padding} is not below stride {self.stride} or dilation {self.dilation}",
                hint="it chooses among the sizes that a stride makes alike; a margin around x is Pad's",
            )

    def setup(self, x: Spec) -> Spec:
        size = spatial(x, len(self.kernel_size))
        if 0 in size:
            raise LayerError(f"the bottom has shape {x.shape}: no positions")
        windows = self.windows(size)
        if min(windows.size) < 1:
            raise LayerError(
                f"the output would have {' x '.join(map(str, windows.size))} positions",
                hint=f"less padding (now {self.padding})",
            )
        shape = (x.shape[1], self.out_channels // self.groups, *self.kernel_size)
        self.add_params(shape, self.group_size(x.shape[1]) * self.overlap)
        return x.with_shape((x.shape[0], self.out_channels, *windows.size))

    @property
    def overlap(self) -> float:
        """How many windows a position of the output lies in, on the average of those that lie in any."""
        return math.prod(max(1.0, k / s) for k, s in zip(self.kernel_size, self.stride, strict=True))

    def windows(self, size: Sequence[int]) -> Windows:
        """The windows over the output, one for each position of an input of this spatial shape."""
        per_axis = zip(
            size, self.kernel_size, self.stride, self.padding, self.dilation, self.output_padding, strict=True
        )
        return Windows(
            tuple(
                Axis(s * (n - 1) + d * (k - 1) + 1 - 2 * p + extra, k, s, p, d, at_most=n)
                for n, k, s, p, d, extra in per_axis
            )
        )

    def forward(self, x: Any) -> Any:
        x = batch_last(self.xp, x)
        self.save(x=x)
        return self.apply(x, self.params.weight, self.params.bias if self.bias else None)

    def apply(self, x: Any, weight: Any, bias: Any = None) -> Any:
        y = spread(self.xp, weight, x, self.windows(x.shape[1:-1]), self.out_channels)
        if bias is not None:
            y += bias.reshape(-1, *(1,) * (y.ndim - 1))
        return batch_first(self.xp, y)

    def backward(self, dy: Any) -> Any:
        xp, x, dy = self.xp, self.saved.x, batch_last(self.xp, dy)
        windows = self.windows(x.shape[1:-1])
        if self.needs_param_grad.weight:
            self.grads.weight += weigh(xp, x, dy, windows, self.params.weight)
        self.add_bias_grad(dy)
        return batch_first(xp, correlate(xp, self.params.weight, dy, windows)) if self.needs_grad[0] else None

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        kernel = self.windows(bottoms[0].shape[2:]).elements
        return 2 * bottoms[0].size * self.out_channels // self.groups * kernel


@register
class ConvTranspose2d(Transposed, axes=Pair):
    """ConvTranspose2d: convolution reversed, which makes images larger (Caffe: Deconvolution)

        y[n, o, i] = bias[o] + Σ weight[c, o, k] x[n, c, p]
        over the c of o's group and over the p, k with p · stride + k · dilation - padding = i;
        in weight o is counted within its group

    Every element of x paints the kernel, times itself, onto the output: Conv2d's windows are laid over y, as many
    as x has positions, and x fills them. This is the formula that gives Conv2d its dx: as a matrix, the transpose of
    Conv2d's.

    Per axis the output has stride (size - 1) + dilation (kernel - 1) + 1 - 2 padding + output_padding positions.
    Conv2d with a stride makes one size of several; output_padding, rows and columns at the end that the kernels may
    also reach, chooses among them.

    Shapes    x (N, C, H, W) real, y (N, O, H', W'), weight (C, O/groups, kernel height, kernel width), bias (O,)
    Backward  The transpose of a transpose is the convolution itself: with Y the matrix whose columns are the windows
              over dy (as Conv2d's X are those over x), and matrix products for each group,
                  dx = weight Y,   dweight = x Yᵀ,   dbias[o] = Σₙᵢ dy[n, o, i]
              Forward mode (`jvp`) is the product rule: y's formula without bias, with ẋ for x; the same with the change
              of weight for weight; and the change of bias
    Keeps     x
    Cost      2 N C H W K O/groups flops forward, for K elements of the kernel; twice that backward
    Errors    LayerError when C is not a multiple of groups, or the padding leaves nothing of the output
    Source    Zeiler et al. 2010, Long, Shelhamer & Darrell 2015; compare torch.nn.ConvTranspose2d, which starts from
              other values, as at Linear
    """

    examples = [
        Example({"out_channels": 4, "kernel_size": 3}, [Spec((2, 3, 4, 3))]),
        Example({"out_channels": 2, "kernel_size": 4, "stride": 2, "padding": 1, "bias": False}, [Spec((2, 3, 3, 4))]),
        Example(
            {"out_channels": 3, "kernel_size": 3, "stride": [2, 3], "padding": 1, "output_padding": [1, 2]},
            [Spec((2, 2, 3, 2))],
        ),
        Example(
            {"out_channels": 4, "kernel_size": [3, 2], "dilation": [2, 3], "groups": 2, "padding": [1, 0]},
            [Spec((2, 6, 3, 2))],
        ),
        Example({"out_channels": 2, "kernel_size": 2, "dilation": 3, "output_padding": 2}, [Spec((2, 1, 2, 3))]),
        Example({"out_channels": 6, "kernel_size": 3, "stride": 2, "groups": 3}, [Spec((2, 3, 2, 3))], "depthwise"),
        Example({"out_channels": 3, "kernel_size": 3, "groups": 3, "padding": 1}, [Spec((2, 6, 4, 3))], "one each"),
        Example({"out_channels": 2, "kernel_size": 1, "stride": 3}, [Spec((2, 3, 2, 2))], "gaps"),
        Example({"out_channels": 1, "kernel_size": 1}, [Spec((1, 1, 1, 1))]),
        Example({"out_channels": 2, "kernel_size": [24, 8]}, [Spec((4, 2, 24, 8))], "columns in several chunks"),
    ]
    bad_examples = [
        Bad({"out_channels": 4, "kernel_size": 3, "output_padding": 1}, "output_padding (1, 1) is not below"),
        Bad({"out_channels": 4, "kernel_size": 3, "groups": 3}, "out_channels 4 is not a multiple of groups 3"),
        Bad({"out_channels": 4, "kernel_size": 3, "groups": 2}, "3 channels, not a multiple", [Spec((2, 3, 5, 5))]),
        Bad({"out_channels": 4, "kernel_size": 3, "padding": 2}, "would have 0 x 2 positions", [Spec((2, 3, 2, 4))]),
        Bad({"out_channels": 4, "kernel_size": 3}, "no positions", [Spec((2, 3, 0, 4))]),
        Bad({"out_channels": 4, "kernel_size": 3}, "expected 4", [Spec((2, 3, 5))]),
        Bad({"num_output": 4, "kernel_size": 3}, "did you mean 'out_channels'?"),
    ]


@register
class ConvTranspose1d(Transposed, axes=Single):
    """ConvTranspose1d: convolution reversed, which makes sequences longer (Caffe: Deconvolution)

        y[n, o, i] = bias[o] + Σ weight[c, o, k] x[n, c, p]
        over the c of o's group and over the p, k with p · stride + k · dilation - padding = i;
        in weight o is counted within its group

    The same as ConvTranspose2d along one axis: i, p, k and every size are single numbers.

    Shapes    x (N, C, L) real, y (N, O, L'), weight (C, O/groups, kernel), bias (O,)
    Backward  ConvTranspose2d's, with its matrix Y of windows over dy: dx = weight Y, dweight = x Yᵀ, and
              dbias[o] = Σₙᵢ dy[n, o, i]
    Keeps     x
    Cost      2 N C L K O/groups flops forward, twice that backward, for K elements of the kernel
    Errors    LayerError when C is not a multiple of groups, or the padding leaves nothing of the output
    Source    Zeiler et al. 2010, along one axis; compare torch.nn.ConvTranspose1d
    """

    examples = [
        Example({"out_channels": 4, "kernel_size": 3}, [Spec((2, 3, 5))]),
        Example({"out_channels": 2, "kernel_size": [4], "stride": 2, "padding": 1, "bias": False}, [Spec((3, 2, 4))]),
        Example(
            {"out_channels": 4, "kernel_size": 3, "stride": 3, "dilation": 2, "groups": 2, "output_padding": 2},
            [Spec((2, 6, 3))],
        ),
        Example({"out_channels": 3, "kernel_size": 3, "groups": 3, "padding": 2}, [Spec((2, 3, 5))], "depthwise"),
        Example({"out_channels": 2, "kernel_size": 1, "stride": 3}, [Spec((2, 3, 2))], "gaps"),
        Example({"out_channels": 1, "kernel_size": 1}, [Spec((1, 1, 1))]),
    ]
    bad_examples = [
        Bad({"out_channels": 4, "kernel_size": [3, 3]}, "an integer or a list [length]"),
        Bad({"out_channels": 4, "kernel_size": 3, "output_padding": 1}, "output_padding (1,) is not below"),
        Bad({"out_channels": 4, "kernel_size": 3}, "expected 3", [Spec((2, 3, 5, 5))]),
        Bad({"out_channels": 4, "kernel_size": 3, "padding": 2}, "would have 0 positions", [Spec((2, 3, 2))]),
        Bad({"out_channels": 4, "kernel_size": 2, "groups": 2}, "3 channels, not a multiple", [Spec((2, 3, 5))]),
        Bad({"out_channels": 4, "kernel_size": 3}, "no positions", [Spec((2, 3, 0))]),
    ]


@register
class ConvTranspose3d(Transposed, axes=Triple):
    """ConvTranspose3d: convolution reversed, which makes volumes larger (Caffe: Deconvolution)

        y[n, o, i] = bias[o] + Σ weight[c, o, k] x[n, c, p]
        over the c of o's group and over the p, k with p · stride + k · dilation - padding = i;
        in weight o is counted within its group

    The same as ConvTranspose2d along three axes: depth, height, width.

    Shapes    x (N, C, D, H, W) real, y (N, O, D', H', W'), weight (C, O/groups, *kernel_size), bias (O,)
    Backward  ConvTranspose2d's, with its matrix Y of windows over dy: dx = weight Y, dweight = x Yᵀ, and
              dbias[o] = Σₙᵢ dy[n, o, i]
    Keeps     x
    Cost      2 N C D H W K O/groups flops forward, twice that backward, for K elements of the kernel
    Errors    LayerError when C is not a multiple of groups, or the padding leaves nothing of the output
    Source    Çiçek et al. 2016, 3D U-Net; compare torch.nn.ConvTranspose3d
    """

    examples = [
        Example({"out_channels": 3, "kernel_size": 2}, [Spec((2, 2, 3, 2, 3))]),
        Example(
            {"out_channels": 2, "kernel_size": [1, 3, 2], "padding": [0, 1, 1], "bias": False}, [Spec((2, 3, 2, 3, 3))]
        ),
        Example(
            {"out_channels": 4, "kernel_size": 2, "stride": [2, 1, 3], "dilation": [1, 2, 1], "groups": 2,
             "output_padding": [1, 0, 2]},
            [Spec((2, 4, 2, 3, 2))],
        ),
        Example(
            {"out_channels": 3, "kernel_size": 3, "stride": 2, "padding": 1, "groups": 3},
            [Spec((2, 3, 2, 1, 2))],
            "depthwise",
        ),
        Example({"out_channels": 2, "kernel_size": [1, 1, 2]}, [Spec((1, 1, 1, 1, 1))]),
    ]  # fmt: skip
    bad_examples = [
        Bad({"out_channels": 4, "kernel_size": [3, 3]}, "an integer or a triple [depth, height, width]"),
        Bad({"out_channels": 4, "kernel_size": 3, "output_padding": [0, 0, 1]}, "output_padding (0, 0, 1) is not"),
        Bad({"out_channels": 4, "kernel_size": 3}, "expected 5", [Spec((2, 3, 5, 5))]),
        Bad({"out_channels": 4, "kernel_size": 3, "padding": 2}, "0 x 2 x 1 positions", [Spec((1, 3, 2, 4, 3))]),
        Bad({"out_channels": 3, "kernel_size": 1, "groups": 2}, "out_channels 3 is not a multiple of groups 2"),
    ]
