"""Losses between elements, and what all losses share: many single losses become one number, or stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....layers.losses.bce_loss import LEAST_LOG
from ....layers.losses.smooth_l1_loss import end_of_square
from ..exporting import EXPORTS, REFUSED, Export, Value
from .formulas import Term, count, where

REFUSED["MultiBoxLoss"] = (
    "ONNX has no operators that match boxes with objects one to one and mine the worst of the others: it is a loss for "
    "training, and what a net predicts is exported without it"
)
REFUSED["CTCLoss"] = (
    "ONNX has no operator that sums over all alignments of a text: it is a loss for training, and what a net predicts "
    "is exported without it"
)


def reduced(w: Export, losses: Term, m: Term | float, weight: Value | None = None, share: Term | None = None) -> Any:
    """The top: the single losses, or their sum over m.

    weight   of samples, where there are any, spread over the axes of the losses: a factor of them
    share    what each single loss counts in m by itself, where m is a sum of weights
    """
    if weight is not None:
        factor = Term(w, w.op("Expand", weight, _shape(losses)))
        losses = factor * losses
        if share is not None:
            m = (factor * share).sum().or_one()
    return losses.value if w.layer.reduction == "none" else (losses.sum() / m).value


def spread(w: Export, weight: tuple[Value, ...], ndim: int) -> Value | None:
    """Weights of samples with as many axes as their losses, new ones of length 1; None where there are no weights."""
    if not weight:
        return None
    new = list(range(weight[0].ndim, ndim))
    return w.op("Unsqueeze", weight[0], new) if new else weight[0]


def ones_like(losses: Term) -> Term:
    """1 for each single loss."""
    return Term(losses.w, losses.w.op("ConstantOfShape", _shape(losses), value=np.ones(1, np.float32), dtype="float32"))


def _shape(losses: Term) -> Value:
    return losses.w.op("Shape", losses.value, dtype="int64")


def divisor(w: Export, *lengths: Any) -> Term | float:
    """What the sum over single losses of that shape is divided by: `Loss.divisor`."""
    if w.layer.reduction == "mean":
        return count(w, *lengths)
    return count(w, lengths[0]) if w.layer.reduction == "batchmean" else 1.0


# Between elements -----------------------------------------------------------------------------------------------------

Single = Callable[[Any, Term, Term], Term]  # (layer, x, t) -> the single losses


def of_elements(single: Single) -> Callable[..., Any]:
    """The export of a loss between elements."""

    def export(w: Export, x: Value, t: Value, *weight: Value) -> Any:
        losses = single(w.layer, Term(w, x), Term(w, t))
        ones = ones_like(losses) if weight and w.layer.reduction == "mean" else None
        return reduced(w, losses, divisor(w, *x.shape), spread(w, weight, x.ndim), ones)

    return export


def huber(u: Term, delta: float) -> Term:
    """u²/2 up to |u| = delta, from there on the tangent."""
    size = abs(u)
    a = size.at_most(delta)
    return a * (size - a / 2)


def smooth(layer: Any, u: Term) -> Term:
    """huber over beta, or |u|."""
    beta = end_of_square(layer)
    return huber(u, beta) / beta if beta else abs(u)


def least_log(x: Term) -> Term:
    """log x, not below that of BCELoss."""
    return x.op("Log", x).at_least(LEAST_LOG)


def softplus(x: Term) -> Term:
    """log(1 + eˣ)."""
    return x.op("Softplus", x)


def sigmoid(x: Term) -> Term:
    """1 / (1 + e⁻ˣ)."""
    return x.op("Sigmoid", x)


def divergence(layer: Any, x: Term, t: Term) -> Term:
    """KLDivLoss: p (log p - x), 0 where p is 0."""
    if layer.log_target:
        return t.op("Exp", t) * (t - x)
    positive = where(t > 0, t, 1)
    return t * (positive.op("Log", positive) - x)


def focal(layer: Any, x: Term, t: Term) -> Term:
    """SigmoidFocalLoss: a u^gamma c."""
    a: Any = 1 if layer.alpha is None else t * (2 * layer.alpha - 1) + (1 - layer.alpha)
    u = t * sigmoid(-x) + (1 - t) * sigmoid(x)
    return entropy(x, t) * u**layer.gamma * a


def entropy(x: Term, t: Term) -> Term:
    """The binary cross entropy of scores."""
    return t * softplus(-x) + (1 - t) * softplus(x)


BETWEEN_ELEMENTS: dict[str, Single] = {
    "L1Loss": lambda layer, x, t: abs(x - t),
    "MSELoss": lambda layer, x, t: (x - t) ** 2,
    "EuclideanLoss": lambda layer, x, t: (x - t) ** 2 / 2,
    "HuberLoss": lambda layer, x, t: huber(x - t, layer.delta),
    "BCELoss": lambda layer, x, t: -t * least_log(x) - (1 - t) * least_log(1 - x),
    "KLDivLoss": divergence,
    "SigmoidFocalLoss": focal,
}
EXPORTS.update({kind: of_elements(single) for kind, single in BETWEEN_ELEMENTS.items()})


def smooth_l1(w: Export, x: Value, t: Value, *weights: Value) -> Any:
    """SmoothL1Loss; two weights are those inside and outside of boxes."""
    if len(weights) < 2:
        return of_elements(lambda layer, x, t: smooth(layer, x - t))(w, x, t, *weights)
    inside, outside = (Term(w, weight) for weight in weights)
    losses = outside * smooth(w.layer, inside * (Term(w, x) - Term(w, t)))
    return reduced(w, losses, divisor(w, *x.shape))


def bce_with_logits(w: Export, x: Value, t: Value, *weight: Value) -> Any:
    """BCEWithLogitsLoss, some of whose elements may be ignored."""
    layer, score, target = w.layer, Term(w, x), Term(w, t)
    positive = np.asarray(layer.pos_weight, np.float32) if isinstance(layer.pos_weight, list) else layer.pos_weight
    losses = target * softplus(-score) * (1 if positive is None else positive) + (1 - target) * softplus(score)
    valid = None
    if layer.ignore_index is not None:
        whole = target.op("Mul", target.op("Sign", target), target.op("Floor", abs(target)))
        valid = whole.differs(layer.ignore_index)
        losses = where(valid, losses, 0)
    share = None
    if layer.reduction == "mean" and layer.normalization == "valid":
        share = ones_like(losses) if valid is None else valid.real()
    return reduced(w, losses, _total(w, x, valid), spread(w, weight, x.ndim), share)


def _total(w: Export, x: Value, valid: Term | None) -> Term | float:
    """m without weights of samples, as `CountedLoss.total` has it."""
    layer = w.layer
    if layer.reduction != "mean" or layer.normalization in ("full", "none"):
        return 1.0 if layer.reduction == "mean" and layer.normalization == "none" else divisor(w, *x.shape)
    if layer.normalization == "batch_size":
        return count(w, x.shape[0])
    return divisor(w, *x.shape) if valid is None else valid.real().sum().or_one()


EXPORTS.update({"SmoothL1Loss": smooth_l1, "BCEWithLogitsLoss": bce_with_logits})
