"""Convolutions by oneDNN's kernels, with channels last and the weights reordered for them once per pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.sliding_windows import Axis, batch_last
from ...arrays.spec import Spec
from ...layers.convolutions.conv import Conv1d, Conv2d, Conv3d, Kernels
from ...layers.convolutions.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Transposed
from ...layers.convolutions.correlation import weigh
from . import primitives
from .base import OneDnn
from .binding import DIFF_WEIGHTS
from .folding import Folding
from .primitives import Geometry
from .sums import positions

MANY = 2**17  # positions of all images from which on the gradient of the kernels is the reference's


def sees_nothing(axis: Axis) -> bool:
    """Whether some element of a kernel lies in the padding wherever the kernel is placed."""
    places = range(-axis.padding, axis.count * axis.stride - axis.padding, axis.stride)
    taps = (i * axis.dilation for i in range(axis.kernel))
    return any(not any(0 <= place + tap < axis.size for place in places) for tap in taps)


def is_skipped(axis: Axis) -> bool:
    """Whether some place is seen by no window: between two of them, or behind the last one."""
    starts = range(-axis.padding, axis.count * axis.stride - axis.padding, axis.stride)
    seen = {start + i * axis.dilation for start in starts for i in range(axis.kernel)}
    return not seen.issuperset(range(axis.size))


class OneDnnConvolution(Folding, OneDnn, Kernels):
    """Conv1d, Conv2d and Conv3d, with an activation and, where no backward follows, a BatchNorm that the plan fused."""

    replays = can_overwrite_grad = has_bfloat16 = True
    windows: Any  # the reference's

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        axes = reference.windows(bottoms[0].shape[2:]).axes
        if any(a.padding >= a.extent or (a.padding and a.dilation > a.size) for a in axes):
            return "windows that may see nothing but padding: oneDNN takes 0 times NaN for 0"
        if len(axes) == 3 and axes[0].padding > axes[0].stride > 1:
            return "a depth whose padding is more than its stride: oneDNN leaves gradients of the kernels undefined"
        return super().refuses(reference, bottoms, tops)

    def unfit_for_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        """Where an element of the kernels meets no pixel, oneDNN's gradient of it is what was in memory.

        So it is where a kernel is larger than the bottom, even if all of its elements meet some. In three dimensions
        tops and gradients are wrong where windows leave out something of the bottom.
        """
        axes = self.windows(bottoms[0].shape[2:]).axes
        if any(axis.extent > axis.size or sees_nothing(axis) for axis in axes):
            return "kernels that reach over the whole bottom: oneDNN leaves their gradient undefined"
        skipped = len(axes) == 3 and any(map(is_skipped, axes))
        return "windows that leave out some of the bottom: oneDNN leaves its gradient undefined" if skipped else None

    def axes_in_memory(self, ndim: int) -> tuple[int, ...]:
        return 0, *range(2, ndim), 1

    def geometry(self, x: Any) -> Geometry:
        """Of the windows over x."""
        return Geometry(self.stride, self.dilation, self.padding, self.padding)

    def top_size(self, x: Any) -> tuple[int, ...]:
        """The spatial shape of the top."""
        return self.windows(x.shape[2:]).counts

    def kernels(self, name: str, weight: Any) -> Any:
        """Kernels (M, C/g, *K) as oneDNN writes groups: (g, M/g, C/g, *K)."""
        if self.groups == 1:
            return weight
        return self.view(name, weight, lambda w: w.reshape(self.groups, -1, *w.shape[1:]))

    def forward(self, x: Any) -> Any:
        x, how = self.settled("x", x, "saved"), self.geometry(x)
        y = self.image("y", (x.shape[0], self.out_channels, *self.top_size(x)), self.life_of_top())
        bias, *scaling = self.vectors(y.ndim)
        convolution = self.op("y", primitives.convolution, how, self.post_ops())
        convolution(x, self.kernels("w", self.params.weight), bias, y, *scaling)
        self.activate(y)
        self.save(x=x, y=self.kept_top(y))
        return y

    def backward(self, dy: Any) -> Any:
        x, how = self.saved.x, self.geometry(self.saved.x)
        dz = self.before_activation(self.settled("dy", dy))
        if self.needs_param_grad.weight:
            self.add_to_weights(x, dz, how)
        if self.bias and self.needs_param_grad.bias:
            # oneDNN's own, along with the weights', is a running sum: up to 1e-3 off, and it takes longer.
            self.add_column_sums(self.view("positions", dz, positions), self.grads.bias)
        if not self.needs_grad[0]:
            return None
        dx = self.image("dx", x.shape)
        self.op("dx", primitives.convolution_by_bottom, how)(self.kernels("w", self.params.weight), dz, dx)
        return dx

    def jvp_params(self, weight: Any = None, bias: Any = None) -> Any:
        with self.as_if_saved(x=batch_last(np, self.saved.x), y=self.saved.y):
            return super().jvp_params(weight=weight, bias=bias)

    def add_to_weights(self, x: Any, dz: Any, how: Geometry) -> None:
        """The gradient of the kernels. oneDNN's kernels for few channels make a running sum over all positions."""
        if not self.halved and len(x) * max(math.prod(a.shape[2:]) for a in (x, dz)) > MANY:
            self.act(f"dw {self.overwrites_grad} by NumPy", self.weigh)(x, dz, self.grads.weight)
            return
        by_weights = self.op("dw", primitives.convolution_by_weights, how, added=self.added(DIFF_WEIGHTS))
        by_weights(x, dz, self.kernels("dw", self.grads.weight))

    def weigh(self, x: Any, dz: Any, dw: Any) -> None:
        """Write the gradient of the kernels, or add it to what is there."""
        seen, given = (dz, x) if self.geometry(x).turned else (x, dz)
        found = weigh(np, batch_last(np, given), batch_last(np, seen), self.windows(x.shape[2:]), self.params.weight)
        np.copyto(dw, found) if self.overwrites_grad else np.add(dw, found, out=dw)


