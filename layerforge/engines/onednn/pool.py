"""Poolings by oneDNN's kernels, with channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.bfloat16 import SHARES, is_bfloat16, narrowed, widened
from ...arrays.sliding_windows import Axis, Windows
from ...arrays.spec import Spec
from ...contract.layer import Layer
from ...layers.poolings.avg_pool import AvgPool1d, AvgPool2d, AvgPool3d, GlobalAvgPool2d
from ...layers.poolings.max_pool import MaxPool1d, MaxPool2d, MaxPool3d, find_winners, maxima, of_winners
from . import primitives
from .activation import all_finite, in_order_of_memory
from .base import OneDnn
from .primitives import MAX_POOLING, MEAN_WITH_PADDING, MEAN_WITHOUT, Geometry
from .sums import means_of_images

BYTE = 256  # elements of a window from which on oneDNN remembers the place of one in four bytes
LARGE = 64  # elements of which oneDNN's sums, running ones in float32, lose less than 6e-7


def overhang(axis: Axis) -> int:
    """How far the last window reaches behind the end of the input; at least the padding there."""
    return max(axis.padding, (axis.count - 1) * axis.stride + axis.extent - axis.size - axis.padding)


def counts_padding(layer: Any) -> bool:
    """Whether an average pooling has padding, and its zeros count as elements of the windows."""
    return layer.count_include_pad and max(layer.padding) > 0


class OneDnnPooling(OneDnn):
    """What the poolings share: one primitive forward, one backward."""

    replays = has_bfloat16 = True
    windows: Any  # the reference's

    def algorithm(self) -> int:
        """oneDNN's number of it."""
        raise NotImplementedError

    def geometry(self, x: Any) -> Geometry:
        """Of the windows over x."""
        axes = self.windows(x.shape[2:]).axes
        numbers = zip(*((a.stride, a.dilation, a.padding, overhang(a), a.kernel) for a in axes), strict=True)
        return Geometry(*numbers)

    def workspace(self, x: Any, y: Any) -> Any:
        """Memory for which element of each window was the largest, where that is asked for in backward."""
        if not self.run.keep or self.algorithm() != MAX_POOLING:
            return None
        size = self.view("workspace", y, lambda y: primitives.pooling_workspace(x, y, MAX_POOLING, self.geometry(x)))
        return self.buf("winners", (size,), "uint8", life="saved")

    def forward(self, x: Any) -> Any:
        x = self.settled("x", x)
        y = self.image("y", (*x.shape[:2], *self.windows(x.shape[2:]).counts))
        where = self.workspace(x, y)
        name = "y" if where is None else "y and winners"
        self.op(name, primitives.pooling, self.algorithm(), self.geometry(x))(x, y, where)
        self.look_again(x, y, where)
        self.save(where=where, shape=x.shape)
        return y

    def look_again(self, x: Any, y: Any, where: Any) -> None:
        """Do better where oneDNN's kernel is wrong."""

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        if self.halved and self.at_one_place(self.saved.shape) > SHARES:
            return self.backward_in_float32(dy)
        dy, dx = self.settled("dy", dy), self.image("dx", self.saved.shape)
        self.op("dx", primitives.pooling_backward, self.algorithm(), self.geometry(dx))(dy, self.saved.where, dx)
        return dx

    def at_one_place(self, shape: Sequence[int]) -> int:
        """How many windows at most see the same element of a bottom."""
        return math.prod(-(-axis.kernel // axis.stride) for axis in self.windows(shape[2:]).axes)

    def backward_in_float32(self, dy: Any) -> Any:
        """Where many windows overlap: oneDNN's kernel rounds to bfloat16 after every share that it adds."""
        dy, dx = self.settled("dy", dy), self.image("dx", self.saved.shape)
        wide_dy, wide_dx = (self.image(f"wide {i}", a.shape, dtype=self.dtype) for i, a in enumerate((dy, dx)))
        self.op("wide dy", primitives.copy)(dy, wide_dy)
        backward = self.op("wide dx", primitives.pooling_backward, self.algorithm(), self.geometry(dx))
        backward(wide_dy, self.saved.where, wide_dx)
        self.op("narrow dx", primitives.copy)(wide_dx, dx)
        return dx


class OneDnnMaxPooling(OneDnnPooling):
    """MaxPool1d, MaxPool2d and MaxPool3d.

    oneDNN's kernel never chooses NaN, and of a window of -inf makes the lowest finite value. So where the sum of the
    squares of all elements is not finite, NumPy does the work once more; a sum costs little beside a pooling.
    """

    def algorithm(self) -> int:
        return MAX_POOLING

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        return "with the places of the maxima" if len(tops) > 1 else super().refuses(reference, bottoms, tops)

    def unfit_for_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        """oneDNN's kernel for bfloat16 forgets winners of windows whose places take more than a byte."""
        elements = self.windows(bottoms[0].shape[2:]).elements
        return f"windows of {elements} elements, of which oneDNN forgets winners" if elements >= BYTE else None

    def look_again(self, x: Any, y: Any, where: Any) -> None:
        self.act("not finite", self.choose_again)(x, self.view("x flat", x, in_order_of_memory), y, where)

    def choose_again(self, x: Any, flat: Any, y: Any, where: Any) -> None:
        """Write y and where as the reference would, if any element is not finite."""
        if all_finite(flat, x):
            return
        windows = self.windows(x.shape[2:])
        x = widened(x)
        largest = maxima(np, x, windows)
        y[...] = narrowed(largest) if is_bfloat16(y) else largest
        if where is not None:
            self.places(where, y.shape, windows)[...] = windows.elements - find_winners(np, x, largest, windows)

    def places(self, where: Any, shape: Sequence[int], windows: Windows) -> Any:
        """Which element of each window won, in the order of the kernel, as oneDNN remembers it; none for NaN."""
        places = where.view(np.uint8 if windows.elements < BYTE else np.int32)[: math.prod(shape)]
        return np.moveaxis(places.reshape(shape[0], *shape[2:], shape[1]), -1, 1)

    def jvp(self, dx: Any) -> Any:
        """Of the elements that won."""
        windows = self.windows(dx.shape[2:])
        places = self.places(self.saved.where, (*dx.shape[:2], *windows.counts), windows)
        return of_winners(np, dx, windows.elements - places.astype("int64"), windows)


class OneDnnAvgPooling(OneDnnPooling):
    """AvgPool1d, AvgPool2d and AvgPool3d. Sums of many elements are the reference's, which lose no digits."""

    apply: Any  # the reference's
    adjoint: Any

    def algorithm(self) -> int:
        return MEAN_WITH_PADDING if counts_padding(self) else MEAN_WITHOUT

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        axes = reference.windows(bottoms[0].shape[2:]).axes
        if counts_padding(reference) and any(overhang(a) > a.padding for a in axes):
            return "oneDNN would count what hangs over the end of the padding"
        return super().refuses(reference, bottoms, tops)

    def forward(self, x: Any) -> Any:
        windows = self.windows(x.shape[2:])
        if windows.elements <= LARGE or self.halved:
            return super().forward(x)
        x, y = self.settled("x", x), self.image("y", (*x.shape[:2], *windows.counts))
        self.act("means", self.means)(x, y)
        self.save(where=None, shape=x.shape)
        return y

    def means(self, x: Any, y: Any) -> None:
        """Write y."""
        y[...] = self.apply(x)

    def backward(self, dy: Any) -> Any:
        shape = self.saved.shape
        if self.at_one_place(shape) <= LARGE or self.halved or not self.needs_grad[0]:
            return super().backward(dy)
        dy, dx = self.settled("dy", dy), self.image("dx", shape)
        self.act("sums", self.sums)(dy, dx)
        return dx

    def sums(self, dy: Any, dx: Any) -> None:
        """Write dx."""
        dx[...] = self.adjoint(dy, dx.shape)


class OneDnnMaxPool1d(OneDnnMaxPooling, MaxPool1d):
    """MaxPool1d."""


class OneDnnMaxPool2d(OneDnnMaxPooling, MaxPool2d):
    """MaxPool2d."""


class OneDnnMaxPool3d(OneDnnMaxPooling, MaxPool3d):
    """MaxPool3d."""


class OneDnnAvgPool1d(OneDnnAvgPooling, AvgPool1d):
    """AvgPool1d."""


class OneDnnAvgPool2d(OneDnnAvgPooling, AvgPool2d):
    """AvgPool2d."""


class OneDnnAvgPool3d(OneDnnAvgPooling, AvgPool3d):
    """AvgPool3d."""


class OneDnnGlobalAvgPool2d(OneDnnAvgPooling, GlobalAvgPool2d):
    """GlobalAvgPool2d: one window that is the whole image."""

    def algorithm(self) -> int:
        return MEAN_WITHOUT

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        return OneDnn.refuses.__func__(cls, reference, bottoms, tops)

    def windows(self, size: Sequence[int]) -> Any:
        """The one window."""
        return Windows(tuple(Axis(n, n, n, 0) for n in size))

    def means(self, x: Any, y: Any) -> None:
        means_of_images(x, y)
