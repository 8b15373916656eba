"""Norm: norms of any order along axes."""

from __future__ import annotations

import math
from typing import Any

from ...arrays.functional import sum_of
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import param
from .reduction import evenly, reduction


def norm(self: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """(Σ |x|ᵖ)^(1/p) = top (Σ |x/top|ᵖ)^(1/p), with top the largest |x|, so that no power overflows."""
    xp, size = self.xp, self.xp.abs(x)
    top = size.max(axis=axes, keepdims=True)
    if self.p == math.inf:
        return top
    top = xp.where(xp.isfinite(top) & (top > 0), top, 1)
    return top * sum_of((size / top) ** self.p, axes, keepdims=True) ** (1 / self.p)


def norm_slope(self: Any, x: Any, y: Any, axes: tuple[int, ...]) -> Any:
    """sign(x) (|x| / y)^(p - 1); sign(0) = 0 makes it 0 at x = 0, whatever stands in for the power there."""
    xp, size = self.xp, self.xp.abs(x)
    if self.p == math.inf:
        return xp.sign(x) * evenly(~(size < y), axes, x.dtype)
    ratio = size / (y + (y == 0))
    return xp.sign(x) * (ratio + (ratio == 0)) ** (self.p - 1)


def often_zero(rng: Any, shape: tuple[int, ...]) -> Any:
    """Zeros and values of size 1, and some slices of zeros only."""
    return rng.integers(-1, 2, shape) * (rng.random((shape[0], *[1] * (len(shape) - 1))) < 0.6)


Norm = reduction(
    "Norm", "norm of order p",
    y="(Σ |x|ᵖ)^(1/p), max |x| for p = .inf",  value=norm,
    dx="dx = dy sign(x) (|x| / y)^(p - 1), 0 at x = 0: from yᵖ = Σ |x|ᵖ, p yᵖ⁻¹ ∂y/∂xᵢ = p |xᵢ|ᵖ⁻¹ sign xᵢ.\n"
    "          For p = .inf dy sign(x) / k at the k elements with the largest |x|",
    slope=norm_slope,           reads=("bottom", "top"),
    params={"p": (float, param(2.0, help="order of the norm; .inf is the largest absolute value", gt=0))},
    tried=[Example({"p": p, "dim": 1}, [Spec((3, 5))]) for p in (1.0, 0.5, 3.0, math.inf)]
    + [Example({"p": p, "dim": 1}, [Spec((6, 3), draw=often_zero)], "zeros") for p in (2.0, 1.0, 0.5, math.inf)]
    + [Example({"p": p}, [Spec((3, 5), low=-1e4, high=1e4)], "extreme") for p in (2.0, 12.0)],
    bad=[Bad({"p": 0}, "p must be > 0"), Bad({"p": "fro"}, "p must be a number")],
    source="compare torch.linalg.vector_norm",
)  # fmt: skip
