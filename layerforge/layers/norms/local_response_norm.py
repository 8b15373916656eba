"""LocalResponseNorm: strong values quieten their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.formula import formula
from ...arrays.functional import expect_role, part_along, shape_mismatch
from ...arrays.sliding_windows import spatial
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError
from ...schema.params import param
from ...schema.registry import register

REGIONS = ("across_channels", "within_channel")


@register
class LocalResponseNorm(Layer):
    """LocalResponseNorm: division by the strength of a neighbourhood (Caffe: LRN)

        yᵢ = xᵢ sᵢ⁻ᵝ,   sᵢ = k + (alpha / m) Σⱼ xⱼ²      over the m neighbours j of i, itself included; β is beta

    With norm_region across_channels the neighbours are the same position in m = size channels, from size // 2 before
    to (size - 1) // 2 after. With within_channel they are the m = size² positions of a square around i in the same
    channel. What would be outside counts as 0, and m stays what it is.

    alpha is divided by m, as in torch and Caffe but not in the paper. Caffe's default for alpha is 1.

    Shapes    x (N, C, ...) real, y the same; within_channel (N, C, H, W)
    Backward  xⱼ moves yⱼ by itself (sⱼ⁻ᵝ) and through sᵢ the yᵢ of all i whose neighbour it is. As
              ∂sᵢ/∂xⱼ = (2 alpha / m) xⱼ and ∂yᵢ/∂sᵢ = -beta yᵢ / sᵢ,
                  dxⱼ = dyⱼ sⱼ⁻ᵝ - (2 alpha beta / m) xⱼ Σᵢ dyᵢ yᵢ / sᵢ      over the i that have j as a neighbour
    Keeps     x, s and s⁻ᵝ
    Cost      size additions (twice that within_channel) and a power per element forward; the additions again backward
    Errors    LayerError when the bottom does not have the axes of the region; ConfigError for within_channel with an
              even size or k other than 1
    Source    Krizhevsky, Sutskever & Hinton 2012; compare torch.nn.LocalResponseNorm
    """

    backward_reads = ("bottom",)

    size: int = param(help="length of the neighbourhood", ge=1)
    alpha: float = param(1e-4, help="strength, divided by the number of neighbours", ge=0)
    beta: float = param(0.75, help="exponent", ge=0)
    k: float = param(1.0, help="what s is where all is 0; 1 within_channel, where Caffe ignores it", gt=0)
    norm_region: str = param("across_channels", help="where the neighbours are", choices=REGIONS)

    examples = [
        Example({"size": 3, "alpha": 0.5}, [Spec((2, 5, 2, 3))]),
        Example({"size": 4, "alpha": 0.5, "k": 2.0}, [Spec((2, 6, 3))], "one more before than after"),
        Example({"size": 9, "alpha": 1.0, "beta": 0.5}, [Spec((2, 4, 2))], "wider than the channels"),
        Example({"size": 1, "alpha": 1.0}, [Spec((3, 4))]),
        Example({"size": 5, "alpha": 1.0}, [Spec((2, 1, 1, 1))]),
        Example({"size": 2}, [Spec((0, 3, 2, 2))], "no samples"),
        Example({"size": 3, "alpha": 2.0, "norm_region": "within_channel"}, [Spec((2, 3, 4, 5))]),
        Example({"size": 5, "alpha": 2.0, "beta": 1.5, "norm_region": "within_channel"}, [Spec((2, 1, 3, 1))]),
        Example({"size": 3, "alpha": 1.0}, [Spec((2, 4, 2, 2), low=-1e4, high=1e4)], "extreme"),
    ]
    bad_examples = [
        Bad({}, "size is required"),
        Bad({"size": 0}, "must be >= 1"),
        Bad({"size": 3, "k": 0}, "must be > 0"),
        Bad({"local_size": 3, "size": 3}, "did you mean 'size'?"),
        Bad({"size": 3, "norm_region": "WITHIN_CHANNEL"}, "one of across_channels, within_channel"),
        Bad({"size": 4, "norm_region": "within_channel"}, "size must be odd"),
        Bad({"size": 3, "k": 2.0, "norm_region": "within_channel"}, "k must be 1"),
        Bad({"size": 3}, "at least 2 axes", [Spec((4,))]),
        Bad({"size": 3, "norm_region": "within_channel"}, "expected 4 axes", [Spec((2, 3, 4))]),
        Bad({"size": 3}, "must be real numbers", [Spec((2, 3), role="index")]),
    ]

    @property
    def within(self) -> bool:
        """Whether neighbours are positions rather than channels."""
        return self.norm_region == "within_channel"

    def validate(self) -> None:
        if self.within and self.size % 2 == 0:
            raise ConfigError(f"size must be odd with within_channel, got {self.size}: a square around each position")
        if self.within and self.k != 1:
            raise ConfigError(f"k must be 1 with within_channel, got {self.k}", hint="Caffe ignores k there")

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        if self.within:
            spatial(x, 2)
        elif x.ndim < 2:
            raise shape_mismatch("the bottom", x.shape, "at least 2 axes: samples and channels")
        return x

    def forward(self, x: Any) -> Any:
        s = self.over_neighbours(x * x)
        s *= self.share
        s += self.k
        power = s**-self.beta
        self.save(x=x, s=s, power=power)
        return x * power

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        x, s, power = self.saved.x, self.saved.s, self.saved.power
        pull = self.over_neighbours(dy * x * power / s, transposed=True)
        return dy * power - 2 * self.share * self.beta * x * pull

    def jvp(self, dx: Any) -> Any:
        x, s, power = self.saved.x, self.saved.s, self.saved.power
        return dx * power - 2 * self.share * self.beta * x * power / s * self.over_neighbours(x * dx)

    @property
    def share(self) -> float:
        """alpha / m."""
        return self.alpha / (self.size**2 if self.within else self.size)

    def over_neighbours(self, a: Any, *, transposed: bool = False) -> Any:
        """For each i the sum of a over its neighbours; transposed: over those whose neighbour i is."""
        before, after = self.size // 2, (self.size - 1) // 2
        if transposed:
            before, after = after, before
        for dim in (2, 3) if self.within else (1,):
            a = sum_along(a, dim, before, after)
        return a

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size * (self.size * (2 if self.within else 1) + 5)


@formula
def sum_along(a: Any, dim: int, before: int, after: int) -> Any:
    """For each place i on axis dim the sum over the places i - before ... i + after that there are."""
    total, length = a.copy(), a.shape[dim]
    for shift in range(1, min(before, length - 1) + 1):
        later = part_along(total, dim, shift, length)
        later += part_along(a, dim, 0, length - shift)
    for shift in range(1, min(after, length - 1) + 1):
        earlier = part_along(total, dim, 0, length - shift)
        earlier += part_along(a, dim, shift, length)
    return total
