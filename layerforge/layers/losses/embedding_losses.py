"""Losses that compare vectors: MarginRankingLoss, ContrastiveLoss, TripletMarginLoss, CosineEmbeddingLoss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.functional import check_labels, expect_role, refuse_labels, shape_mismatch, sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register
from .loss import Loss


def plus_minus(rng: Any, shape: tuple[int, ...]) -> Any:
    """A draw of labels that are 1 or -1."""
    return rng.choice([-1, 1], size=shape)


def signs(*shape: int) -> Spec:
    """The Spec of labels that are 1 or -1."""
    return Spec(shape, role="index", draw=plus_minus)


def check_signs(labels: Any) -> None:
    """LayerError (exit 3) for a label that is neither 1 nor -1, with its position."""
    refuse_labels(labels, (labels != 1) & (labels != -1), "neither 1 nor -1", "check the data")


def expect_alike(bottoms: Sequence[Spec]) -> None:
    """LayerError unless all of these are real and of one shape with a batch axis."""
    for i, spec in enumerate(bottoms):
        expect_role(f"bottom[{i}]", spec, "real")
        if spec.shape != bottoms[0].shape:
            raise shape_mismatch(f"bottom[{i}]", spec.shape, f"{bottoms[0].shape}, that of bottom[0]")
    if not bottoms[0].ndim:
        raise LayerError("the bottoms are single numbers, expected at least a batch axis")


def expect_labels(labels: Spec, shape: tuple[int, ...]) -> None:
    """LayerError unless there is an integer for each single loss."""
    expect_role("bottom[2]", labels, "index")
    if labels.shape != shape:
        raise shape_mismatch("bottom[2], the labels,", labels.shape, f"{shape}")


def length(xp: Any, v: Any, p: float = 2.0) -> Any:
    """The p-norm of the vectors on the last axis, which stays with size 1; p ≥ 1. Scaled, so that nothing overflows."""
    size = xp.abs(v)
    top = size.max(axis=-1, keepdims=True)
    scale = xp.where(top > 0, top, 1)
    return scale * sum_of((size / scale) ** p, -1, keepdims=True) ** (1 / p)


def length_slope(xp: Any, v: Any, norm: Any, p: float = 2.0) -> Any:
    """The derivative of `length` by v: sign(v) (|v| / norm)^(p-1); 0 for v = 0, where there is none."""
    return xp.sign(v) * (xp.abs(v) / xp.where(norm > 0, norm, 1)) ** (p - 1)


class VectorLoss(Loss):
    """Base of the losses with one single loss for each vector on the last axis of the bottoms."""

    def spread(self, up: Any) -> Any:
        return up[..., None]

    def gather(self, terms: Any) -> Any:
        return sum_of(terms, -1)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * bottoms[0].size


REDUCED = [{"reduction": "sum"}, {"reduction": "none"}]


@register
class MarginRankingLoss(Loss):
    """MarginRankingLoss: one number shall be larger than another

        ℓ = max(0, margin - t (x₁ - x₂))      t = 1: x₁ shall be larger, t = -1: x₂
        y = 1/m Σ ℓ                           over all m numbers; or Σ ℓ, all ℓ: see reduction

    Shapes    x₁ and x₂ real, of the same shape with a batch axis; t index of that shape; y a single number or as x₁
    Backward  dx₁ = -t dy/m where t (x₁ - x₂) ≤ margin, otherwise 0;   dx₂ = -dx₁
    Keeps     -t where ℓ has a slope
    Cost      4 operations per number forward, 1 backward
    Errors    LayerError when the shapes differ; LayerError (exit 3) for a t that is neither 1 nor -1
    Source    Herbrich et al. 1999; compare torch.nn.MarginRankingLoss
    """

    bottoms = 3

    margin: float = param(0.0, help="how much larger at least")

    examples = [
        *(
            Example(e, [Spec((3, 4)), Spec((3, 4)), signs(3, 4)])
            for e in ({}, {"margin": 0.5}, {"margin": -0.5}, *REDUCED)
        ),
        Example({}, [Spec((5,)), Spec((5,)), signs(5)]),
        Example({}, [Spec((1, 1)), Spec((1, 1)), signs(1, 1)]),
        Example({}, [Spec((0, 2)), Spec((0, 2)), signs(0, 2)]),
    ]
    bad_examples = [
        Bad({}, "bottom[1] has shape (3, 1), expected (3,)", [Spec((3,)), Spec((3, 1)), signs(3)]),
        Bad({}, "bottom[2], the labels, has shape (3, 1), expected (3,)", [Spec((3,)), Spec((3,)), signs(3, 1)]),
        Bad({}, "bottom[2] must be integers", [Spec((3,)), Spec((3,)), Spec((3,))]),
        Bad({}, "at least a batch axis", [Spec(()), Spec(()), signs()]),
    ]

    def setup(self, first: Spec, second: Spec, t: Spec) -> Spec:
        expect_alike((first, second))
        expect_labels(t, first.shape)
        return self.reduced(first, first.shape)

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """-1 and 1."""
        return range(-1, 2, 2)

    def forward(self, first: Any, second: Any, t: Any) -> Any:
        check_signs(t)
        t, n = t.astype(first.dtype), self.divisor(first.shape)
        short = self.margin - t * (first - second)
        self.save(slope=-t * (short >= 0), n=n)
        return self.reduce(self.xp.maximum(short, 0), n)

    def partial(self, i: int) -> Any:
        return (1 - 2 * i) * self.saved.slope

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * bottoms[0].size


@register
class ContrastiveLoss(Loss):
    """ContrastiveLoss: brings pairs that match together and pushes others apart (Caffe: ContrastiveLoss)

        d = |x₁ - x₂|        the distance of the two samples, over all of their numbers
        ℓ = d²/2             of a pair that matches (t = 1)
        ℓ = max(0, margin - d)²/2      of one that does not (t = 0);  with legacy_version  max(0, margin - d²)/2
        y = 1/N Σ ℓ          or Σ ℓ, all ℓ: see reduction

    Shapes    x₁ and x₂ (N, d1, ...) real, of the same shape; t (N) index; y a single number or (N)
    Backward  With u = x₁ - x₂ and ∂d/∂x₁ = u/d:
                  dx₁ = u dy/N of a pair that matches,  -max(0, margin - d) u/d dy/N of one that does not, 0 for d = 0
                  (Caffe divides by d + 1e-4);  with legacy_version  -u dy/N where d² < margin;   dx₂ = -dx₁
    Keeps     the slope of each pair
    Cost      4 operations per number forward, 1 backward
    Errors    LayerError when the shapes do not fit; LayerError (exit 3) for a t that is neither 0 nor 1
    Source    Hadsell, Chopra & LeCun 2006; compare Caffe's ContrastiveLoss layer
    """

    bottoms = 3

    margin: float = param(1.0, help="distance from which on pairs that do not match are left alone", gt=0)
    legacy_version: bool = param(False, help="hold the squared distance against the margin, as early Caffe did")

    examples = [
        *(
            Example(e, [Spec((5, 4)), Spec((5, 4)), index((5,), 2)])
            for e in ({}, {"margin": 4.0}, {"margin": 9.0, "legacy_version": True}, *REDUCED)
        ),
        Example({"margin": 5.0}, [Spec((3, 2, 1, 2)), Spec((3, 2, 1, 2)), index((3,), 2)]),
        Example({}, [Spec((1, 1)), Spec((1, 1)), index((1,), 1)]),
        Example({}, [Spec((0, 2)), Spec((0, 2)), index((0,), 2)]),
        Example({}, [Spec((3, 4), low=-1e4, high=1e4), Spec((3, 4), low=-1e4, high=1e4), index((3,), 1)], "extreme"),
    ]
    bad_examples = [
        Bad({"margin": 0}, "must be > 0"),
        Bad({}, "bottom[1] has shape (3, 1), expected (3, 2)", [Spec((3, 2)), Spec((3, 1)), index((3,), 2)]),
        Bad({}, "bottom[2], the labels, has shape (3, 1), expected (3,)", [*[Spec((3, 2))] * 2, index((3, 1), 2)]),
        Bad({}, "bottom[2] must be integers", [Spec((3, 2)), Spec((3, 2)), Spec((3,))]),
    ]

    def setup(self, first: Spec, second: Spec, t: Spec) -> Spec:
        expect_alike((first, second))
        expect_labels(t, first.shape[:1])
        return self.reduced(first, first.shape[:1])

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """0 and 1."""
        return range(2)

    def forward(self, first: Any, second: Any, t: Any) -> Any:
        check_labels(self.xp, t, 2)
        xp, n, match = self.xp, self.divisor(t.shape), t.astype(bool)
        u = (first - second).reshape(len(t), math.prod(first.shape[1:]))
        d = length(xp, u)[:, 0]
        if self.legacy_version:
            apart, slope = xp.maximum(self.margin - d * d, 0) / 2, -(d * d < self.margin).astype(d.dtype)
        else:
            short = xp.maximum(self.margin - d, 0)
            apart, slope = short * short / 2, -short / xp.where(d > 0, d, 1)
        slope = xp.where(match, 1, slope)[:, None] * u
        self.save(slope=slope.reshape(first.shape), n=n)
        return self.reduce(xp.where(match, d * d / 2, apart), n)

    def partial(self, i: int) -> Any:
        return (1 - 2 * i) * self.saved.slope

    def spread(self, up: Any) -> Any:
        return up.reshape(-1, *(1,) * (self.saved.slope.ndim - 1))

    def gather(self, terms: Any) -> Any:
        return sum_of(terms.reshape(len(terms), math.prod(terms.shape[1:])), 1)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 4 * bottoms[0].size


@register
class TripletMarginLoss(VectorLoss):
    """TripletMarginLoss: an anchor shall be nearer to a positive than to a negative example

        d(a, b) = (Σ |a - b + eps|ᵖ)^(1/p)       along the last axis
        ℓ = max(0, margin + d(x, x₊) - d(x, x₋))
        y = 1/m Σ ℓ                              over all m vectors; or Σ ℓ, all ℓ: see reduction

    Shapes    x, x₊ and x₋ (..., D) real, of the same shape; y a single number or (...)
    Backward  With the unit vector uᵢ = sign(vᵢ) (|vᵢ| / d)^(p-1) of v = a - b + eps, which is ∂d/∂a, and 0 for v = 0:
                  dx = (u₊ - u₋) dy/m,   dx₊ = -u₊ dy/m,   dx₋ = u₋ dy/m      where ℓ is not cut off at 0
    Keeps     u₊ and u₋
    Cost      8 operations per number forward, 1 backward
    Errors    LayerError when the shapes differ
    Source    Schroff et al. 2015; compare torch.nn.TripletMarginLoss
    """

    bottoms = 3

    margin: float = param(1.0, help="how much nearer at least", gt=0)
    p: float = param(2.0, help="which norm measures distances", ge=1)
    eps: float = param(1e-6, help="added to every difference, so that none is exactly 0", ge=0)

    examples = [
        *(
            Example(e, [Spec((4, 5))] * 3)
            for e in ({}, {"margin": 0.1}, {"p": 1.0}, {"p": 3.0, "margin": 2.0}, {"eps": 0.1}, *REDUCED)
        ),
        Example({}, [Spec((2, 3, 4))] * 3),
        Example({}, [Spec((5,))] * 3, "one vector"),
        Example({}, [Spec((1, 1))] * 3),
        Example({}, [Spec((0, 2))] * 3),
        Example({"margin": 5e4}, [Spec((3, 4), low=-1e4, high=1e4)] * 3, "extreme"),
    ]
    bad_examples = [
        Bad({"margin": 0}, "must be > 0"),
        Bad({"p": 0.5}, "must be >= 1"),
        Bad({"p": float("inf")}, "p must be finite"),
        Bad({}, "bottom[2] has shape (3, 1), expected (3, 2)", [Spec((3, 2)), Spec((3, 2)), Spec((3, 1))]),
        Bad({}, "bottom[1] must be real numbers", [Spec((3, 2)), index((3, 2), 2), Spec((3, 2))]),
    ]

    def validate(self) -> None:
        if math.isinf(self.p):
            raise ConfigError("p must be finite")

    def setup(self, anchor: Spec, positive: Spec, negative: Spec) -> Spec:
        expect_alike((anchor, positive, negative))
        return self.reduced(anchor, anchor.shape[:-1])

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        xp, n = self.xp, self.divisor(anchor.shape[:-1])
        near, far = anchor - positive + self.eps, anchor - negative + self.eps
        d_near, d_far = length(xp, near, self.p), length(xp, far, self.p)
        cost = self.margin + d_near - d_far
        counts = cost >= 0
        to_near, to_far = (length_slope(xp, v, d, self.p) * counts for v, d in ((near, d_near), (far, d_far)))
        self.save(to_near=to_near, to_far=to_far, n=n)
        return self.reduce(xp.maximum(cost, 0)[..., 0], n)

    def partial(self, i: int) -> Any:
        to_near, to_far = self.saved.to_near, self.saved.to_far
        return (to_near - to_far, -to_near, to_far)[i]


@register
class CosineEmbeddingLoss(VectorLoss):
    """CosineEmbeddingLoss: the angle between vectors shall be small, or large

        c = x₁·x₂ / √((|x₁|² + 1e-12) (|x₂|² + 1e-12))      along the last axis
        ℓ = 1 - c                   where t = 1
        ℓ = max(0, c - margin)      where t = -1
        y = 1/m Σ ℓ                 over all m vectors; or Σ ℓ, all ℓ: see reduction

    Shapes    x₁ and x₂ (..., D) real, of the same shape; t (...) index; y a single number or (...)
    Backward  With s₁ = |x₁|² + 1e-12 and s₂ likewise, ∂c/∂x₁ = x₂/√(s₁ s₂) - c x₁/s₁, and
                  dx₁ = -∂c/∂x₁ dy/m where t = 1,  ∂c/∂x₁ dy/m where t = -1 and c ≥ margin,  otherwise 0
              and dx₂ the same with the roles exchanged
    Keeps     x₁ and x₂ over their lengths, the lengths, c, and the sign of each slope
    Cost      6 operations per number forward, 4 backward
    Errors    LayerError when the shapes do not fit; LayerError (exit 3) for a t that is neither 1 nor -1
    Source    compare torch.nn.CosineEmbeddingLoss
    """

    bottoms = 3

    margin: float = param(0.0, help="cosine up to which vectors that differ are left alone", ge=-1, le=1)

    examples = [
        *(
            Example(e, [Spec((4, 5)), Spec((4, 5)), signs(4)])
            for e in ({}, {"margin": 0.5}, {"margin": -0.5}, *REDUCED)
        ),
        Example({}, [Spec((2, 3, 4)), Spec((2, 3, 4)), signs(2, 3)]),
        Example({}, [Spec((5,)), Spec((5,)), signs()], "one pair"),
        Example({}, [Spec((0, 2)), Spec((0, 2)), signs(0)]),
        Example({}, [Spec((3, 4), low=-1e4, high=1e4), Spec((3, 4), low=-1e4, high=1e4), signs(3)], "extreme"),
    ]
    bad_examples = [
        Bad({"margin": 1.5}, "must be <= 1"),
        Bad({}, "bottom[1] has shape (3, 1), expected (3, 2)", [Spec((3, 2)), Spec((3, 1)), signs(3)]),
        Bad({}, "bottom[2], the labels, has shape (3, 1), expected (3,)", [*[Spec((3, 2))] * 2, signs(3, 1)]),
        Bad({}, "bottom[2] must be integers", [Spec((3, 2)), Spec((3, 2)), Spec((3,))]),
    ]

    def setup(self, first: Spec, second: Spec, t: Spec) -> Spec:
        expect_alike((first, second))
        expect_labels(t, first.shape[:-1])
        return self.reduced(first, first.shape[:-1])

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """-1 and 1."""
        return range(-1, 2, 2)

    def forward(self, first: Any, second: Any, t: Any) -> Any:
        check_signs(t)
        xp, n = self.xp, self.divisor(t.shape)
        lengths = [xp.sqrt(sum_of(x * x, -1, keepdims=True) + LEAST_SQUARE) for x in (first, second)]
        units = [x / size for x, size in zip((first, second), lengths, strict=True)]
        c = sum_of(units[0] * units[1], -1, keepdims=True)
        alike = t[..., None] == 1
        sign = xp.where(alike, -1, c >= self.margin).astype(c.dtype)
        self.save(units=units, lengths=lengths, c=c, sign=sign, n=n)
        return self.reduce(xp.where(alike, 1 - c, xp.maximum(c - self.margin, 0))[..., 0], n)

    def partial(self, i: int) -> Any:
        mine, other = self.saved.units[i], self.saved.units[1 - i]
        return self.saved.sign * (other - self.saved.c * mine) / self.saved.lengths[i]


LEAST_SQUARE = 1e-12  # torch's smallest squared length
