"""What the poolings share, which make one value of a window: its geometry. Channels stay apart, nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ...arrays.sliding_windows import Windows, slide, spatial
from ...arrays.spec import Spec
from ...contract.layer import Bad, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import PerAxis, param


class Pooling(Layer):
    """Base of the layers that pool windows, in any number of axes. Subclasses may declare padding and what follows."""

    padding: ClassVar[Any] = None
    dilation: ClassVar[Any] = None
    caffe_rounding: ClassVar[bool] = False

    kernel_size: PerAxis = param(help="size of a window along each axis", ge=1)
    stride: PerAxis | None = param(None, help="step from one window to the next; kernel_size where not given", ge=1)
    ceil_mode: bool = param(False, help="let a last window hang over the end rather than leave positions out")

    def setup(self, x: Spec) -> Spec:
        return x.with_shape((*x.shape[:2], *self.windows(spatial(x, len(self.kernel_size))).counts))

    def windows(self, size: Sequence[int]) -> Windows:
        """The windows over an input of this spatial shape."""
        stride, ceil = self.stride or self.kernel_size, self.ceil_mode or self.caffe_rounding
        return slide(size, self.kernel_size, stride, self.padding, self.dilation, ceil)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return tops[0].size * self.windows(bottoms[0].shape[2:]).elements


class PaddedPooling(Pooling):
    """Base of the poolings with a margin around the input."""

    padding: PerAxis = param(0, help="margin on each side, at most half a window", ge=0)
    caffe_rounding: bool = param(False, help="Caffe's windows: as ceil_mode, with padding up to kernel_size - 1")

    def validate(self) -> None:
        for p, k in zip(self.padding, self.kernel_size, strict=True):
            if self.caffe_rounding and p >= k:
                raise ConfigError(
                    f"padding {self.padding} is not below kernel_size {self.kernel_size}",
                    hint="otherwise a window could see nothing but padding",
                )
            if not self.caffe_rounding and 2 * p > k:
                raise ConfigError(
                    f"padding {self.padding} is more than half of kernel_size {self.kernel_size}",
                    hint="otherwise a window could see nothing but padding",
                )

    def setup(self, x: Spec) -> Spec:
        top = super().setup(x)
        if self.caffe_rounding and not any(self.padding):
            for axis in self.windows(x.shape[2:]).axes:
                # Without padding Caffe rounds up and looks no further: it reads what is behind its input.
                if (axis.count - 1) * axis.stride < axis.size - axis.extent:
                    raise LayerError(
                        f"Caffe would have a window behind the end of an axis of {axis.size} positions,"
                        f" with kernel_size {axis.kernel} and stride {axis.stride}",
                        hint="ceil_mode: true leaves that window out",
                    )
        return top


def parts(size: int, count: int) -> list[slice]:
    """The parts of an axis that adaptive pooling makes P elements of: part o is ⌊o S / P⌋ <= i < ⌈(o + 1) S / P⌉."""
    return [slice(o * size // count, -(-(o + 1) * size // count)) for o in range(count)]


BAD_WINDOWS = [
    Bad({}, "kernel_size is required"),
    Bad({"kernel_size": 0}, "must be >= 1"),
    Bad({"kernel_size": 2, "stride": 0}, "must be >= 1"),
    Bad({"kernel_size": 2}, "expected 4", [Spec((2, 3))]),
    Bad({"kernel_size": 4}, "covers 4 x 4, more than the padded input", [Spec((2, 3, 3, 9))]),
    Bad({"kernel_size": 2}, "must be real numbers", [Spec((2, 3, 4, 4), role="index")]),
    Bad({"pool_size": 2}, "did you mean 'kernel_size'?"),
]
BAD_PADDED_WINDOWS = [
    *BAD_WINDOWS,
    Bad({"kernel_size": 3, "padding": [1, 2]}, "padding (1, 2) is more than half of kernel_size (3, 3)"),
    Bad({"kernel_size": 2, "padding": 2, "caffe_rounding": True}, "padding (2, 2) is not below kernel_size (2, 2)"),
    Bad({"kernel_size": 4, "padding": 1}, "covers 4 x 4, more than the padded input", [Spec((2, 3, 1, 9))]),
    Bad({"kernel_size": 1, "stride": 4, "caffe_rounding": True}, "behind the end", [Spec((2, 3, 5, 7))]),
]
BAD_PARTS = [
    Bad({}, "output_size is required"),
    Bad({"output_size": 0}, "must be >= 1"),
    Bad({"output_size": [2, 2, 2]}, "a pair [height, width]"),
    Bad({"output_size": 2}, "expected 4", [Spec((2, 3, 4))]),
    Bad({"output_size": 2}, "no positions", [Spec((2, 3, 0, 4))]),
    Bad({"output_size": 2}, "must be real numbers", [Spec((2, 3, 4, 4), role="index")]),
]
