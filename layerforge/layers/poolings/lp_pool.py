"""LPPool2d: the norm of each window, between its mean and its maximum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...arrays.sliding_windows import Tap, Windows
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import Pair, param
from ...schema.registry import register
from .avg_pool import counted
from .max_pool import maxima
from .pooling import BAD_WINDOWS, Pooling


def few_values(rng: Any, shape: tuple[int, ...]) -> Any:
    """Whole numbers from -1 to 1, whose sums are often 0."""
    return rng.integers(-1, 2, shape)


def mostly_zero(rng: Any, shape: tuple[int, ...]) -> Any:
    """A few values among zeros."""
    return (rng.random(shape) < 0.3) * rng.normal(size=shape)


@register
class LPPool2d(Pooling, axes=Pair):
    """LPPool2d: the p-norm of each window

        y[n, c, p] = (w[p] Σₖ x[n, c, p · stride + k]^norm_type) ^ (1 / norm_type)

    over the elements k of window p that are in the input; w[p] makes up for those that hang over the end with
    ceil_mode: it is the number of a window's elements over the number of those in the input, and 1 where all are.
    norm_type 1 is the sum of the window, and a large one comes close to its maximum. Where the sum is negative, which
    takes an odd norm_type, the root is -|sum| ^ (1 / norm_type) (torch: NaN). A norm_type that is
    not whole needs x ≥ 0.

    Powers are taken of x over the largest |x| of the window, and y is that largest times the root: large values do not
    overflow and small ones do not vanish.

    Shapes    x (N, C, H, W) real, y (N, C, H', W'), H' and W' as MaxPool2d's without padding
    Backward  With q = norm_type and the i at which window p has elements, |y[p]|^q = w[p] |Σᵢ x[i]^q|. Differentiated
              by x[i]: q |y[p]|^(q-1) ∂y[p]/∂x[i] = w[p] q x[i]^(q-1), so, over all windows p that contain i,
                  dx[n, c, i] = Σₚ dy[n, c, p] w[p] (x[n, c, i] / |y[n, c, p]|)^(q-1)
              With norm_type 1 the slope is w[p] everywhere. Otherwise the gradient is taken as 0 where y is 0: a kink
              where all x of the window are 0; where terms cancel (odd norm_type) the slope is infinite.
    Keeps     x, y
    Cost      about 4 operations and a power per element of a window, forward and backward
    Errors    LayerError when a window is larger than the input
    Source    Sermanet, Chintala & LeCun 2012; compare torch.nn.LPPool2d
    """

    backward_reads = ("bottom", "top")

    norm_type: float = param(help="exponent of the norm", ge=1)

    examples = [
        Example({"norm_type": 2, "kernel_size": 2}, [Spec((2, 3, 4, 6))]),
        Example({"norm_type": 2, "kernel_size": 2, "ceil_mode": True}, [Spec((2, 2, 5, 3))], "windows over the end"),
        Example({"norm_type": 1, "kernel_size": [2, 1], "stride": 1}, [Spec((2, 2, 3, 2))], "sum"),
        Example({"norm_type": 1, "kernel_size": 2}, [Spec((2, 2, 4, 6), draw=few_values)], "sums that are 0"),
        Example({"norm_type": 3, "kernel_size": 2, "stride": 1}, [Spec((2, 2, 4, 3), low=0.5, high=2)]),
        Example({"norm_type": 1.5, "kernel_size": [1, 3]}, [Spec((2, 2, 2, 7), low=0.5, high=2)]),
        Example({"norm_type": 4, "kernel_size": 3, "stride": 2}, [Spec((2, 1, 5, 7), low=-3, high=-1)]),
        Example({"norm_type": 2, "kernel_size": 1}, [Spec((1, 1, 1, 1), low=1, high=2)]),
        Example({"norm_type": 3, "kernel_size": 2}, [Spec((2, 2, 5, 4))], "sums of either sign"),
        Example({"norm_type": 2, "kernel_size": [2, 1]}, [Spec((2, 2, 6, 4), draw=mostly_zero)], "norms that are 0"),
    ]
    bad_examples = [
        *(Bad({"norm_type": 2, **bad.params}, bad.message, bad.bottoms) for bad in BAD_WINDOWS),
        Bad({"kernel_size": 2}, "norm_type is required"),
        Bad({"norm_type": 0.5, "kernel_size": 2}, "must be >= 1"),
        Bad({"norm_type": 2, "kernel_size": 2, "padding": 1}, "unknown key 'padding'"),
    ]

    def forward(self, x: Any) -> Any:
        xp, windows, q = self.xp, self.windows(x.shape[2:]), self.norm_type
        largest = maxima(xp, abs(x), windows)
        largest += largest == 0
        total = xp.zeros_like(largest)
        for tap in windows.taps():
            part = total[:, :, *tap.outputs]
            part += self.power(x[:, :, *tap.inputs] / largest[:, :, *tap.outputs], q)
        total *= self.made_up(windows, x.dtype)
        y = xp.sign(total) * largest * abs(total) ** (1 / q)
        self.save(x=x, y=y)
        return y

    def power(self, x: Any, exponent: float) -> Any:
        """x ** exponent; a whole exponent as an integer, for which x may be negative."""
        return x ** (int(exponent) if exponent == int(exponent) else exponent)

    def made_up(self, windows: Windows, dtype: Any) -> Any:
        """w of each window: its elements over those that are in the input."""
        return windows.elements / self.constant("counted", windows, lambda: counted(windows), dtype)

    def slopes(self, windows: Windows) -> Iterator[tuple[Tap, tuple[slice, ...], Any]]:
        """Each tap, where its windows are in y, and the derivative of their y by the element seen through it."""
        x, y = self.saved.x, abs(self.saved.y)
        zero = y == 0
        weight = self.made_up(windows, x.dtype) * (~zero | (self.norm_type == 1))
        y += zero
        for tap in windows.taps():
            at = (slice(None), slice(None), *tap.outputs)
            yield tap, at, weight[at] * self.power(x[:, :, *tap.inputs] / y[at], self.norm_type - 1)

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        dx = self.xp.zeros_like(self.saved.x)
        for tap, at, slope in self.slopes(self.windows(dx.shape[2:])):
            dx[:, :, *tap.inputs] += slope * dy[at]
        return dx

    def jvp(self, dx: Any) -> Any:
        dy = self.xp.zeros_like(self.saved.y)
        for tap, at, slope in self.slopes(self.windows(dx.shape[2:])):
            dy[at] += slope * dx[:, :, *tap.inputs]
        return dy
