"""BatchNorm: normalisation of each channel over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import LayerError
from ..fillers import Filler
from ..functional import expect_role
from ..layer import Bad, Example, Layer
from ..params import param
from ..registry import register
from ..spec import Spec


@register
class BatchNorm(Layer):
    """BatchNorm: normalisation of each channel over the batch (Caffe: BatchNorm with Scale)

        x̂ = (x - μ) / σ,   σ = √(var + eps)
        y = weight x̂ + bias

    In train, μ and var are the mean and variance of the channel's m = N H W values in this batch, and the running
    statistics, which eval uses instead, follow them:

        running_mean = momentum μ + (1 - momentum) running_mean
        running_var  = momentum var m / (m - 1) + (1 - momentum) running_var

    As in torch, the running variance is the unbiased one. Neither weight nor bias decays (torch and Caffe decay both).

    Shapes    x (N, C) to (N, C, d1, d2, d3), real; y the same; weight, bias, running_mean, running_var (C,)
    Backward  Per channel, all sums over its m values. With g = weight dy, the gradient of x̂:
                  dweight = Σ dy x̂,   dbias = Σ dy
              x moves x̂ in three ways: by itself (1/σ), through μ (dμ/dxᵢ = 1/m) and through σ (dσ/dxᵢ = x̂ᵢ/m).
              As ∂x̂ⱼ/∂μ = -1/σ and ∂x̂ⱼ/∂σ = -x̂ⱼ/σ,
                  dxᵢ = (gᵢ - Σⱼ gⱼ / m - x̂ᵢ Σⱼ gⱼ x̂ⱼ / m) / σ
                      = weight / σ (dyᵢ - dbias / m - x̂ᵢ dweight / m)
              In eval μ and σ are constants: dx = weight / σ dy.
    Keeps     x̂ and 1/σ, so y may overwrite x
    Cost      about 7 operations per number forward, 8 backward
    Errors    LayerError in train with one value per channel, which has no variance
    Source    Ioffe & Szegedy 2015; compare torch.nn.BatchNorm2d
    """

    inplace = True

    eps: float = param(1e-5, help="added to the variance", gt=0)
    momentum: float = param(0.1, help="weight of the batch in the running statistics", ge=0, le=1)
    affine: bool = param(True, help="learn weight and bias")
    weight_filler: Filler = param({"type": "constant", "value": 1.0}, help="start values of weight")
    bias_filler: Filler = param("constant", help="start values of bias")

    examples = [
        Example({}, [Spec((5, 3))]),
        Example({}, [Spec((3, 2, 5))]),
        Example({"momentum": 0.3, "eps": 1e-3}, [Spec((2, 3, 4, 5))]),
        Example({}, [Spec((2, 2, 3, 1, 3))]),
        Example({"affine": False}, [Spec((3, 4, 2, 2))]),
        Example({}, [Spec((4, 1))]),
        Example({}, [Spec((6, 3, 2, 2), low=1000, high=1001)], "the mean is much larger than the spread"),
    ]
    bad_examples = [
        Bad({}, "2 to 5 axes", [Spec((3,))]),
        Bad({}, "2 to 5 axes", [Spec((1, 2, 3, 4, 5, 6))]),
        Bad({"momentum": 1.5}, "must be <= 1"),
        Bad({"eps": 0}, "must be > 0"),
        Bad({"num_features": 3}, "unknown key 'num_features'"),
        Bad({}, "must be real numbers", [Spec((3, 2), role="index")]),
    ]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        if not 2 <= x.ndim <= 5:
            raise LayerError(f"the bottom has {x.ndim} axes, expected 2 to 5 axes: samples, channels, positions")
        channels = x.shape[1:2]
        self.add_state("running_mean", channels, 0.0)
        self.add_state("running_var", channels, 1.0)
        if self.affine:
            self.add_param("weight", channels, self.weight_filler, decay_mult=0)
            self.add_param("bias", channels, self.bias_filler, decay_mult=0)
        return x

    def forward(self, x: Any) -> Any:
        xhat = self.buf("xhat", x.shape, life="saved", like=x)
        train = self.phase == "train"
        inv_std = self.normalize_by_batch(x, xhat) if train else self.normalize_by_running(x, xhat)
        self.save(xhat=xhat, inv_std=inv_std, train=train)
        y = self.buf("y", x.shape, over=x)
        if not self.affine:
            y[...] = xhat
            return y
        self.xp.multiply(xhat, per_channel(self.params.weight, x), out=y)
        y += per_channel(self.params.bias, x)
        return y

    def normalize_by_batch(self, x: Any, xhat: Any) -> Any:
        """Fill xhat from the statistics of the batch and let the running ones follow; returns 1/σ."""
        m, over = values_per_channel(x), reduced_axes(x)
        if m < 2:
            raise LayerError("one value per channel has no variance", hint="a larger batch, or `drop_last: true`")
        # In float32 the mean of large numbers is off in its last digits, which a small spread would show. The mean of
        # small differences is not, and the mean of the first sample is near enough to everything to make them small.
        shift = x[:1].mean(axis=over, keepdims=True)
        self.xp.subtract(x, shift, out=xhat)
        mean = xhat.mean(axis=over, keepdims=True)
        xhat -= mean
        var = (xhat * xhat).mean(axis=over, keepdims=True)
        inv_std = 1 / self.xp.sqrt(var + self.eps)
        xhat *= inv_std
        self.follow("running_mean", shift + mean)
        self.follow("running_var", var * (m / (m - 1)))
        return inv_std

    def normalize_by_running(self, x: Any, xhat: Any) -> Any:
        """Fill xhat from the running statistics; returns 1/σ."""
        inv_std = 1 / self.xp.sqrt(per_channel(self.state.running_var, x) + self.eps)
        self.xp.subtract(x, per_channel(self.state.running_mean, x), out=xhat)
        xhat *= inv_std
        return inv_std

    def follow(self, name: str, batch: Any) -> None:
        """Move a running statistic towards that of the batch."""
        self.state[name][...] = self.momentum * batch.reshape(-1) + (1 - self.momentum) * self.state[name]

    def backward(self, dy: Any) -> Any:
        xhat, inv_std, m, over = self.saved.xhat, self.saved.inv_std, values_per_channel(dy), reduced_axes(dy)
        dx = dy * xhat  # the summands of dweight; its memory then takes dx
        dweight, dbias = dx.sum(axis=over, keepdims=True), dy.sum(axis=over, keepdims=True)
        if self.affine and self.needs_param_grad.weight:
            self.grads.weight += dweight.reshape(-1)
        if self.affine and self.needs_param_grad.bias:
            self.grads.bias += dbias.reshape(-1)
        if not self.needs_grad[0]:
            return None
        scale = inv_std * per_channel(self.params.weight, dy) if self.affine else inv_std
        if not self.saved.train:
            return self.xp.multiply(dy, scale, out=dx)
        self.xp.multiply(xhat, -dweight / m, out=dx)
        dx += dy
        dx -= dbias / m
        dx *= scale
        return dx

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 7 * bottoms[0].size


def reduced_axes(x: Any) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def values_per_channel(x: Any) -> int:
    """m of the formulas."""
    return x.size // x.shape[1]


def per_channel(vector: Any, x: Any) -> Any:
    """A vector (C,) in a shape that broadcasts against x (N, C, ...)."""
    return vector.reshape(1, -1, *(1,) * (x.ndim - 2))
