"""Activations: smooth element-wise layers of sigmoid shape or with a gate. The table is at the end of the file."""

from __future__ import annotations

import math
from typing import Any

from ...arrays.blocks import in_blocks
from ...arrays.erf import erf
from ...arrays.formula import formula
from ...arrays.functional import EXP_LIMIT, sigmoid, softplus
from ...contract.layer import Bad
from ...schema.params import param
from .elementwise import elementwise, gated

INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
GELU_SLOPE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715


HUGE = 1e18  # 1 is lost beside it, and its square is within float32
FAR = 120.0  # beyond ±FAR gates are open or shut; arguments of slopes stop there, as ∞ times 0 is not a number


def near(xp: Any, x: Any) -> Any:
    """x, but not beyond ±FAR."""
    return xp.clip(x, -FAR, FAR)


def logistic(xp: Any, u: Any) -> Any:
    """1 / (1 + e⁻ᵘ) as a gate, which is shut where `sigmoid` stops."""
    return xp.where(u < -EXP_LIMIT, 0, sigmoid(xp, u))


def softened(self: Any, x: Any, y: Any) -> None:
    """log(1 + e^u) / beta, without overflow, but x itself where u = beta x is above the threshold."""
    u = self.beta * x
    soft = softplus(self.xp, u)
    soft /= self.beta
    self.xp.copyto(y, self.xp.where(u > self.threshold, x, soft))


def softened_slope(self: Any, dy: Any, x: Any) -> Any:
    """1 above the threshold."""
    u = self.beta * x
    return dy * self.xp.where(u > self.threshold, 1, sigmoid(self.xp, u))


@formula
@in_blocks
def silu(xp: Any, x: Any, beta: float, out: Any = None) -> Any:
    """x σ(beta x)."""
    return gated(xp, x, logistic(xp, beta * x), out=out)


@formula
@in_blocks
def silu_back(xp: Any, dy: Any, x: Any, beta: float, out: Any = None) -> Any:
    """dy (σ + x σ' beta), with σ' = σ (1 - σ)."""
    u = near(xp, beta * x)
    s = logistic(xp, u)
    return xp.multiply(dy, s * (1 + u * (1 - s)), out=out)


def gate(xp: Any, x: Any, approximate: str) -> Any:
    """Φ(x) of GELU, or the tanh that is close to it."""
    x = near(xp, x)
    if approximate == "tanh":
        return 0.5 * (1 + xp.tanh(GELU_SLOPE * (x + GELU_CUBE * (x * x * x))))
    return 0.5 * (1 + erf(xp, math.sqrt(0.5) * x))


def gate_slope(xp: Any, x: Any, phi: Any, approximate: str) -> Any:
    """The derivative of the gate: the normal density, or that of g = (1 + tanh t)/2, which is 2 g (1 - g) t'."""
    if approximate == "tanh":
        return 2 * phi * (1 - phi) * (GELU_SLOPE * (1 + 3 * GELU_CUBE * (x * x)))
    return INV_SQRT_2PI * xp.exp(-0.5 * (x * x))


@formula
@in_blocks
def gelu(xp: Any, x: Any, approximate: str, out: Any = None) -> Any:
    """x Φ(x)."""
    return gated(xp, x, gate(xp, x, approximate), out=out)


@formula
@in_blocks
def gelu_back(xp: Any, dy: Any, x: Any, approximate: str, out: Any = None) -> Any:
    """dy (Φ + x Φ')."""
    x = near(xp, x)
    phi = gate(xp, x, approximate)
    return xp.multiply(dy, phi + x * gate_slope(xp, x, phi, approximate), out=out)


@formula
@in_blocks
def mish(xp: Any, x: Any, out: Any = None) -> Any:
    """x tanh(softplus x)."""
    return gated(xp, x, xp.tanh(softplus(xp, x)), out=out)


@formula
@in_blocks
def mish_back(xp: Any, dy: Any, x: Any, out: Any = None) -> Any:
    """dy (t + x t'), with t = tanh(softplus x) and softplus' = σ."""
    x = near(xp, x)
    t = xp.tanh(softplus(xp, x))
    return xp.multiply(dy, t + x * (1 - t * t) * logistic(xp, x), out=out)


def soft_sign(self: Any, x: Any, y: Any) -> None:
    """x / (1 + |x|), whose numerator stops where 1 is lost beside it: ∞ / ∞ would not be a number."""
    stopped = self.xp.clip(x, -HUGE, HUGE)
    self.xp.divide(stopped, 1 + self.xp.abs(stopped), out=y)


# The table. Each entry: name and what it is; f and how to compute it; f' times dy and how to compute it. --------------

Sigmoid = elementwise(
    "Sigmoid", "logistic function (Caffe: Sigmoid)",
    y="1 / (1 + e⁻ˣ)",                                           f=lambda self, x, y: sigmoid(self.xp, x, out=y),
    dx="dy y (1 - y), as f' = e⁻ˣ / (1 + e⁻ˣ)² = y (1 - y)",     df=lambda self, dy, y: dy * y * (1 - y),  reads="top",
    source="Verhulst 1838; compare torch.nn.Sigmoid",
)  # fmt: skip

