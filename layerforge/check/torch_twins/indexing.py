"""Twins of the layers that pick numbers by an index."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .call import Call


def embedding(c: Call) -> Tensor:
    """torch leaves the row of padding_idx unlearned; here it reads as zero too, as it starts in torch."""
    weight, padding = c.own["weight"], c.hyper.get("padding_idx")
    c.hyper.get("sparse")  # which only the solver sees
    if padding is None:
        return F.embedding(c.x[0], weight)
    used = torch.arange(len(weight)).ne(padding)[:, None].to(weight)
    return F.embedding(c.x[0], weight * used, padding_idx=padding)


def filtered(c: Call) -> tuple[Tensor, ...]:
    """Caffe's Filter, of which torch has no like: the selected samples, then as many of nothing as were left out."""
    *xs, selector = c.x
    tops, fill = [], c.hyper.get("fill", -1)
    for x in xs:
        kept = x[selector != 0]
        tops.append(torch.cat([kept, torch.full_like(x[len(kept) :], 0 if x.is_floating_point() else fill)]))
    return tuple(tops)


TWINS = {
    "IndexSelect": lambda c: torch.index_select(c.x[0], c.hyper["dim"], c.x[1]),
    "BatchReindex": lambda c: c.x[0][c.x[1]],
    "Gather": lambda c: torch.gather(c.x[0], c.hyper["dim"], c.x[1]),
    "Embedding": embedding,
    "Filter": filtered,
}
