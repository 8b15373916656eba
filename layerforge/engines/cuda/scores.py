"""Softmax, its logarithm and what is made of them: a launch for each reduction along the classes, one for the rest."""

from __future__ import annotations

from typing import Any

from .kernel import Elementwise, Reduction, given, of_reals, stands_in
from .sums import SUM

SUM_EXP = Reduction("sum_exp", "T x, T most", "T y", "(double)exp(x - most)")
LOG_SUM_EXP = Reduction("log_sum_exp", "T x, T most", "T y", "(double)exp(x - most)", after="y = log(a)")
SOFTMAX = Elementwise("softmax", "T x, T most, T total", "T y", "y = exp(x - most) / total")
LOG_SOFTMAX = Elementwise("log_softmax", "T x, T most, T log_total", "T y", "y = (x - most) - log_total")

CROSS_ENTROPY = Reduction(
    "cross_entropy", "T log_p, T a_", "T y", "(double)(a_ * (a_ == T(0) ? T(0) : log_p))", after="y = -(T)a"
)
SLOPE = Elementwise(
    "cross_entropy_slope", "T log_p, T a, T total", "T dx", "dx = exp(log_p) * (total - a) + a * expm1(log_p)"
)

WEIGHTED = Reduction("weighted", "T d, T weights", "T y", "(double)(d * weights)")
SOFTMAX_BACK = Elementwise(
    "softmax_back", "T d, T weights, T total, float64 scale", "T dx", "dx = weights * (d - total) * T(scale)"
)


@stands_in
@of_reals
def log_softmax(xp: Any, x: Any, dim: int, out: Any = None) -> Any:
    """In three launches."""
    most = x.max(axis=dim, keepdims=True)
    return LOG_SOFTMAX(xp, x, most, LOG_SUM_EXP(xp, x, most, axis=dim, keepdims=True), *given(out))


@stands_in
@of_reals
def softmax(xp: Any, x: Any, dim: int, out: Any = None) -> Any:
    """In three launches."""
    most = x.max(axis=dim, keepdims=True)
    return SOFTMAX(xp, x, most, SUM_EXP(xp, x, most, axis=dim, keepdims=True), *given(out))


@stands_in
@of_reals
def cross_entropy(xp: Any, log_p: Any, a: Any) -> Any:
    """In one launch."""
    return CROSS_ENTROPY(xp, log_p, a, axis=1)


@stands_in
@of_reals
def cross_entropy_slope(xp: Any, log_p: Any, a: Any) -> Any:
    """In two launches."""
    return SLOPE(xp, log_p, a, SUM(xp, a, axis=1, keepdims=True))


@stands_in
@of_reals
def softmax_back(xp: Any, weights: Any, dweights: Any, scale: float) -> Any:
    """In two launches."""
    return SOFTMAX_BACK(xp, dweights, weights, WEIGHTED(xp, dweights, weights, axis=-1, keepdims=True), scale)
