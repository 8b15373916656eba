"""MaxUnpool2d: what MaxPool2d has left of an image, put back where it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...arrays.functional import check_index, expect_role, shape_mismatch
from ...arrays.scattering import flat_places
from ...arrays.sliding_windows import spatial
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import Pair, param
from ...schema.registry import register


def different(positions: int) -> Callable[[Any, tuple[int, ...]], Any]:
    """A draw of places in planes of so many positions, no two in a plane the same."""

    def draw(rng: Any, shape: tuple[int, ...]) -> Any:
        order = rng.integers(0, 2**30, (*shape[:2], positions)).argsort(axis=-1)
        return order[..., : math.prod(shape[2:])].reshape(shape)

    return draw


def places(shape: tuple[int, ...], positions: int) -> Spec:
    """The Spec of places that MaxPool2d could have found in planes of so many positions."""
    return Spec(shape, role="index", high=positions, draw=different(positions))


@register
class MaxUnpool2d(Layer):
    """MaxUnpool2d: maxima at the places that they were taken from, zeros elsewhere (SegNet's Upsample)

        y[n, c, i] = x[n, c, p]      for the window p with index[n, c, p] = i, 0 where there is none

    It takes the second top of MaxPool2d: i counts the H W positions of a plane of y in row-major order. Per axis y has
    (size - 1) stride - 2 padding + kernel_size positions, for the hyper-parameters of that pooling. Several sizes are
    pooled to the same one; output_size says which it was. Where windows overlap, one place may be named several times:
    the last p in row-major order stays. (torch leaves open which, and passes all of them the gradient.)

    Shapes    x (N, C, H', W') real, index the same, y (N, C, H, W)
    Backward  y[n, c, i] is the one element of x that stayed there, so for each window p
                  dx[n, c, p] = dy[n, c, index[n, c, p]] where x[n, c, p] stayed, 0 where another was written over it
    Keeps     the places, and which element of x is at each of y
    Cost      a few passes over y forward, one over x backward
    Errors    LayerError when shapes do not fit, or the index is known to count places of another plane; LayerError
              (exit 3) for an index outside the plane
    Source    Zeiler & Fergus 2014, Badrinarayanan, Kendall & Cipolla 2015; compare torch.nn.MaxUnpool2d
    """

    bottoms = 2

    kernel_size: Pair = param(help="of the pooling", ge=1)
    stride: Pair | None = param(None, help="of the pooling; kernel_size where not given", ge=1)
    padding: Pair = param(0, help="of the pooling", ge=0)
    output_size: Pair | None = param(None, help="height and width of y; null: as the formula says", ge=1)

    examples = [
        Example({"kernel_size": 2}, [Spec((2, 3, 2, 3)), places((2, 3, 2, 3), 24)]),
        Example({"kernel_size": 2, "output_size": [3, 5]}, [Spec((2, 2, 2, 3)), places((2, 2, 2, 3), 15)], "odd sizes"),
        Example(
            {"kernel_size": [3, 2], "stride": 2, "padding": [1, 0]}, [Spec((2, 1, 2, 2)), places((2, 1, 2, 2), 12)]
        ),
        Example(
            {"kernel_size": 3, "stride": 1}, [Spec((2, 2, 3, 3)), index((2, 2, 3, 3), 25)], "several for one place"
        ),
        Example({"kernel_size": 1}, [Spec((1, 1, 1, 1)), index((1, 1, 1, 1), 1)]),
        Example({"kernel_size": 2}, [Spec((0, 2, 1, 1)), index((0, 2, 1, 1), 4)], "no sample"),
    ]
    bad_examples = [
        Bad({}, "kernel_size is required"),
        Bad({"kernel_size": 2, "stride": 0}, "must be >= 1"),
        Bad({"kernel_size": 2}, "takes 2 bottom(s), got 1", [Spec((2, 3, 4, 4))]),
        Bad({"kernel_size": 2}, "bottom[1] must be integers", [Spec((2, 3, 4, 4)), Spec((2, 3, 4, 4))]),
        Bad({"kernel_size": 2}, "expected (2, 3, 2, 2)", [Spec((2, 3, 2, 2)), index((2, 3, 4), 16)]),
        Bad({"kernel_size": 2}, "expected 4", [Spec((2, 3, 4)), index((2, 3, 4), 8)]),
        Bad({"kernel_size": 2}, "places in a plane of 15 positions", [Spec((2, 3, 2, 3)), index((2, 3, 2, 3), 15)]),
        Bad({"kernel_size": 2, "output_size": [4, 8]}, "output_size", [Spec((2, 3, 2, 3)), index((2, 3, 2, 3), 32)]),
        Bad({"kernel_size": 1, "padding": 1}, "no positions", [Spec((2, 3, 2, 3)), index((2, 3, 2, 3), 1)]),
    ]

    def setup(self, x: Spec, index: Spec) -> Spec:
        expect_role("bottom[0]", x, "real")
        expect_role("bottom[1]", index, "index")
        size = self.size(spatial(x, 2))
        if index.shape != x.shape:
            raise shape_mismatch("bottom[1]", index.shape, f"{x.shape}, that of bottom[0]")
        if index.high is not None and int(index.high) != math.prod(size):
            raise LayerError(
                f"bottom[1] has places in a plane of {index.high:g} positions, the top has {math.prod(size)}: {size}",
                hint="output_size: [height, width] of what was pooled",
            )
        return x.with_shape((*x.shape[:2], *size))

    def size(self, pooled: Sequence[int]) -> tuple[int, ...]:
        """Height and width of the top; LayerError for an output_size that is not pooled to the bottom's."""
        stride = self.stride or self.kernel_size
        geometry = zip(pooled, self.kernel_size, stride, self.padding, strict=True)
        usual = tuple((n - 1) * s - 2 * p + k for n, k, s, p in geometry)
        size = self.output_size or usual
        if min(size) < 1:
            raise LayerError(f"the top would have {size} positions: no positions", hint="less padding")
        if any(abs(n - u) >= s for n, u, s in zip(size, usual, stride, strict=True)):
            raise LayerError(
                f"output_size {size} is a stride {stride} or more away from {usual}, the usual one",
                hint="it is the size of what was pooled, with the kernel_size, stride and padding of that pooling",
            )
        return tuple(size)

    def index_range(self, i: int, *bottoms: Spec) -> range | None:
        """Places in a plane of the top."""
        return range(math.prod(self.size(bottoms[0].shape[2:]))) if i == 1 else None

    def forward(self, x: Any, index: Any) -> Any:
        xp, size = self.xp, self.size(x.shape[2:])
        positions = math.prod(size)
        check_index(xp, index, positions, f"a plane of {positions} positions, {size}")
        planes = x.shape[:2]
        flat = index.reshape(*planes, math.prod(index.shape[2:]))
        at = flat_places(xp, flat, 2, flat.shape, (*planes, positions)).reshape(-1)
        last = xp.full(math.prod(planes) * positions, -1, dtype="int64")
        xp.maximum.at(last, at, xp.arange(at.size))
        self.save(at=at, last=last, size=size, shape=x.shape)
        return self.put(x, last, size)

    def put(self, x: Any, last: Any, size: tuple[int, ...]) -> Any:
        """The elements of x that stayed, each at its place. Read by place: no matter who writes first."""
        y = self.xp.zeros((*x.shape[:2], *size), dtype=x.dtype)
        if x.size:
            y.reshape(-1)[...] = self.xp.where(last < 0, 0, x.reshape(-1)[self.xp.maximum(last, 0)])
        return y

    def backward(self, dy: Any) -> tuple[Any, None]:
        if not self.needs_grad[0]:
            return None, None
        at, last = self.saved.at, self.saved.last
        stayed = last[at] == self.xp.arange(at.size)
        dx = self.xp.where(stayed, dy.reshape(-1)[at], self.xp.zeros((), dtype=dy.dtype))
        return dx.reshape(self.saved.shape), None

    def jvp(self, dx: Any, _: Any = None) -> Any:
        return None if dx is None else self.put(dx, self.saved.last, self.saved.size)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
