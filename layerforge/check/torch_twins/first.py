"""Twins of the layers that came first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .call import Call


def relu(c: Call) -> Tensor:
    """torch's ReLU; with a negative slope, its LeakyReLU."""
    return c.through(nn.LeakyReLU(**c.hyper) if c.hyper else nn.ReLU())


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


def slices(c: Call) -> tuple[Tensor, ...]:
    """torch's tensor_split, at the points or into equal parts."""
    cuts = c.hyper.get("points", c.tops)
    return torch.tensor_split(c.x[0], cuts, dim=c.hyper.get("dim", 1))


TWINS = {
    "Linear": lambda c: c.through(nn.Linear(c.x[0].shape[-1], **c.hyper)),
    "Conv2d": lambda c: c.through(nn.Conv2d(c.x[0].shape[1], **c.hyper)),
    "GlobalAvgPool2d": lambda c: c.through(nn.AdaptiveAvgPool2d(1)),
    "ReLU": relu,
    "Sigmoid": lambda c: c.through(nn.Sigmoid()),
    "Tanh": lambda c: c.through(nn.Tanh()),
    "Softmax": lambda c: c.through(nn.Softmax(**{"dim": 1, **c.hyper})),
    "LogSoftmax": lambda c: c.through(nn.LogSoftmax(**{"dim": 1, **c.hyper})),
    "Accuracy": accuracy,
    "ConfusionMatrix": confusion_matrix,
    "Concat": lambda c: torch.cat(c.x, dim=c.hyper.get("dim", 1)),
    "Slice": slices,
    "Flatten": lambda c: c.through(nn.Flatten(**c.hyper)),
}
