"""Conv1d, Conv2d, Conv3d: convolution along one, two or three axes. Conv2d's docstring has the derivation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import sum_of
from ...arrays.sliding_windows import Windows, batch_first, batch_last, slide, spatial
from ...arrays.spec import Spec
from ...contract.fillers import ChosenFiller, Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import Pair, PerAxis, Single, Triple, param
from ...schema.registry import register
from .correlation import correlate, spread, spread_and_weigh, weigh


class Kernels(Layer):
    """Base of the layers with learned kernels, in any number of spatial axes: hyper-parameters and parameters."""

    backward_reads = ("bottom",)

    out_channels: int = param(help="channels O of the output", ge=1)
    kernel_size: PerAxis = param(help="size of the kernel along each axis", ge=1)
    stride: PerAxis = param(1, help="step from one window to the next", ge=1)
    padding: PerAxis = param(0, help="zeros added on each side", ge=0)
    dilation: PerAxis = param(1, help="step from one element of the kernel to the next", ge=1)
    groups: int = param(1, help="parts of the channels that are convolved separately", ge=1)
    bias: bool = param(True, help="learn an additive bias")
    weight_filler: ChosenFiller = param(None, help="start values of weight; null: by what follows")
    bias_filler: Filler = param("constant", help="start values of bias")

    def validate(self) -> None:
        if self.out_channels % self.groups:
            raise ConfigError(
                f"out_channels {self.out_channels} is not a multiple of groups {self.groups}",
                hint="every group makes the same number of output channels",
            )

    def group_size(self, channels: int) -> int:
        """The input channels of one group."""
        if channels % self.groups:
            raise LayerError(
                f"the bottom has {channels} channels, not a multiple of groups {self.groups}",
                hint=f"groups must divide {channels}",
            )
        return channels // self.groups

    def add_params(self, shape: Sequence[int], fan_in: float | None = None) -> None:
        """Declare kernels of this shape, and the bias. fan_in is that of `add_param`."""
        self.add_param("weight", shape, self.weight_filler, fan_in=fan_in)
        if self.bias:
            self.add_param("bias", (self.out_channels,), self.bias_filler, decay_mult=0)

    def add_bias_grad(self, dy: Any) -> None:
        """Add to the gradient of the bias: every position of the output (O, *S, N) has it once."""
        if self.bias and self.needs_param_grad.bias:
            self.grads.bias += sum_of(dy.reshape(dy.shape[0], -1), 1)

    def apply(self, x: Any, weight: Any, bias: Any = None) -> Any:
        """The top (N, O, *S') that x (C, *S, N) and these kernels make."""
        raise NotImplementedError(f"{type(self).__name__} has no apply(self, x, weight, bias)")

    def jvp(self, dx: Any) -> Any:
        return self.apply(batch_last(self.xp, dx), self.params.weight)

    def jvp_params(self, weight: Any = None, bias: Any = None) -> Any:
        weight = self.xp.zeros_like(self.params.weight) if weight is None else weight
        return self.apply(self.saved.x, weight, bias)


class Convolution(Kernels):
    """Base of Conv1d, Conv2d and Conv3d."""

    def setup(self, x: Spec) -> Spec:
        windows = self.windows(spatial(x, len(self.kernel_size)))
        self.add_params((self.out_channels, self.group_size(x.shape[1]), *self.kernel_size))
        return x.with_shape((x.shape[0], self.out_channels, *windows.counts))

    def windows(self, size: Sequence[int]) -> Windows:
        """The windows over an input of this spatial shape."""
        return slide(size, self.kernel_size, self.stride, self.padding, self.dilation)

    def forward(self, x: Any) -> Any:
        x = batch_last(self.xp, x)
        self.save(x=x)
        return self.apply(x, self.params.weight, self.params.bias if self.bias else None)

    def apply(self, x: Any, weight: Any, bias: Any = None) -> Any:
        return batch_first(self.xp, correlate(self.xp, weight, x, self.windows(x.shape[1:-1]), bias))

    def backward(self, dy: Any) -> Any:
        xp, x, dy = self.xp, self.saved.x, batch_last(self.xp, dy)
        windows, weight, dx = self.windows(x.shape[1:-1]), self.params.weight, None
        if self.needs_grad[0] and self.needs_param_grad.weight:
            dx, dweight = spread_and_weigh(xp, weight, dy, x, windows)
            self.grads.weight += dweight
        elif self.needs_grad[0]:
            dx = spread(xp, weight, dy, windows, x.shape[0])
        elif self.needs_param_grad.weight:
            self.grads.weight += weigh(xp, dy, x, windows, weight)
        self.add_bias_grad(dy)
        return None if dx is None else batch_first(xp, dx)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        channels, size = bottoms[0].shape[1], bottoms[0].shape[2:]
        return 2 * tops[0].size * channels // self.groups * self.windows(size).elements


@register
class Conv2d(Convolution, axes=Pair):
    """Conv2d: convolution with learned kernels (Caffe: Convolution)

        y[n, o, p] = bias[o] + Σ_c Σₖ weight[o, c, k] x̂[n, c, p · stride + k · dilation]

    where p runs over the positions of the output, k over those of the kernel (both pairs: down, across), c over the
    channels of o's group (in weight counted within the group), and x̂ is x with `padding` zeros around it. (A
    cross-correlation: the kernel is not flipped.)

    Per axis the output has floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1 positions. With groups,
    output channels o of a group see the input channels of that group only; groups = C is a depthwise convolution.

    Computed as a matrix product: the window that position p of sample n sees is a column of the matrix X, which has
    K C/groups rows (K elements of the kernel) and as many columns as there are (p, n); for each group, y = weight X.
    X has each element of x up to K times: it is made and used in parts, and made again in backward rather than kept.
    With stride 1 and O ≤ C backward makes such a matrix of dy instead, which serves both gradients (correlation.py): dx
    is then the convolution of dy with the mirrored kernels.

    Shapes    x (N, C, H, W) real, y (N, O, H', W'), weight (O, C/groups, kernel height, kernel width), bias (O,)
    Backward  As for Linear, but transposed: there samples are rows and y = x Wᵀ, here positions are columns and
              y = weight X (matrix products, for each group):
                  dweight = dy Xᵀ,   dX = weightᵀ dy,   dbias[o] = Σₙₚ dy[n, o, p]
              An element of X is a copy of one in x, so each element of dX is added to the place in dx that its column
              had it from; what came from the padding is dropped. In one formula,
                  dx[n, c, i] = Σ weight[o, c, k] dy[n, o, p]
              over the o of c's group and the p, k with p · stride + k · dilation - padding = i
              Forward mode (`jvp`) is the product rule: y's formula without bias, with ẋ for x; the same with the change
              of weight for weight; and the change of bias
    Keeps     x
    Cost      2 N O H' W' K C/groups flops forward, twice that backward
    Errors    LayerError when C is not a multiple of groups, or the kernel is larger than the padded input
    Source    LeCun et al. 1989; the matrix product: Chellapilla, Puri & Simard 2006; compare torch.nn.Conv2d, which
              starts from other values, as at Linear
    """

    examples = [
        Example({"out_channels": 4, "kernel_size": 3}, [Spec((2, 3, 5, 4))]),
        Example({"out_channels": 2, "kernel_size": 3, "padding": 1, "bias": False}, [Spec((3, 2, 4, 5))]),
        Example({"out_channels": 3, "kernel_size": [3, 2], "stride": [2, 3], "padding": [0, 1]}, [Spec((2, 2, 8, 7))]),
        Example({"out_channels": 2, "kernel_size": [2, 3], "dilation": [3, 2], "padding": 2}, [Spec((2, 2, 5, 6))]),
        Example({"out_channels": 6, "kernel_size": 3, "groups": 2, "stride": 2, "padding": 1}, [Spec((2, 4, 6, 5))]),
        Example({"out_channels": 3, "kernel_size": 3, "groups": 3, "padding": 1}, [Spec((2, 3, 4, 4))], "depthwise"),
        Example({"out_channels": 6, "kernel_size": [1, 3], "groups": 3}, [Spec((2, 3, 2, 5))], "two outputs a channel"),
        Example({"out_channels": 5, "kernel_size": 1}, [Spec((2, 3, 4, 3))], "1x1"),
        Example({"out_channels": 4, "kernel_size": 1, "stride": 2}, [Spec((2, 3, 5, 5))], "skips positions"),
        Example({"out_channels": 2, "kernel_size": 2, "stride": 3}, [Spec((2, 2, 7, 6))], "unused rows and columns"),
        Example({"out_channels": 3, "kernel_size": [4, 5]}, [Spec((2, 2, 4, 5))], "one window"),
        Example({"out_channels": 2, "kernel_size": 3, "padding": 2}, [Spec((2, 1, 1, 1))], "mostly padding"),
        Example({"out_channels": 1, "kernel_size": 1}, [Spec((1, 1, 1, 1))]),
        Example({"out_channels": 2, "kernel_size": [24, 8]}, [Spec((4, 2, 47, 15))], "columns in several chunks"),
        Example({"out_channels": 4, "kernel_size": [3, 2], "groups": 2}, [Spec((2, 6, 4, 3))], "groups of few outputs"),
    ]
    bad_examples = [
        Bad({"out_channels": 0, "kernel_size": 3}, "must be >= 1"),
        Bad({"out_channels": 4}, "kernel_size is required"),
        Bad({"out_channels": 4, "kernel_size": [3, 0]}, "must be >= 1"),
        Bad({"out_channels": 4, "kernel_size": [3, 3, 3]}, "an integer or a pair [height, width]"),
        Bad({"out_channels": 4, "kernel_size": 2.5}, "an integer or a pair [height, width]"),
        Bad({"out_channels": 4, "kernel_size": 3, "stride": 0}, "must be >= 1"),
        Bad({"out_channels": 4, "kernel_size": 3, "padding": -1}, "must be >= 0"),
        Bad({"out_channels": 4, "kernel_size": 3, "pad": 1}, "did you mean 'padding'?"),
        Bad({"num_output": 4, "kernel_size": 3}, "did you mean 'out_channels'?"),
        Bad({"out_channels": 4, "kernel_size": 3, "groups": 3}, "out_channels 4 is not a multiple of groups 3"),
        Bad({"out_channels": 4, "kernel_size": 3, "groups": 2}, "3 channels, not a multiple", [Spec((2, 3, 5, 5))]),
        Bad({"out_channels": 4, "kernel_size": 3}, "expected 4", [Spec((2, 3, 5))]),
        Bad({"out_channels": 4, "kernel_size": 5, "padding": 1}, "covers 5 x 5, more than", [Spec((2, 3, 2, 8))]),
        Bad({"out_channels": 4, "kernel_size": 2, "dilation": 9}, "covers 10 x 10", [Spec((2, 3, 8, 12))]),
        Bad({"out_channels": 4, "kernel_size": 1}, "must be real numbers", [Spec((2, 3, 4, 4), role="index")]),
    ]


@register
class Conv1d(Convolution, axes=Single):
    """Conv1d: convolution along one axis (Caffe: Convolution)

        y[n, o, p] = bias[o] + Σ_c Σₖ weight[o, c, k] x̂[n, c, p · stride + k · dilation]

    The same as Conv2d along one axis: p, k and every size are single numbers; c runs over the channels of o's group (in
    weight counted within the group), and x̂ is x with `padding` zeros around it.

    Shapes    x (N, C, L) real, y (N, O, L'), weight (O, C/groups, kernel), bias (O,)
    Backward  Conv2d's, with its matrix X of windows: dweight = dy Xᵀ, dbias[o] = Σₙₚ dy[n, o, p], and dX = weightᵀ dy,
              whose elements go back to where X had them from
    Keeps     x
    Cost      2 N O L' K C/groups flops forward, twice that backward, for K elements of the kernel
    Errors    LayerError when C is not a multiple of groups, or the kernel is larger than the padded input
    Source    Waibel et al. 1989, time-delay networks; compare torch.nn.Conv1d
    """

    examples = [
        Example({"out_channels": 4, "kernel_size": 3}, [Spec((2, 3, 6))]),
        Example({"out_channels": 4, "kernel_size": 3, "padding": 1, "bias": False}, [Spec((3, 2, 5))]),
        Example({"out_channels": 6, "kernel_size": [3], "stride": 2, "dilation": 2, "groups": 2}, [Spec((2, 4, 9))]),
        Example({"out_channels": 4, "kernel_size": 3, "groups": 2, "padding": 2}, [Spec((2, 2, 5))], "depthwise"),
        Example({"out_channels": 3, "kernel_size": 1}, [Spec((2, 5, 1))], "a Linear in each position"),
        Example({"out_channels": 1, "kernel_size": 4, "stride": 3}, [Spec((1, 1, 12))]),
    ]
    bad_examples = [
        Bad({"out_channels": 4, "kernel_size": [3, 3]}, "an integer or a list [length]"),
        Bad({"out_channels": 4, "kernel_size": 3}, "expected 3", [Spec((2, 3, 5, 5))]),
        Bad({"out_channels": 4, "kernel_size": 6, "padding": 1}, "covers 6, more than", [Spec((2, 3, 3))]),
        Bad({"out_channels": 4, "kernel_size": 2, "groups": 2}, "3 channels, not a multiple", [Spec((2, 3, 5))]),
    ]


@register
class Conv3d(Convolution, axes=Triple):
    """Conv3d: convolution along three axes (Caffe: Convolution)

        y[n, o, p] = bias[o] + Σ_c Σₖ weight[o, c, k] x̂[n, c, p · stride + k · dilation]

    The same as Conv2d along three axes: depth, height, width; c runs over the channels of o's group (in weight counted
    within the group), and x̂ is x with `padding` zeros around it.

    Shapes    x (N, C, D, H, W) real, y (N, O, D', H', W'), weight (O, C/groups, *kernel_size), bias (O,)
    Backward  Conv2d's, with its matrix X of windows: dweight = dy Xᵀ, dbias[o] = Σₙₚ dy[n, o, p], and dX = weightᵀ dy,
              whose elements go back to where X had them from
    Keeps     x
    Cost      2 N O D' H' W' K C/groups flops forward, twice that backward, for K elements of the kernel
    Errors    LayerError when C is not a multiple of groups, or the kernel is larger than the padded input
    Source    Ji et al. 2010; compare torch.nn.Conv3d
    """

    examples = [
        Example({"out_channels": 3, "kernel_size": 2}, [Spec((2, 2, 3, 4, 3))]),
        Example({"out_channels": 2, "kernel_size": [1, 3, 2], "padding": [0, 1, 1]}, [Spec((2, 3, 2, 4, 3))]),
        Example(
            {"out_channels": 4, "kernel_size": 2, "stride": [2, 1, 3], "dilation": [1, 2, 1], "groups": 2},
            [Spec((2, 4, 4, 3, 5))],
        ),
        Example({"out_channels": 3, "kernel_size": 3, "padding": 1, "groups": 3}, [Spec((2, 3, 2, 3, 2))], "depthwise"),
        Example({"out_channels": 2, "kernel_size": [1, 1, 2], "bias": False}, [Spec((1, 1, 1, 1, 2))]),
    ]
    bad_examples = [
        Bad({"out_channels": 4, "kernel_size": [3, 3]}, "an integer or a triple [depth, height, width]"),
        Bad({"out_channels": 4, "kernel_size": 3}, "expected 5", [Spec((2, 3, 5, 5))]),
        Bad({"out_channels": 4, "kernel_size": 3}, "covers 3 x 3 x 3, more than", [Spec((2, 3, 2, 5, 5))]),
        Bad({"out_channels": 3, "kernel_size": 1, "groups": 2}, "out_channels 3 is not a multiple of groups 2"),
    ]
