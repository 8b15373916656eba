"""Reductions: sums, means, products, spreads, norms. The table is at the end of the file; reduction.py is the base."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.functional import exact_sum, mean_of, sum_of
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import param
from .reduction import Reduction, evenly, reduction, size_along


class Spread(Reduction):
    """Base of Var and Std."""

    def least(self) -> int:
        return self.correction + 1

    def variance(self, x: Any, axes: tuple[int, ...]) -> Any:
        """Σ (x - mean)² / (n - correction). In two passes: the mean of squares less the squared mean would cancel."""
        d = self.deviation(x, axes)
        return sum_of(d * d, axes, keepdims=True) / self.degrees(x, axes)

    def deviation(self, x: Any, axes: tuple[int, ...]) -> Any:
        """x - mean x."""
        return x - mean_of(x, axes, keepdims=True)

    def degrees(self, x: Any, axes: tuple[int, ...]) -> int:
        """n - correction, the degrees of freedom."""
        return size_along(x, axes) - self.correction


def product_of_others(xp: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """For each number the product of all others of its slice: of those before it times of those behind it.

    Dividing the product of all by the number would fail at zero.
    """
    last = tuple(range(x.ndim - len(axes), x.ndim))
    moved = xp.moveaxis(x, axes, last)
    flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], size_along(x, axes))
    first = xp.ones_like(flat[..., :1])
    before = xp.concatenate([first, flat[..., :-1]], axis=-1).cumprod(axis=-1)
    behind = xp.flip(xp.concatenate([first, xp.flip(flat, -1)[..., :-1]], axis=-1).cumprod(axis=-1), -1)
    return xp.moveaxis((before * behind).reshape(moved.shape), last, axes)


def log_sum_exp(self: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """log Σ exp x = m + log Σ exp(x - m), with m the largest, so that exp never overflows. Infinities pass through."""
    xp, m = self.xp, x.max(axis=axes, keepdims=True)
    s = exact_sum(xp.exp(x - xp.where(xp.isfinite(m), m, 0)), axes, keepdims=True)
    return (xp.log(s + (s == 0)) + m).astype(x.dtype)  # before it is rounded: s may be hardly more than 1


def norm(self: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """(Σ |x|ᵖ)^(1/p) = m (Σ |x/m|ᵖ)^(1/p), with m the largest |x|, so that no power overflows."""
    xp, size = self.xp, self.xp.abs(x)
    m = size.max(axis=axes, keepdims=True)
    if self.p == math.inf:
        return m
    m = xp.where(xp.isfinite(m) & (m > 0), m, 1)
    return m * sum_of((size / m) ** self.p, axes, keepdims=True) ** (1 / self.p)


def norm_slope(self: Any, x: Any, y: Any, axes: tuple[int, ...]) -> Any:
    """sign(x) (|x| / y)^(p - 1); sign(0) = 0 makes it 0 at x = 0, whatever stands in for the power there."""
    xp, size = self.xp, self.xp.abs(x)
    if self.p == math.inf:
        return xp.sign(x) * evenly(~(size < y), axes, x.dtype)
    ratio = size / (y + (y == 0))
    return xp.sign(x) * (ratio + (ratio == 0)) ** (self.p - 1)


def often_nothing(rng: Any, shape: tuple[int, ...]) -> Any:
    """Numbers, among them -inf, and some slices of -inf only."""
    return np.where(often_zero(rng, shape) == 0, -math.inf, rng.normal(size=shape))


def often_zero(rng: Any, shape: tuple[int, ...]) -> Any:
    """Zeros and numbers of size 1, and some slices of zeros only."""
    return rng.integers(-1, 2, shape) * (rng.random((shape[0], *[1] * (len(shape) - 1))) < 0.6)


SPREAD: dict[str, Any] = {
    "base": Spread,
    "params": {"correction": (int, param(1, help="numbers fewer than n that the sum is divided by; 0: n", ge=0))},
    "one": {"correction": 0},
    "tried": [Example({"correction": c, "dim": [0, 1]}, [Spec((3, 2, 2))]) for c in (0, 3)],
    "bad": [
        Bad({"dim": 1}, "of 1 number(s) is not defined", [Spec((3, 1))]),
        Bad({"unbiased": False}, "did you mean 'correction'?"),
    ],
    "errors": ", when a slice has no more than correction numbers",
}

# The table. Each entry: name and what it is; y and how to compute it; dx and its g = dx / dy. -------------------------

Sum = reduction(
    "Sum", "sum (Caffe: Reduction, operation SUM)",
    y="Σ x",                    value=lambda self, x, axes: sum_of(x, axes, keepdims=True),
    dx="dx = dy",               slope=lambda self, x, y, axes: 1,
    empty=True,  is_sum=True,   source="compare torch.sum",
)  # fmt: skip

Mean = reduction(
    "Mean", "mean (Caffe: Reduction, operation MEAN)",
    y="1/n Σ x",                value=lambda self, x, axes: mean_of(x, axes, keepdims=True),
    dx="dx = dy / n",           slope=lambda self, x, y, axes: 1 / size_along(self.saved, axes),
    source="compare torch.mean",
)  # fmt: skip

SumSquare = reduction(
    "SumSquare", "sum of squares (Caffe: Reduction, operation SUMSQ)",
    y="Σ x²",                   value=lambda self, x, axes: sum_of(x * x, axes, keepdims=True),
    dx="dx = 2 x dy",           slope=lambda self, x, y, axes: 2 * x,  reads=("bottom",),
    empty=True,  is_sum=True,   source="compare torch.sum of torch.square",
)  # fmt: skip

AbsSum = reduction(
    "AbsSum", "sum of absolute values (Caffe: Reduction, operation ASUM)",
    y="Σ |x|",                  value=lambda self, x, axes: sum_of(self.xp.abs(x), axes, keepdims=True),
    dx="dx = sign(x) dy, 0 at x = 0",  slope=lambda self, x, y, axes: self.xp.sign(x),  reads=("bottom",),
    empty=True,  is_sum=True,   source="compare torch.sum of torch.abs",
)  # fmt: skip

Prod = reduction(
    "Prod", "product",
    y="Π x",                    value=lambda self, x, axes: x.prod(axis=axes, keepdims=True),
    dx="dxᵢ = dy Πⱼ xⱼ over all j ≠ i of the slice: right at zeros too, where y / xᵢ is not",
    slope=lambda self, x, y, axes: product_of_others(self.xp, x, axes),  reads=("bottom",),
    empty=True,                 source="compare torch.prod",
)  # fmt: skip

Var = reduction(
    "Var", "variance",
    y="1/(n - correction) Σ (x - mean x)²",   value=Spread.variance,
    dx="dx = 2 dy (x - mean x) / (n - correction), as mean x moves y by Σ (x - mean x) = 0",
    slope=lambda self, x, y, axes: self.deviation(x, axes) * (2 / self.degrees(x, axes)),  reads=("bottom",),
    source="Bessel 1818; compare torch.var",  **SPREAD,
)  # fmt: skip

Std = reduction(
    "Std", "standard deviation",
    y="√(1/(n - correction) Σ (x - mean x)²)",
    value=lambda self, x, axes: self.xp.sqrt(self.variance(x, axes)),
    dx="dx = dy (x - mean x) / ((n - correction) y), 0 where y is: half of Var's over y",
    slope=lambda self, x, y, axes: self.deviation(x, axes) / (self.degrees(x, axes) * (y + (y == 0))),
    reads=("bottom", "top"),    source="compare torch.std",  **SPREAD,
)  # fmt: skip

Norm = reduction(
    "Norm", "norm of order p",
    y="(Σ |x|ᵖ)^(1/p), max |x| for p = .inf",  value=norm,
    dx="dx = dy sign(x) (|x| / y)^(p - 1), 0 at x = 0; for p = .inf dy sign(x) / k at the k largest |x|",
    slope=norm_slope,           reads=("bottom", "top"),
    params={"p": (float, param(2.0, help="order of the norm; .inf is the largest absolute value", gt=0))},
    tried=[Example({"p": p, "dim": 1}, [Spec((3, 5))]) for p in (1.0, 0.5, 3.0, math.inf)]
    + [Example({"p": p, "dim": 1}, [Spec((6, 3), draw=often_zero)], "zeros") for p in (2.0, 1.0, 0.5, math.inf)]
    + [Example({"p": p}, [Spec((3, 5), low=-1e4, high=1e4)], "extreme") for p in (2.0, 12.0)],
    bad=[Bad({"p": 0}, "p must be > 0"), Bad({"p": "fro"}, "p must be a number")],
    source="compare torch.linalg.vector_norm",
)  # fmt: skip

LogSumExp = reduction(
    "LogSumExp", "logarithm of a sum of exponentials, a smooth maximum",
    y="log Σ exp x",            value=log_sum_exp,
    dx="dx = dy exp(x - y), the softmax of the slice",
    slope=lambda self, x, y, axes: self.xp.exp(x - self.xp.where(y > -math.inf, y, 0)),  reads=("bottom", "top"),
    tried=[
        Example({"dim": 1}, [Spec((3, 5), low=-1e4, high=1e4)], "extreme"),
        Example({"dim": 1}, [Spec((6, 3), draw=often_nothing)], "logarithms of zero, and slices of nothing else"),
    ],
    source="compare torch.logsumexp",
)  # fmt: skip
