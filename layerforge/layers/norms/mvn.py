"""MVN: Caffe's normalisation to mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, mean_of, shape_mismatch, sum_of
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.params import param
from ...schema.registry import register
from .standardize import centre, mean_square, standardize_backward


@register
class MVN(Layer):
    """MVN: mean-variance normalisation of each channel of each sample, nothing learned (Caffe: MVN)

        y = (x - μ) / (σ + eps),   σ = √var      μ and var over the m positions of a channel
        y = x - μ                                with normalize_variance: false

    With across_channels: true, μ and σ are those of the whole sample. eps is added to σ, not to the variance as in the
    other normalisations; for those, learned weights and torch's names see InstanceNorm and GroupNorm.

    Shapes    x (N, C, ...) real, y the same
    Backward  As derived for BatchNorm, but σ + eps moves with x as ∂σ/∂xᵢ = (xᵢ - μ) / (m σ) = yᵢ (σ + eps) / (m σ):
                  dx = (dy - Σ dy / m - ((σ + eps) / σ) y Σ dy y / m) / (σ + eps)
              Where σ = 0, y is 0 and so is the last term. (Caffe leaves the factor (σ + eps) / σ out.)
              With normalize_variance: false it is dx = dy - Σ dy / m.
    Keeps     y and σ, so y may overwrite x
    Cost      about 6 operations per element forward, 7 backward
    Errors    LayerError when there are no positions
    Source    compare Caffe's MVN layer
    """

    backward_reads = ("top",)
    inplace = True

    normalize_variance: bool = param(True, help="divide by the standard deviation, too")
    across_channels: bool = param(False, help="normalise a sample as a whole instead of each of its channels")
    eps: float = param(1e-9, help="added to the standard deviation", gt=0)

    examples = [
        Example({}, [Spec((2, 3, 4, 3))]),
        Example({"across_channels": True}, [Spec((2, 3, 2, 3))]),
        Example({"normalize_variance": False}, [Spec((2, 3, 4))]),
        Example({"normalize_variance": False, "across_channels": True}, [Spec((3, 4))]),
        Example({"eps": 0.5}, [Spec((2, 2, 3, 2, 2))], "eps counts"),
        Example({"normalize_variance": False}, [Spec((2, 3, 1, 1))], "one position: y is 0"),
        Example({}, [Spec((2, 3, 1, 1))], "one position: its variance is 0"),
        Example({}, [Spec((0, 3, 4, 3))], "no samples"),
        Example({}, [Spec((2, 3, 6), low=1000, high=1001)], "the mean is far larger than the spread"),
    ]
    bad_examples = [
        Bad({}, "at least 3 axes", [Spec((3, 4))]),
        Bad({"across_channels": True}, "at least 2 axes", [Spec((3,))]),
        Bad({}, "something to normalise", [Spec((3, 4, 0))]),
        Bad({"eps": 0}, "must be > 0"),
        Bad({}, "must be real numbers", [Spec((3, 2, 4), role="index")]),
    ]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        first = self.first_axis
        if x.ndim <= first:
            raise shape_mismatch("the bottom", x.shape, f"at least {first + 1} axes: samples, channels and positions")
        if 0 in x.shape[first:]:
            raise shape_mismatch("the bottom", x.shape, "something to normalise")
        return x

    @property
    def first_axis(self) -> int:
        """The axis that the sets begin with."""
        return 1 if self.across_channels else 2

    def forward(self, x: Any) -> Any:
        y, over = self.buf("y", x.shape, over=x, life="saved"), self.over(x)
        centre(self.xp, x, over, out=y)
        std = self.xp.sqrt(mean_square(y, over)) if self.normalize_variance else None
        if self.normalize_variance:
            y /= std + self.eps
        self.save(y=y, std=std)
        return y

    def backward(self, dy: Any) -> Any:
        return self.through(dy) if self.needs_grad[0] else None

    def jvp(self, dx: Any) -> Any:
        return self.through(dx)

    def through(self, d: Any) -> Any:
        """d times the matrix of all ∂yⱼ/∂xᵢ: dx from dy and, as that is symmetric, a tangent of y from one of x."""
        xp, over, y, std = self.xp, self.over(d), self.saved.y, self.saved.std
        if not self.normalize_variance:
            return d - mean_of(d, over, keepdims=True)
        stretch = (std + self.eps) / xp.where(std > 0, std, 1)  # at σ = 0 it multiplies a sum that is 0
        sums = sum_of(d, over, keepdims=True), sum_of(d * y, over, keepdims=True) * stretch
        return standardize_backward(xp, d, y, 1 / (std + self.eps), over, sums=sums)

    def over(self, x: Any) -> tuple[int, ...]:
        """The axes that make up a set."""
        return tuple(range(self.first_axis, x.ndim))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 6 * bottoms[0].size
