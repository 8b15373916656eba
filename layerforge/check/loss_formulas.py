"""The built-in losses once more, one single loss after the other, as their docstrings have them.

A formula here is written independently of the layer: scalars and loops where the layer has arrays, and all paths one
by one where CTCLoss has a recursion. It takes the layer, of which it reads hyper-parameters only, and the bottoms in
float64; it returns the top.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .multi_box_formula import multi_box

Formula = Callable[..., Any]
LEAST_PROBABILITY, LEAST_LOG, LEAST_SQUARE = 1e-20, -100.0, 1e-12


def reduced(layer: Any, losses: Any, divisor: float) -> Any:
    """The single losses, their sum, or (mean and batchmean) their sum over the divisor."""
    if layer.reduction == "none":
        return np.array(losses, dtype="float64")
    total = math.fsum(np.ravel(losses))
    return np.array(total if layer.reduction == "sum" else total / (divisor or 1))


def with_sample_weights(formula: Formula, share: Callable[..., Any]) -> Formula:
    """The same with a weight ω of each sample as a third bottom: Σ ω ℓ, over Σ ω share for a mean of what counts."""

    def weighted(layer: Any, x: Any, t: Any, *weight: Any) -> Any:
        if len(weight) != 1:
            return formula(layer, x, t, *weight)
        each = formula(Only(layer, reduction="none"), x, t)
        factor = np.array([weight[0][at[: weight[0].ndim]] for at in np.ndindex(*each.shape)]).reshape(each.shape)
        ways = {"full": each.size, "batch_size": len(each), "batchmean": len(each), "none": 1}
        way = layer.reduction if layer.reduction == "batchmean" else getattr(layer, "normalization", "valid")
        counts = math.fsum(np.ravel(factor * share(layer, x, t))) if way == "valid" else ways[way]
        return reduced(layer, factor * each, counts)

    return weighted


class Only:
    """A layer with some hyper-parameters replaced."""

    def __init__(self, layer: Any, **values: Any) -> None:
        self.layer = layer
        vars(self).update(values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)


def shares(layer: Any, x: Any, t: Any) -> Any:
    """What each position counts: the weight of its label, 0 where it is ignored, 1 of probabilities and elements."""
    if t.dtype.kind == "f":
        ignored = getattr(layer, "ignore_index", None)
        return 1.0 if ignored is None else np.array([int(v) != ignored for v in np.ravel(t)]).reshape(t.shape)
    weight = getattr(layer, "weight", None) or [1.0] * x.shape[1]
    counts = [0.0 if label == layer.ignore_index else weight[int(label)] for label in np.ravel(t)]
    return np.array(counts).reshape(t.shape)


# Losses between two blobs ---------------------------------------------------------------------------------------------


def between(single: Callable[..., float]) -> Formula:
    """A loss for each pair of elements: single(layer, x, t, place on the last axis)."""

    def formula(layer: Any, x: Any, t: Any) -> Any:
        losses, counting = np.zeros(x.shape), np.zeros(x.shape) + shares(layer, x, t)
        for at in np.ndindex(*x.shape):
            losses[at] = single(layer, float(x[at]), float(t[at]), at[-1]) if counting[at] else 0
        ways = {"valid": counting.sum(), "full": x.size, "batch_size": x.shape[0], "none": 1}
        n = ways[getattr(layer, "normalization", "valid")]
        return reduced(layer, losses, x.shape[0] if layer.reduction == "batchmean" else n)

    return formula


def softplus(u: float) -> float:
    """log(1 + eᵘ)."""
    return max(u, 0.0) + math.log1p(math.exp(-abs(u)))


def log_at_least(x: float) -> float:
    """log x, not below -100."""
    return max(math.log(x), LEAST_LOG) if x > 0 else LEAST_LOG


def with_logits(layer: Any, x: float, t: float, place: int) -> float:
    """p t log(1 + e⁻ˣ) + (1 - t) log(1 + eˣ)."""
    p = layer.pos_weight[place] if isinstance(layer.pos_weight, list) else layer.pos_weight
    return (1 if p is None else p) * t * softplus(-x) + (1 - t) * softplus(x)


def smooth_l1(layer: Any, x: float, t: float, place: int) -> float:
    """u²/(2 beta) where |u| < beta, otherwise |u| - beta/2; beta may be told as sigma."""
    u, beta = abs(x - t), layer.beta if layer.sigma is None else layer.sigma**-2
    return u * u / (2 * beta) if u < beta else u - beta / 2


def of_boxes(layer: Any, x: Any, t: Any, *weights: Any) -> Any:
    """smooth_l1, of a u that is times its inside weight, times its outside weight."""
    inside, outside = weights or (1.0, 1.0)
    each = outside * between(smooth_l1)(Only(layer, reduction="none"), inside * x, inside * t)
    return reduced(layer, each, x.shape[0] if layer.reduction == "batchmean" else x.size)


def huber(layer: Any, x: float, t: float, place: int) -> float:
    """u²/2 where |u| < delta, otherwise delta (|u| - delta/2)."""
    u = abs(x - t)
    return u * u / 2 if u < layer.delta else layer.delta * (u - layer.delta / 2)


def kl_div(layer: Any, x: float, t: float, place: int) -> float:
    """t (log t - x), or eᵗ (t - x)."""
    if layer.log_target:
        return math.exp(t) * (t - x)
    return t * (math.log(t) - x) if t else 0.0


# Losses of classes ----------------------------------------------------------------------------------------------------


def of_classes(single: Callable[..., float]) -> Formula:
    """A loss for each label that counts, times its weight: single(layer, the scores of its position, label, ...)."""

    def formula(layer: Any, x: Any, labels: Any, *more: Any) -> Any:
        losses, weights = np.zeros(labels.shape), 0.0
        for at in np.ndindex(*labels.shape):
            label = int(labels[at])
            if label != layer.ignore_index:
                w = 1.0 if layer.weight is None else layer.weight[label]
                losses[at] = single(layer, scores_at(x, at), label, w, *more)
                weights += w
        return reduced(layer, losses, counted(layer, labels.shape, weights))

    return formula


def scores_at(x: Any, at: tuple[int, ...]) -> list[float]:
    """The K scores of a position of x (N, K, d1, ...)."""
    return [float(x[(at[0], k, *at[1:])]) for k in range(x.shape[1])]


def counted(layer: Any, shape: tuple[int, ...], weights: float) -> float:
    """What a mean divides by; `weights` is the sum over the positions that count."""
    return {"valid": weights, "full": math.prod(shape), "batch_size": shape[0], "none": 1}[layer.normalization]


def log_softmax(scores: list[float]) -> list[float]:
    """log pₖ = xₖ - log Σ exp x."""
    top = max(scores)
    total = top + math.log(math.fsum(math.exp(s - top) for s in scores))
    return [s - total for s in scores]


def hinge(layer: Any, scores: list[float], label: int, w: float) -> float:
    """w Σₖ vₖ or w Σₖ vₖ², with vₖ = max(0, 1 - sₖ xₖ)."""
    short = [max(0.0, 1 - (s if k == label else -s)) for k, s in enumerate(scores)]
    return w * math.fsum(v if layer.norm == "L1" else v * v for v in short)


def infogain(layer: Any, scores: list[float], label: int, w: float, matrix: Any = None) -> float:
    """-w Σₖ H[label, k] log pₖ."""
    row = (layer.matrix if matrix is None else matrix)[label]
    return -w * math.fsum(float(h) * log_p for h, log_p in zip(row, limited(layer, log_softmax(scores)), strict=True))


def limited(layer: Any, logs: list[float]) -> list[float]:
    """log max(p, min_probability)."""
    least = math.log(layer.min_probability) if layer.min_probability else -math.inf
    return [max(log_p, least) for log_p in logs]


def cross_entropy(layer: Any, x: Any, t: Any) -> Any:
    """-Σₖ wₖ qₖ log pₖ, with q a label or probabilities, smoothed."""
    classes, share = x.shape[1], layer.label_smoothing
    w = [1.0] * classes if layer.weight is None else layer.weight
    shape, probabilities = (x.shape[0], *x.shape[2:]), t.dtype.kind == "f"
    losses, weights = np.zeros(shape), 0.0
    for at in np.ndindex(*shape):
        if not probabilities and t[at] == layer.ignore_index:
            continue
        target = scores_at(t, at) if probabilities else [float(k == t[at]) for k in range(classes)]
        target = [(1 - share) * q + share / classes for q in target]
        terms = zip(w, target, limited(layer, log_softmax(scores_at(x, at))), strict=True)
        losses[at] = -math.fsum(w_k * q * log_p for w_k, q, log_p in terms)
        weights += 1.0 if probabilities else w[int(t[at])]
    return reduced(layer, losses, counted(layer, shape, weights))


def focal(layer: Any, x: Any, labels: Any) -> Any:
    """-alpha[label] (1 - p[label])^gamma log p[label]; m counts positions, not alpha."""
    losses, count = np.zeros(labels.shape), 0
    for at in np.ndindex(*labels.shape):
        label = int(labels[at])
        if label != layer.ignore_index:
            alpha = layer.alpha[label] if isinstance(layer.alpha, list) else layer.alpha
            logs = log_softmax(scores_at(x, at))
            others = math.fsum(math.exp(log_p) for k, log_p in enumerate(logs) if k != label)
            losses[at] = -alpha * others**layer.gamma * logs[label]
            count += 1
    return reduced(layer, losses, counted(layer, labels.shape, count))


def sigmoid_focal(layer: Any, x: float, t: float, place: int) -> float:
    """a u^gamma c, with u how far the answer is from t and c the cross entropy."""
    a = 1 if layer.alpha is None else layer.alpha * t + (1 - layer.alpha) * (1 - t)
    up, down = math.exp(-softplus(-x)), math.exp(-softplus(x))
    return a * (t * down + (1 - t) * up) ** layer.gamma * (t * softplus(-x) + (1 - t) * softplus(x))


def dice(layer: Any, x: Any, t: Any) -> Any:
    """1 - 1/K Σₖ (2 Σ p q + smooth) / (Σ p + Σ q + smooth), the sums over one sample."""
    classes, labels, losses = x.shape[1], t.dtype.kind != "f", []
    for n in range(len(x)):
        above, below = [layer.smooth] * classes, [layer.smooth] * classes
        for at in np.ndindex(*x.shape[2:]):
            if labels and t[(n, *at)] == layer.ignore_index:
                continue
            target = [float(k == t[(n, *at)]) for k in range(classes)] if labels else scores_at(t, (n, *at))
            for k, (p, q) in enumerate(zip(predicted(layer, scores_at(x, (n, *at))), target, strict=True)):
                above[k] += 2 * p * q
                below[k] += p * p + q * q if layer.squares else p + q
        coefficients = [a / b if b else 1.0 for a, b in zip(above, below, strict=True)]
        losses.append(1 - math.fsum(coefficients) / classes)
    return reduced(layer, losses, len(x))


def predicted(layer: Any, scores: list[float]) -> list[float]:
    """The probabilities of the classes at one position."""
    if layer.activation == "none":
        return scores
    logs = log_softmax(scores) if layer.activation == "softmax" else [-softplus(-s) for s in scores]
    return [math.exp(log_p) for log_p in logs]


# Losses of vectors ----------------------------------------------------------------------------------------------------


def of_vectors(single: Callable[..., float], axes: int = 1) -> Formula:
    """A loss for each vector on the last axis: single(layer, the vectors, the label if there is one)."""

    def formula(layer: Any, *bottoms: Any) -> Any:
        blobs = [b for b in bottoms if b.dtype.kind == "f"]
        shape = blobs[0].shape[: blobs[0].ndim - axes]
        losses = np.zeros(shape)
        for at in np.ndindex(*shape):
            labels = [int(b[at]) for b in bottoms if b.dtype.kind != "f"]
            losses[at] = single(layer, *([float(e) for e in np.ravel(b[at])] for b in blobs), *labels)
        return reduced(layer, losses, losses.size)

    return formula


def contrastive(layer: Any, a: list[float], b: list[float], t: int) -> float:
    """r²/2 of a pair that matches; max(0, margin - r)²/2, or max(0, margin - r²)/2, of one that does not."""
    r = math.dist(a, b)
    if t:
        return r * r / 2
    return max(0.0, layer.margin - r * r) / 2 if layer.legacy_version else max(0.0, layer.margin - r) ** 2 / 2


def samples(single: Callable[..., float]) -> Formula:
    """A loss for each sample, whatever its shape."""

    def formula(layer: Any, first: Any, second: Any, t: Any) -> Any:
        width = math.prod(first.shape[1:])
        return of_vectors(single)(layer, first.reshape(len(t), width), second.reshape(len(t), width), t)

    return formula


def cosine(layer: Any, a: list[float], b: list[float], t: int) -> float:
    """1 - c, or max(0, c - margin)."""
    squares = [math.fsum(e * e for e in v) + LEAST_SQUARE for v in (a, b)]
    c = math.fsum(e * f for e, f in zip(a, b, strict=True)) / math.sqrt(squares[0] * squares[1])
    return 1 - c if t == 1 else max(0.0, c - layer.margin)


def ranking(layer: Any, a: list[float], b: list[float], t: int) -> float:
    """max(0, margin - t (x₁ - x₂))."""
    return max(0.0, layer.margin - t * (a[0] - b[0]))


def triplet(layer: Any, anchor: list[float], positive: list[float], negative: list[float]) -> float:
    """max(0, margin + r(x, x₊) - r(x, x₋))."""

    def r(a: list[float], b: list[float]) -> float:
        return math.fsum(abs(e - f + layer.eps) ** layer.p for e, f in zip(a, b, strict=True)) ** (1 / layer.p)

    return max(0.0, layer.margin + r(anchor, positive) - r(anchor, negative))


# CTCLoss --------------------------------------------------------------------------------------------------------------


def ctc(layer: Any, x: Any, targets: Any, *lengths: Any) -> Any:
    """-log Σ_π Πₜ pₜ(πₜ) over all paths π, one by one, that read as the target."""
    steps, samples_, classes = x.shape
    losses = []
    for n in range(samples_):
        t, s = (int(lengths[0][n]), int(lengths[1][n])) if lengths else (steps, targets.shape[1])
        target = [int(label) for label in targets[n, :s]]
        paths = (p for p in itertools.product(range(classes), repeat=t) if reading(p, layer.blank) == target)
        logs = [math.fsum(float(x[i, n, k]) for i, k in enumerate(path)) for path in paths]
        if not logs:
            losses.append(0.0 if layer.zero_infinity else math.inf)
            continue
        loss = -(max(logs) + math.log(math.fsum(math.exp(a - max(logs)) for a in logs)))
        losses.append(loss / max(1, s) if layer.reduction == "mean" else loss)
    return reduced(layer, np.array(losses), samples_)


def reading(path: tuple[int, ...], blank: int) -> list[int]:
    """What a path reads as: repeated classes joined, then blanks removed."""
    return [k for k, _ in itertools.groupby(path) if k != blank]


# The table ------------------------------------------------------------------------------------------------------------

FORMULAS: dict[str, Formula] = {
    "BCELoss": between(lambda _, x, t, place: -t * log_at_least(x) - (1 - t) * log_at_least(1 - x)),
    "BCEWithLogitsLoss": between(with_logits),
    "CTCLoss": ctc,
    "ContrastiveLoss": samples(contrastive),
    "CosineEmbeddingLoss": of_vectors(cosine),
    "DiceLoss": dice,
    "EuclideanLoss": between(lambda _, x, t, place: (x - t) ** 2 / 2),
    "FocalLoss": focal,
    "HingeLoss": of_classes(hinge),
    "HuberLoss": between(huber),
    "InfogainLoss": of_classes(infogain),
    "KLDivLoss": between(kl_div),
    "L1Loss": between(lambda _, x, t, place: abs(x - t)),
    "MSELoss": between(lambda _, x, t, place: (x - t) ** 2),
    "MarginRankingLoss": of_vectors(ranking, axes=0),
    "MultiBoxLoss": multi_box,
    "MultinomialLogisticLoss": of_classes(lambda _, p, label, w: -w * math.log(max(p[label], LEAST_PROBABILITY))),
    "NLLLoss": of_classes(lambda _, x, label, w: -w * x[label]),
    "SigmoidFocalLoss": between(sigmoid_focal),
    "SmoothL1Loss": of_boxes,
    "SoftmaxCrossEntropy": cross_entropy,
    "TripletMarginLoss": of_vectors(triplet),
}

BY_SAMPLES = (
    *("BCELoss", "BCEWithLogitsLoss", "EuclideanLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss"),
    *("SigmoidFocalLoss", "SmoothL1Loss", "FocalLoss", "HingeLoss", "MultinomialLogisticLoss", "NLLLoss"),
    "SoftmaxCrossEntropy",
)
FORMULAS |= {name: with_sample_weights(FORMULAS[name], shares) for name in BY_SAMPLES}
