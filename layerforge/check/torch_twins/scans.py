"""Twins of the scans."""

from __future__ import annotations

import torch

TWINS = {
    "Cumsum": lambda c: torch.cumsum(c.x[0], **c.hyper),
    "Cumprod": lambda c: torch.cumprod(c.x[0], **c.hyper),
}
