"""Twins of the losses. What torch has no like of (Caffe's losses and normalisations) is written as a formula here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...schema.registry import LAYERS
from ..multi_box_formula import code_of, targets
from .call import Call


def reduced(each: Tensor, reduction: str) -> Tensor:
    """Single losses as one number."""
    sums = {"mean": each.mean, "sum": each.sum, "batchmean": lambda: each.sum() / len(each), "none": lambda: each}
    return sums[reduction]()


def between(module: Callable[..., nn.Module], **default: Any) -> Callable[[Call], Tensor]:
    """The twin of a loss between two blobs of one shape, reduced by the formula."""

    def twin(c: Call) -> Tensor:
        hyper = {**default, **c.hyper}
        reduction = hyper.pop("reduction", "mean")
        if hyper.get("pos_weight") is not None:
            hyper["pos_weight"] = torch.tensor(hyper["pos_weight"])
        return reduced(module(**hyper, reduction="none")(*c.x), reduction)

    return twin


def with_logits(c: Call) -> Tensor:
    """torch's BCEWithLogitsLoss of single elements, without the ignored ones, divided by what Caffe counts."""
    hyper = {k: v for k, v in c.hyper.items() if k not in ("ignore_index", "normalization")}
    counting = c.x[1].trunc() != c.hyper.get("ignore_index", -(10**9))
    each = between(nn.BCEWithLogitsLoss)(replace(c, hyper={**hyper, "reduction": "none"})) * counting
    if c.hyper.get("reduction") == "batchmean":
        return reduced(each, "batchmean")
    return normalised(c, each, counting.to(each.dtype))


def smooth_l1(c: Call) -> Tensor:
    """torch's SmoothL1Loss with beta for sigma; of boxes between weighted blobs, and weighted once more."""
    hyper = dict(c.hyper)
    sigma = hyper.pop("sigma", None)
    if sigma is not None:
        hyper["beta"] = sigma**-2
    if len(c.x) == 2:
        return between(nn.SmoothL1Loss)(replace(c, hyper=hyper))
    x, t, inside, outside = c.x
    each = between(nn.SmoothL1Loss)(replace(c, hyper={**hyper, "reduction": "none"}, x=[inside * x, inside * t]))
    return reduced(outside * each, c.hyper.get("reduction", "mean"))


def euclidean(c: Call) -> Tensor:
    """The sum of (a - b)² / 2, divided by the batch size."""
    return reduced((c.x[0] - c.x[1]) ** 2 / 2, c.hyper.get("reduction", "batchmean"))


def weights_of(c: Call, classes: int) -> Tensor:
    """The weight of each class; 1 where none are given."""
    return torch.tensor(c.hyper.get("weight", [1.0] * classes))


def normalised(c: Call, each: Tensor, weight: Tensor) -> Tensor:
    """Single losses, and their weights (0 for an ignored one), as the layer's reduction and normalization say."""
    reduction, normalization = c.hyper.get("reduction", "mean"), c.hyper.get("normalization", "valid")
    if reduction != "mean":
        return each if reduction == "none" else each.sum()
    n = {"valid": weight.sum(), "full": weight.numel(), "batch_size": len(weight), "none": 1}
    return each.sum() / n[normalization]


def of_classes(each_of: Callable[[Call, Tensor, Tensor], Tensor]) -> Callable[[Call], Tensor]:
    """The twin of a loss of scores (N, K, ...) against labels, from the single losses for labels that count."""

    def twin(c: Call) -> Tensor:
        x, t = c.x[0], c.x[1]
        valid = t != c.hyper.get("ignore_index", -(10**9))
        safe = torch.where(valid, t, 0)
        weight = weights_of(c, x.shape[1])[safe] * valid
        return normalised(c, each_of(c, x, safe) * weight, weight)

    return twin


def picked(x: Tensor, t: Tensor) -> Tensor:
    """x[n, t[n, ...], ...]"""
    return x.gather(1, t.unsqueeze(1)).squeeze(1)


def hinge(c: Call, x: Tensor, t: Tensor) -> Tensor:
    """The sum over the classes of max(0, 1 - sign x) or its square; sign is 1 for the label and -1 for all others."""
    sign = 2 * functional.one_hot(t, x.shape[1]).movedim(-1, 1) - 1
    short = (1 - sign * x).clamp(min=0)
    return (short**2 if c.hyper.get("norm") == "L2" else short).sum(dim=1)


