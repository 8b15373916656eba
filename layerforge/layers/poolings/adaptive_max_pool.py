"""AdaptiveMaxPool2d: maxima over parts of the image, as many as are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import part_along
from ...arrays.scattering import scatter_add
from ...arrays.sliding_windows import spatial
from ...arrays.spec import Spec
from ...contract.layer import Example, Layer
from ...schema.errors import LayerError
from ...schema.params import Pair, param
from ...schema.registry import register
from .pooling import BAD_PARTS, parts


@register
class AdaptiveMaxPool2d(Layer):
    """AdaptiveMaxPool2d: maxima over as many parts of the image as the output should have positions

        y[p] = the maximum of x[i] over start(p) <= i < end(p),   start(p) = ⌊p S / P⌋,  end(p) = ⌈(p + 1) S / P⌉

    for each position p, along each axis of S positions, of which P are made, as output_size says: AdaptiveAvgPool2d's
    parts, which overlap where S is no multiple of P. The maximum of a part is that of the maxima of its rows, so one
    axis is gone through after the other: the parts of every row first, then of what they gave.

    Shapes    x (N, C, H, W) real, y (N, C, *output_size)
    Backward  y is one of the elements of its part, and the others do not move it: dy goes to the place of the maximum,
              the first one in row-major order where several are equal. An element that is the maximum of several parts
              gets the sum:
                  dx[n, c, i] = Σₚ dy[n, c, p]    over all parts p whose maximum is at i
              A part with a NaN is NaN, and its gradient is that of the first NaN.
    Keeps     for every part where its maximum is, eight bytes
    Cost      about 2 operations per element and part that it is in forward, one addition per part backward
    Errors    LayerError when x has no positions
    Source    the idea: He, Zhang, Ren & Sun 2014; compare torch.nn.AdaptiveMaxPool2d
    """

    output_size: Pair = param(help="height and width of the output", ge=1)

    examples = [
        Example({"output_size": 2}, [Spec((2, 3, 4, 6))]),
        Example({"output_size": [3, 2]}, [Spec((2, 2, 5, 7))], "parts that overlap"),
        Example({"output_size": [1, 5]}, [Spec((3, 1, 4, 3))], "parts that repeat"),
        Example({"output_size": [4, 3]}, [Spec((2, 2, 4, 3))], "as it is"),
        Example({"output_size": 1}, [Spec((2, 2, 3, 4), low=-1e4, high=-9e3)], "far below 0"),
        Example({"output_size": 1}, [Spec((1, 1, 1, 1))]),
        Example({"output_size": 2}, [Spec((0, 2, 3, 3))], "no sample"),
    ]
    bad_examples = BAD_PARTS

    def setup(self, x: Spec) -> Spec:
        if 0 in spatial(x, 2):
            raise LayerError(f"the bottom has shape {x.shape}: no positions")
        return x.with_shape((*x.shape[:2], *self.output_size))

    def forward(self, x: Any) -> Any:
        height, width = self.output_size
        of_rows, columns = self.largest(x, 3, width)
        y, rows = self.largest(of_rows, 2, height)
        if self.run.keep:
            places = rows * x.shape[3] + self.xp.take_along_axis(columns, rows, axis=2)
            self.save(places=places.reshape(*y.shape[:2], height * width), shape=x.shape)
        return y

    def largest(self, x: Any, axis: int, count: int) -> tuple[Any, Any]:
        """The maximum of each of so many parts of an axis, and its place on that axis."""
        slices = parts(x.shape[axis], count)
        pieces = [part_along(x, axis, part.start, part.stop) for part in slices]
        largest = [piece.max(axis=axis) for piece in pieces]
        places = [piece.argmax(axis=axis) + part.start for piece, part in zip(pieces, slices, strict=True)]
        return self.xp.stack(largest, axis=axis), self.xp.stack(places, axis=axis)

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        places, (n, c, height, width) = self.saved.places, self.saved.shape
        dx = self.xp.zeros((n, c, height * width), dtype=dy.dtype)
        scatter_add(self.xp, dx, places, 2, dy.reshape(places.shape))
        return dx.reshape(self.saved.shape)

    def jvp(self, dx: Any) -> Any:
        n, c, height, width = dx.shape
        at_winners = self.xp.take_along_axis(dx.reshape(n, c, height * width), self.saved.places, axis=2)
        return at_winners.reshape(n, c, *self.output_size)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size
