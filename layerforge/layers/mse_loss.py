"""MSELoss: the mean squared error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import LayerError
from ..functional import expect_role, shape_mismatch
from ..layer import Bad, Example, Layer
from ..registry import register
from ..spec import Spec, index


@register
class MSELoss(Layer):
    """MSELoss: mean squared error (Caffe: EuclideanLoss, which is half the sum over the elements, per sample)

        y = 1/m Σ (x - t)²      over all m numbers

    Shapes    x and t real, of the same shape with a batch axis; y a single number
    Backward  dx = 2 (x - t) dy/m,   dt = -dx
    Keeps     x - t
    Cost      3 operations per number forward, 1 backward
    Errors    LayerError when the shapes differ: (N,) against (N, 1) would broadcast to N² differences
    Source    Gauss 1809; compare torch.nn.MSELoss
    """

    bottoms = 2
    loss = True
    per_sample = False

    examples = [
        Example({}, [Spec((3, 4)), Spec((3, 4))]),
        Example({}, [Spec((2, 3, 1, 5)), Spec((2, 3, 1, 5))]),
        Example({}, [Spec((1,)), Spec((1,))]),
        Example({}, [Spec((3, 4), low=1e4, high=1e4 + 1), Spec((3, 4), low=1e4, high=1e4 + 1)], "far from zero"),
    ]
    bad_examples = [
        Bad({}, "bottom[1] has shape (3, 1), expected (3,)", [Spec((3,)), Spec((3, 1))]),
        Bad({}, "bottom[1] must be real numbers", [Spec((3,)), index((3,), 2)]),
        Bad({}, "at least a batch axis", [Spec(()), Spec(())]),
        Bad({"reduction": "sum"}, "unknown key 'reduction'"),
    ]

    def setup(self, x: Spec, t: Spec) -> Spec:
        expect_role("bottom[0]", x, "real")
        expect_role("bottom[1]", t, "real")
        if x.shape != t.shape:
            raise shape_mismatch("bottom[1]", t.shape, f"{x.shape}, that of bottom[0]")
        if x.ndim < 1:
            raise LayerError("the bottoms are single numbers, expected at least a batch axis")
        return x.with_shape(())

    def forward(self, x: Any, t: Any) -> Any:
        difference = x - t
        self.save(difference=difference)
        return (difference * difference).mean()

    def backward(self, dy: Any) -> tuple[Any, Any]:
        difference = self.saved.difference
        dx = difference * (2 * dy / difference.size)
        return dx if self.needs_grad[0] else None, -dx if self.needs_grad[1] else None

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 3 * bottoms[0].size
