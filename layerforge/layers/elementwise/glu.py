"""GLU: one half of a blob, gated by the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, normalize_dim, part_along, sigmoid
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class GLU(Layer):
    """GLU: gated linear unit, one half of a blob gated by the other

        y = a s,   s = 1 / (1 + e⁻ᵇ)      where x = [a | b] along axis dim

    After a Linear with twice as many features both halves are linear functions of what that reads.

    Shapes    x real, of even size on axis dim; y with half of it
    Backward  ∂y/∂a = s, and as the slope of the gate s is s (1 - s), ∂y/∂b = a s (1 - s):
                  dx = [dy s | dy a s (1 - s)]
    Keeps     x and the gate s
    Cost      one pass forward, one backward
    Errors    LayerError when dim is out of range or its size is odd
    Source    Dauphin et al. 2017, "Language modeling with gated convolutional networks"; compare torch.nn.GLU
    """

    backward_reads = ("bottom",)

    dim: int = param(-1, help="axis that is cut into halves; negative counts from the back")

    examples = [
        Example({}, [Spec((3, 4))]),
        Example({"dim": 1}, [Spec((2, 6, 3, 2))], "channels of an image"),
        Example({"dim": -2}, [Spec((2, 4, 3))]),
        Example({}, [Spec((2, 8), low=-30, high=30)], "gates open and shut"),
        Example({}, [Spec((3, 0))], "an empty axis"),
        Example({}, [Spec((0, 4))], "no samples"),
    ]
    bad_examples = [
        Bad({}, "axis 1 of size 3 has no halves", [Spec((2, 3))]),
        Bad({"dim": 2}, "dim 2 is out of range", [Spec((2, 4))]),
        Bad({}, "must be real numbers", [Spec((2, 4), role="index")]),
        Bad({"axis": 1}, "did you mean 'dim'?"),
    ]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        dim = normalize_dim(self.dim, x.ndim)
        if x.shape[dim] % 2:
            raise LayerError(f"axis {dim} of size {x.shape[dim]} has no halves", hint="values and as many gates")
        return x.with_shape((*x.shape[:dim], x.shape[dim] // 2, *x.shape[dim + 1 :]))

    def per_sample_for(self, x: Spec) -> bool:
        return normalize_dim(self.dim, x.ndim) != 0

    def halves(self, x: Any) -> tuple[Any, Any]:
        """Views of the two halves of x."""
        half = x.shape[self.dim] // 2
        return part_along(x, self.dim, 0, half), part_along(x, self.dim, half, 2 * half)

    def forward(self, x: Any) -> Any:
        a, b = self.halves(x)
        s = sigmoid(self.xp, b)
        self.save(a=a, s=s)
        return a * s

    def backward(self, dy: Any) -> Any:
        by_value, by_gate = self.slopes()
        return self.xp.concatenate([dy * by_value, dy * by_gate], axis=self.dim)

    def slopes(self) -> tuple[Any, Any]:
        """∂y/∂a and ∂y/∂b."""
        a, s = self.saved.a, self.saved.s
        return s, a * s * (1 - s)

    def jvp(self, dx: Any) -> Any:
        (da, db), (by_value, by_gate) = self.halves(dx), self.slopes()
        return da * by_value + db * by_gate

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * tops[0].size
