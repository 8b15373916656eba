"""What the layers share that pick elements of a blob by an index.

They are linear in x for a given index. What was picked several times gets the sum of the gradients: `scatter_add`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import check_index, expect_role
from ...arrays.scattering import scatter_add
from ...arrays.spec import Spec
from ...contract.layer import Layer


class Picking(Layer):
    """Base of the layers that pick elements of x along one axis. A layer brings

    axis(ndim)                 the axis, counted from the front
    top_shape(shape, index)    the shape of the top; LayerError where the index does not fit
    pick(x, index)             the top
    whole(index, ndim)         the index in a shape that broadcasts to the top's
    """

    bottoms = 2
    backward_reads = ("bottom[1]",)

    def axis(self, ndim: int) -> int:
        """The axis that is picked along."""
        raise NotImplementedError

    def top_shape(self, shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the top for bottoms of these shapes."""
        raise NotImplementedError

    def pick(self, x: Any, index: Any) -> Any:
        """The elements of x that the index names."""
        raise NotImplementedError

    def whole(self, index: Any, ndim: int) -> Any:
        """The index in a shape that broadcasts to the top's."""
        return index

    def index_range(self, i: int, *bottoms: Spec) -> range | None:
        """Places on the axis. What is picked from them may be any integers."""
        return range(bottoms[0].shape[self.axis(bottoms[0].ndim)]) if i == 1 else None

    def setup(self, x: Spec, index: Spec) -> Spec:
        expect_role("bottom[1]", index, "index")
        return x.with_shape(self.top_shape(x.shape, index.shape))

    def forward(self, x: Any, index: Any) -> Any:
        axis = self.axis(x.ndim)
        check_index(self.xp, index, x.shape[axis], f"axis {axis} of size {x.shape[axis]}")
        self.save(shape=x.shape, index=index)
        return self.pick(x, index)

    def backward(self, dy: Any) -> tuple[Any, None]:
        if not self.needs_grad[0]:
            return None, None
        dx = self.xp.zeros(self.saved.shape, dtype=dy.dtype)
        scatter_add(self.xp, dx, self.whole(self.saved.index, dx.ndim), self.axis(dx.ndim), dy)
        return dx, None

    def jvp(self, dx: Any, _: Any) -> Any:
        return None if dx is None else self.pick(dx, self.saved.index)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
