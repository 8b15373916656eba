"""Twins of the layers that give elements another shape, another order or more places."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .call import Call


def keyword(name: str) -> Any:
    """The twin that is torch's function of that name with the hyper-parameters as they are."""
    return lambda c: getattr(torch, name)(c.x[0], **c.hyper)


def reshape(c: Call) -> Tensor:
    """torch has no 0 that copies the size."""
    x = c.x[0]
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(c.hyper["shape"])])


def flip(c: Call) -> Tensor:
    """torch's flip, which wants a list."""
    dims = c.hyper["dims"]
    return torch.flip(c.x[0], dims if isinstance(dims, list) else [dims])


def squeeze(c: Call) -> Tensor:
    """torch's squeeze, which wants a tuple for several dims; without dim it would take the batch of one sample too."""
    x, dim = c.x[0], c.hyper.get("dim")
    if dim is None:
        dim = [i for i in range(1, x.ndim) if x.shape[i] == 1]
    return torch.squeeze(x, tuple(dim) if isinstance(dim, list) else dim)


def repeat_interleave(c: Call) -> Tensor:
    """torch's repeat_interleave, which wants a tensor of counts."""
    counts = c.hyper["repeats"]
    repeats = torch.tensor(counts) if isinstance(counts, list) else counts
    return torch.repeat_interleave(c.x[0], repeats, dim=c.hyper.get("dim"))


def pad(c: Call) -> Tensor:
    """torch's pad, with all but the padding as keywords."""
    return F.pad(c.x[0], c.hyper["padding"], **{key: v for key, v in c.hyper.items() if key != "padding"})


def crop(c: Call) -> Tensor:
    """Caffe's Crop, of which torch has no like: narrow, axis by axis."""
    x, like = c.x
    first, offset = c.hyper.get("dim", 2) % x.ndim, c.hyper.get("offset", 0)
    for axis in range(first, x.ndim):
        begin = offset[axis - first] if isinstance(offset, list) else offset
        x = x.narrow(axis, begin, like.shape[axis])
    return x


def slices(c: Call) -> tuple[Tensor, ...]:
    """torch's tensor_split, at the points or into equal parts."""
    cuts = c.hyper.get("points", c.tops)
    return torch.tensor_split(c.x[0], cuts, dim=c.hyper.get("dim", 1))


TWINS = {
    "Reshape": reshape,
    "Flatten": lambda c: c.through(nn.Flatten(**c.hyper)),
    "Squeeze": squeeze,
    "Unsqueeze": keyword("unsqueeze"),
    "Transpose": keyword("transpose"),
    "Permute": keyword("permute"),
    "Flip": flip,
    "Expand": lambda c: c.x[0].expand(c.hyper["shape"]),
    "Repeat": lambda c: c.x[0].repeat(c.hyper["repeats"]),
    "Tile": keyword("tile"),
    "RepeatInterleave": repeat_interleave,
    "Pad": pad,
    "Concat": lambda c: torch.cat(c.x, dim=c.hyper.get("dim", 1)),
    "Stack": lambda c: torch.stack(c.x, dim=c.hyper.get("dim", 1)),
    "Slice": slices,
    "Split": lambda c: torch.split(c.x[0], c.hyper["split_size"], dim=c.hyper.get("dim", 1)),
    "Crop": crop,
}
