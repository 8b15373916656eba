"""Powers, exponentials and logarithms, with Caffe's scale and shift of x. The table is at the end of the file."""

from __future__ import annotations

import math
from typing import Any

from ...contract.layer import Bad
from ...schema.errors import ConfigError
from ...schema.params import param
from .elementwise import elementwise


def scale_and_shift() -> dict[str, Any]:
    """The hyper-parameters that `inner` reads."""
    return {
        "scale": (float, param(1.0, help="factor of x")),
        "shift": (float, param(0.0, help="added to scale x")),
    }


def inner(self: Any, x: Any) -> Any:
    """u = shift + scale x; x itself where that is the same."""
    return x if self.scale == 1 and self.shift == 0 else self.shift + self.scale * x


def raised(self: Any, dy: Any, x: Any) -> Any:
    """Zero where y does not depend on x, even at u = 0, where the formula would say 0 · ∞."""
    slope = self.exponent * self.scale
    return dy * (slope * inner(self, x) ** (self.exponent - 1)) if slope else self.xp.zeros_like(dy)


def log_of_base(self: Any) -> float:
    """ln base; a base that is not given is e."""
    return 1.0 if self.base is None else math.log(self.base)


def exponential(self: Any, x: Any, y: Any) -> None:
    """baseᵘ; exp is faster and more exact than a power of e's nearest number."""
    if self.base is None:
        self.xp.exp(inner(self, x), out=y)
    else:
        self.xp.power(self.base, inner(self, x), out=y)


def refuse_base_1(self: Any) -> None:
    """No power of 1 is anything but 1."""
    if self.base == 1:
        raise ConfigError("base must not be 1, which has no logarithms", hint="leave it out for the natural logarithm")


# The table. Each entry: name and what it is; f and how to compute it; f' times dy and how to compute it. --------------

Reciprocal = elementwise(
    "Reciprocal", "one divided by x",
    y="1 / x",                                 f=lambda self, x, y: self.xp.divide(1, x, out=y),
    dx="-dy / x² = -dy y²",                    df=lambda self, dy, y: -dy * (y * y),  reads="top",
    domain="not 0",  low=-3.0,  high=-0.3,
    source="compare torch.reciprocal",
)  # fmt: skip

Square = elementwise(
    "Square", "second power",
    y="x²",                                    f=lambda self, x, y: self.xp.multiply(x, x, out=y),
    dx="2 dy x",                               df=lambda self, dy, x: 2 * dy * x,  reads="bottom",
    source="compare torch.square",
)  # fmt: skip

Sqrt = elementwise(
    "Sqrt", "square root",
    y="√x",                                    f=lambda self, x, y: self.xp.sqrt(x, out=y),
    dx="dy / (2 √x) = dy / (2 y)",             df=lambda self, dy, y: dy / (2 * y),  reads="top",
    domain="not negative; at 0 the gradient is infinite",  low=0.1,  high=4.0,
    source="compare torch.sqrt",
)  # fmt: skip

Rsqrt = elementwise(
    "Rsqrt", "one divided by the square root",
    y="1 / √x",                                f=lambda self, x, y: self.xp.divide(1, self.xp.sqrt(x), out=y),
    dx="-dy x^(-3/2) / 2 = -dy y³ / 2",        df=lambda self, dy, y: -0.5 * dy * (y * y * y),  reads="top",
    domain="positive",  low=0.1,  high=4.0,
    source="compare torch.rsqrt",
)  # fmt: skip

Pow = elementwise(
    "Pow", "fixed power of a linear function (Caffe: Power)",
    y="(shift + scale x)^exponent",
    f=lambda self, x, y: self.xp.power(inner(self, x), self.exponent, out=y),
    dx="dy exponent scale (shift + scale x)^(exponent - 1); 0 where exponent or scale is 0",
    df=raised,  reads="bottom",
    params={"exponent": (float, param(help="the power")), **scale_and_shift()},
    tried=(
        {"exponent": 3}, {"exponent": 0.5, "scale": 2.0, "shift": 1.0}, {"exponent": 2, "scale": -1.5, "shift": 0.5},
        {"exponent": -1.5}, {"exponent": 0}, {"exponent": 1}, {"exponent": 2, "scale": 0, "shift": 3},
    ),
    bad=[Bad({}, "exponent is required"), Bad({"exponent": "2"}, "exponent must be a number")],
    domain="positive shift + scale x, unless exponent is whole",  low=0.1,  high=2.0,
    source="compare torch.pow; Caffe calls the exponent power",
)  # fmt: skip

Exp = elementwise(
    "Exp", "exponential function (Caffe: Exp)",
    y="base^(shift + scale x)",                f=exponential,
    dx="dy y scale ln base",
    df=lambda self, dy, y: dy * y * (self.scale * log_of_base(self)),  reads="top",
    params={"base": (float | None, param(None, help="what is raised; null for e", gt=0)), **scale_and_shift()},
    tried=({}, {"base": 2}, {"base": 0.5, "scale": 2.0, "shift": -1.0}, {"scale": -0.5, "shift": 0.3}),
    bad=[Bad({"base": 0}, "base must be > 0"), Bad({"base": -1}, "base must be > 0")],
    low=-4.0,  high=4.0,
    source="compare torch.exp and exp2; Caffe's base -1 is null here",
)  # fmt: skip

Log = elementwise(
    "Log", "logarithm (Caffe: Log)",
    y="ln(shift + scale x) / ln base",
    f=lambda self, x, y: self.xp.divide(self.xp.log(inner(self, x)), log_of_base(self), out=y),
    dx="dy scale / ((shift + scale x) ln base)",
    df=lambda self, dy, x: dy * (self.scale / log_of_base(self)) / inner(self, x),  reads="bottom",
    params={"base": (float | None, param(None, help="of the logarithm; null for e", gt=0)), **scale_and_shift()},
    validate=refuse_base_1,  errors="; ConfigError for base 1, which has no logarithms",
    tried=({}, {"base": 10}, {"base": 0.5, "scale": 2.0, "shift": 1.0}, {"scale": -0.5, "shift": 3.0}),
    bad=[Bad({"base": 1}, "base must not be 1"), Bad({"base": -1}, "base must be > 0")],
    domain="shift + scale x positive",  low=0.1,  high=4.0,
    source="compare torch.log, log2 and log10; Caffe's base -1 is null here",
)  # fmt: skip
