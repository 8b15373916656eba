"""Standardising: values become values of mean 0 and variance 1. The step that the normalisations share.

    x̂ = (x - μ) / σ,   σ = √(var + eps)      μ and var are the mean and variance over sets of m values of x

The normalisations differ in their sets: BatchNorm takes a channel of the whole batch, LayerNorm the last axes of a
sample, GroupNorm some channels of a sample, InstanceNorm one. The derivation of the backward is on BatchNorm's page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ...arrays.functional import mean_of, sum_of, unbroadcast
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
    return mean_of(x * x, over, keepdims=True)


def standardize_backward(
    xp: Any,
    g: Any,
    xhat: Any,
    scale: Any,
    over: Axes,
    *,
    centred: bool = True,
    sums: tuple[Any, Any] | None = None,
    out: Any = None,
) -> Any:
    """The gradient of x from g, that of x̂, with all sums over the m values of a set:

        dx = scale (g - Σ g / m - x̂ Σ g x̂ / m)      scale is 1/σ

    The matrix that this multiplies g by is symmetric, so the same function carries a tangent of x to that of x̂.

    centred   whether μ was subtracted; without, the first sum is not there
    sums      (Σ g, Σ g x̂), axes kept, where the caller has them
    out       an array for dx, not the memory of g or x̂
    """
    m = math.prod(g.shape[axis] for axis in over)
    sum_g, sum_gx = sums or (sum_of(g, over, keepdims=True), sum_of(g * xhat, over, keepdims=True))
    dx = xp.multiply(xhat, -sum_gx / m, out=out)
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

    def epsilon(self) -> float:
        """What is added to the variance."""
        return self.eps

    def forward(self, x: Any) -> Any:
        shape, over = self.sets(x.shape)
        xhat, split = self.buf("xhat", shape, life="saved"), x.reshape(shape)
        if self.centred:
            centre(self.xp, split, over, out=xhat)
        else:
            xhat[...] = split
        inv_std = 1 / self.xp.sqrt(mean_square(xhat, over) + self.epsilon())
        xhat *= inv_std
        self.save(xhat=xhat, inv_std=inv_std, shape=x.shape)
        y = self.buf("y", x.shape, over=x)
        y[...] = xhat.reshape(x.shape)
        if "weight" in self.params:
            y *= self.spread(self.params.weight, x.ndim)
        if "bias" in self.params:
            y += self.spread(self.params.bias, x.ndim)
        return y

    def backward(self, dy: Any) -> Any:
        if "weight" in self.params and self.needs_param_grad.weight:
            self.add_grad("weight", dy * self.saved.xhat.reshape(dy.shape))
        if "bias" in self.params and self.needs_param_grad.bias:
            self.add_grad("bias", dy)
        return self.standardize_backward(self.weigh(dy)) if self.needs_grad[0] else None

    def jvp(self, dx: Any) -> Any:
        return self.weigh(self.standardize_backward(dx))

    def jvp_params(self, **moved: Any) -> Any:
        xhat = self.saved.xhat.reshape(self.saved.shape)
        return along_affine(self.xp, xhat, **{name: self.spread(v, xhat.ndim) for name, v in moved.items()})

    def add_grad(self, name: str, summands: Any) -> None:
        """Add to a parameter's gradient the sum over the places to which the parameter was broadcast."""
        shape = self.spread(self.params[name], summands.ndim).shape
        grad = self.grads[name]
        grad += unbroadcast(summands, shape).reshape(grad.shape)

    def weigh(self, d: Any) -> Any:
        """weight d; d itself where no weight is learned."""
        return d * self.spread(self.params.weight, d.ndim) if "weight" in self.params else d

    def standardize_backward(self, g: Any) -> Any:
        """The gradient of x from g, that of x̂."""
        shape, over = self.sets(g.shape)
        xhat, inv_std = self.saved.xhat, self.saved.inv_std
        dx = standardize_backward(self.xp, g.reshape(shape), xhat, inv_std, over, centred=self.centred)
        return dx.reshape(g.shape)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 7 * bottoms[0].size
