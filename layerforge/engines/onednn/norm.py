"""Normalisations by oneDNN's kernels. BatchNorm takes a ReLU above it in the same passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...contract.layer import Layer
from ...layers.norms.batch_norm import BatchNorm, corrected_share, unbiased, values_per_channel
from ...layers.norms.layer_norm import LayerNorm
from ...layers.norms.local_response_norm import LocalResponseNorm
from ...layers.norms.standardize import per_channel
from ..protocol import Circumstances
from . import primitives
from .activation import in_order_of_memory, rectify_what_is_not_finite
from .base import OneDnn, rows_in_order
from .binding import DIFF_SCALE, DIFF_SHIFT
from .primitives import SUBTRACT
from .sums import positions, products_with_standardized, statistics, take_sums_off

FEW = 128  # rows of which oneDNN's sums lose no more than 1e-6
MANY = 2**17  # rows of which oneDNN's sums lose no more than about 5e-6


def affine_gradients(layer: Any, apart: bool) -> list[Any]:
    """Where oneDNN adds the gradients of weight and bias: somewhere else for frozen ones, and where they are apart."""
    return [
        layer.grads[name]
        if layer.needs_param_grad[name] and not apart
        else layer.buf(f"unwanted {name}", layer.params[name].shape, layer.dtype)
        for name in ("weight", "bias")
    ]


def give(layer: Any, dweight: Any, dbias: Any) -> None:
    """Write or add sums in float64 as the gradients of weight and bias, of those that are wanted."""
    for name, total in (("weight", dweight), ("bias", dbias)):
        if layer.needs_param_grad[name]:
            grad = layer.grads[name]
            grad[...] = total if layer.overwrites_grad else grad + total


def correct(sum_of_means: Any, sum_of_vars: Any, correction: Any, mean: Any, var: Any) -> None:
    """Write mean and var from their sums and the sum of the weights."""
    share = corrected_share(np, correction)
    np.multiply(sum_of_means, share, mean)
    np.multiply(sum_of_vars, share, var)


class OneDnnBatchNorm(OneDnn, BatchNorm):
    """BatchNorm, with a ReLU if the plan fused one. It keeps x, mean and variance instead of x̂."""

    replays = can_overwrite_grad = has_bfloat16 = True
    backward_reads = ("bottom",)
    inplace = False
    relu = False

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if not reference.track_running_stats:
            return "without running statistics"
        return super().refuses(reference, bottoms, tops)

    def unfit_for_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        return f"sums of more than {MANY} numbers" if values_per_channel(bottoms[0]) > MANY else None

    def can_absorb(self, above: Any, between: Spec, plan: Circumstances) -> bool:
        """A plain ReLU, unless the sums of backward are done apart, which cannot read the mask."""
        plain = above.type_name == "ReLU" and not above.negative_slope
        return plain and not self.relu and values_per_channel(between) <= MANY

    def absorb(self, above: Layer) -> None:
        """Apply the ReLU above in the same passes."""
        self.relu = True  # its mask is kept, so that backward does not read the top
        self.not_finite = rectify_what_is_not_finite(self.eps)

    def as_image(self, name: str, x: Any) -> Any:
        """x (N, C) is an image of one position."""
        return self.view(name, x, lambda a: a[:, :, None, None]) if x.ndim == 2 else x

    def forward(self, x: Any) -> Any:
        by_batch = self.uses_batch(self.phase)
        if by_batch:
            self.expect_several(values_per_channel(x))
        x4 = self.settled("x", self.as_image("x", x), "saved")
        y = self.buf("y", x.shape) if x.ndim == 2 else self.image("y", x.shape)
        y4, mask = self.settled("y", self.as_image("y", y)), self.mask(x4)
        if not by_batch:
            mean, var = self.fixed_statistics()
            self.normalize(x4, mean, var, y4, mask)
        else:
            mean, var = (self.buf(name, x.shape[1:2], self.dtype, life="saved") for name in ("mean", "var"))
            rough = None
            if self.halved:
                self.normalize(x4, mean, var, y4, mask, fixed=False)
            elif values_per_channel(x) <= FEW:
                x4, rough = self.normalize_few(x4, mean, var, y4, mask)
            else:
                self.normalize_many(x4, mean, var, y4, mask, self.view("y rows", y, positions))
            if self.phase == "train":
                self.follow_batch(mean, var, rough, values_per_channel(x))
        if self.relu:  # a NaN among the elements of a batch is one in its mean
            flat = None if by_batch else self.view("x flat", x4, in_order_of_memory)
            self.act("not finite", self.not_finite)(x4, flat, *self.affine_params(), mean, var, y)
        self.save(x=x4, mean=mean, var=var, mask=mask, by_batch=by_batch, shape=x.shape)
        return y

    def normalize(self, x: Any, mean: Any, var: Any, y: Any, mask: Any, fixed: bool = True) -> None:
        """y from x; mean and var are results unless they are fixed."""
        op = self.op(f"y {fixed} {mask is None}", primitives.batch_norm, self.eps, fixed, self.relu)
        op(x, *self.affine_params(), mean, var, y, mask)

    def normalize_many(self, x: Any, mean: Any, var: Any, y: Any, mask: Any, y_rows: Any) -> None:
        """With statistics of our own: oneDNN's are running sums in float32, by which a mean of 3.3 comes to 3.3036."""
        self.act("statistics", statistics)(self.view("x rows", x, positions), y_rows, mean, var)
        self.normalize(x, mean, var, y, mask)

    def normalize_few(self, x: Any, mean: Any, var: Any, y: Any, mask: Any) -> tuple[Any, Any]:
        """With oneDNN's statistics of x less its rough mean: they lose digits only where a mean is far from 0.

        Returns what was normalised in the place of x, which backward takes too, and the rough mean.
        """
        rows, apart = self.view("x rows", x, positions), self.buf("apart", x.shape, like=x, life="saved")
        rough = self.buf("rough", (1, x.shape[1]))
        share = self.view("share", rows, lambda a: np.full((1, len(a)), 1 / len(a), a.dtype))
        self.op("rough", primitives.matmul)(share, rows, None, rough)
        self.op("apart", primitives.binary, SUBTRACT)(rows, rough, self.view("apart rows", apart, positions))
        self.normalize(apart, mean, var, y, mask, fixed=False)
        return apart, self.view("rough mean", rough, lambda a: a[0])

    def follow_batch(self, mean: Any, var: Any, rough: Any, m: int) -> None:
        """What `follow` does with both statistics: a pass for each, in which the rough mean is added again."""
        running_mean, running_var = self.state.running_mean, self.state.running_var
        of_batch = 1.0 if self.bias_correction else self.momentum
        kept, of_mean, of_var = (
            self.view(f"share {share}", None, lambda _, share=share: np.array([share], mean.dtype))
            for share in (1 - self.momentum, of_batch, of_batch * unbiased(m))
        )
        if rough is None:
            self.op("running mean", primitives.blend)(mean, running_mean, running_mean, of_mean, kept, None)
        else:
            added = (("sum", 1 - self.momentum),)
            op = self.op(f"running mean {added}", primitives.blend, added)
            op(mean, rough, running_mean, of_mean, of_mean, None)
        self.op("running var", primitives.blend)(var, running_var, running_var, of_var, kept, None)
        if self.bias_correction:
            self.act("one more", self.count_batch)(self.state.correction)

    def fixed_statistics(self) -> tuple[Any, Any]:
        """The mean and the variance that eval normalises by, in memory that stays where it is."""
        sums = self.state.running_mean, self.state.running_var
        if not self.bias_correction:
            return sums
        mean, var = (self.buf(f"corrected {i}", a.shape, self.dtype, life="saved") for i, a in enumerate(sums))
        self.act("corrected", correct)(*sums, self.state.correction, mean, var)
        return mean, var

    def affine_params(self) -> tuple[Any, Any]:
        """weight and bias, or None for both."""
        return (self.params.weight, self.params.bias) if self.affine else (None, None)

    def mask(self, x: Any) -> Any:
        """Memory for where the ReLU let something through."""
        if not self.relu:
            return None
        size = self.view("mask bytes", x, lambda x: primitives.batch_norm_workspace(x, self.eps))
        return self.buf("mask", (size,), "uint8", life="saved")

    def backward(self, dy: Any) -> Any:
        kept = self.saved
        dy4 = self.settled("dy", self.as_image("dy", dy))
        dx = self.buf("dx", dy.shape) if dy.ndim == 2 else self.image("dx", dy.shape)
        dx4 = self.settled("dx", self.as_image("dx", dx))
        if values_per_channel(dy) > MANY and not self.relu:
            matrices = [self.view(f"{n} rows", a, positions) for n, a in (("x", kept.x), ("dy", dy4), ("dx", dx4))]
            name = f"dx {kept.by_batch} {self.overwrites_grad} by NumPy"
            self.act(name, self.backward_many)(*matrices, kept.mean, kept.var)
            return dx if self.needs_grad[0] else None
        gradients = affine_gradients(self, False) if self.affine else (None, None)
        backward = self.op(
            f"dx {kept.by_batch}", primitives.batch_norm_backward, self.eps, not kept.by_batch, self.relu,
            added=self.added(DIFF_SCALE, DIFF_SHIFT),
        )  # fmt: skip
        weight = self.params.weight if self.affine else None
        backward(kept.x, weight, kept.mean, kept.var, dy4, kept.mask, dx4, *gradients)
        return dx if self.needs_grad[0] else None

    def backward_many(self, x: Any, dy: Any, dx: Any, mean: Any, var: Any) -> None:
        """All gradients of many rows, whose sums oneDNN would make as running ones, and take dx from them."""
        inv_std = 1 / np.sqrt(var + self.eps)
        dweight, dbias = products_with_standardized(x, mean, inv_std, dy)
        if self.affine:
            give(self, dweight, dbias)
        if self.needs_grad[0]:
            scale = inv_std * self.params.weight if self.affine else inv_std
            means = (dweight / len(x), dbias / len(x)) if self.saved.by_batch else (0 * dweight, 0 * dbias)
            take_sums_off(x, mean, inv_std, dy, scale, *means, dx)

    def jvp(self, dx: Any) -> Any:
        with self.as_reference():
            return self.through_relu(super().jvp(dx))

    def jvp_params(self, **moved: Any) -> Any:
        with self.as_reference():
            return self.through_relu(super().jvp_params(**moved))

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """While this lasts, `saved` has x̂ in the place of x, mean and variance."""
        kept, ndim = self.saved, len(self.saved.shape)
        inv_std = 1 / np.sqrt(per_channel(kept.var, ndim) + self.eps)
        xhat = (kept.x.reshape(kept.shape) - per_channel(kept.mean, ndim)) * inv_std
        with self.as_if_saved(xhat=xhat, inv_std=inv_std, by_batch=kept.by_batch):
            yield

    def through_relu(self, tangent: Any) -> Any:
        """The tangent of the top from that of the ReLU's bottom, `as_reference`."""
        if not self.relu:
            return tangent
        weight, bias = (per_channel(p, tangent.ndim) for p in self.affine_params()) if self.affine else (1, 0)
        return tangent * (weight * self.saved.xhat + bias > 0)


