"""Twins of the metrics: each written as its definition says, class by class and pair by pair."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .call import Call


def flat(c: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (P, K) or (P), labels (P), or scores and labels (P, L), and weights (P) of the positions that count."""
    scores, labels = c.x[0], c.x[1].long()
    if scores.dim() > 1 and scores.shape[1] == 1 and c.hyper.get("num_classes") != 1:
        scores = scores.squeeze(1)
    if scores.dim() == labels.dim() - 1:
        labels = labels.squeeze(1)
    if scores.dim() > 1 and scores.is_floating_point():
        scores = scores.movedim(1, -1).flatten(0, -2)
    several = scores.dim() > 1 and scores.is_floating_point() and labels.shape == c.x[0].shape
    labels = labels.movedim(1, -1).flatten(0, -2) if several else labels.flatten()
    scores = scores if scores.dim() == 2 and scores.is_floating_point() else scores.flatten()
    weight = torch.ones(len(scores))
    if len(c.x) == 3:
        positions = c.x[1].shape if c.x[2].dim() > 1 else (len(c.x[2]), len(scores) // max(1, len(c.x[2])))
        weight = c.x[2].reshape(len(c.x[2]), -1).expand(positions).flatten()
    if several:
        return scores, labels, weight
    valid = labels != c.hyper.get("ignore_index", -100)
    return scores[valid], labels[valid], weight[valid]


def decided(c: Call) -> tuple[Tensor, Tensor, Tensor, int]:
    """Predictions, labels, weights, and how many classes there are."""
    scores, labels, weight = flat(c)
    if not scores.is_floating_point():
        return scores, labels, weight, c.hyper["num_classes"]
    if "threshold" not in c.hyper:
        return scores.argmax(dim=1), labels, weight, scores.shape[1]
    return (scores > c.hyper["threshold"]).long(), labels, weight, 2 if scores.dim() == 1 else scores.shape[1]


def accuracy(c: Call) -> Tensor | tuple[Tensor, Tensor]:
    """The share of the labels that are among torch.topk of the scores; a second top has that of each class."""
    scores, labels, weight = flat(c)
    if "threshold" in c.hyper:
        correct = (scores > c.hyper["threshold"]) == labels
    else:
        correct = (scores.topk(c.hyper.get("top_k", 1), dim=1).indices == labels.unsqueeze(1)).any(dim=1)
    if labels.dim() > 1:
        counts = labels != c.hyper.get("ignore_index", -100)
        weight, correct = weight * counts.any(dim=1), (correct | ~counts).all(dim=1)
    overall = share(weight * correct, weight)
    if c.tops == 1:
        return overall
    classes = range(scores.shape[1] if scores.dim() > 1 else 2)
    return overall, torch.stack([share((weight * correct)[labels == k], weight[labels == k]) for k in classes])


def share(part: Tensor, whole: Tensor) -> Tensor:
    """One sum over another, 0 where that is 0."""
    return part.sum() / whole.sum() if whole.sum() else torch.zeros(())


def confusion_matrix(c: Call) -> Tensor:
    """A product of one-hot matrices: the labels that count, by weight, against the predictions."""
    predicted, labels, weight, _ = decided(c)
    rows, columns = (one_hot(t, c.hyper["num_classes"]) for t in (labels, predicted))
    return (rows * weight[:, None]).T @ columns


def one_hot(t: Tensor, classes: int) -> Tensor:
    """Rows of zeros with a 1 at the class."""
    return nn.functional.one_hot(t, classes).to(torch.get_default_dtype())


def of_classes(formula: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[[Call], Tensor]:
    """A share of what is right, predicted and actual, averaged over the classes."""

    def twin(c: Call) -> Tensor:
        predicted, labels, weight, classes = decided(c)
        several = labels.dim() > 1
        p, t = (predicted, labels) if several else (one_hot(predicted, classes), one_hot(labels, classes))
        w = weight[:, None]
        counts = [(w * p * t).sum(0), (w * p).sum(0), (w * t).sum(0)]
        average = c.hyper.get("average") or ("binary" if classes == 2 and not several else "macro")
        if average == "micro":
            return share(*formula(*[each.sum() for each in counts]))
        each = torch.stack([share(*formula(*[count[k] for count in counts])) for k in range(classes)])
        occurs = counts[1] + counts[2] + float(several) > 0
        return over_classes(each, average, occurs, counts[2])

    return twin


def over_classes(each: Tensor, average: str, occurs: Tensor, weight: Tensor) -> Tensor:
    """The average of a number of each class."""
    if average == "binary":
        return each[1]
    if average == "none":
        return each
    if average == "weighted":
        return share(each * weight, weight)
    return each[occurs].mean() if occurs.any() else torch.zeros(())


def balanced_accuracy(c: Call) -> Tensor:
    """The mean of the recalls of the labels that there are."""
    predicted, labels, weight, _ = decided(c)
    each = torch.stack([share((weight * (predicted == k))[labels == k], weight[labels == k]) for k in labels.unique()])
    chance = 1 / len(each)
    return (each.mean() - chance) / (1 - chance) if c.hyper.get("adjusted") else each.mean()


def matthews_correlation(c: Call) -> Tensor:
    """The covariance of one-hot predictions and labels, over the root of the product of their variances."""
    predicted, labels, weight, classes = decided(c)
    if not len(labels):
        return torch.zeros(())
    p, t = (one_hot(each, classes) for each in (predicted, labels))
    p, t = (each - (weight[:, None] * each).sum(0) / weight.sum() for each in (p, t))

    def covariance(a: Tensor, b: Tensor) -> Tensor:
        return (weight[:, None] * a * b).sum()

    return covariance(p, t) / (covariance(p, p) * covariance(t, t)).sqrt()


def cohen_kappa(c: Call) -> Tensor:
    """1 less what the mistakes cost, over what they would cost by chance, pair of samples by pair of samples."""
    predicted, labels, weight, _ = decided(c)

    def cost(a: Tensor, b: Tensor) -> Tensor:
        apart = (a - b).abs().to(weight.dtype)
        kinds = {None: (apart > 0).to(weight.dtype), "linear": apart, "quadratic": apart**2}
        return kinds[c.hyper.get("weights")]

    by_chance = (weight[:, None] * weight * cost(labels[:, None], predicted)).sum() / weight.sum()
    return 1 - (weight * cost(labels, predicted)).sum() / by_chance


def ranked(area: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Call], Tensor]:
    """A number from scores, whether they are of the class, and weights, averaged over the classes."""

    def twin(c: Call) -> Tensor:
        scores, labels, weight = flat(c)
        several, logits = labels.dim() > 1, c.hyper.get("from_logits", True)
        if scores.dim() == 1:
            scores, truth = torch.stack([-scores, scores], dim=1), one_hot(labels, 2)
        elif several:
            truth = labels
        else:
            scores, truth = scores.softmax(dim=1) if logits else scores, one_hot(labels, scores.shape[1])
        classes = scores.shape[1]
        average = c.hyper.get("average") or ("binary" if classes == 2 and not several else "macro")
        if average == "micro":
            return area(scores.flatten(), truth.flatten() > 0, weight.repeat_interleave(classes))
        each = torch.stack([area(scores[:, k], truth[:, k] > 0, weight) for k in range(classes)])
        return over_classes(each, average, torch.ones(classes, dtype=torch.bool), (weight[:, None] * truth).sum(0))

    return twin


def auroc(scores: Tensor, of_class: Tensor, weight: Tensor) -> Tensor:
    """How many pairs of one of the class and one of the rest are in order; equal ones are half so."""
    apart = scores[of_class][:, None] - scores[~of_class]
    pairs = weight[of_class][:, None] * weight[~of_class]
    return (pairs * ((apart > 0) + (apart == 0) / 2)).sum() / pairs.sum()


def average_precision(scores: Tensor, of_class: Tensor, weight: Tensor) -> Tensor:
    """The mean over the class of the precision among all that score at least as high."""
    above = weight * (scores >= scores[of_class][:, None])
    return share(weight[of_class] * (above * of_class).sum(1) / above.sum(1), weight[of_class])


def mean_error(error: Callable[[Tensor, Tensor], Tensor], root: bool = False) -> Callable[[Call], Tensor]:
    """The mean of an error over the samples, of each output."""

    def twin(c: Call) -> Tensor:
        x, t, weight = outputs(c)
        each = (weight * error(x, t)).sum(0) / weight.sum()
        return of_outputs(c, each.sqrt() if root else each)

    return twin


def outputs(c: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers and targets (N, D), weights (N, 1)."""
    n = len(c.x[0])
    weight = c.x[2] if len(c.x) == 3 else torch.ones(n)
    return c.x[0].reshape(n, -1), c.x[1].reshape(n, -1), weight[:, None]


def of_outputs(c: Call, each: Tensor) -> Tensor:
    """The mean of the outputs' numbers, or each."""
    return each if c.hyper.get("multioutput") == "raw_values" else each.mean()


def r2(c: Call) -> Tensor:
    """1 less the unexplained part of the variance."""
    x, t, weight = outputs(c)
    mean = (weight * t).sum(0) / weight.sum()
    return of_outputs(c, 1 - (weight * (x - t) ** 2).sum(0) / (weight * (t - mean) ** 2).sum(0))


def perplexity(c: Call) -> Tensor:
    """e to the weighted mean of torch's cross entropy."""
    scores, labels, weight = flat(c)
    if not c.hyper.get("from_logits", True):
        scores = scores.log()
    losses = nn.functional.cross_entropy(scores, labels, reduction="none")
    return ((weight * losses).sum() / weight.sum()).exp()


def calibration_error(c: Call) -> Tensor:
    """Bin by bin: what is stated against what comes true."""
    scores, labels, weight = flat(c)
    if scores.dim() > 1:
        stated, found = (scores.softmax(dim=1) if c.hyper.get("from_logits", True) else scores).max(dim=1)
        true = (found == labels).to(stated.dtype)
    else:
        stated = scores.sigmoid() if c.hyper["from_logits"] else scores
        true = labels.to(stated.dtype)
    bins, gaps, parts = c.hyper.get("n_bins", 15), [], []
    for b in range(bins):
        inside = (stated > b / bins) & (stated <= (b + 1) / bins)
        w = weight[inside]
        gaps.append((share(w * true[inside], w) - share(w * stated[inside], w)).abs())
        parts.append(w.sum() / weight.sum())
    gap, part = torch.stack(gaps), torch.stack(parts)
    norms = {"l1": (part * gap).sum(), "l2": (part * gap**2).sum().sqrt(), "max": gap.max()}
    return norms[c.hyper.get("norm", "l1")]


TWINS = {
    "AUROC": ranked(auroc),
    "Accuracy": accuracy,
    "AveragePrecision": ranked(average_precision),
    "BalancedAccuracy": balanced_accuracy,
    "CalibrationError": calibration_error,
    "CohenKappa": cohen_kappa,
    "ConfusionMatrix": confusion_matrix,
    "Dice": of_classes(lambda hits, predicted, actual: (2 * hits, predicted + actual)),
    "F1": of_classes(lambda hits, predicted, actual: (2 * hits, predicted + actual)),
    "IoU": of_classes(lambda hits, predicted, actual: (hits, predicted + actual - hits)),
    "MAE": mean_error(lambda x, t: (x - t).abs()),
    "MAPE": mean_error(lambda x, t: (x - t).abs() / t.abs().clamp(min=2.0**-52)),
    "MatthewsCorrelation": matthews_correlation,
    "Perplexity": perplexity,
    "Precision": of_classes(lambda hits, predicted, actual: (hits, predicted)),
    "R2": r2,
    "RMSE": mean_error(lambda x, t: (x - t) ** 2, root=True),
    "Recall": of_classes(lambda hits, predicted, actual: (hits, actual)),
}
