"""Standardising: values become values of mean 0 and variance 1. The step that the normalisations share.

    x̂ = (x - μ) / σ,   σ = √(var + eps)      μ and var are the mean and variance over sets of m values of x

The normalisations differ in their sets: BatchNorm takes a channel of the whole batch, LayerNorm the last axes of a
sample, GroupNorm some channels of a sample, InstanceNorm one. The derivation of the backward is on BatchNorm's page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ...arrays.formula import formula
from ...arrays.functional import inner_products, mean_of, sum_of
from ...arrays.spec import Spec
from ...contract.layer import Layer

Axes = tuple[int, ...]


def centre(xp: Any, x: Any, over: Axes, out: Any) -> Any:
    """Write x - μ into `out` (which may be x), with μ the mean over the axes `over`; returns μ, axes kept.

    In float32 the mean of large values is off in its last digits, which a small spread would show. The mean of small
    differences is not, and the first value of each set is near enough to the others to make them small.
    """
    first = x[tuple(slice(0, 1) if axis in over else slice(None) for axis in range(x.ndim))].copy()
    xp.subtract(x, first, out=out)
    mean = mean_of(out, over, keepdims=True)
    out -= mean
    return first + mean


def mean_square(x: Any, over: Axes) -> Any:
    """The mean of x² over some axes, axes kept: of centred values their variance."""
    return (inner_products(x, x, over) / size_of_sets(x, over)).astype(x.dtype)


def size_of_sets(x: Any, over: Axes) -> int:
    """m: how many values of x a set has that the axes `over` make up."""
    return math.prod(x.shape[axis] for axis in over)


@formula
def standardize(
    xp: Any,
    x: Any,
    over: Axes,
    eps: float,
    xhat: Any,
    *,
    out: Any,
    weight: Any = None,
    bias: Any = None,
    centred: bool = True,
    running: tuple[Any, Any, float, float, float] | None = None,
) -> Any:
    """Write x̂ into `xhat` and weight x̂ + bias into `out`, which may be x. Returns 1/σ, axes kept.

    over           the axes that make up a set
    weight, bias   broadcast against x; None for 1 and 0
    centred        whether μ is subtracted; without, var is the mean square
    running        what follows μ and var, where μ is subtracted, and how: the arguments of `follow` after them
    """
    if centred:
        mean = centre(xp, x, over, out=xhat)
    else:
        xhat[...] = x
    var = mean_square(xhat, over)
    inv_std = 1 / xp.sqrt(var + eps)
    xhat *= inv_std
    if running is not None:
        follow(mean, var, *running)
    affine(xp, xhat, weight, bias, out=out)
    return inv_std


def follow(
    mean: Any, var: Any, running_mean: Any, running_var: Any, of_batch: float, kept: float, unbiased: float
) -> None:
    """Move running statistics (C,) towards a mean and a mean square of deviations with C elements:

    running_mean = of_batch mean + kept running_mean
    running_var  = of_batch var unbiased + kept running_var
    """
    running_mean[...] = of_batch * mean.reshape(-1) + kept * running_mean
    running_var[...] = of_batch * (var * unbiased).reshape(-1) + kept * running_var


@formula
def standardize_by(
    xp: Any, x: Any, mean: Any, var: Any, eps: float, xhat: Any, *, out: Any, weight: Any = None, bias: Any = None
) -> Any:
    """`standardize` by a mean and a variance that are known, and broadcast against x."""
    inv_std = 1 / xp.sqrt(var + eps)
    xp.subtract(x, mean, out=xhat)
    xhat *= inv_std
    affine(xp, xhat, weight, bias, out=out)
    return inv_std


def affine(xp: Any, xhat: Any, weight: Any, bias: Any, out: Any) -> None:
    """Write weight x̂ + bias into `out`; both may be None."""
    if weight is None:
        out[...] = xhat
    else:
        xp.multiply(xhat, weight, out=out)
    if bias is not None:
        out += bias


@formula
def sum_of_products(xp: Any, d: Any, xhat: Any, over: Axes) -> Any:
    """Σ d x̂ over some axes, axes kept."""
    return inner_products(d, xhat, over).astype(d.dtype)


@formula
def add_sums(xp: Any, grads: Sequence[Any], sums: Sequence[Any]) -> None:
    """Add to each gradient its sum, which has as many elements."""
    for grad, total in zip(grads, sums, strict=True):
        grad += total.reshape(grad.shape)


@formula
def standardize_backward(
    xp: Any,
    d: Any,
    xhat: Any,
    scale: Any,
    over: Axes,
    *,
    weight: Any = None,
    centred: bool = True,
    sums: tuple[Any, Any] | None = None,
) -> Any:
    """The gradient of x from d, that of y, and so from g = weight d, that of x̂, with all sums over a set's m values:

        dx = scale (g - Σ g / m - x̂ Σ g x̂ / m)      scale is 1/σ

    The matrix that this multiplies g by is symmetric, so the same function carries a tangent of x to that of x̂.

    weight    broadcasts against d; None for 1
    centred   whether μ was subtracted; without, the first sum is not there
    sums      (Σ g, Σ g x̂), axes kept, where the caller has them
    """
    g = d if weight is None else d * weight
    m = size_of_sets(g, over)
    if sums is None:
        sums = sum_of(g, over, keepdims=True) if centred else None, sum_of_products(xp, g, xhat, over)
    sum_g, sum_gx = sums
    dx = xhat * (-sum_gx / m)
    dx += g
    if centred:
        dx -= sum_g / m
    dx *= scale
    return dx


def along_affine(xp: Any, xhat: Any, weight: Any = None, bias: Any = None) -> Any:
    """How weight x̂ + bias moves when weight and bias move by these, which broadcast, and x̂ stands still."""
    moved = [] if weight is None else [xhat * weight]
    moved += [] if bias is None else [bias]
    return xp.broadcast_to(sum(moved), xhat.shape)


def repeated_axes(shape: tuple[int, ...], ndim: int) -> Axes:
    """The axes of an array with ndim axes along which one of this shape is repeated to broadcast against it."""
    extra = ndim - len(shape)
    return tuple(axis for axis in range(ndim) if axis < extra or shape[axis - extra] == 1)


def per_channel(vector: Any, ndim: int) -> Any:
    """A vector (C,) in a shape that broadcasts against an array (N, C, ...) with ndim axes."""
    return vector.reshape(-1, *(1,) * (ndim - 2))


class Standardized(Layer):
    """Base of the normalisations within a sample: y = weight x̂ + bias. Train and eval do the same.

    A subclass says what the sets are (`sets`), declares weight and bias in setup where it learns them, and gives them
    the shape that broadcasts (`spread`).
    """

    inplace = True
    centred: ClassVar[bool] = True

    def sets(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """For x of this shape: its shape with axes split where that is needed, and those axes that make up a set."""
        raise NotImplementedError(f"{type(self).__name__} has no sets(self, shape)")

    def spread(self, vector: Any, ndim: int) -> Any:
        """A parameter in a shape that broadcasts against x with ndim axes: by default its own."""
        return vector

    def spread_in_sets(self, vector: Any, ndim: int) -> Any:
        """The same for x with axes split as `sets` has them."""
        return self.spread(vector, ndim)

    def epsilon(self) -> float:
        """What is added to the variance."""
        return self.eps

    def forward(self, x: Any) -> Any:
        shape, over = self.sets(x.shape)
        xhat, y = self.buf("xhat", shape, life="saved"), self.buf("y", x.shape, over=x)
        inv_std = standardize(
            self.xp,
            x.reshape(shape),
            over,
            self.epsilon(),
            xhat,
            out=y.reshape(shape),  # axes are only split, so it is a view
            weight=self.param_in_sets("weight", x.ndim),
            bias=self.param_in_sets("bias", x.ndim),
            centred=self.centred,
        )
        self.save(xhat=xhat, inv_std=inv_std, shape=x.shape)
        return y

    def param_in_sets(self, name: str, ndim: int) -> Any:
        """weight or bias, to broadcast against x with axes split; None where it is not learned."""
        return self.spread_in_sets(self.params[name], ndim) if name in self.params else None

    def backward(self, dy: Any) -> Any:
        self.add_param_grads(dy)
        return self.through(dy, self.param_in_sets("weight", dy.ndim)) if self.needs_grad[0] else None

    def add_param_grads(self, dy: Any) -> None:
        """Add to the gradient of each parameter its sum over the places to which the parameter was broadcast."""
        wanted = [name for name in ("weight", "bias") if name in self.params and self.needs_param_grad[name]]
        if not wanted:
            return
        over = repeated_axes(self.spread(self.params[wanted[0]], dy.ndim).shape, dy.ndim)
        xhat = self.saved.xhat.reshape(dy.shape)
        sums = [
            sum_of_products(self.xp, dy, xhat, over) if name == "weight" else sum_of(dy, over, keepdims=True)
            for name in wanted
        ]
        add_sums(self.xp, [self.grads[name] for name in wanted], sums)

    def jvp(self, dx: Any) -> Any:
        dxhat = self.through(dx)
        return dxhat * self.spread(self.params.weight, dx.ndim) if "weight" in self.params else dxhat

    def jvp_params(self, **moved: Any) -> Any:
        xhat = self.saved.xhat.reshape(self.saved.shape)
        return along_affine(self.xp, xhat, **{name: self.spread(v, xhat.ndim) for name, v in moved.items()})

    def through(self, d: Any, weight: Any = None) -> Any:
        """weight d times the matrix of all ∂x̂ⱼ/∂xᵢ, which is symmetric."""
        shape, over = self.sets(d.shape)
        xhat, inv_std = self.saved.xhat, self.saved.inv_std
        dx = standardize_backward(self.xp, d.reshape(shape), xhat, inv_std, over, weight=weight, centred=self.centred)
        return dx.reshape(d.shape)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 7 * bottoms[0].size