LogSigmoid = elementwise(
    "LogSigmoid", "logarithm of the logistic function",
    y="log(1 / (1 + e⁻ˣ)) = -log(1 + e⁻ˣ)",
    f=lambda self, x, y: self.xp.negative(softplus(self.xp, -x), out=y),
    dx="dy / (1 + eˣ) = dy (1 - eʸ)",
    df=lambda self, dy, y: -dy * self.xp.expm1(y),  reads="top",
    source="compare torch.nn.LogSigmoid",
)  # fmt: skip

Softplus = elementwise(
    "Softplus", "smooth rectifier (Caffe: BNLL)",
    y="log(1 + e^(beta x)) / beta; x where beta x > threshold",  f=softened,
    dx="dy / (1 + e^(-beta x)); dy where beta x > threshold",    df=softened_slope,  reads="bottom",
    params={
        "beta": (float, param(1.0, help="the larger, the nearer to ReLU", gt=0)),
        "threshold": (float, param(20.0, help="where beta x is above it, y is x")),
    },
    tried=({}, {"beta": 0.5}, {"beta": 3.0, "threshold": 1.0}),
    bad=[Bad({"beta": 0}, "beta must be > 0")],
    source="Dugas et al. 2000; compare torch.nn.Softplus",
)  # fmt: skip

Softsign = elementwise(
    "Softsign", "sigmoid shape that approaches ±1 slowly",
    y="x / (1 + |x|)",
    f=soft_sign,
    dx="dy / (1 + |x|)²",
    df=lambda self, dy, x: dy / self.xp.square(1 + self.xp.minimum(self.xp.abs(x), HUGE)),  reads="bottom",
    source="Turian, Bergstra & Bengio 2009; compare torch.nn.Softsign",
)  # fmt: skip

Erf = elementwise(
    "Erf", "error function",
    y="(2/√π) ∫₀ˣ exp(-u²) du",                                  f=lambda self, x, y: erf(self.xp, x, out=y),
    dx="dy (2/√π) exp(-x²)",
    df=lambda self, dy, x: dy * (2 / math.sqrt(math.pi) * self.xp.exp(-x * x)),  reads="bottom",
    source="compare torch.erf",
)  # fmt: skip

GELU = elementwise(
    "GELU", "Gaussian error linear unit",
    y="x Φ(x),  Φ(x) = (1 + erf(x/√2)) / 2, or near that (1 + tanh t) / 2 with t = √(2/π) (x + 0.044715 x³)",
    f=lambda self, x, y: gelu(self.xp, x, self.approximate, out=y),
    dx="dy (Φ + x Φ'),  Φ' = exp(-x²/2) / √(2π), or (1 - tanh² t) t' / 2 with\n"
    "          t' = √(2/π) (1 + 3 · 0.044715 x²)",
    df=lambda self, dy, x: gelu_back(self.xp, dy, x, self.approximate),  reads="bottom",
    note="Φ(x) is the probability that a standard normal value is below x.",
    params={"approximate": (str, param("none", help="how to compute Φ", choices=("none", "tanh")))},
    tried=({}, {"approximate": "tanh"}),
    bad=[Bad({"approximate": "erf"}, "must be one of none, tanh")],
    source="Hendrycks & Gimpel 2016; compare torch.nn.GELU",
)  # fmt: skip

SiLU = elementwise(
    "SiLU", "x times its own logistic function (Caffe: Swish)",
    y="x σ(beta x),  σ(u) = 1 / (1 + e⁻ᵘ)",
    f=lambda self, x, y: silu(self.xp, x, self.beta, out=y),
    dx="dy (σ + beta x σ (1 - σ)), as σ' = σ (1 - σ)",
    df=lambda self, dy, x: silu_back(self.xp, dy, x, self.beta),  reads="bottom",
    params={"beta": (float, param(1.0, help="the larger, the nearer to ReLU"))},
    tried=({}, {"beta": 0.5}, {"beta": -1.7}, {"beta": 0.0}),
    bad=[Bad({"beta": "x"}, "beta must be a number")],
    source="Elfwing, Uchibe & Doya 2017, Ramachandran, Zoph & Le 2017; compare torch.nn.SiLU",
)  # fmt: skip

Mish = elementwise(
    "Mish", "x times the hyperbolic tangent of Softplus",
    y="x tanh(log(1 + eˣ))",
    f=lambda self, x, y: mish(self.xp, x, out=y),
    dx="dy (t + x (1 - t²) σ(x)) with t = tanh(log(1 + eˣ)): tanh' = 1 - tanh², and log(1 + eˣ) has the slope\n"
    "          σ(x) = 1 / (1 + e⁻ˣ)",
    df=lambda self, dy, x: mish_back(self.xp, dy, x),  reads="bottom",
    source="Misra 2019; compare torch.nn.Mish",
)  # fmt: skip
