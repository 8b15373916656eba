"""The twin of CTCLoss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .call import Call


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


TWINS = {"CTCLoss": ctc}
