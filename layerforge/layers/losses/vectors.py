"""What the losses that compare vectors share: their bottoms, labels that are 1 or -1, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, refuse_labels, shape_mismatch, sum_of
from ...arrays.spec import Spec
from ...schema.errors import LayerError
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