def infogain(c: Call, x: Tensor, t: Tensor) -> Tensor:
    """-Σ_k H[t, k] log softmax(x)_k."""
    matrix = c.x[2] if len(c.x) > 2 else torch.tensor(c.hyper["matrix"])
    rows = matrix[t].movedim(-1, 1)
    return -(rows * limited(c, x.log_softmax(dim=1))).sum(dim=1)


def limited(c: Call, log_p: Tensor) -> Tensor:
    """log max(p, min_probability), with the gradient of log p."""
    least = c.hyper.get("min_probability", 0.0)
    return log_p + (log_p.clamp(min=math.log(least)) - log_p).detach() if least else log_p


def cross_entropy(c: Call) -> Tensor:
    """torch's CrossEntropyLoss; with min_probability from its single losses, of labels without weights."""
    if "min_probability" not in c.hyper:
        return divided(nn.CrossEntropyLoss)(c)
    hyper = {k: v for k, v in c.hyper.items() if k != "min_probability"}
    log_p = -through_torch(replace(c, hyper={**hyper, "reduction": "none"}), nn.CrossEntropyLoss)
    return normalised(c, -limited(c, log_p), torch.ones_like(log_p))


def divided(module: Callable[..., nn.Module]) -> Callable[[Call], Tensor]:
    """The twin of a loss that torch has: its module; for Caffe's normalisations torch's single losses, divided here."""

    def twin(c: Call) -> Tensor:
        if c.hyper.get("normalization", "valid") == "valid":
            return through_torch(c, module)
        each = through_torch(replace(c, hyper={**c.hyper, "reduction": "none"}), module)
        return normalised(c, each, torch.ones_like(each))

    return twin


def through_torch(c: Call, module: Callable[..., nn.Module]) -> Tensor:
    """torch's loss, which divides by the weights of the labels that count."""
    hyper = {k: v for k, v in c.hyper.items() if k != "normalization"}
    if "weight" in hyper:
        hyper["weight"] = torch.tensor(hyper["weight"])
    return module(**hyper)(*c.x)


def focal(c: Call) -> Tensor:
    """-alpha[t] (1 - p[t])^gamma log p[t], with 1 - p[t] as the sum of the other classes."""
    x, t = c.x
    valid = t != c.hyper.get("ignore_index", -(10**9))
    safe = torch.where(valid, t, 0)
    log_p, alpha = x.log_softmax(dim=1), torch.tensor(c.hyper.get("alpha", 1.0)).expand(x.shape[1])
    mine = functional.one_hot(safe, x.shape[1]).movedim(-1, 1) == 1
    rest = torch.where(mine, 0, log_p.exp()).sum(dim=1)
    gamma = c.hyper.get("gamma", 2.0)
    modulated = torch.where(rest == 0, 0.0**gamma, torch.where(rest == 0, 1, rest) ** gamma)
    each = -alpha[safe] * modulated * picked(log_p, safe) * valid
    return normalised(c, each, valid.double())


def sigmoid_focal(c: Call) -> Tensor:
    """The cross entropy of torch, times (1 - p[t])^gamma and the factor of the answer."""
    x, t = c.x
    gamma, alpha = c.hyper.get("gamma", 2.0), c.hyper.get("alpha", 0.25)
    wrong = t * (-x).sigmoid() + (1 - t) * x.sigmoid()
    modulated = torch.where(wrong == 0, 0.0**gamma, torch.where(wrong == 0, 1, wrong) ** gamma)
    each = modulated * functional.binary_cross_entropy_with_logits(x, t, reduction="none")
    factor = 1 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    return reduced(factor * each, c.hyper.get("reduction", "mean"))


