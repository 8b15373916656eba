"""LayerForge as its Python API has it by default: every blob, and its gradient, stays readable."""

from __future__ import annotations

from ..worker import Job
from .ours import Ours


class Keeping(Ours):
    """A net of the benchmark that keeps all blobs."""

    keep = "all"


def build(job: Job) -> Keeping:
    """Our net. Errors   LayerForgeError"""
    return Keeping(job)
