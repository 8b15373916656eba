"""Twins of the layers of matrices."""

from __future__ import annotations

import torch
from torch import nn

from .call import Call


def bilinear(c: Call) -> torch.Tensor:
    """torch's Bilinear."""
    return c.through(nn.Bilinear(c.x[0].shape[-1], c.x[1].shape[-1], **c.hyper))


TWINS = {
    "Linear": lambda c: c.through(nn.Linear(c.x[0].shape[-1], **c.hyper)),
    "Matmul": lambda c: torch.matmul(*c.x),
    "Bilinear": bilinear,
    "Einsum": lambda c: torch.einsum(c.hyper["equation"], *c.x),
    "Inverse": lambda c: torch.linalg.inv(c.x[0]),
    "LogDet": lambda c: torch.logdet(c.x[0]),
    "Det": lambda c: torch.linalg.det(c.x[0]),
    "Cholesky": lambda c: torch.linalg.cholesky((c.x[0] + c.x[0].mT) / 2, **c.hyper),
    "SVDVals": lambda c: torch.linalg.svdvals(c.x[0]),
    "Solve": lambda c: torch.linalg.solve(*c.x),
    "Diagonal": lambda c: torch.linalg.diagonal(c.x[0], **c.hyper),
    "Trace": lambda c: torch.linalg.diagonal(c.x[0]).sum(-1),
}
