"""Twins of the metrics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .call import Call


def accuracy(c: Call) -> Tensor | tuple[Tensor, Tensor]:
    """The share of the labels that are among torch.topk of the scores; a second top has that of each class."""
    scores, labels = c.x
    best = scores.topk(c.hyper.get("top_k", 1), dim=1).indices
    correct = (best == labels.unsqueeze(1)).any(dim=1).to(scores.dtype)
    valid = labels != c.hyper.get("ignore_index", -100)
    overall = correct[valid].mean()
    if c.tops == 1:
        return overall
    each = [correct[valid & (labels == k)] for k in range(scores.shape[1])]
    return overall, torch.stack([e.sum() / max(1, len(e)) for e in each])


def confusion_matrix(c: Call) -> Tensor:
    """A product of one-hot matrices: the labels that count against the predictions."""
    x, labels = c.x
    predicted = x.argmax(dim=1) if x.is_floating_point() else x
    valid, classes = labels != c.hyper.get("ignore_index", -100), c.hyper["num_classes"]
    rows, columns = (nn.functional.one_hot(t[valid], classes) for t in (labels, predicted))
    return (rows.T @ columns).to(torch.get_default_dtype())


TWINS = {
    "Accuracy": accuracy,
    "ConfusionMatrix": confusion_matrix,
}
