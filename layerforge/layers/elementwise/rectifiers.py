"""Rectifiers: activations made of pieces, most of them straight. The table is at the end of the file.

At a kink they have torch's slope, which is that of one of the two sides.
"""

from __future__ import annotations

import math
from typing import Any

from ...arrays.formula import formula
from ...contract.layer import Bad
from ...schema.errors import ConfigError
from ...schema.params import param
from .elementwise import elementwise, gated

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # the fixed point is mean 0 and variance 1


def rectify(self: Any, x: Any, y: Any) -> None:
    """x above zero and a x below: max(x, a x) for slopes a from 0 to 1, min(x, a x) for larger ones."""
    a = self.negative_slope
    if a < 0:
        self.xp.copyto(y, self.xp.where(x > 0, x, a * x))
    elif a > 1:
        self.xp.minimum(x, a * x, out=y)
    else:
        self.xp.maximum(x, a * x if a else 0, out=y)


@formula
def rectify_back(xp: Any, dy: Any, kept: Any, negative_slope: float) -> Any:
    """By y, which has the sign of x, or is zero for x < 0 when the slope is; of a slope below 0, by x."""
    dx = (kept > 0).astype(dy.dtype)  # a product of masks: choosing by `where` branches at each element and is slower
    if not 0 <= negative_slope <= 1:
        return dy * xp.where(dx, dx, dx.dtype.type(negative_slope))
    if negative_slope:
        dx = xp.maximum(dx, negative_slope)
    dx *= dy
    return dx


def rectified(self: Any, dy: Any, kept: Any) -> Any:
    """With the slope of the layer."""
    return rectify_back(self.xp, dy, kept, self.negative_slope)


def reads_what_tells_the_sign(self: Any) -> None:
    """Below zero a negative slope makes y positive: then x alone says where it was, and y may not overwrite it."""
    if self.negative_slope < 0:
        self.reads, self.backward_reads, self.inplace = "bottom", ("bottom",), False


RECTIFIED = "x where x > 0, otherwise negative_slope x"
ANY_SLOPE = "A negative_slope below 0 makes y positive on both sides: then x is kept, and y does not overwrite it."


def between(self: Any, x: Any, low: float, high: float, out: Any) -> Any:
    """x, but not below low and not above high."""
    return self.xp.minimum(self.xp.maximum(x, low, out=out), high, out=out)


def saturating(self: Any, x: Any, y: Any, alpha: float, scale: float = 1.0, width: float = 1.0) -> None:
    """scale x above zero, scale alpha (e^(x/width) - 1) below; both are 0 on the other side, so they add up.

    expm1 keeps the digits of small values, and never overflows as it sees no positive ones.
    """
    below = self.xp.expm1(self.xp.minimum(x, 0) / width)
    below *= scale * alpha
    self.xp.maximum(x, 0, out=y)
    y *= scale
    y += below


def saturated(self: Any, dy: Any, y: Any, alpha: float, scale: float = 1.0, width: float = 1.0) -> Any:
    """scale above zero; below, where y = scale alpha (e^(x/width) - 1), that derived: (y + scale alpha) / width."""
    return dy * self.xp.where(y > 0, scale, (y + scale * alpha) / width)


def limits(self: Any) -> tuple[float, float]:
    """min and max of Clamp; where one is not given, x goes as far as it likes."""
    return -math.inf if self.min is None else self.min, math.inf if self.max is None else self.max


def check_limits(self: Any) -> None:
    """At least one, and in order."""
    low, high = limits(self)
    if self.min is None and self.max is None:
        raise ConfigError("min or max is required", hint="or both")
    if low > high:
        raise ConfigError(f"min {low:g} is above max {high:g}", hint="swap them")


def inside_limits(self: Any, dy: Any, x: Any) -> Any:
    """The limits themselves belong to the slope."""
    low, high = limits(self)
    return dy * ((x >= low) & (x <= high))


def check_range(self: Any) -> None:
    """A line between the two ends."""
    if not self.min_val < self.max_val:
        raise ConfigError(f"min_val {self.min_val:g} must be below max_val {self.max_val:g}")


def hard_swish_slope(self: Any, dy: Any, x: Any) -> Any:
    """(x (x + 3) / 6)' = x/3 + 1/2 between the ends, where it is not 0 and 1 but -1/2 and 3/2."""
    return dy * self.xp.where((x > -3) & (x < 3), x / 3 + 0.5, x >= 3)


