"""Twins of the convolutions beside Conv2d."""

from __future__ import annotations

from torch import nn

TWINS = {
    "Conv1d": lambda c: c.through(nn.Conv1d(c.x[0].shape[1], **c.hyper)),
    "Conv3d": lambda c: c.through(nn.Conv3d(c.x[0].shape[1], **c.hyper)),
    "ConvTranspose2d": lambda c: c.through(nn.ConvTranspose2d(c.x[0].shape[1], **c.hyper)),
}
