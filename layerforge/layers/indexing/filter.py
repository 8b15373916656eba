"""Filter: the samples that a selector names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, shape_mismatch
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class Filter(Layer):
    """Filter: the samples whose selector is not 0, moved to the front (Caffe: Filter)

        yᵢ = [the samples xᵢ[n] with selector[n] ≠ 0 | zeros, or `fill` where xᵢ is an index]

    Caffe's top has as many samples as were selected. Here shapes do not depend on data: the batch keeps its size and
    the places after the selected samples hold nothing. Labels that go the same way are -1 there, so a loss with
    `ignore_index: -1` is the mean over the selected samples alone.

    Shapes    xᵢ (N, ...) real or index, the last bottom, the selector, (N) index; yᵢ as xᵢ
    Backward  A sample that was selected was moved, the others reach nothing:
                  dxᵢ[n] = dyᵢ at the place that sample n moved to, 0 where selector[n] = 0
    Keeps     the order of the samples and which of them count
    Cost      a sort of the selector and one copy forward, one copy backward
    Errors    LayerError when the bottoms do not have equally many samples
    Source    Caffe's layer of that name
    """

    bottoms = (2, None)
    tops = (1, None)
    per_sample = False

    fill: int = param(-1, help="what an index holds after the selected samples")

    examples = [
        Example({}, [Spec((5, 3)), index((5,), 2)]),
        Example({}, [Spec((4, 2, 1)), index((4,), 3), index((4,), 3)], "with labels", tops=2),
        Example({}, [Spec((6,)), Spec((6, 2)), index((6,), 2)], tops=2),
        Example({}, [Spec((1, 2)), index((1,), 2, low=1)], "all"),
        Example({}, [Spec((3, 2)), index((3,), 1)], "none"),
        Example({}, [Spec((0, 2)), index((0,), 1)], "no samples"),
        Example({"fill": 9}, [index((4, 2), 7), index((4,), 2)], "labels alone"),
    ]
    bad_examples = [
        Bad({}, "bottom[1], the selector, has shape (3,), expected (2,)", [Spec((2, 3)), index((3,), 2)]),
        Bad({}, "bottom[1] has 3 samples, the selector 2", [Spec((2, 3)), Spec((3, 1)), index((2,), 2)]),
        Bad({}, "bottom[1] must be integers", [Spec((2, 3)), Spec((2,))]),
        Bad({}, "takes at least 2 bottom(s), got 1", [Spec((2, 3))]),
    ]

    def setup(self, *bottoms: Spec) -> tuple[Spec, ...]:
        *xs, selector = bottoms
        name = f"bottom[{len(xs)}]"
        expect_role(name, selector, "index")
        if selector.shape != xs[0].shape[:1]:
            raise shape_mismatch(f"{name}, the selector,", selector.shape, f"{xs[0].shape[:1]}")
        for i, x in enumerate(xs):
            if x.shape[:1] != selector.shape:
                count = x.shape[0] if x.shape else "no"
                raise LayerError(f"bottom[{i}] has {count} samples, the selector {selector.shape[0]}")
        return tuple(xs)

    def forward(self, *bottoms: Any) -> tuple[Any, ...]:
        *xs, selector = bottoms
        selected = selector != 0
        # A stable sort keeps the order of the selected samples, and how many they are stays on the device.
        order = self.xp.argsort(selector == 0, kind="stable")
        counts = selected[order]
        self.save(order=order, counts=counts)
        return tuple(self.where_it_counts(counts, x[order], 0 if x.dtype.kind == "f" else self.fill) for x in xs)

    def where_it_counts(self, counts: Any, x: Any, fill: int) -> Any:
        """x with `fill` in the samples that do not count."""
        return self.xp.where(counts.reshape((-1,) + (1,) * (x.ndim - 1)), x, self.xp.full((), fill, dtype=x.dtype))

    def backward(self, *dys: Any) -> tuple[Any, ...]:
        grads: list[Any] = []
        for dy, needed in zip(dys, self.needs_grad, strict=False):
            dx = None
            if needed:
                dx = self.xp.empty_like(dy)
                dx[self.saved.order] = self.where_it_counts(self.saved.counts, dy, 0)
            grads.append(dx)
        return (*grads, None)

    def jvp(self, *tangents: Any) -> tuple[Any, ...]:
        order, counts = self.saved.order, self.saved.counts
        return tuple(None if dx is None else self.where_it_counts(counts, dx[order], 0) for dx in tangents[:-1])

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
