"""Twins of the layers that pick elements by an index."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
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


def indexed(c: Call) -> Tensor:
    """NumPy's brackets around the numbers of places: torch's own know no negative step, and put axes elsewhere."""
    x = c.x[0]
    places = np.arange(x.numel()).reshape(tuple(x.shape))[tuple(map(bracket, c.hyper["index"]))]
    return x.reshape(-1)[torch.from_numpy(np.ascontiguousarray(places))].reshape(places.shape)


def bracket(entry: Any) -> Any:
    """An entry of Index as NumPy's brackets take it."""
    if isinstance(entry, str):
        return ... if entry == "..." else slice(*(int(n) if n.strip() else None for n in entry.split(":")))
    return np.array(entry, dtype=None if entry else np.int64) if isinstance(entry, list) else entry


def scatter(c: Call) -> Tensor:
    """Element by element, in order: of several for one place torch.scatter passes all of them the gradient."""
    x, index, src = c.x
    y, dim = x + 0 * src.sum(), c.hyper["dim"] % x.ndim  # src is asked for its gradient where none is written, too
    for place in product(*map(range, index.shape)):
        y[(*place[:dim], int(index[place]), *place[dim + 1 :])] = src[place]
    return y


def scatter_add(c: Call) -> Tensor:
    """torch.scatter_add, whose backward wants an src of the index's shape."""
    x, index, src = c.x
    return torch.scatter_add(x, c.hyper["dim"], index, src[tuple(slice(n) for n in index.shape)])


TWINS = {
    "Index": indexed,
    "Scatter": scatter,
    "ScatterAdd": scatter_add,
    "IndexSelect": lambda c: torch.index_select(c.x[0], c.hyper["dim"], c.x[1]),
    "BatchReindex": lambda c: c.x[0][c.x[1]],
    "Gather": lambda c: torch.gather(c.x[0], c.hyper["dim"], c.x[1]),
    "Embedding": embedding,
    "Filter": filtered,
}