# The table. Each entry: name and what it is; f and how to compute it; f' times dy and how to compute it. --------------

ReLU = elementwise(
    "ReLU", "rectified linear unit, leaky where negative_slope is not 0 (Caffe: ReLU)",
    y=RECTIFIED,                                                 f=rectify,
    dx="dy where x > 0, otherwise negative_slope dy",            df=rectified,  reads="top",
    params={"negative_slope": (float, param(0.0, help="slope for x < 0, any number"))},
    validate=reads_what_tells_the_sign,  note=ANY_SLOPE,
    tried=({}, {"negative_slope": 0.1}, {"negative_slope": 1.0}, {"negative_slope": -0.5}, {"negative_slope": 2.5}),
    bad=[Bad({"negative_slope": "steep"}, "must be a number"), Bad({"alpha": 0.1}, "did you mean 'negative_slope'?")],
    source="Nair & Hinton 2010, Maas et al. 2013; compare torch.nn.ReLU and LeakyReLU",
)  # fmt: skip

LeakyReLU = elementwise(
    "LeakyReLU", "rectified linear unit that lets a little through below zero (Caffe: ReLU)",
    y=RECTIFIED,                                                 f=rectify,
    dx="dy where x > 0, otherwise negative_slope dy",            df=rectified,  reads="top",
    params={"negative_slope": (float, param(0.01, help="slope for x < 0, any number"))},
    validate=reads_what_tells_the_sign,  note=ANY_SLOPE,
    tried=({}, {"negative_slope": 0.3}, {"negative_slope": 0.0}),
    bad=[Bad({"negative_slope": [0.1]}, "must be a number"), Bad({"alpha": 0.1}, "did you mean 'negative_slope'?")],
    source="Maas et al. 2013; compare torch.nn.LeakyReLU",
)  # fmt: skip

ReLU6 = elementwise(
    "ReLU6", "rectified linear unit that ends at 6",
    y="min(max(x, 0), 6)",                                       f=lambda self, x, y: between(self, x, 0, 6, y),
    dx="dy where 0 < x < 6, otherwise 0",
    df=lambda self, dy, y: dy * ((y > 0) & (y < 6)),  reads="top",
    source="Krizhevsky 2010; compare torch.nn.ReLU6",
)  # fmt: skip

ELU = elementwise(
    "ELU", "exponential linear unit (Caffe: ELU)",
    y="x where x > 0, otherwise alpha (eˣ - 1)",
    f=lambda self, x, y: saturating(self, x, y, self.alpha),
    dx="dy where x > 0, otherwise dy alpha eˣ = dy (y + alpha)",
    df=lambda self, dy, y: saturated(self, dy, y, self.alpha),  reads="top",
    params={"alpha": (float, param(1.0, help="-y for x far below 0", ge=0))},
    tried=({}, {"alpha": 0.3}, {"alpha": 2.5}, {"alpha": 0.0}),
    bad=[Bad({"alpha": -1.0}, "alpha must be >= 0")],
    source="Clevert, Unterthiner & Hochreiter 2015; compare torch.nn.ELU",
)  # fmt: skip

SELU = elementwise(
    "SELU", "scaled exponential linear unit, which pulls mean and variance to 0 and 1",
    y="λ x where x > 0, otherwise λ α (eˣ - 1),  with α = 1.67326..., λ = 1.05070...",
    f=lambda self, x, y: saturating(self, x, y, SELU_ALPHA, SELU_SCALE),
    dx="λ dy where x > 0, otherwise dy λ α eˣ = dy (y + λ α)",
    df=lambda self, dy, y: saturated(self, dy, y, SELU_ALPHA, SELU_SCALE),  reads="top",
    note="Mean 0 and variance 1 are a fixed point where the weights of the layer below have mean 0 and variance 1/D,\n"
    "    for D features in (`weight_filler: xavier`), not the 2/D that suits a ReLU.",
    source="Klambauer et al. 2017; compare torch.nn.SELU",
)  # fmt: skip