class OneDnnLayerNorm(OneDnn, LayerNorm):
    """LayerNorm over the last axis, with weight and bias. It keeps x, means and variances instead of x̂.

    What oneDNN gets, and what is kept, is x less the first number of each row, so that no mean is larger than the
    spread: see `normalize_few`. In bfloat16 it is x itself, which has no digits to lose.
    """

    replays = can_overwrite_grad = has_bfloat16 = True
    rows = staticmethod(rows_in_order)  # of columns in order oneDNN takes the wrong elements in backward
    backward_reads = ()
    inplace = False

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if len(reference.features) != 1 or not (reference.elementwise_affine and reference.bias):
            return "only over the last axis, with weight and bias"
        return super().refuses(reference, bottoms, tops)

    def unfit_for_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        x = bottoms[0]
        return f"sums of more than {MANY} numbers" if x.size // x.shape[-1] > MANY else None

    def halve(self) -> None:
        super().halve()
        self.also_reads("bottom")

    def forward(self, x: Any) -> Any:
        rows = self.matrix("x", x, "saved" if self.halved else "call")
        y = self.buf("y", x.shape)
        mean, var = (self.buf(name, (len(rows),), self.dtype, life="saved") for name in ("mean", "var"))
        apart = rows if self.halved else self.less_first(rows)
        op = self.op("y", primitives.layer_norm, self.eps)
        op(apart, self.params.weight, self.params.bias, mean, var, self.matrix("y", y))
        self.save(x=apart, mean=mean, var=var, shape=x.shape)
        return y

    def less_first(self, rows: Any) -> Any:
        """x less the first number of each row."""
        apart = self.buf("apart", rows.shape, life="saved")
        self.act("apart", np.subtract)(rows, self.view("first column", rows, lambda a: a[:, :1]), apart)
        return apart

    def backward(self, dy: Any) -> Any:
        kept, dx = self.saved, self.buf("dx", dy.shape)
        apart = len(kept.x) > MANY
        gradients = affine_gradients(self, apart)
        added = () if apart else self.added(DIFF_SCALE, DIFF_SHIFT)
        backward = self.op("dx", primitives.layer_norm_backward, self.eps, added=added)
        rows = self.matrix("dy", dy), self.matrix("dx", dx)
        backward(kept.x, self.params.weight, self.params.bias, kept.mean, kept.var, *rows, *gradients)
        if apart:
            self.act(f"sums {self.overwrites_grad}", self.sums_of_many)(kept.x, kept.mean, kept.var, rows[0])
        return dx if self.needs_grad[0] else None

    def sums_of_many(self, x: Any, mean: Any, var: Any, dy: Any) -> None:
        """The gradients of weight and bias over many rows, of which oneDNN would make running sums."""
        inv_std = 1 / np.sqrt(var + self.eps)
        give(self, *products_with_standardized(x, mean[:, None], inv_std[:, None], dy))

    def jvp(self, dx: Any) -> Any:
        with self.as_reference():
            return super().jvp(dx)

    def jvp_params(self, **moved: Any) -> Any:
        with self.as_reference():
            return super().jvp_params(**moved)

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """While this lasts, `saved` has x̂ in the place of x, means and variances."""
        kept, shape = self.saved, self.saved.shape
        inv_std = 1 / np.sqrt(kept.var[:, None] + self.eps)
        xhat = (kept.x - kept.mean[:, None]) * inv_std
        with self.as_if_saved(xhat=xhat.reshape(shape), inv_std=inv_std.reshape(*shape[:-1], 1), shape=shape):
            yield


