"""Twins of the layers that came first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from layerforge import philox

from .call import Call


def relu(c: Call) -> Tensor:
    return c.through(nn.LeakyReLU(**c.hyper) if c.hyper else nn.ReLU())


def dropout(c: Call) -> Tensor:
    """torch draws masks of its own, so the mask in training is ours and the rest the formula of its manual."""
    if c.phase == "eval":
        return c.through(nn.Dropout(**c.hyper))
    p = nn.Dropout(**c.hyper).p
    uniform = philox.uniform(np, philox.stream_key(0, c.name), tuple(c.x[0].shape))
    return c.x[0] * torch.from_numpy(uniform >= p) / (1 - p)


def accuracy(c: Call) -> Tensor:
    """The share of the labels that are among torch.topk of the scores."""
    scores, labels = c.x
    best = scores.topk(c.hyper.get("top_k", 1), dim=1).indices
    correct = (best == labels.unsqueeze(1)).any(dim=1)
    return correct[labels != c.hyper.get("ignore_index", -100)].double().mean()


def slices(c: Call) -> tuple[Tensor, ...]:
    cuts = c.hyper.get("points", c.tops)
    return torch.tensor_split(c.x[0], cuts, dim=c.hyper.get("dim", 1))


TWINS = {
    "Linear": lambda c: c.through(nn.Linear(c.x[0].shape[-1], **c.hyper)),
    "Conv2d": lambda c: c.through(nn.Conv2d(c.x[0].shape[1], **c.hyper)),
    "GlobalAvgPool2d": lambda c: c.through(nn.AdaptiveAvgPool2d(1)),
    "ReLU": relu,
    "Sigmoid": lambda c: c.through(nn.Sigmoid()),
    "Tanh": lambda c: c.through(nn.Tanh()),
    "Dropout": dropout,
    "Softmax": lambda c: c.through(nn.Softmax(**{"dim": 1, **c.hyper})),
    "LogSoftmax": lambda c: c.through(nn.LogSoftmax(**{"dim": 1, **c.hyper})),
    "Accuracy": accuracy,
    "Concat": lambda c: torch.cat(c.x, dim=c.hyper.get("dim", 1)),
    "Slice": slices,
    "Flatten": lambda c: c.through(nn.Flatten(**c.hyper)),
}
