"""Twins of the convolutions and of the layers that give images another size or order."""

from __future__ import annotations

from torch import Tensor, nn

from .call import Call


def upsample(c: Call) -> Tensor:
    """torch wants align_corners for the bilinear mode only, and a tuple of scales."""
    scale, mode = c.hyper["scale_factor"], c.hyper.get("mode", "nearest")
    align = c.hyper.get("align_corners", False)
    corners = {} if mode == "nearest" else {"align_corners": align}
    return c.through(nn.Upsample(scale_factor=tuple(scale) if isinstance(scale, list) else scale, mode=mode, **corners))


TWINS = {
    "Conv1d": lambda c: c.through(nn.Conv1d(c.x[0].shape[1], **c.hyper)),
    "Conv2d": lambda c: c.through(nn.Conv2d(c.x[0].shape[1], **c.hyper)),
    "Conv3d": lambda c: c.through(nn.Conv3d(c.x[0].shape[1], **c.hyper)),
    "ConvTranspose2d": lambda c: c.through(nn.ConvTranspose2d(c.x[0].shape[1], **c.hyper)),
    "Upsample": upsample,
    "PixelShuffle": lambda c: c.through(nn.PixelShuffle(**c.hyper)),
    "Unfold": lambda c: c.through(nn.Unfold(**c.hyper)),
}
