"""Unfold1d, Unfold, Unfold3d: the windows of a sequence, an image or a volume, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.sliding_windows import Windows, batch_first, batch_last, fold, slide, spatial, unfold
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import Pair, PerAxis, Single, Triple, param
from ...schema.registry import register
from ..shapes.linear_map import LinearMap


class Unfolding(LinearMap):
    """Base of Unfold1d, Unfold and Unfold3d."""

    kernel_size: PerAxis = param(help="size of a window along each axis", ge=1)
    dilation: PerAxis = param(1, help="step from one element of a window to the next", ge=1)
    padding: PerAxis = param(0, help="zeros added on each side", ge=0)
    stride: PerAxis = param(1, help="step from one window to the next", ge=1)

    def windows(self, size: Sequence[int]) -> Windows:
        """The windows over an input of this spatial shape."""
        return slide(size, self.kernel_size, self.stride, self.padding, self.dilation)

    def setup(self, x: Spec) -> Spec:
        windows = self.windows(spatial(x, len(self.kernel_size)))
        return x.with_shape((x.shape[0], x.shape[1] * windows.elements, math.prod(windows.counts)))

    def apply(self, x: Any) -> Any:
        windows = self.windows(x.shape[2:])
        columns = unfold(self.xp, batch_last(self.xp, x), windows)
        return batch_first(self.xp, columns.reshape(columns.shape[0], math.prod(windows.counts), x.shape[0]))

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        windows = self.windows(shape[2:])
        dx = self.xp.zeros((*shape[1:], shape[0]), dtype=dy.dtype)
        fold(batch_last(self.xp, dy), dx, windows)
        return batch_first(self.xp, dx)


@register
class Unfold(Unfolding, axes=Pair):
    """Unfold: every window of an image as a column, known as im2col (Caffe: Im2col)

        y[n, c K + k, p] = x̂[n, c, p · stride + k · dilation]

    with p over the windows, k over the K elements of the kernel (both row by row), x̂ the image with `padding` zeros
    around it. A convolution is a matrix product with y: its weight as a matrix (O, C K) times y.

    Shapes    x (N, C, H, W) real, y (N, C K, P), P windows as Conv2d has positions of its output
    Backward  An element of y is a copy of one in x, which therefore gets the sum of dy over its copies:
                  dx[n, c, i] = Σ dy[n, c K + k, p]    over all p, k with p · stride + k · dilation - padding = i
    Keeps     the shape of x
    Cost      y has each element up to K times; no arithmetic forward, one addition per element of y backward
    Errors    LayerError when a window is larger than the padded input
    Source    Chellapilla, Puri & Simard 2006; compare torch.nn.Unfold
    """

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 3, 4, 3))]),
        Example({"kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 2]}, [Spec((3, 2, 4, 3))]),
        Example({"kernel_size": 2, "dilation": [1, 3], "stride": 2}, [Spec((2, 1, 5, 7))]),
        Example({"kernel_size": [4, 3]}, [Spec((2, 2, 4, 3))], "one window"),
        Example({"kernel_size": 1, "stride": 3}, [Spec((2, 2, 5, 5))], "gaps"),
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1))]),
    ]
    bad_examples = [
        Bad({}, "kernel_size is required"),
        Bad({"kernel_size": 0}, "must be >= 1"),
        Bad({"kernel_size": 3}, "covers 3 x 3, more than the padded input", [Spec((2, 3, 2, 5))]),
        Bad({"kernel_size": 2}, "expected 4", [Spec((2, 3, 4))]),
        Bad({"kernel_size": 2}, "must be real numbers", [Spec((2, 3, 4, 4), role="index")]),
    ]


@register
class Unfold1d(Unfolding, axes=Single):
    """Unfold1d: every window of a sequence as a column

        y[n, c K + k, p] = x̂[n, c, p · stride + k · dilation]

    The same as Unfold along one axis: p, k and every size are single numbers; K is kernel_size, and x̂ is x with
    `padding` zeros around it. With stride 1 it makes of a sequence all frames of K steps that are in it.

    Shapes    x (N, C, L) real, y (N, C K, P), P windows as Conv1d has positions of its output
    Backward  Unfold's: dx[n, c, i] = Σ dy[n, c K + k, p] over all p, k with p · stride + k · dilation - padding = i
    Keeps     the shape of x
    Cost      y has each element up to K times; no arithmetic forward, one addition per element of y backward
    Errors    LayerError when a window is larger than the padded input
    Source    Waibel et al. 1989, whose network sees windows of a sequence; compare torch.nn.Unfold with a height of 1
    """

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 3, 5))]),
        Example({"kernel_size": [3], "stride": 2, "padding": 2, "dilation": 2}, [Spec((3, 2, 6))]),
        Example({"kernel_size": 4}, [Spec((2, 2, 4))], "one window"),
        Example({"kernel_size": 1, "stride": 3}, [Spec((2, 2, 5))], "gaps"),
        Example({"kernel_size": 1}, [Spec((1, 1, 1))]),
    ]
    bad_examples = [
        Bad({"kernel_size": [2, 2]}, "an integer or a list [length]"),
        Bad({"kernel_size": 3}, "covers 3, more than the padded input", [Spec((2, 3, 2))]),
        Bad({"kernel_size": 2}, "expected 3", [Spec((2, 3, 4, 4))]),
    ]


@register
class Unfold3d(Unfolding, axes=Triple):
    """Unfold3d: every window of a volume as a column

        y[n, c K + k, p] = x̂[n, c, p · stride + k · dilation]

    The same as Unfold along three axes: depth, height, width; x̂ is x with `padding` zeros around it. The P windows, and
    the K elements of each, follow in row-major order, the width fastest. Conv3d is a matrix product with y: its weight
    as a matrix (O, C K) times y.

    Shapes    x (N, C, D, H, W) real, y (N, C K, P), P windows as Conv3d has positions of its output
    Backward  Unfold's: dx[n, c, i] = Σ dy[n, c K + k, p] over all p, k with p · stride + k · dilation - padding = i
    Keeps     the shape of x
    Cost      y has each element up to K times; no arithmetic forward, one addition per element of y backward
    Errors    LayerError when a window is larger than the padded input
    Source    Chellapilla, Puri & Simard 2006, along three axes; torch.nn.Unfold knows images only
    """

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 2, 3, 2, 4))]),
        Example(
            {"kernel_size": [1, 3, 2], "stride": [2, 1, 3], "padding": [0, 2, 1], "dilation": [1, 2, 1]},
            [Spec((2, 2, 3, 2, 4))],
        ),
        Example({"kernel_size": [2, 1, 3]}, [Spec((1, 3, 2, 1, 3))], "one window"),
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1, 1))]),
    ]
    bad_examples = [
        Bad({"kernel_size": [2, 2]}, "an integer or a triple [depth, height, width]"),
        Bad({"kernel_size": 3}, "covers 3 x 3 x 3, more than", [Spec((2, 3, 3, 3, 2))]),
        Bad({"kernel_size": 2}, "expected 5", [Spec((2, 3, 4, 4))]),
    ]
