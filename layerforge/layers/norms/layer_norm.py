"""LayerNorm and RMSNorm: normalisation of each position over its features."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.functional import expect_role, shape_mismatch
from ...arrays.spec import Spec
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError
from ...schema.params import param
from ...schema.registry import register
from .standardize import Standardized

BAD_EXAMPLES = [
    Bad({}, "normalized_shape is required"),
    Bad({"normalized_shape": []}, "normalized_shape is empty"),
    Bad({"normalized_shape": 0}, "must be >= 1"),
    Bad({"normalized_shape": [3, 0]}, "must be >= 1"),
    Bad({"normalized_shape": 4, "eps": 0}, "must be > 0"),
    Bad({"normalized_shape": 4, "epsilon": 1e-3}, "did you mean 'eps'?"),
    Bad({"normalized_shape": 4}, "expected its last axes to be (4,)", [Spec((3, 5))]),
    Bad({"normalized_shape": [3, 4]}, "expected its last axes to be (3, 4)", [Spec((4,))]),
    Bad({"normalized_shape": 4}, "must be real numbers", [Spec((3, 4), role="index")]),
]


class OverLastAxes(Standardized):
    """Base of LayerNorm and RMSNorm: the sets are the last axes of x."""

    normalized_shape: int | list[int] = param(help="the last axes of x, over which to normalise", ge=1)

    @property
    def features(self) -> tuple[int, ...]:
        """normalized_shape as a shape."""
        given = self.normalized_shape
        return (given,) if isinstance(given, int) else tuple(given)

    def validate(self) -> None:
        if not self.features:
            raise ConfigError("normalized_shape is empty", hint="name at least the last axis, such as [64]")

    def sets(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return shape, tuple(range(len(shape) - len(self.features), len(shape)))

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        if x.shape[-len(self.features) :] != self.features:
            raise shape_mismatch("the bottom", x.shape, f"its last axes to be {self.features}: normalized_shape")
        return x


@register
class LayerNorm(OverLastAxes):
    """LayerNorm: normalisation of each position over its features

        x̂ = (x - μ) / σ,   σ = √(var + eps)      μ and var over the m values of the last axes
        y = weight x̂ + bias

    Nothing depends on the batch, so train and eval are the same. Neither weight nor bias decays.

    Shapes    x (..., *normalized_shape) real, y the same; weight, bias normalized_shape
    Backward  With g = weight dy, the gradient of x̂, and sums over a position's m values, as derived for BatchNorm:
                  dx = (g - Σ g / m - x̂ Σ g x̂ / m) / σ
              weight differs from element to element here, so it stays inside the sums. Over all positions:
                  dweight = Σ dy x̂,   dbias = Σ dy
    Keeps     x̂ and 1/σ, so y may overwrite x
    Cost      about 7 operations per element forward, 9 backward
    Errors    LayerError when the last axes of x are not normalized_shape
    Source    Ba, Kiros & Hinton 2016; compare torch.nn.LayerNorm
    """

    eps: float = param(1e-5, help="added to the variance", gt=0)
    elementwise_affine: bool = param(True, help="learn weight, and bias unless that is false")
    bias: bool = param(True, help="learn an additive bias besides the weight")
    weight_filler: Filler = param({"type": "constant", "value": 1.0}, help="start values of weight")
    bias_filler: Filler = param("constant", help="start values of bias")

    examples = [
        Example({"normalized_shape": 5}, [Spec((3, 5))]),
        Example({"normalized_shape": [4]}, [Spec((2, 3, 4))]),
        Example({"normalized_shape": [3, 4], "eps": 1e-3}, [Spec((2, 3, 4))]),
        Example({"normalized_shape": [2, 3, 4]}, [Spec((2, 2, 3, 4))]),
        Example({"normalized_shape": 4, "bias": False}, [Spec((3, 4))]),
        Example({"normalized_shape": 4, "elementwise_affine": False}, [Spec((3, 4))]),
        Example({"normalized_shape": [1, 3]}, [Spec((2, 1, 3))]),
        Example({"normalized_shape": 1}, [Spec((3, 1))], "one number has no variance: y is bias"),
        Example({"normalized_shape": 5}, [Spec((0, 5))], "no samples"),
        Example({"normalized_shape": 6}, [Spec((3, 6), low=1000, high=1001)], "the mean is far larger than the spread"),
    ]
    bad_examples = BAD_EXAMPLES

    def setup(self, x: Spec) -> Spec:
        top = super().setup(x)
        if self.elementwise_affine:
            self.add_param("weight", self.features, self.weight_filler, decay_mult=0)
            if self.bias:
                self.add_param("bias", self.features, self.bias_filler, decay_mult=0)
        return top


@register
class RMSNorm(OverLastAxes):
    """RMSNorm: division of each position by the root of its mean square

        y = weight x / r,   r = √(Σ x² / m + eps)      the sum over the m elements of the last axes

    LayerNorm without the mean: cheaper, and as good in transformers. weight does not decay.

    Shapes    x (..., *normalized_shape) real, y the same; weight normalized_shape
    Backward  With x̂ = x / r and g = weight dy, the gradient of x̂: x moves x̂ by itself (1/r) and through r
              (∂r/∂xᵢ = x̂ᵢ/m, from r² = Σ x² / m + eps), as in BatchNorm but without a mean:
                  dx = (g - x̂ Σ g x̂ / m) / r
                  dweight = Σ dy x̂      over all positions
    Keeps     x̂ and 1/r, so y may overwrite x
    Cost      about 4 operations per element forward, 7 backward
    Errors    LayerError when the last axes of x are not normalized_shape
    Source    Zhang & Sennrich 2019; compare torch.nn.RMSNorm
    """

    centred = False

    eps: float | None = param(None, help="added to the mean square; null: the dtype's machine epsilon", gt=0)
    elementwise_affine: bool = param(True, help="learn weight")
    weight_filler: Filler = param({"type": "constant", "value": 1.0}, help="start values of weight")

    examples = [
        Example({"normalized_shape": 5}, [Spec((3, 5))]),
        Example({"normalized_shape": [3, 4], "eps": 0.1}, [Spec((2, 3, 4))]),
        Example({"normalized_shape": [2, 3, 4]}, [Spec((2, 2, 3, 4))]),
        Example({"normalized_shape": 4, "elementwise_affine": False}, [Spec((2, 3, 4))]),
        Example({"normalized_shape": [1, 3]}, [Spec((2, 1, 3))]),
        Example({"normalized_shape": 1, "eps": 0.1}, [Spec((3, 1))]),
        Example({"normalized_shape": 5}, [Spec((0, 5))], "no samples"),
        Example({"normalized_shape": 6}, [Spec((3, 6), low=-1e4, high=1e4)], "extreme"),
    ]
    bad_examples = [*BAD_EXAMPLES, Bad({"normalized_shape": 4, "bias": True}, "unknown key 'bias'")]

    def setup(self, x: Spec) -> Spec:
        top = super().setup(x)
        if self.elementwise_affine:
            self.add_param("weight", self.features, self.weight_filler, decay_mult=0)
        return top

    def epsilon(self) -> float:
        return float(np.finfo(self.dtype).eps) if self.eps is None else self.eps

    def flops(self, bottoms: Any, tops: Any) -> int:
        return 4 * bottoms[0].size
