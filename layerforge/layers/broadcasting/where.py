"""Where: one of two blobs, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import broadcast_shape, unbroadcast
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.registry import register


def signs(rng: Any, shape: tuple[int, ...]) -> Any:
    """-1, 0 and 1."""
    return rng.integers(-1, 2, shape)


@register
class Where(Layer):
    """Where: elements of one blob where a condition holds, of another one elsewhere

        y = a where c ≠ 0, b elsewhere      bottoms c, a, b; axes, aligned from the right, are equal or 1

    What the blob that is not chosen holds there, be it NaN, reaches neither y nor a gradient.

    Shapes    c index or real; a and b both real or both index; y of the common shape of the three
    Backward  y jumps where c becomes 0 and otherwise does not depend on it, so c has no gradient. Each element of y is
              that of a or that of b, which has its gradient, and the other one has none there:
                  da = dy where c ≠ 0, 0 elsewhere      db = 0 where c ≠ 0, dy elsewhere
              then summed over the axes along which a or b was repeated
    Keeps     the condition
    Cost      one pass forward, one for each of a and b backward
    Errors    LayerError when the shapes do not broadcast, or a and b hold values of different kinds
    Source    compare torch.where, whose condition is booleans
    """

    bottoms = 3
    backward_reads = ("bottom[0]",)
    no_grad_bottoms = (0,)

    examples = [
        Example({}, [index((3, 4), 2), Spec((3, 4)), Spec((3, 4))]),
        Example({}, [index((3, 1), 2), Spec((3, 4)), Spec((4,))], "a decision for each sample"),
        Example({}, [index((2, 3, 4), 3), Spec((3, 1)), Spec(())]),
        Example({}, [index((2, 1, 4), 2), Spec((2, 3, 1)), Spec((2, 1, 1))], "all are repeated"),
        Example({}, [Spec((2, 5), draw=signs), Spec((2, 5)), Spec((5,))], "a real condition"),
        Example({}, [index((2, 3), 1), Spec((2, 3)), Spec((2, 3))], "nowhere"),
        Example({}, [index((1, 1), 2, low=1), Spec((1, 1)), Spec((1, 1))], "everywhere"),
        Example({}, [index((2, 0), 2), Spec((2, 0)), Spec((1,))], "nothing to choose"),
        Example({}, [index((), 2), Spec(()), Spec(())]),
        Example({}, [index((2, 3), 2), index((2, 3), 7), index((1,), 7)], "labels"),
    ]
    bad_examples = [
        Bad({}, "shapes (2, 3), (2, 4), (2, 3) do not broadcast", [index((2, 3), 2), Spec((2, 4)), Spec((2, 3))]),
        Bad({}, "bottom[2] is (2) int64, bottom[1] is (2) float32", [index((2,), 2), Spec((2,)), index((2,), 2)]),
        Bad({}, "takes 3 bottom(s), got 2", [Spec((2,)), Spec((2,))]),
        Bad({"condition": "x > 0"}, "unknown key 'condition'"),
    ]

    def setup(self, c: Spec, a: Spec, b: Spec) -> Spec:
        if a.dtype != b.dtype:
            raise LayerError(f"bottom[2] is {b}, bottom[1] is {a}: numbers of different kinds")
        return a.with_shape(broadcast_shape(c.shape, a.shape, b.shape))

    def per_sample_for(self, c: Spec, a: Spec, b: Spec) -> bool:
        shape = broadcast_shape(c.shape, a.shape, b.shape)
        by_sample = (spec.ndim == len(shape) or spec.shape[:1] != shape[:1] for spec in (c, a, b))
        return c.shape[:1] == shape[:1] and all(by_sample)

    def forward(self, c: Any, a: Any, b: Any) -> Any:
        self.save(c=c, shapes=(a.shape, b.shape))
        return self.xp.where(c != 0, a, b)

    def backward(self, dy: Any) -> tuple[None, Any, Any]:
        if not any(self.needs_grad):
            return None, None, None
        chosen, zero = self.saved.c != 0, self.xp.zeros((), dtype=dy.dtype)
        parts = ((dy, zero), (zero, dy))
        da, db = (
            unbroadcast(self.xp.where(chosen, *part), shape) if needed else None
            for part, shape, needed in zip(parts, self.saved.shapes, self.needs_grad[1:], strict=True)
        )
        return None, da, db

    def jvp(self, _: Any, da: Any, db: Any) -> Any:
        if da is None and db is None:
            return None
        zero = self.xp.zeros((), dtype=(db if da is None else da).dtype)
        dy = self.xp.where(self.saved.c != 0, zero if da is None else da, zero if db is None else db)
        shape = broadcast_shape(self.saved.c.shape, *self.saved.shapes)
        return dy if dy.shape == shape else self.xp.broadcast_to(dy, shape).copy()

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
