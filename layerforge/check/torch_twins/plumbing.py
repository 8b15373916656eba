"""Twins of the layers that give, pass on, silence or take away. An Input has none: its top is what it is given."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .call import Call


def constant(c: Call) -> Tensor:
    """torch's full for a number, its tensor for a list."""
    value, shape = c.hyper["value"], c.hyper.get("shape")
    if isinstance(value, list):
        return torch.tensor(value, dtype=torch.get_default_dtype()).reshape(shape or [-1])
    return torch.full(shape or (), float(value))


def random(c: Call) -> Tensor:
    """The uniform numbers are ours; a normal one is the real part of a complex number of random phase."""
    h = {"distribution": "uniform", "low": 0.0, "high": 1.0, "mean": 0.0, "std": 1.0, "shape": None, **c.hyper}
    samples = c.x[0].shape[:1] if c.x else ()
    shape = c.x[0].shape if h["shape"] is None else (*samples, *h["shape"])
    u = c.uniform(shape).to(torch.get_default_dtype())
    if h["distribution"] == "uniform":
        return torch.lerp(torch.full_like(u, h["low"]), torch.full_like(u, h["high"]), u)
    v = c.uniform(shape, draw=1).to(torch.get_default_dtype())
    return h["mean"] + h["std"] * torch.polar((-2 * torch.log1p(-u)).sqrt(), 2 * math.pi * v).real


def cast(c: Call) -> Tensor:
    """torch cuts off what is behind the point, too."""
    return c.x[0].to(torch.int64 if c.hyper["role"] == "index" else torch.get_default_dtype())


TWINS = {
    "Parameter": lambda c: c.own["weight"].clone(),
    "Constant": constant,
    "Random": random,
    "Identity": lambda c: c.through(nn.Identity()),
    "Cast": cast,
    "Detach": lambda c: c.x[0].detach(),
    "Silence": lambda c: (),
}
