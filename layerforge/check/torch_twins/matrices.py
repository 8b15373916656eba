"""Twins of the layers of matrices."""

from __future__ import annotations

import torch
from torch import nn

from .call import Call


def bilinear(c: Call) -> torch.Tensor:
    """torch's Bilinear."""
    return c.through(nn.Bilinear(c.x[0].shape[-1], c.x[1].shape[-1], **c.hyper))


def linear(c: Call) -> torch.Tensor:
    """torch's Linear; of a sparse bottom its formula, as torch has no gradient of that by the stored numbers."""
    module = nn.Linear(c.x[0].shape[-1], **c.hyper)
    if not c.x[0].is_sparse:
        return c.through(module)
    product = torch.sparse.mm(c.x[0], c.own["weight"].t())
    return product if module.bias is None else product + c.own["bias"]


def sparse_matmul(c: Call) -> torch.Tensor:
    """torch's product of a sparse and a dense matrix, which wants the sparse one in front."""
    a, b = c.x
    return torch.sparse.mm(a, b) if a.is_sparse else torch.sparse.mm(b.t(), a.t()).t()


TWINS = {
    "Linear": linear,
    "SparseMatmul": sparse_matmul,
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
