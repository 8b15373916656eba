"""BatchNorm: normalisation of each channel over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.blocks import in_order_of
from ...arrays.functional import expect_role, sum_of
from ...arrays.spec import Spec
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register
from .standardize import (
    add_sums,
    along_affine,
    per_channel,
    standardize,
    standardize_backward,
    standardize_by,
    sum_of_products,
)


@register
class BatchNorm(Layer):
    """BatchNorm: normalisation of each channel over the batch (Caffe: BatchNorm with Scale)

        x̂ = (x - μ) / σ,   σ = √(var + eps)
        y = weight x̂ + bias

    In train, μ and var are the mean and the variance (divided by m) of the channel's m = N H W values in this batch,
    and the running statistics, which eval uses instead, follow them:

        running_mean = momentum μ + (1 - momentum) running_mean
        running_var  = momentum var m / (m - 1) + (1 - momentum) running_var

    As in torch, the running variance is the unbiased one, and momentum is the weight of the new batch: 1 minus Caffe's
    moving_average_fraction, so Caffe's 0.999 is 0.001 here. With momentum 0.1 the start values 0 and 1 still weigh 0.9ᵏ
    after k batches, 1 % at k = 44: until then eval is off. Neither weight nor bias decays (torch and Caffe decay both).

    bias_correction: true holds sums instead, which start at 0, and the sum of their weights, as Caffe's three blobs do;
    with decay = 1 - momentum, which is then Caffe's moving_average_fraction itself,

        correction   = decay correction + 1
        running_mean = decay running_mean + μ
        running_var  = decay running_var + var m / (m - 1)      (times 1 where m = 1)

    and eval normalises by running_mean / correction and running_var / correction, by 0 and 0 before the first batch:
    weighted means of what the batches had, with no share of a start value, so that eval is right from the first batch
    on. With momentum 0 they are the plain means of all batches. Where the batch's statistics normalise one value per
    channel, var is 0 and y = bias.

    Which statistics normalise, and whether the running ones follow:

        by default                   train: batch, follow      eval: running
        use_running_stats: true      train: running, frozen    eval: running      Caffe's use_global_stats: true
        use_batch_stats: true        train: batch, follow      eval: batch        Caffe's use_global_stats: false
        track_running_stats: false   train: batch              eval: batch        and there is no state

    The second is for fine-tuning a trained net on batches that are too small or too special to learn statistics from;
    weight and bias still learn (`freeze: true` stops them). It needs the running statistics of a trained net. The third
    is for tests on batches that are as those of training; with the second it says what eval does, which is the batch.

    Shapes    x (N, C) to (N, C, d1, d2, d3), real; y the same; weight, bias, running_mean, running_var (C,);
              correction (1,)
    Backward  Per channel, all sums over its m values. With g = weight dy, the gradient of x̂:
                  dweight = Σ dy x̂,   dbias = Σ dy
              var = Σⱼ (xⱼ - μ)² / m. Through μ it does not move, as ∂var/∂μ = -(2/m) Σⱼ (xⱼ - μ) = 0. So
              ∂var/∂xᵢ = 2 (xᵢ - μ) / m, and as σ² = var + eps, 2σ ∂σ/∂xᵢ = ∂var/∂xᵢ and ∂σ/∂xᵢ = x̂ᵢ/m.
              x moves x̂ in three ways: by itself (1/σ), through μ (∂μ/∂xᵢ = 1/m) and through σ (∂σ/∂xᵢ = x̂ᵢ/m).
              As ∂x̂ⱼ/∂μ = -1/σ and ∂x̂ⱼ/∂σ = -x̂ⱼ/σ,
                  dxᵢ = (gᵢ - Σⱼ gⱼ / m - x̂ᵢ Σⱼ gⱼ x̂ⱼ / m) / σ
                      = (weight / σ) (dyᵢ - dbias / m - x̂ᵢ dweight / m)
              To check: Σ dx = 0, and Σ dx x̂ = 0 but for eps, as adding a constant to x or scaling it changes nothing.
              With running statistics μ and σ are constants: dx = (weight / σ) dy.
              Forward mode (`jvp`): the matrix of all ∂x̂ⱼ/∂xᵢ is symmetric, so it makes the change of x̂ of ẋ as it does
              dx of g. With u and v the changes of weight and bias,
                  ẏ = u x̂ + v + (weight / σ) (ẋ - Σ ẋ / m - x̂ Σ ẋ x̂ / m)      (weight / σ) ẋ with running statistics
    Keeps     x̂ and 1/σ, so y may overwrite x
    Cost      about 7 operations per element forward, 8 backward
    Errors    LayerError with one value per channel, which has no variance, where the batch's statistics normalise
              without bias_correction; ConfigError for use_running_stats or bias_correction without track_running_stats
    Source    Ioffe & Szegedy 2015; compare torch.nn.BatchNorm2d
    """

    inplace = True

    eps: float = param(1e-5, help="added to the variance", gt=0)
    momentum: float = param(0.1, help="weight of the batch in the running statistics", ge=0, le=1)
    affine: bool = param(True, help="learn weight and bias")
    track_running_stats: bool = param(True, help="keep running statistics; without, eval uses the batch's, too")
    use_running_stats: bool = param(False, help="normalise by the running statistics in train, too, and freeze them")
    use_batch_stats: bool = param(False, help="normalise by the batch in eval, too; no statistics follow there")
    bias_correction: bool = param(False, help="running statistics as sums from 0, and the sum of their weights (Caffe)")
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
        Example({"track_running_stats": False}, [Spec((3, 2, 2, 3))]),
        Example({"use_running_stats": True}, [Spec((3, 2, 2, 3))]),
        Example({"use_batch_stats": True}, [Spec((3, 2, 2, 3))]),
        Example({"use_batch_stats": True, "use_running_stats": True}, [Spec((3, 2))], "train running, eval batch"),
        Example({"use_batch_stats": True, "bias_correction": True, "eps": 0.1}, [Spec((3, 2, 3))]),
        Example({"use_running_stats": True, "affine": False}, [Spec((1, 4))], "frozen statistics need no batch"),
        Example({"bias_correction": True, "eps": 0.1}, [Spec((3, 2, 2, 3))]),
        Example({"bias_correction": True, "momentum": 0.3, "eps": 0.1}, [Spec((1, 3))], "one value per channel"),
        Example({"bias_correction": True, "use_running_stats": True, "eps": 0.1}, [Spec((2, 3))]),
    ]
    bad_examples = [
        Bad({}, "2 to 5 axes", [Spec((3,))]),
        Bad({}, "2 to 5 axes", [Spec((1, 2, 3, 4, 5, 6))]),
        Bad({"momentum": 1.5}, "must be <= 1"),
        Bad({"eps": 0}, "must be > 0"),
        Bad({"num_features": 3}, "unknown key 'num_features'"),
        Bad({"use_global_stats": True}, "did you mean 'use_running_stats'?"),
        Bad({"use_batch_stats": True, "track_running_stats": False}, "there are none with track_running_stats"),
        Bad({"use_running_stats": True, "track_running_stats": False}, "there are none with track_running_stats"),
        Bad({"bias_correction": True, "track_running_stats": False}, "there are none with track_running_stats"),
        Bad({}, "must be real numbers", [Spec((3, 2), role="index")]),
    ]

    def validate(self) -> None:
        for name in ("use_running_stats", "use_batch_stats", "bias_correction"):
            if getattr(self, name) and not self.track_running_stats:
                raise ConfigError(
                    f"{name} needs running statistics; there are none with track_running_stats: false",
                    hint="leave one of the two out",
                )

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        if not 2 <= x.ndim <= 5:
            raise LayerError(f"the bottom has {x.ndim} axes, expected 2 to 5 axes: samples, channels, positions")
        channels = x.shape[1:2]
        if self.track_running_stats:
            self.add_state("running_mean", channels, 0.0)
            self.add_state("running_var", channels, 0.0 if self.bias_correction else 1.0)
        if self.bias_correction:
            self.add_state("correction", (1,), 0.0)
        if self.affine:
            self.add_param("weight", channels, self.weight_filler, decay_mult=0)
            self.add_param("bias", channels, self.bias_filler, decay_mult=0)
        return x

    def check_phase(self, phase: str, x: Spec) -> None:
        if self.uses_batch(phase):
            self.expect_several(values_per_channel(x))

    def uses_batch(self, phase: str) -> bool:
        """Whether the statistics of the batch normalise in a phase."""
        if phase == "train":
            return not self.use_running_stats
        return self.use_batch_stats or not self.track_running_stats

    def expect_several(self, m: int) -> None:
        """LayerError for one value per channel, unless its variance is taken for 0, as by Caffe."""
        if m < 2 and not self.bias_correction:
            raise LayerError("one value per channel has no variance", hint="a larger batch, or `drop_last: true`")

    def per_sample_for(self, *bottoms: Spec) -> bool:
        return self.track_running_stats and not self.use_batch_stats

    def forward(self, x: Any) -> Any:
        xhat, y = self.buf("xhat", x.shape, life="saved", like=x), self.buf("y", x.shape, over=x)
        by_batch = self.uses_batch(self.phase)
        weight, bias = (self.by_channel(name, x.ndim) for name in ("weight", "bias"))
        if by_batch:
            m = values_per_channel(x)
            self.expect_several(m)
            follows = self.phase == "train" and self.track_running_stats
            running = self.following(m) if follows else None
            inv_std = standardize(
                self.xp, x, reduced_axes(x), self.eps, xhat, out=y, weight=weight, bias=bias, running=running
            )
            if follows and self.bias_correction:
                self.count_batch(self.state.correction)
        else:
            mean, var = (per_channel(statistic, x.ndim) for statistic in self.running_statistics())
            inv_std = standardize_by(self.xp, x, mean, var, self.eps, xhat, out=y, weight=weight, bias=bias)
        self.save(xhat=xhat, inv_std=inv_std, by_batch=by_batch)
        return y

    def by_channel(self, name: str, ndim: int) -> Any:
        """weight or bias, to broadcast against x with ndim axes; None where it is not learned."""
        return per_channel(self.params[name], ndim) if self.affine else None

    def following(self, m: int) -> tuple[Any, Any, float, float, float]:
        """The running statistics, and how they follow those of a batch with m values per channel: see `follow`."""
        of_batch = 1 if self.bias_correction else self.momentum
        return self.state.running_mean, self.state.running_var, of_batch, 1 - self.momentum, unbiased(m)

    def count_batch(self, correction: Any) -> None:
        """Add a batch to the sum of the weights: 1, beside which those before weigh less."""
        correction *= 1 - self.momentum
        correction += 1

    def running_statistics(self) -> tuple[Any, Any]:
        """The mean and the variance that eval normalises by."""
        mean, var = self.state.running_mean, self.state.running_var
        if not self.bias_correction:
            return mean, var
        share = corrected_share(self.xp, self.state.correction)
        return mean * share, var * share

    def backward(self, dy: Any) -> Any:
        dy, over = in_order_of(self.xp, dy, self.saved.xhat), reduced_axes(dy)
        dweight = sum_of_products(self.xp, dy, self.saved.xhat, over)
        dbias = sum_of(dy, over, keepdims=True)
        if self.affine:
            self.add_param_grads(weight=dweight, bias=dbias)
        return self.through(dy, sums=(dbias, dweight)) if self.needs_grad[0] else None

    def add_param_grads(self, **sums: Any) -> None:
        """Add to the gradients of weight and bias, of those that are wanted."""
        wanted = [name for name in sums if self.needs_param_grad[name]]
        add_sums(self.xp, [self.grads[name] for name in wanted], [sums[name] for name in wanted])

    def jvp(self, dx: Any) -> Any:
        return self.through(dx)

    def jvp_params(self, **moved: Any) -> Any:
        xhat = self.saved.xhat
        return along_affine(self.xp, xhat, **{name: per_channel(v, xhat.ndim) for name, v in moved.items()})

    def through(self, d: Any, sums: Any = None) -> Any:
        """d times the matrix of all ∂yⱼ/∂xᵢ: dx from dy and, as that is symmetric, a tangent of y from one of x."""
        scale = self.saved.inv_std
        if self.affine:
            scale = scale * per_channel(self.params.weight, d.ndim)
        if not self.saved.by_batch:
            return d * scale
        return standardize_backward(self.xp, d, self.saved.xhat, scale, reduced_axes(d), sums=sums)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 7 * bottoms[0].size


def reduced_axes(x: Any) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def values_per_channel(x: Any) -> int:
    """m of the formulas."""
    return x.size // x.shape[1]


def unbiased(m: int) -> float:
    """What makes the mean square of m values their variance; 1 for one value, whose variance nobody knows."""
    return m / (m - 1) if m > 1 else 1.0


def corrected_share(xp: Any, correction: Any) -> Any:
    """What a sum of statistics is times to be their mean: 1 over the sum of their weights, 0 where that is 0."""
    none = correction == 0
    return xp.where(none, 0, 1 / xp.where(none, 1, correction))
