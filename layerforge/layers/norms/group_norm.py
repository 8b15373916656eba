"""GroupNorm and InstanceNorm: normalisation of a sample's channels, some together or each alone."""

from __future__ import annotations

import math
from typing import Any

from ...arrays.functional import expect_role, shape_mismatch
from ...arrays.spec import Spec
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .standardize import Standardized, per_channel


class OfChannels(Standardized):
    """Base of GroupNorm and InstanceNorm: weight and bias belong to channels."""

    affine: bool

    def spread(self, vector: Any, ndim: int) -> Any:
        return per_channel(vector, ndim)

    def add_affine(self, channels: int) -> None:
        """Declare weight and bias where they are to be learned."""
        if self.affine:
            self.add_param("weight", (channels,), self.weight_filler, decay_mult=0)
            self.add_param("bias", (channels,), self.bias_filler, decay_mult=0)


@register
class GroupNorm(OfChannels):
    """GroupNorm: normalisation of each sample over groups of channels

        x̂ = (x - μ) / σ,   σ = √(var + eps)      μ and var over the m values of a group
        y = weight x̂ + bias                      weight and bias of each channel

    A group is C/num_groups channels of a sample, at all positions. num_groups 1 normalises a sample as a whole,
    num_groups C is InstanceNorm. Nothing depends on the batch, so small batches do no harm, and train and eval are the
    same. Neither weight nor bias decays.

    Shapes    x (N, C, ...) real, y the same; weight, bias (C,)
    Backward  With g = weight dy, the gradient of x̂, and sums over a group's m values, as derived for BatchNorm:
                  dx = (g - Σ g / m - x̂ Σ g x̂ / m) / σ
              weight differs within a group, so it stays inside the sums. Per channel, over samples and positions:
              dweight = Σ dy x̂, dbias = Σ dy
    Keeps     x̂ and 1/σ, so y may overwrite x
    Cost      about 7 operations per element forward, 9 backward
    Errors    LayerError when num_groups does not divide the channels, or there are no positions
    Source    Wu & He 2018; compare torch.nn.GroupNorm
    """

    num_groups: int = param(help="groups that the channels are cut into, in order", ge=1)
    eps: float = param(1e-5, help="added to the variance", gt=0)
    affine: bool = param(True, help="learn weight and bias")
    weight_filler: Filler = param({"type": "constant", "value": 1.0}, help="start values of weight")
    bias_filler: Filler = param("constant", help="start values of bias")

    examples = [
        Example({"num_groups": 2}, [Spec((3, 4, 2, 3))]),
        Example({"num_groups": 1, "eps": 1e-3}, [Spec((2, 3, 5))], "the whole sample"),
        Example({"num_groups": 3}, [Spec((2, 3, 2, 3))], "each channel"),
        Example({"num_groups": 2}, [Spec((3, 6))], "no positions axis"),
        Example({"num_groups": 2, "affine": False}, [Spec((2, 4, 2, 1, 3))]),
        Example({"num_groups": 3}, [Spec((2, 3))], "one number has no variance: y is bias"),
        Example({"num_groups": 1}, [Spec((1, 1, 1, 4))]),
        Example({"num_groups": 2}, [Spec((0, 4, 3))], "no samples"),
        Example({"num_groups": 2}, [Spec((2, 4, 3), low=1000, high=1001)], "the mean is far larger than the spread"),
    ]
    bad_examples = [
        Bad({}, "num_groups is required"),
        Bad({"num_groups": 0}, "must be >= 1"),
        Bad({"num_groups": 2}, "2 groups do not divide 3 channels", [Spec((2, 3, 4))]),
        Bad({"num_groups": 1}, "at least 2 axes", [Spec((4,))]),
        Bad({"num_groups": 1}, "no numbers to normalise", [Spec((2, 3, 0))]),
        Bad({"num_groups": 1, "num_channels": 3}, "unknown key 'num_channels'"),
        Bad({"num_groups": 1}, "must be real numbers", [Spec((3, 2), role="index")]),
    ]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        if x.ndim < 2:
            raise shape_mismatch("the bottom", x.shape, "at least 2 axes: samples and channels")
        channels = x.shape[1]
        if channels % self.num_groups:
            raise LayerError(
                f"{self.num_groups} groups do not divide {channels} channels", hint="num_groups must be a divisor"
            )
        if 0 in x.shape[1:]:
            raise LayerError(f"the bottom has shape {x.shape}: no numbers to normalise")
        self.add_affine(channels)
        return x

    def sets(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        samples, channels, *positions = shape
        split = (samples, self.num_groups, channels // self.num_groups, *positions)
        return split, tuple(range(2, len(split)))

    def spread_in_sets(self, vector: Any, ndim: int) -> Any:
        return vector.reshape(self.num_groups, -1, *(1,) * (ndim - 2))


@register
class InstanceNorm(OfChannels):
    """InstanceNorm: normalisation of each channel of each sample over its positions

        x̂ = (x - μ) / σ,   σ = √(var + eps)      μ and var over the m positions of a channel
        y = weight x̂ + bias                      weight and bias of each channel, with affine: true

    Takes contrast and brightness out of each picture separately; made for style transfer. Train and eval are the same.
    Neither weight nor bias decays.

    Shapes    x (N, C, d1) to (N, C, d1, d2, d3), real; y the same; weight, bias (C,)
    Backward  With g = weight dy, the gradient of x̂, and sums over a channel's m positions, as derived for BatchNorm:
                  dx = (g - Σ g / m - x̂ Σ g x̂ / m) / σ
              and per channel, over samples and positions: dweight = Σ dy x̂,   dbias = Σ dy
    Keeps     x̂ and 1/σ, so y may overwrite x
    Cost      about 7 operations per element forward, 8 backward
    Errors    LayerError with fewer than two positions, which have no variance
    Source    Ulyanov, Vedaldi & Lempitsky 2016; compare torch.nn.InstanceNorm2d, also without affine by default
    """

    eps: float = param(1e-5, help="added to the variance", gt=0)
    affine: bool = param(False, help="learn weight and bias")
    weight_filler: Filler = param({"type": "constant", "value": 1.0}, help="start values of weight")
    bias_filler: Filler = param("constant", help="start values of bias")

    examples = [
        Example({}, [Spec((2, 3, 5))]),
        Example({"affine": True}, [Spec((2, 3, 4, 3))]),
        Example({"affine": True, "eps": 1e-3}, [Spec((2, 2, 3, 1, 3))]),
        Example({}, [Spec((1, 1, 1, 2))]),
        Example({"affine": True}, [Spec((0, 3, 4))], "no samples"),
        Example({"affine": True}, [Spec((2, 3, 6), low=1000, high=1001)], "the mean is far larger than the spread"),
    ]
    bad_examples = [
        Bad({}, "3 to 5 axes", [Spec((3, 4))]),
        Bad({}, "3 to 5 axes", [Spec((1, 2, 3, 4, 5, 6))]),
        Bad({}, "at least two positions", [Spec((3, 4, 1, 1))]),
        Bad({"eps": 0}, "must be > 0"),
        Bad({"num_features": 3}, "unknown key 'num_features'"),
        Bad({}, "must be real numbers", [Spec((3, 2, 4), role="index")]),
    ]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        if not 3 <= x.ndim <= 5:
            raise shape_mismatch("the bottom", x.shape, "3 to 5 axes: samples, channels, positions")
        if math.prod(x.shape[2:]) < 2:
            raise shape_mismatch("the bottom", x.shape, "at least two positions: one has no variance")
        self.add_affine(x.shape[1])
        return x

    def sets(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return shape, tuple(range(2, len(shape)))
