"""Normalisations: layers/norms/standardize.py. Sums are made in float64, so that a mean needs no value near it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from .kernel import Elementwise, Reduction, alike, given, stands_in

MEAN = Reduction("exact_mean", "T x, float64 share", "float64 y", "(double)x * share")
SQUARES = "((double)x - mean) * ((double)x - mean)"  # mean: of the set that x is in
VARIANCE = Reduction("variance", "T x, float64 mean, float64 share", "float64 y", SQUARES, after="y = a * share")
INVERSE_STD = Reduction(
    "inverse_std",
    "T x, float64 mean, float64 share, float64 eps",
    "T y",
    SQUARES,
    after="y = 1 / sqrt(a * share + eps)",
)
FOLLOW = Elementwise(
    "follow_statistics",
    "float64 mean, float64 var, float64 eps, float64 of_batch, float64 kept, float64 unbiased",
    "T inv_std, T running_mean, T running_var",
    """
    inv_std = 1 / sqrt(var + eps);
    running_mean = of_batch * mean + kept * running_mean;
    running_var = of_batch * (var * unbiased) + kept * running_var;
    """,
)
INVERSE_ROOT = Elementwise("inverse_root", "T var, float64 eps", "T y", "y = 1 / sqrt(var + eps)")
PRODUCTS = Reduction("sum_of_products", "T x, T y", "T z", "(double)x * (double)y", after="z = a")
EXACT_SUM = Reduction("exact_sum", "T x", "float64 y", "(double)x")
EXACT_PRODUCTS = Reduction("exact_products", "T x, T y", "float64 z", "(double)x * (double)y", after="z = a")
WEIGHTED_PRODUCTS = Reduction(
    "weighted_products", "T x, T y, T weight", "float64 z", "(double)x * (double)weight * (double)y", after="z = a"
)
ADD_SUMS = Elementwise("add_sums", "T x, T y", "T of_x, T of_y", "of_x += x; of_y += y")


@functools.cache
def standardized(weighted: bool, shifted: bool, mean: str) -> Elementwise:
    """x̂ and y in one pass; `mean` is the type of the mean."""
    more = ", T weight" * weighted + ", T bias" * shifted
    y = "h" + " * weight" * weighted + " + bias" * shifted
    operation = f"const T h = (T)((double)x - mean) * inv_std; xhat = h; y = {y}"
    name = f"standardized_{mean}" + "_weighted" * weighted + "_shifted" * shifted
    return Elementwise(name, f"T x, {mean} mean, T inv_std{more}", "T xhat, T y", operation)


@functools.cache
def slope(weighted: bool, centred: bool) -> Elementwise:
    """dx in one pass; S is the type of the sums."""
    more = ", T weight" * weighted + ", S sum_g" * centred
    g = "d" + " * weight" * weighted
    less = " - (T)(sum_g * share)" * centred
    operation = f"dx = scale * ({g}{less} - xhat * (T)(sum_gx * share))"
    name = "standardize_slope" + "_weighted" * weighted + "_centred" * centred
    return Elementwise(name, f"T d, T xhat, T scale, S sum_gx, float64 share{more}", "T dx", operation)


@stands_in
def standardize(
    xp: Any, x: Any, over: tuple[int, ...], eps: float, xhat: Any, *,
    out: Any, weight: Any = None, bias: Any = None, centred: bool = True, running: Any = None,
) -> Any:  # fmt: skip
    """x̂, y and 1/σ: two sums, the running statistics and one pass."""
    if not over or not alike(x, xhat, out, weight, bias, *(running or ())[:2]):
        return NotImplemented
    share = 1 / math.prod(x.shape[axis] for axis in over)
    mean: Any = MEAN(xp, x, share, axis=over, keepdims=True) if centred else 0.0
    if running is None:
        inv_std = INVERSE_STD(xp, x, mean, share, eps, axis=over, keepdims=True)
    else:
        running_mean, running_var, *factors = running
        var = VARIANCE(xp, x, mean, share, axis=over, keepdims=True)
        inv_std = xp.empty(var.shape, dtype=x.dtype)
        FOLLOW(xp, mean.reshape(-1), var.reshape(-1), eps, *factors, inv_std.reshape(-1), running_mean, running_var)
    standardized(weight is not None, bias is not None, "float64")(xp, x, mean, inv_std, *given(weight, bias), xhat, out)
    return inv_std


@stands_in
def standardize_by(
    xp: Any, x: Any, mean: Any, var: Any, eps: float, xhat: Any, *, out: Any, weight: Any = None, bias: Any = None
) -> Any:
    """x̂, y and 1/σ of what is known."""
    if not alike(x, mean, var, xhat, out, weight, bias):
        return NotImplemented
    inv_std = INVERSE_ROOT(xp, var, eps)
    standardized(weight is not None, bias is not None, "T")(xp, x, mean, inv_std, *given(weight, bias), xhat, out)
    return inv_std


@stands_in
def sum_of_products(xp: Any, d: Any, xhat: Any, over: tuple[int, ...]) -> Any:
    """Σ d x̂ over some axes."""
    return PRODUCTS(xp, d, xhat, axis=over, keepdims=True) if over and alike(d, xhat) else NotImplemented


@stands_in
def add_sums(xp: Any, grads: Sequence[Any], sums: Sequence[Any]) -> Any:
    """Two gradients at once."""
    if len(grads) != 2 or grads[0].shape != grads[1].shape or not alike(*grads, *sums):
        return NotImplemented
    ADD_SUMS(xp, *(total.reshape(grad.shape) for grad, total in zip(grads, sums, strict=True)), *grads)
    return None


@stands_in
def standardize_backward(
    xp: Any, d: Any, xhat: Any, scale: Any, over: tuple[int, ...], *,
    weight: Any = None, centred: bool = True, sums: Any = None,
) -> Any:  # fmt: skip
    """dx: two sums, where they are not known, and one pass."""
    if not over or not alike(d, xhat, scale, weight) or not alike(*(sums or ())):
        return NotImplemented
    how = {"axis": over, "keepdims": True}
    sum_g, sum_gx = sums or (_sum_of_g(xp, d, weight, how) if centred else None, _sum_of_gx(xp, d, xhat, weight, how))
    share = 1 / math.prod(d.shape[axis] for axis in over)
    kernel = slope(weight is not None, centred)
    return kernel(xp, d, xhat, scale, sum_gx, share, *given(weight, sum_g if centred else None), xp.empty_like(d))


def _sum_of_g(xp: Any, d: Any, weight: Any, how: dict[str, Any]) -> Any:
    return EXACT_SUM(xp, d, **how) if weight is None else EXACT_PRODUCTS(xp, d, weight, **how)


def _sum_of_gx(xp: Any, d: Any, xhat: Any, weight: Any, how: dict[str, Any]) -> Any:
    return EXACT_PRODUCTS(xp, d, xhat, **how) if weight is None else WEIGHTED_PRODUCTS(xp, d, xhat, weight, **how)