def dice(c: Call) -> Tensor:
    """1 - (2 sum p t + smooth) / (sum p + sum t + smooth), class by class and sample by sample."""
    x, t = c.x
    makers = {"softmax": lambda: x.softmax(dim=1), "sigmoid": x.sigmoid, "none": lambda: x}
    p, smooth = makers[c.hyper.get("activation", "softmax")](), c.hyper.get("smooth", 1.0)
    if not t.is_floating_point():
        counts = t != c.hyper.get("ignore_index", -(10**9))
        t = functional.one_hot(torch.where(counts, t, 0), x.shape[1]).movedim(-1, 1) * counts[:, None]
        p = p * counts[:, None]
    losses = []
    for mine, theirs in zip(p, t, strict=True):
        a, b = mine.reshape(x.shape[1], -1), theirs.reshape(x.shape[1], -1)
        sizes = a**2 + b**2 if c.hyper.get("squares") else a + b
        below = sizes.sum(dim=1) + smooth
        empty = below == 0
        coefficient = (2 * (a * b).sum(dim=1) + smooth + empty) / (below + empty)
        losses.append(1 - coefficient.mean())
    each = torch.stack(losses) if losses else x.sum(dim=tuple(range(1, x.ndim)))
    reduction = c.hyper.get("reduction", "mean")
    return each.sum() / max(1, len(x)) if reduction == "mean" else reduced(each, reduction)


def contrastive(c: Call) -> Tensor:
    """d² / 2 for pairs that are alike, max(0, margin - d)² / 2 for others; legacy_version: max(0, margin - d²) / 2.

    With gradient_eps autograd's gradient of the second is multiplied by d / (d + gradient_eps).
    """
    a, b, t = c.x
    square, margin = ((a - b) ** 2).flatten(1).sum(dim=1), c.hyper.get("margin", 1.0)
    if c.hyper.get("legacy_version"):
        apart = (margin - square).clamp(min=0)
    else:
        d, eps = square.sqrt(), c.hyper.get("gradient_eps", 0.0)
        apart = (margin - d).clamp(min=0) ** 2
        if eps:
            apart = apart.detach() + (apart - apart.detach()) * (d / (d + eps)).detach()
    return reduced(torch.where(t == 1, square, apart) / 2, c.hyper.get("reduction", "mean"))


def cosine_embedding(c: Call) -> Tensor:
    """torch's CosineEmbeddingLoss, which knows one axis of vectors only."""
    a, b, t = c.x
    module = nn.CosineEmbeddingLoss(**c.hyper)
    y = module(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), t.reshape(-1))
    return y if y.ndim == 0 else y.reshape(t.shape)


def ctc(c: Call) -> Tensor:
    """torch's loss, with the derivative by log x itself.

    torch returns exp x more than that wherever a sample has a step and its target fits, as a log_softmax is to follow;
    a term that is 0 takes it away again.
    """
    x, targets, *lengths = c.x
    steps, samples, _ = x.shape
    whole = [torch.full((samples,), steps), torch.full((samples,), targets.shape[1])]
    inputs, labels = lengths or whole
    hyper = {key: value for key, value in c.hyper.items() if key != "reduction"}
    each = nn.CTCLoss(**hyper, reduction="none")(x, targets, inputs, labels)
    possible = nn.CTCLoss(blank=hyper.get("blank", 0), reduction="none")(x, targets, inputs, labels).isfinite()
    counts = (torch.arange(steps)[:, None] < inputs) & possible
    each = each - ((x.exp() - x.exp().detach()) * counts[:, :, None]).sum(dim=(0, 2))
    reduction = c.hyper.get("reduction", "mean")
    if reduction == "mean":
        return (each / labels.clamp(min=1)).sum() / max(1, samples)
    return each if reduction == "none" else each.sum()


def by_samples(twin: Callable[[Call], Tensor], default: str = "mean") -> Callable[[Call], Tensor]:
    """The twin of a loss whose third bottom are weights of samples, from its single losses without them."""

    def weighted(c: Call) -> Tensor:
        if len(c.x) != 3:
            return twin(c)
        hyper = {key: value for key, value in c.hyper.items() if key != "normalization"}
        each = twin(replace(c, x=c.x[:2], hyper={**hyper, "reduction": "none"}))
        omega = c.x[2].reshape(*c.x[2].shape, *[1] * (each.ndim - c.x[2].ndim)).expand_as(each)
        reduction = c.hyper.get("reduction", default)
        if reduction != "mean":
            return reduced(omega * each, reduction)
        ignored, t = c.hyper.get("ignore_index", -(10**9)), c.x[1]
        if t.is_floating_point():
            weight = (t.trunc() != ignored).to(t.dtype) if "ignore_index" in c.hyper else torch.ones_like(each)
        else:
            valid = t != ignored
            weight = weights_of(c, c.x[0].shape[1])[torch.where(valid, t, 0)] * valid
        n = {"valid": (omega * weight).sum(), "full": each.numel(), "batch_size": len(each), "none": 1}
        return (omega * each).sum() / n[c.hyper.get("normalization", "valid")]

    return weighted