class OneDnnConv1d(OneDnnConvolution, Conv1d):
    """Conv1d."""


class OneDnnConv2d(OneDnnConvolution, Conv2d):
    """Conv2d."""


class OneDnnConv3d(OneDnnConvolution, Conv3d):
    """Conv3d."""


class OneDnnTransposed(OneDnnConvolution, Transposed):
    """ConvTranspose1d, ConvTranspose2d and ConvTranspose3d."""

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if max(reference.dilation) > 1 or reference.groups == bottoms[0].shape[1] > 1:
            return "the reference is as fast with dilation, and where every channel is a group"
        sizes = zip(reference.output_padding, reference.padding, reference.stride, strict=True)
        if any(extra - padding >= stride for extra, padding, stride in sizes):
            return "output_padding reaches a whole stride past the kernels"
        return super().refuses(reference, bottoms, tops)

    def geometry(self, x: Any) -> Geometry:
        behind = tuple(p - extra for p, extra in zip(self.padding, self.output_padding, strict=True))
        return Geometry(self.stride, self.dilation, self.padding, behind, turned=True)

    def top_size(self, x: Any) -> tuple[int, ...]:
        return self.windows(x.shape[2:]).size

    def kernels(self, name: str, weight: Any) -> Any:
        """Kernels (C, M/g, *K) as oneDNN has them: (M, C, *K), or (g, M/g, C/g, *K)."""
        if self.groups == 1:
            return self.view(name, weight, lambda w: w.swapaxes(0, 1))
        return self.view(name, weight, lambda w: w.reshape(self.groups, -1, *w.shape[1:]).swapaxes(1, 2))


class OneDnnConvTranspose1d(OneDnnTransposed, ConvTranspose1d):
    """ConvTranspose1d."""


class OneDnnConvTranspose2d(OneDnnTransposed, ConvTranspose2d):
    """ConvTranspose2d."""


class OneDnnConvTranspose3d(OneDnnTransposed, ConvTranspose3d):
    """ConvTranspose3d."""