class OneDnnLocalResponseNorm(OneDnn, LocalResponseNorm):
    """LocalResponseNorm across channels."""

    replays = True
    backward_reads = ("bottom",)
    inplace = False

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        if reference.within or reference.size % 2 == 0 or reference.size < 3 or bottoms[0].ndim != 4:
            return "only across channels of images, with an odd size from 3"  # oneDNN 3.2 crashes in backward of size 1
        return super().refuses(reference, bottoms, tops)

    def numbers(self) -> tuple[int, float, float, float]:
        """As oneDNN takes them."""
        return self.size, self.alpha, self.beta, self.k

    def forward(self, x: Any) -> Any:
        x, y = self.settled("x", x, "saved"), self.image("y", x.shape)
        size = self.view("kept bytes", x, lambda x: primitives.lrn_workspace(x, *self.numbers()))
        kept = self.buf("kept", (size,), "uint8", life="saved") if size else None
        self.op("y", primitives.lrn, *self.numbers())(x, y, kept)
        self.save(x=x, kept=kept)
        return y

    def backward(self, dy: Any) -> Any:
        if not self.needs_grad[0]:
            return None
        dy, dx = self.settled("dy", dy), self.image("dx", dy.shape)
        self.op("dx", primitives.lrn_backward, *self.numbers())(self.saved.x, dy, self.saved.kept, dx)
        return dx

    def jvp(self, dx: Any) -> Any:
        x = self.saved.x
        s = self.k + self.share * self.over_neighbours(x * x)
        with self.as_if_saved(x=x, s=s, power=s**-self.beta):
            return super().jvp(dx)
