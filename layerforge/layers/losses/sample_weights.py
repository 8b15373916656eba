"""Weights of samples, a last bottom of a loss: some samples count more than others.

With a weight ω of each single loss ℓ, that of its sample,

    y = Σ ω ℓ / m       and m, where it is a count of what counts, is a sum of ω: Σ ω v, with v what ℓ counts alone

v is 1, or the weight of its label's class. So a weight of 2 does what the same sample twice would do. By the weights
themselves, where m depends on them by the quotient rule (with reduction sum or none, and a fixed m, y v falls away):

    ∂y/∂ω = ℓ / m - (Σ ω ℓ) v / m² = (ℓ - y v) / m
"""

from __future__ import annotations

from typing import Any, ClassVar

from ...arrays.awaited import number_of, refuse_where
from ...arrays.functional import exact_sum, expect_role, shape_mismatch, sum_of
from ...arrays.spec import Spec
from ...schema.errors import LayerError
from .loss import Reduction, divisor_of


class SampleWeights(Reduction):
    """Base of the losses that take weights of samples. Each brings its single losses, for weights of 1.

    single(x, t)    the single losses ℓ, and what their partial derivatives need, by name
    share(x, t)     v, what each single loss counts in m without weights of samples; 0 where m is fixed
    total(x, t)     m without weights of samples
    """

    bottoms: ClassVar[int | tuple[int, int | None]] = (2, 3)
    xp: Any
    save: Any

    def single(self, x: Any, t: Any) -> tuple[Any, dict[str, Any]]:
        raise NotImplementedError(f"{type(self).__name__} has no single(self, x, t)")

    def share(self, x: Any, t: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no share(self, x, t)")

    def total(self, x: Any, t: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no total(self, x, t)")

    @staticmethod
    def expect_sample_weights(weight: tuple[Spec, ...], shape: tuple[int, ...]) -> None:
        """LayerError unless there is a real weight for each sample, or for each single loss of that shape."""
        for spec in weight:
            expect_role("bottom[2], the weights,", spec, "real")
            if spec.shape not in (shape, shape[:1]):
                words = f"{shape[:1]}, one for each sample" + (f", or {shape}" if len(shape) > 1 else "")
                raise shape_mismatch("bottom[2], the weights,", spec.shape, words)

    def forward(self, x: Any, t: Any, *weight: Any) -> Any:
        losses, kept = self.single(x, t)
        if not weight:
            n = self.total(x, t)
            self.save(**kept, n=n, factor=None)
            return self.reduce(losses, n)
        factor, share = self.spread_weight(weight[0], losses), self.share(x, t)
        n = self.total(x, t) if isinstance(share, int) else self.weighted_total(factor, share)
        y = self.reduce(factor * losses, n)
        self.save(**kept, n=n, factor=factor, slope=losses - y * share, ndim=weight[0].ndim)
        return y

    def spread_weight(self, weight: Any, losses: Any) -> Any:
        """ω for each single loss; LayerError (exit 3) for one below 0. NaN is for the solver to name, and passes."""
        message, hint = "a weight of a sample is below 0", "weights say how often a sample counts: 0 or more"
        refuse_where((weight < 0).any(), lambda: LayerError(message, hint=hint, exit_code=3))
        over = weight.reshape(*weight.shape, *(1,) * (losses.ndim - weight.ndim))
        return over + self.xp.zeros_like(losses)

    def weighted_total(self, factor: Any, share: Any) -> Any:
        """Σ ω v, at least where that is not 0: of a mean over nothing m is 1."""
        return divisor_of(self.xp, number_of(exact_sum(factor * share)), share.dtype)

    def gradient(self, i: int, up: Any) -> Any:
        kept = self.saved
        if kept.factor is None:
            return super().gradient(i, up)
        if i < 2:
            return self.partial(i) * self.spread(up * kept.factor)
        return self.by_sample(up * kept.slope)

    def by_sample(self, each: Any) -> Any:
        """The sums over what has one weight."""
        return sum_of(each, tuple(range(self.saved.ndim, each.ndim))) if each.ndim > self.saved.ndim else each

    def tangent(self, i: int, v: Any) -> Any:
        kept = self.saved
        if kept.factor is None:
            return super().tangent(i, v)
        if i < 2:
            return super().tangent(i, v) * kept.factor
        return kept.slope * v.reshape(*v.shape, *(1,) * (kept.slope.ndim - v.ndim))
