"""Twins of layers that combine blobs element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from .call import Call


def add(c: Call) -> Tensor:
    """The sum of coeff[i] x[i]."""
    factors = c.hyper.get("coeff", [1] * len(c.x))
    return reduce(torch.add, (factor * x for factor, x in zip(factors, c.x, strict=True)))


def extremum(pair: Callable[..., Tensor], several: Callable[..., Tensor]) -> Callable[[Call], Tensor]:
    """torch's extremum of two blobs, or of a stack of more. Caffe's choice is written out: a > b ? a : b, from b on."""

    def twin(c: Call) -> Tensor:
        xs = torch.broadcast_tensors(*c.x)
        if c.hyper.get("ties") == "caffe":
            better = torch.gt if pair is torch.maximum else torch.lt
            return reduce(
                lambda best, x: torch.where(better(x, best), x, best), xs[2:], torch.where(better(*xs[:2]), *xs[:2])
            )
        return pair(*xs) if len(xs) == 2 else several(torch.stack(xs), dim=0)

    return twin


TWINS = {
    "Add": add,
    "Sub": lambda c: torch.sub(*c.x),
    "Mul": lambda c: reduce(torch.mul, c.x),
    "Div": lambda c: torch.div(*c.x),
    "Where": lambda c: torch.where(c.x[0] != 0, c.x[1], c.x[2]),
    "PowBinary": lambda c: torch.pow(*c.x),
    "Maximum": extremum(torch.maximum, torch.amax),
    "Minimum": extremum(torch.minimum, torch.amin),
}
