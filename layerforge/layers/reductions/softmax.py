"""Softmax and LogSoftmax: scores become probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, log_softmax, normalize_dim, softmax, sum_of
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.params import param
from ...schema.registry import register

EXAMPLES = [
    Example({}, [Spec((4, 5))]),
    Example({}, [Spec((2, 3, 2, 3))], "classes on axis 1, positions behind"),
    Example({"dim": -1}, [Spec((2, 3, 5))]),
    Example({"dim": 2}, [Spec((2, 1, 3, 1))]),
    Example({}, [Spec((3, 1))], "one class"),
    Example({}, [Spec((3, 5), low=-1e4, high=1e4)], "extreme"),
    Example({"dim": 0}, [Spec((4, 3))], "along the batch"),
    Example({"dim": -1}, [Spec((4,))]),
]
BAD_EXAMPLES = [
    Bad({"dim": 2}, "dim 2 is out of range for a blob with 2 axes", [Spec((3, 5))]),
    Bad({}, "dim 1 is out of range", [Spec((5,))]),
    Bad({"axis": 1}, "did you mean 'dim'?"),
    Bad({}, "must be real numbers", [Spec((3, 5), role="index")]),
]


@register
class Softmax(Layer):
    """Softmax: probabilities from scores (Caffe: Softmax)

        y = exp x / Σ exp x      sums along dim

    Computed from x - max x, which changes nothing in the quotient and keeps exp from overflowing.

    Shapes    x real with an axis dim (by default axis 1: the classes), y the same
    Backward  log yⱼ = xⱼ - log Σₖ exp xₖ, so ∂(log yⱼ)/∂xᵢ = [i = j] - yᵢ; times yⱼ that is ∂yⱼ/∂xᵢ:
                  dxᵢ = Σⱼ dyⱼ yⱼ ([i = j] - yᵢ) = yᵢ (dyᵢ - Σⱼ dyⱼ yⱼ)
    Keeps     y, so y may overwrite x
    Cost      5 operations per element forward, 4 backward
    Errors    LayerError when there is no axis dim
    Source    Bridle 1990; compare torch.nn.Softmax, which has no default dim
    """

    backward_reads = ("top",)
    inplace = True

    dim: int = param(1, help="axis that the probabilities sum up along; negative counts from the back")

    examples = EXAMPLES
    bad_examples = BAD_EXAMPLES

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        normalize_dim(self.dim, x.ndim)
        return x

    def per_sample_for(self, x: Spec) -> bool:
        return normalize_dim(self.dim, x.ndim) != 0

    def forward(self, x: Any) -> Any:
        y = softmax(self.xp, x, self.dim, out=self.buf("y", x.shape, life="saved", over=x))
        self.save(y=y)
        return y

    def backward(self, dy: Any) -> Any:
        y = self.saved.y
        return y * (dy - sum_of(dy * y, self.dim, keepdims=True))

    def jvp(self, dx: Any) -> Any:
        return self.backward(dx)  # the Jacobian yⱼ (δᵢⱼ - yᵢ) is symmetric

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 5 * bottoms[0].size


@register
class LogSoftmax(Softmax):
    """LogSoftmax: logarithms of probabilities from scores

        y = x - log Σ exp x      sums along dim

    More exact than the logarithm of Softmax, whose small probabilities become zero. NLLLoss takes it from here.

    Shapes    x real with an axis dim (by default axis 1: the classes), y the same
    Backward  ∂yⱼ/∂xᵢ = [i = j] - exp xᵢ / Σₖ exp xₖ = [i = j] - exp yᵢ, so
                  dxᵢ = Σⱼ dyⱼ ([i = j] - exp yᵢ) = dyᵢ - exp(yᵢ) Σⱼ dyⱼ
                      = -(dyᵢ (exp(yᵢ) - 1) + exp(yᵢ) (Σⱼ dyⱼ - dyᵢ))
              The last form is computed: below NLLLoss Σ dy is the dy of the label, whose probability may be nearly 1.
    Keeps     y, so y may overwrite x
    Cost      5 operations per element forward, 4 backward
    Errors    LayerError when there is no axis dim
    Source    compare torch.nn.LogSoftmax, which has no default dim
    """

    def forward(self, x: Any) -> Any:
        y = log_softmax(self.xp, x, self.dim, out=self.buf("y", x.shape, life="saved", over=x))
        self.save(y=y)
        return y

    def backward(self, dy: Any) -> Any:
        return self.through(self.saved.y, dy)

    def through(self, y: Any, dy: Any) -> Any:
        """dx, of the form that keeps its digits."""
        xp = self.xp
        return -(dy * xp.expm1(y) + xp.exp(y) * (sum_of(dy, self.dim, keepdims=True) - dy))

    def jvp(self, dx: Any) -> Any:
        return dx - sum_of(self.xp.exp(self.saved.y) * dx, self.dim, keepdims=True)
