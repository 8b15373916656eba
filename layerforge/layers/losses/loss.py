"""What the losses share: many single losses become one number, their mean or their sum, or stay as they are.

    y = Σ ℓ / m        so every ℓ gets dℓ = dy / m, and bottom b gets db = Σ dℓ ∂ℓ/∂b, over the ℓ that it reaches

m is what the reduction divides by: for a mean the number of the ℓ or the sum of their weights, for a sum 1. With
reduction none y is ℓ, and dℓ is dy itself.

A loss brings its single losses ℓ and their partial derivatives; backward and jvp are written here, once.
"""

from __future__ import annotations

import math
from typing import Any

from ...arrays.functional import sum_of
from ...arrays.spec import Spec
from ...contract.layer import Layer
from ...schema.params import param

REDUCTIONS = ("mean", "sum", "none")
REDUCTION_HELP = "of the single losses: their mean, their sum, or none: the top holds them all"


def reduction_param(default: str = "mean", *more: str, help: str = REDUCTION_HELP) -> Any:
    """The hyper-parameter of that name; `more` are choices beyond mean, sum and none."""
    return param(default, help=help, choices=(*REDUCTIONS, *more))


def divisor_of(xp: Any, count: Any, dtype: Any) -> Any:
    """What a sum is divided by for the mean over so many things; 1 where there are none. A device's count stays one."""
    if isinstance(count, (int, float)):
        return count or 1
    return xp.where(count == 0, 1, count).astype(dtype)


class Reduction:
    """What a loss does with its single losses. The layer saves m, what their sum is divided by, as n, and
    brings `partial`.

    partial(i)    ∂ℓ/∂bottom i, from self.saved: the shape of the bottom
    spread(up)    dℓ, an upstream gradient of every single loss, in a shape that broadcasts with `partial`
    gather(terms) the sum over the elements of a bottom that belong to one single loss: the transpose of spread
    scores        what bottom 0 says, for predictions: logits, log_probabilities, probabilities or margins of classes,
                  binary_logits or binary_probabilities; "" for values
    """

    scores = ""
    reduction: str
    needs_grad: tuple[bool, ...]
    saved: Any

    def reduced(self, like: Spec, shape: tuple[int, ...]) -> Spec:
        """The Spec of the top, for single losses of that shape."""
        return Spec(shape if self.reduction == "none" else (), like.dtype)

    def reduce(self, losses: Any, n: float) -> Any:
        """The top: the single losses themselves, or their sum over n (the m of the formulas)."""
        return losses if self.reduction == "none" else sum_of(losses) / n

    def backward(self, dy: Any) -> tuple[Any, ...]:
        up = dy / self.saved.n
        return tuple(self.gradient(i, up) if needed else None for i, needed in enumerate(self.needs_grad))

    def jvp(self, *tangents: Any) -> Any:
        moved = [self.tangent(i, v) for i, v in enumerate(tangents) if v is not None]
        return self.reduce(sum(moved[1:], moved[0]), self.saved.n)

    def gradient(self, i: int, up: Any) -> Any:
        """The gradient of bottom i, for an upstream gradient of every single loss."""
        return self.partial(i) * (self.spread(up) if self.reduction == "none" else up)

    def tangent(self, i: int, v: Any) -> Any:
        """How the single losses move when bottom i moves by v."""
        return self.gather(self.partial(i) * v)

    def partial(self, i: int) -> Any:
        """∂ℓ/∂bottom i."""
        raise NotImplementedError(f"{type(self).__name__} has no partial(self, i)")

    def spread(self, up: Any) -> Any:
        """By default every element of a bottom is a single loss."""
        return up

    def gather(self, terms: Any) -> Any:
        """By default every element of a bottom is a single loss."""
        return terms


class Loss(Reduction, Layer):
    """Base of the losses of real numbers. Those of classes are ClassLosses (class_loss.py)."""

    loss = True
    per_sample = False

    reduction: str = reduction_param()

    def mean_over(self, *bottoms: Any) -> float | None:
        """The batch size, where the top is a mean."""
        return super().mean_over(*bottoms) if self.reduction in ("mean", "batchmean") else None

    def divisor(self, shape: tuple[int, ...]) -> int:
        """What the sum over single losses of that shape is divided by; 1 where there are none."""
        counts = {"mean": math.prod(shape), "batchmean": shape[0] if shape else 1}
        return counts.get(self.reduction, 1) or 1