CELU = elementwise(
    "CELU", "continuously differentiable exponential linear unit",
    y="x where x > 0, otherwise alpha (e^(x / alpha) - 1)",
    f=lambda self, x, y: saturating(self, x, y, self.alpha, width=self.alpha),
    dx="dy where x > 0, otherwise dy e^(x / alpha) = dy (y + alpha) / alpha",
    df=lambda self, dy, y: saturated(self, dy, y, self.alpha, width=self.alpha),  reads="top",
    params={"alpha": (float, param(1.0, help="-y for x far below 0", gt=0))},
    tried=({}, {"alpha": 0.3}, {"alpha": 2.5}),
    bad=[Bad({"alpha": 0}, "alpha must be > 0")],
    source="Barron 2017; compare torch.nn.CELU",
)  # fmt: skip

HardSigmoid = elementwise(
    "HardSigmoid", "logistic function in three straight pieces",
    y="min(max(x + 3, 0), 6) / 6",
    f=lambda self, x, y: self.xp.divide(between(self, x + 3, 0, 6, y), 6, out=y),
    dx="dy / 6 where -3 < x < 3, otherwise 0",
    df=lambda self, dy, y: dy * ((y > 0) & (y < 1)) / 6,  reads="top",
    source="Howard et al. 2019; compare torch.nn.Hardsigmoid",
)  # fmt: skip

HardSwish = elementwise(
    "HardSwish", "x times HardSigmoid",
    y="x min(max(x + 3, 0), 6) / 6",
    f=lambda self, x, y: gated(self.xp, x, between(self, x + 3, 0, 6, None) / 6, out=y),
    dx="dy (x/3 + 1/2) where -3 < x < 3, the slope of x (x + 3) / 6; dy where x ≥ 3; 0 where x ≤ -3",
    df=hard_swish_slope,  reads="bottom",
    source="Howard et al. 2019; compare torch.nn.Hardswish",
)  # fmt: skip

Hardtanh = elementwise(
    "Hardtanh", "hyperbolic tangent in three straight pieces",
    y="min(max(x, min_val), max_val)",
    f=lambda self, x, y: between(self, x, self.min_val, self.max_val, y),
    dx="dy where min_val < x < max_val, otherwise 0; Clamp counts both ends",
    df=lambda self, dy, y: dy * ((y > self.min_val) & (y < self.max_val)),  reads="top",
    params={
        "min_val": (float, param(-1.0, help="the smallest y")),
        "max_val": (float, param(1.0, help="the largest y")),
    },
    validate=check_range,  errors="; ConfigError unless min_val < max_val",
    tried=({}, {"min_val": -0.5, "max_val": 2.0}),
    bad=[Bad({"min_val": 1.0}, "min_val 1 must be below max_val 1")],
    source="Collobert 2004; compare torch.nn.Hardtanh",
)  # fmt: skip

Clamp = elementwise(
    "Clamp", "x kept between two limits (Caffe: Clip)",
    y="min(max(x, min), max)",
    f=lambda self, x, y: between(self, x, *limits(self), y),
    dx="dy where min ≤ x ≤ max, otherwise 0; Hardtanh does not count the ends",
    df=inside_limits,  reads="bottom",
    params={
        "min": (float | None, param(None, help="the smallest y; null for none")),
        "max": (float | None, param(None, help="the largest y; null for none")),
    },
    validate=check_limits,  errors="; ConfigError without min and max, or with min above max",
    tried=({"min": -0.5, "max": 1.0}, {"min": 0.5}, {"max": 0.5}),
    bad=[Bad({}, "min or max is required"), Bad({"min": 2, "max": 1}, "min 2 is above max 1")],
    source="compare torch.clamp",
)  # fmt: skip

Threshold = elementwise(
    "Threshold", "x above a threshold, a constant below",
    y="x where x > threshold, otherwise value",
    f=lambda self, x, y: self.xp.copyto(y, self.xp.where(x <= self.threshold, self.value, x)),
    dx="dy where x > threshold, otherwise 0",
    df=lambda self, dy, x: dy * ~(x <= self.threshold),  reads="bottom",
    note="Caffe's Threshold is another function, without a gradient: 1 where x > threshold, otherwise 0.",
    params={
        "threshold": (float, param(help="where x begins to count")),
        "value": (float, param(help="y for all other x")),
    },
    tried=({"threshold": 0.1, "value": 20.0}, {"threshold": -1, "value": -1}),
    bad=[Bad({"threshold": 0.0}, "value is required"), Bad({"value": 0.0}, "threshold is required")],
    source="compare torch.nn.Threshold",
)  # fmt: skip
