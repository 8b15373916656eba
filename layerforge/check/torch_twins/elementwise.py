"""Twins of the element-wise layers, of PReLU and of the dropouts.

torch has no scale and shift in pow, exp and log, no base in log, no beta in SiLU, and in float64 its Hardsigmoid and
CELU have a constant in float32: those are their formulas, and autograd's gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .call import Call


def inner(c: Call) -> Tensor:
    """shift + scale x."""
    return c.hyper.get("shift", 0) + c.hyper.get("scale", 1) * c.x[0]


def exponential(c: Call) -> Tensor:
    """base^(shift + scale x)."""
    return torch.pow(c.hyper["base"], inner(c)) if "base" in c.hyper else torch.exp(inner(c))


def logarithm(c: Call) -> Tensor:
    """log(shift + scale x) / log(base)."""
    return torch.log(inner(c)) / math.log(c.hyper.get("base", math.e))


def plain(function: Any) -> Any:
    """The twin that is a function of torch without arguments."""
    return lambda c: function(c.x[0])


def module(kind: Any) -> Any:
    """The twin that is a module of torch with the hyper-parameters as they are."""
    return lambda c: c.through(kind(**c.hyper))


def celu(c: Call) -> Tensor:
    """alpha ELU(x / alpha)."""
    alpha = c.hyper.get("alpha", 1.0)
    return alpha * F.elu(c.x[0] / alpha)


def silu(c: Call) -> Tensor:
    """x sigmoid(beta x)."""
    return c.x[0] * torch.sigmoid(c.hyper["beta"] * c.x[0]) if "beta" in c.hyper else c.through(nn.SiLU())


def relu(c: Call) -> Tensor:
    """torch's ReLU; with a negative slope, its LeakyReLU."""
    return c.through(nn.LeakyReLU(**c.hyper) if c.hyper else nn.ReLU())


def dropout(module: Callable[..., Any], axes: int | None) -> Callable[[Call], Tensor]:
    """The twin of a dropout: its mask counts that many axes of x, None for all.

    torch draws masks of its own, so the mask in training is ours and the rest the formula of its manual.
    """

    def twin(c: Call) -> Tensor:
        if c.phase == "eval":
            return c.through(module(**c.hyper))
        x, p = c.x[0], module(**c.hyper).p
        shape = x.shape[:axes]
        mask = c.uniform(shape).reshape(*shape, *(1,) * (x.ndim - len(shape))) >= p
        return x * mask / (1 - p)

    return twin


SAME_NAME = ("Abs", "Neg", "Sign", "Floor", "Reciprocal", "Square", "Sqrt", "Rsqrt")
SAME_NAME += ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Erf")
TWINS = {
    **{name: plain(getattr(torch, name.lower())) for name in SAME_NAME},
    "Pow": lambda c: torch.pow(inner(c), c.hyper["exponent"]),
    "Exp": exponential,
    "Log": logarithm,
    "ReLU": relu,
    "GLU": lambda c: c.through(nn.GLU(**c.hyper)),
    "Sigmoid": lambda c: c.through(nn.Sigmoid()),
    "Tanh": lambda c: c.through(nn.Tanh()),
    "LeakyReLU": module(nn.LeakyReLU),
    "ReLU6": module(nn.ReLU6),
    "ELU": module(nn.ELU),
    "SELU": module(nn.SELU),
    "CELU": celu,
    "HardSigmoid": lambda c: F.relu6(c.x[0] + 3) / 6,
    "HardSwish": module(nn.Hardswish),
    "Hardtanh": module(nn.Hardtanh),
    "Clamp": lambda c: torch.clamp(c.x[0], **c.hyper),
    "Threshold": module(nn.Threshold),
    "LogSigmoid": module(nn.LogSigmoid),
    "Softplus": module(nn.Softplus),
    "Softsign": module(nn.Softsign),
    "GELU": module(nn.GELU),
    "SiLU": silu,
    "Mish": module(nn.Mish),
    "PReLU": module(nn.PReLU),
    "Dropout": dropout(nn.Dropout, None),
    "Dropout2d": dropout(nn.Dropout2d, 2),
}