def multi_box(c: Call) -> Tensor:
    """torch's losses of the offsets and scores that count. Which these are, and what they should be, is SSD's rule."""
    layer: Any = LAYERS.get("MultiBoxLoss").from_config(dict(c.hyper))
    offsets, scores, priors, objects = c.x
    boxes, v = priors[0].reshape(2, -1, 4)
    own = offsets.reshape(len(offsets), len(boxes), -1, 4)
    x = scores.reshape(len(scores), len(boxes), layer.num_classes)
    plain = [b.detach().numpy() for b in (offsets, priors, objects)]
    total, count = 0 * offsets.sum() + 0 * scores.sum(), 0
    for n, (rows, found, candidates) in enumerate(targets(layer, *plain)):
        count += len(found)
        for (k, at), g in found.items():
            code = code_of(layer, boxes[at].tolist(), rows[g][3:7].tolist(), v[at].tolist())
            u = (own[n, at, k] - torch.tensor(code)) / (v[at] if layer.encode_variance_in_target else 1)
            f = functional.smooth_l1_loss if layer.loc_loss_type == "smooth_l1" else functional.mse_loss
            f_of_u = f(u, torch.zeros(4), reduction="sum")
            total = total + layer.loc_weight * f_of_u / (1 if layer.loc_loss_type == "smooth_l1" else 2)
        labels = [[int(rows[g][1]) for (_, k), g in found.items() if k == at] for at in range(len(boxes))]
        losses = [of_prior(layer, x[n, k], labels[k]) for k in range(len(boxes))]
        if layer.mining_type != "none":
            hard = sorted(candidates, key=lambda k: -float(losses[k]))[: int(len(found) * layer.neg_pos_ratio)]
            losses = [losses[k] for k in [*{k for _, k in found}, *hard]]
        total = total + sum(losses)
    divisors = {"valid": count, "full": len(own) * len(boxes), "batch_size": len(own), "none": 1}
    return total / max(1, divisors[layer.normalization])


def of_prior(layer: Any, x: Tensor, labels: list[int]) -> Tensor:
    """The loss of the scores of a prior that is matched with objects of these classes."""
    if layer.conf_loss_type == "softmax":
        return functional.cross_entropy(x[None], torch.tensor([max(labels, default=layer.background_label_id)]))
    if not labels and layer.mining_type != "none":
        labels = [layer.background_label_id]
    q = torch.tensor([float(k in labels) for k in range(len(x))])
    return functional.binary_cross_entropy_with_logits(x, q, reduction="sum")


TWINS = {
    "MultiBoxLoss": multi_box,
    "MSELoss": between(nn.MSELoss),
    "EuclideanLoss": euclidean,
    "L1Loss": between(nn.L1Loss),
    "HuberLoss": between(nn.HuberLoss),
    "SmoothL1Loss": smooth_l1,
    "BCELoss": between(nn.BCELoss),
    "BCEWithLogitsLoss": with_logits,
    "KLDivLoss": between(nn.KLDivLoss),
    "NLLLoss": divided(nn.NLLLoss),
    "SoftmaxCrossEntropy": cross_entropy,
    "MultinomialLogisticLoss": of_classes(lambda c, x, t: -picked(x, t).clamp(min=1e-20).log()),
    "HingeLoss": of_classes(hinge),
    "InfogainLoss": of_classes(infogain),
    "FocalLoss": focal,
    "SigmoidFocalLoss": sigmoid_focal,
    "DiceLoss": dice,
    "MarginRankingLoss": lambda c: c.through(nn.MarginRankingLoss(**c.hyper)),
    "ContrastiveLoss": contrastive,
    "TripletMarginLoss": lambda c: c.through(nn.TripletMarginLoss(**c.hyper)),
    "CosineEmbeddingLoss": cosine_embedding,
    "CTCLoss": ctc,
}

OTHER_BOTTOMS = (
    *("InfogainLoss", "DiceLoss", "MarginRankingLoss", "ContrastiveLoss", "TripletMarginLoss"),
    *("CosineEmbeddingLoss", "CTCLoss", "MultiBoxLoss"),
)
DEFAULTS = {"EuclideanLoss": "batchmean"}
TWINS |= {n: by_samples(twin, DEFAULTS.get(n, "mean")) for n, twin in TWINS.items() if n not in OTHER_BOTTOMS}
