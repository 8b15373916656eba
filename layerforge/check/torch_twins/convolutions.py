"""Twins of the convolutions and of the layers that give images another size or order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .call import Call


def upsample(c: Call) -> Tensor:
    """torch wants align_corners for the bilinear mode only, and tuples of sizes and scales."""
    size, scale = (tuple(n) if isinstance(n := c.hyper.get(key), list) else n for key in ("size", "scale_factor"))
    mode = c.hyper.get("mode", "nearest")
    align = c.hyper.get("align_corners", False)
    corners = {} if mode == "nearest" else {"align_corners": align}
    return c.through(nn.Upsample(size=size, scale_factor=scale, mode=mode, **corners))


def unfolded(convolve: Callable[..., Tensor]) -> Callable[[Call], Tensor]:
    """A convolution of every channel with kernels that are 1 at one place each: torch unfolds images only."""

    def twin(c: Call) -> Tensor:
        x, how, axes = c.x[0], dict(c.hyper), c.x[0].ndim - 2
        size = how.pop("kernel_size")
        sizes = size if isinstance(size, list) else [size] * axes
        count = math.prod(sizes)
        kernels = torch.eye(count).reshape(count, 1, *sizes).repeat(x.shape[1], *(1,) * (axes + 1))
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in how.items()}
        return convolve(x, kernels, groups=x.shape[1], **options).flatten(2)

    return twin


TWINS = {
    "Conv1d": lambda c: c.through(nn.Conv1d(c.x[0].shape[1], **c.hyper)),
    "Conv2d": lambda c: c.through(nn.Conv2d(c.x[0].shape[1], **c.hyper)),
    "Conv3d": lambda c: c.through(nn.Conv3d(c.x[0].shape[1], **c.hyper)),
    "ConvTranspose1d": lambda c: c.through(nn.ConvTranspose1d(c.x[0].shape[1], **c.hyper)),
    "ConvTranspose2d": lambda c: c.through(nn.ConvTranspose2d(c.x[0].shape[1], **c.hyper)),
    "ConvTranspose3d": lambda c: c.through(nn.ConvTranspose3d(c.x[0].shape[1], **c.hyper)),
    "Upsample": upsample,
    "PixelShuffle": lambda c: c.through(nn.PixelShuffle(**c.hyper)),
    "Unfold": lambda c: c.through(nn.Unfold(**c.hyper)),
    "GridSample": lambda c: functional.grid_sample(*c.x, **{"align_corners": False, **c.hyper}),
    "Unfold1d": unfolded(functional.conv1d),
    "Unfold3d": unfolded(functional.conv3d),
}
