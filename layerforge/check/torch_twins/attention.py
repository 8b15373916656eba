"""Twins of attention. torch has no positional embedding: that twin is Vaswani et al.'s formula, number by number."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from .call import Call


def seen(c: Call, xs: list[Tensor], queries: int, keys: int) -> Tensor:
    """Booleans (N, heads or 1, L, S): what the mask behind the bottoms xs and `causal` leave to be seen."""
    allowed = torch.ones(len(xs[0]), 1, queries, keys, dtype=torch.bool)
    if len(c.x) > len(xs):
        mask = c.x[-1] != 0
        allowed = allowed & {2: lambda: mask[:, None, None], 3: lambda: mask[:, None], 4: lambda: mask}[mask.ndim]()
    return allowed.tril() if c.hyper.get("causal") else allowed


def dot_product(c: Call) -> Tensor:
    """torch's scaled_dot_product_attention, with the mask of the last bottom as attn_mask."""
    q, k, v = c.x[:3]
    scale = c.hyper.get("scale")
    if len(c.x) == 3:
        return F.scaled_dot_product_attention(q, k, v, is_causal=c.hyper.get("causal", False), scale=scale)
    mask = seen(c, [q, k, v], q.shape[-2], k.shape[-2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask if q.ndim == 4 else mask[:, 0], scale=scale)


def multihead(c: Call) -> Tensor:
    """torch's MultiheadAttention, with the batch first and the mask for every head."""
    xs = c.x[: 1 if len(c.x) < 3 else 3]
    q, k, v = xs * 3 if len(xs) == 1 else xs
    count = c.hyper["num_heads"]
    module = nn.MultiheadAttention(q.shape[2], count, bias=c.hyper.get("bias", True), batch_first=True)
    own = {key.replace("out_proj_", "out_proj."): value for key, value in c.own.items()}
    hidden = ~seen(c, xs, q.shape[1], k.shape[1]).expand(-1, count, -1, -1).flatten(0, 1)
    return functional_call(module, own, (q, k, v), {"attn_mask": hidden, "need_weights": False})[0]


def positional(c: Call) -> Tensor:
    """x + the learned rows, or + sin and cos of t / 10000^(i / features) for even and odd i."""
    _, steps, features = c.x[0].shape
    if "weight" in c.own:
        return c.x[0] + c.own["weight"][:steps]
    waves = torch.empty(steps, features)
    for t in range(steps):
        for i in range(0, features, 2):
            angle = t / math.pow(10_000, i / features)
            waves[t, i : i + 2] = torch.tensor([math.sin(angle), math.cos(angle)])[: features - i]
    return c.x[0] + waves


TWINS = {
    "ScaledDotProductAttention": dot_product,
    "MultiheadAttention": multihead,
    "PositionalEmbedding": positional,
}
