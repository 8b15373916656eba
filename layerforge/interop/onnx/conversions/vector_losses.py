"""Losses that compare vectors."""

from __future__ import annotations

from typing import Any

from ....layers.losses.cosine_embedding_loss import LEAST_SQUARE
from ..exporting import Export, Value, exports
from .formulas import Term, where
from .losses import divisor, reduced


def length(v: Term, p: float = 2.0) -> Term:
    """The p-norm of the vectors on the last axis, (...): scaled, so that nothing overflows."""
    size = abs(v)
    scale = size.largest(-1).or_one()
    total = ((size / scale) ** p).sum(-1)
    return scale.squeezed(-1) * total ** (1 / p)


@exports("ContrastiveLoss")
def contrastive(w: Export, first: Value, second: Value, t: Value) -> Any:
    """The distance of two samples, or what it lacks of the margin."""
    u = Term(w, w.op("Flatten", w.op("Sub", first, second)))
    d = length(u)
    if w.layer.legacy_version:
        apart = (w.layer.margin - d * d).at_least(0)
    else:
        short = (w.layer.margin - d).at_least(0)
        apart = short * short
    return reduced(w, where(Term(w, t).differs(0), d * d, apart) / 2, divisor(w, t.shape[0]))


@exports("CosineEmbeddingLoss")
def cosine_embedding(w: Export, first: Value, second: Value, t: Value) -> Any:
    """One minus the cosine, or what it is above the margin."""
    units = []
    for x in (Term(w, first), Term(w, second)):
        square = (x * x).sum(-1, keepdims=True) + LEAST_SQUARE
        units.append(x / square.op("Sqrt", square))
    c = (units[0] * units[1]).sum(-1)
    losses = where(Term(w, t).equals(1), 1 - c, (c - w.layer.margin).at_least(0))
    return reduced(w, losses, divisor(w, *t.shape))


@exports("MarginRankingLoss")
def margin_ranking(w: Export, first: Value, second: Value, t: Value) -> Any:
    """What a difference lacks of the margin."""
    short = w.layer.margin - Term(w, t).real() * (Term(w, first) - Term(w, second))
    return reduced(w, short.at_least(0), divisor(w, *first.shape))


@exports("TripletMarginLoss")
def triplet_margin(w: Export, anchor: Value, positive: Value, negative: Value) -> Any:
    """What the difference of two distances lacks of the margin."""
    x, layer = Term(w, anchor), w.layer
    near, far = (length(x - Term(w, other) + layer.eps, layer.p) for other in (positive, negative))
    return reduced(w, (near - far + layer.margin).at_least(0), divisor(w, *anchor.shape[:-1]))
