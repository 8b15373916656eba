"""Twins of the reductions. torch does without a dim what it does with all of them, except where indices are asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .call import Call


def dims(c: Call) -> list[int]:
    """The reduced dimensions."""
    dim = c.hyper.get("dim")
    return list(range(c.x[0].ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)


def over_dims(
    function: Callable[..., Tensor], of: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Call], Tensor]:
    """A reduction of torch that takes a list of dims, of x or of a function of x."""

    def twin(c: Call) -> Tensor:
        x = of(c.x[0]) if of else c.x[0]
        return function(x, dim=dims(c), keepdim=c.hyper.get("keepdim", False))

    return twin


def prod(c: Call) -> Tensor:
    """torch.prod takes one dim: the reduced ones are moved to the back and joined."""
    x = c.x[0]
    reduced = [d % x.ndim for d in dims(c)]
    kept = [d for d in range(x.ndim) if d not in reduced]
    y = (
        x.permute([*kept, *reduced])
        .reshape([*(x.shape[d] for d in kept), math.prod(x.shape[d] for d in reduced)])
        .prod(dim=-1)
    )
    return y.reshape([1 if d in reduced else n for d, n in enumerate(x.shape)]) if c.hyper.get("keepdim") else y


def spread(function: Callable[..., Tensor]) -> Callable[[Call], Tensor]:
    """torch's var or std with its correction."""
    def twin(c: Call) -> Tensor:
        keepdim, correction = c.hyper.get("keepdim", False), c.hyper.get("correction", 1)
        return function(c.x[0], dim=dims(c), correction=correction, keepdim=keepdim)

    return twin


def norm(c: Call) -> Tensor:
    """torch's vector_norm over the dims."""
    keepdim, p = c.hyper.get("keepdim", False), c.hyper.get("p", 2.0)
    return torch.linalg.vector_norm(c.x[0], ord=p, dim=dims(c), keepdim=keepdim)


def extreme(one: Callable[..., Any], several: Callable[..., Tensor]) -> Callable[[Call], Any]:
    """With one dim torch.max or min, whose gradient goes to the index; otherwise amax or amin, which share it."""

    def twin(c: Call) -> Any:
        keepdim, dim = c.hyper.get("keepdim", False), c.hyper.get("dim")
        if isinstance(dim, int):
            return tuple(one(c.x[0], dim=dim, keepdim=keepdim))[: c.tops]
        return several(c.x[0], dim=dims(c), keepdim=keepdim)

    return twin


def log_sum_exp(x: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    """torch's logsumexp; a slice of nothing but -inf, where torch's gradient is NaN, has none."""
    nothing = x.isneginf().all(dim=dim, keepdim=True) if dim else x.isneginf()
    y = torch.logsumexp(torch.where(nothing, 0, x), dim=dim, keepdim=keepdim)
    return torch.where(nothing.reshape(y.shape), -math.inf, y)


def arg_max(c: Call) -> Any:
    """The indices, and the elements of x there where those are asked for."""
    places, dim, x = indices_of_maxima(c), c.hyper.get("dim"), c.x[0]
    if c.tops == 1:
        return places
    if dim is None:
        return places, x.flatten()[places.flatten()].reshape(places.shape)
    listed = places if places.ndim == x.ndim else places.unsqueeze(dim)
    return places, x.gather(dim, listed).reshape(places.shape)


def indices_of_maxima(c: Call) -> Tensor:
    """torch.argmax; more than one by a stable sort, which puts the smaller index first as torch.topk does not promise.

    Caffe sorts pairs of an element and its index, the largest first.
    """
    k, dim, x = c.hyper.get("top_k", 1), c.hyper.get("dim"), c.x[0]
    keepdim, caffe = c.hyper.get("keepdim", False), c.hyper.get("ties") == "caffe"
    if k == 1 and not caffe:
        return torch.argmax(x, dim=dim, keepdim=keepdim)
    rows = x.reshape(-1, 1) if dim is None else x.movedim(dim, 0).flatten(1)
    last = -1 if caffe else 1
    best = [
        sorted(range(len(column)), key=lambda i, column=column: (column[i], -last * i), reverse=True)[:k]
        for column in rows.T.tolist()
    ]
    found = torch.tensor(best, dtype=torch.int64).reshape(-1, k).T
    if dim is None:
        return found.reshape([k] if k > 1 else [1] * x.ndim if keepdim else [])
    y = found.reshape(k, *x.movedim(dim, 0).shape[1:]).movedim(0, dim)
    return y if k > 1 or keepdim else y.squeeze(dim)


def top_k(c: Call) -> tuple[Tensor, ...]:
    """The first k of a stable sort, where torch.topk promises no order among equal elements."""
    dim = c.hyper.get("dim", -1)
    values, places = torch.sort(c.x[0], dim=dim, descending=c.hyper.get("largest", True), stable=True)
    return tuple(t.narrow(dim, 0, c.hyper["k"]) for t in (values, places))[: c.tops]


TWINS = {
    "Sum": over_dims(torch.sum),
    "Mean": over_dims(torch.mean),
    "SumSquare": over_dims(torch.sum, of=torch.square),
    "AbsSum": over_dims(torch.sum, of=torch.abs),
    "Prod": prod,
    "Var": spread(torch.var),
    "Std": spread(torch.std),
    "Norm": norm,
    "LogSumExp": over_dims(log_sum_exp),
    "Max": extreme(torch.max, torch.amax),
    "Min": extreme(torch.min, torch.amin),
    "Cumsum": lambda c: torch.cumsum(c.x[0], **c.hyper),
    "Cumprod": lambda c: torch.cumprod(c.x[0], **c.hyper),
    "Softmax": lambda c: c.through(nn.Softmax(**{"dim": 1, **c.hyper})),
    "LogSoftmax": lambda c: c.through(nn.LogSoftmax(**{"dim": 1, **c.hyper})),
    "ArgMax": arg_max,
    "TopK": top_k,
    "Sort": lambda c: tuple(torch.sort(c.x[0], **{"dim": -1, "stable": True, **c.hyper}))[: c.tops],
}
