"""LogSumExp: a smooth maximum along axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.functional import exact_sum
from ...arrays.spec import Spec
from ...contract.layer import Example
from .norm import often_zero
from .reduction import reduction


def log_sum_exp(self: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """log Σ exp x = top + log Σ exp(x - top), top the largest x: exp never overflows. Infinities pass through."""
    xp, top = self.xp, x.max(axis=axes, keepdims=True)
    s = exact_sum(xp.exp(x - xp.where(xp.isfinite(top), top, 0)), axes, keepdims=True)
    return (xp.log(s + (s == 0)) + top).astype(x.dtype)  # before it is rounded: s may be hardly more than 1


def often_nothing(rng: Any, shape: tuple[int, ...]) -> Any:
    """Numbers, among them -inf, and some slices of -inf only."""
    return np.where(often_zero(rng, shape) == 0, -math.inf, rng.normal(size=shape))


LogSumExp = reduction(
    "LogSumExp", "logarithm of a sum of exponentials, a smooth maximum",
    y="log Σ exp x",            value=log_sum_exp,
    dx="dx = dy exp(x - y), as ∂y/∂xᵢ = exp xᵢ / Σⱼ exp xⱼ: the softmax of the slice",
    slope=lambda self, x, y, axes: self.xp.exp(x - self.xp.where(y > -math.inf, y, 0)),  reads=("bottom", "top"),
    tried=[
        Example({"dim": 1}, [Spec((3, 5), low=-1e4, high=1e4)], "extreme"),
        Example({"dim": 1}, [Spec((6, 3), draw=often_nothing)], "logarithms of zero, and slices of nothing else"),
    ],
    source="compare torch.logsumexp",
)  # fmt: skip
