"""StochasticPool2d: a window's value is drawn from its elements."""

from __future__ import annotations

from typing import Any

from ...arrays.sliding_windows import Windows
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import Pair
from ...schema.registry import register
from .avg_pool import to_windows, window_sums
from .max_pool import of_winners, rank_type, to_winners
from .pooling import BAD_WINDOWS, Pooling


@register
class StochasticPool2d(Pooling, axes=Pair):
    """StochasticPool2d: an element of each window, drawn in proportion to its value (Caffe: Pooling, STOCHASTIC)

        train   y[n, c, p] = x[n, c, p · stride + k],  k drawn with probability a[k] / Σ a
        eval    y[n, c, p] = Σ a² / Σ a                the expectation of what train draws

    with a = max(x, 0) at the elements k of window p that are in the input: made for what comes from a ReLU. A window
    without a positive element is 0.

    Shapes    x (N, C, H, W) real, y (N, C, H', W'), H' and W' as MaxPool2d's without padding
    Backward  train   as MaxPool2d's: dy goes to the place of the element that was drawn. The probabilities depend on x
                      too; train ignores that (Zeiler & Fergus), so the mean of train's gradients is not eval's gradient
              eval    with i for the places of a window, s y = Σᵢ aᵢ² and s = Σᵢ aᵢ give s ∂y/∂aᵢ + y = 2 aᵢ, so where
                      x[n, c, i] > 0
                          dx[n, c, i] = Σₚ dy[n, c, p] (2 x[n, c, i] - y[n, c, p]) / s[n, c, p]
                      over all windows p that contain i, and 0 elsewhere, as below a ReLU
    Keeps     train: for every window which element was drawn, one byte (four above 255 elements); eval: x, y, s
    Cost      a random number per window and about 5 operations per element of a window
    Errors    LayerError when a window is larger than the input
    Source    Zeiler & Fergus 2013
    """

    backward_reads = ("bottom", "top")

    examples = [
        Example({"kernel_size": 2}, [Spec((3, 3, 4, 6), low=0.1, high=2)]),
        Example({"kernel_size": 3, "stride": 2}, [Spec((2, 2, 5, 7), low=0.1, high=2)], "overlap"),
        Example({"kernel_size": 2, "ceil_mode": True}, [Spec((2, 2, 5, 3), low=0.1, high=2)], "windows over the end"),
        Example({"kernel_size": [2, 3], "stride": 1}, [Spec((2, 2, 3, 4))], "negative numbers have no chance"),
        Example({"kernel_size": 2}, [Spec((2, 1, 2, 2), low=-2, high=-1)], "nothing to draw"),
        Example({"kernel_size": 17, "stride": 1}, [Spec((2, 1, 17, 18), low=0.1, high=2)], "more than 255 elements"),
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1), low=0.1, high=2)]),
    ]
    bad_examples = [*BAD_WINDOWS, Bad({"kernel_size": 2, "padding": 1}, "unknown key 'padding'")]

    def forward(self, x: Any) -> Any:
        windows, odds = self.windows(x.shape[2:]), self.xp.maximum(x, 0)
        total = window_sums(self.xp, odds, windows)
        if self.phase == "train":
            drawn = self.draw(odds, total, windows)
            self.save(drawn=drawn, shape=x.shape)
            return of_winners(self.xp, x, drawn, windows)
        total += total == 0
        y = window_sums(self.xp, odds**2, windows) / total
        self.save(drawn=None, x=x, y=y, total=total, shape=x.shape)
        return y

    def draw(self, odds: Any, total: Any, windows: Windows) -> Any:
        """The rank of the element drawn for each window (as MaxPool2d's winners), 0 where there is nothing to draw.

        It is the first at which the running sum of the odds exceeds a random share of their total.
        """
        xp, kind = self.xp, rank_type(self.xp, windows)
        share, running = self.random(total.shape) * total, xp.zeros_like(total)
        drawn = xp.zeros_like(total, dtype=kind)
        for tap in windows.taps():
            at = (slice(None), slice(None), *tap.outputs)
            running[at] += odds[:, :, *tap.inputs]
            reached = (running[at] > share[at]) & (drawn[at] == 0)
            drawn[at] += reached * kind(windows.elements - tap.number)
        return drawn

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        kept, windows = self.saved, self.windows(self.saved.shape[2:])
        if kept.drawn is not None:
            return to_winners(self.xp, dy, kept.drawn, windows)
        each = dy / kept.total
        dx = 2 * kept.x * to_windows(self.xp, each, windows) - to_windows(self.xp, each * kept.y, windows)
        dx *= kept.x > 0
        return dx

    def jvp(self, dx: Any) -> Any:
        kept, windows = self.saved, self.windows(self.saved.shape[2:])
        if kept.drawn is not None:
            return of_winners(self.xp, dx, kept.drawn, windows)
        moved = dx * (kept.x > 0)
        sums = window_sums(self.xp, moved, windows)
        return (2 * window_sums(self.xp, kept.x * moved, windows) - kept.y * sums) / kept.total
