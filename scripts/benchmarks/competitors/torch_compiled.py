"""PyTorch with torch.compile around the forward and the loss; the rest as in torch_eager."""

from __future__ import annotations

from ..worker import Job
from .torch_eager import Torch


def build(job: Job) -> Torch:
    """The compiled competitor; the compiler runs at the first step."""
    return Torch(job, compiled=True)
