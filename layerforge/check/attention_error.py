"""Attention in bf16-mixed as a sequence of products and roundings, each with the bound of its error.

What is stored in bfloat16 on the way: q, k, v, the weights of attention and z; backward the gradients of the weights,
of the scores, and of q, k, v and z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..layers.sequences.attention import visible
from .harness import Probe
from .running_error import Approx, as_approx, joined, learned, softmax


def attend(layer: Any, q: Approx, k: Approx, v: Approx, scale: float, mask: Any) -> tuple[Approx, Approx]:
    """y before it is stored, and the weights."""
    scores = (q @ k.transposed()) * scale
    seen = visible(np, mask, layer.causal, q.value.shape, k.value.shape[-2])
    weights = softmax(scores, np.broadcast_to(True if seen is None else seen, scores.value.shape)).rounded()
    return weights @ v, weights


def attend_back(dy: Approx, q: Approx, k: Approx, v: Approx, weights: Approx, scale: float) -> list[Approx]:
    """dq, dk and dv before they are stored."""
    dweights = (dy @ v.transposed()).rounded()
    dscores = (weights * (dweights - (dweights * weights).sum(-1))).rounded()
    return [(dscores @ k) * scale, (dscores.transposed() @ q) * scale, weights.transposed() @ dy]


def scaled_dot_product(truth: Probe, dys: Sequence[Any]) -> dict[str, Approx]:
    """ScaledDotProductAttention."""
    layer: Any = truth.layer
    q, k, v = map(as_approx, truth.bottoms[:3])
    scale = 1 / math.sqrt(q.value.shape[-1]) if layer.scale is None else layer.scale
    y, weights = attend(layer, q, k, v, scale, truth.bottoms[3] if len(truth.bottoms) > 3 else None)
    grads = attend_back(as_approx(dys[0]), q, k, v, weights, scale)
    return {"top[0]": y} | {f"bottom[{i}]": grad for i, grad in enumerate(grads)}


def multihead(truth: Probe, dys: Sequence[Any]) -> dict[str, Approx]:
    """MultiheadAttention."""
    layer: Any = truth.layer
    xs, mask = truth.bottoms[: 1 if len(truth.bottoms) < 3 else 3], None
    if len(truth.bottoms) % 2 == 0:
        mask = truth.bottoms[-1]
    w_in, w_out = layer.params.in_proj_weight, layer.params.out_proj_weight
    size = xs[0].shape[-1]
    parts: list[Approx] = []
    for x, block in layer.blocks(xs):
        a = as_approx(x) @ w_in[block].T
        a = (a + layer.params.in_proj_bias[block] if layer.bias else a).rounded()
        parts += [by_head(a[..., i : i + size], layer.num_heads) for i in range(0, a.value.shape[-1], size)]
    q, k, v = parts
    scale = layer.scale_of(q.value)
    z, weights = attend(layer, q, k, v, scale, mask)
    z = side_by_side(z).rounded()
    y, dy = z @ w_out.T, as_approx(dys[0])
    found = {"top[0]": y + layer.params.out_proj_bias if layer.bias else y}
    found["out_proj_weight"], found["out_proj_bias"] = learned(dy, z)
    dz = by_head((dy @ w_out).rounded(), layer.num_heads)
    das = [side_by_side(grad).rounded() for grad in attend_back(dz, q, k, v, weights, scale)]
    dws, dbs = zip(*(learned(da, as_approx(xs[i % len(xs)])) for i, da in enumerate(das)), strict=True)
    found["in_proj_weight"], found["in_proj_bias"] = joined(dws, 0), joined(dbs, 0)
    das = [joined(das, -1)] if len(xs) == 1 else das
    found |= {
        f"bottom[{i}]": da @ w_in[block] for i, (da, (_, block)) in enumerate(zip(das, layer.blocks(xs), strict=True))
    }
    return found


def by_head(a: Approx, count: int) -> Approx:
    """(N, L, E) as (N, heads, L, E/heads)."""
    n, steps, features = a.value.shape
    return a.moved(lambda m: m.reshape(n, steps, count, features // count).swapaxes(1, 2))


def side_by_side(a: Approx) -> Approx:
    """(N, heads, L, E/heads) as (N, L, E)."""
    n, count, steps, features = a.value.shape
    return a.moved(lambda m: m.swapaxes(1, 2).reshape(n, steps, count * features))


ATTENTION: dict[str, Callable[[Probe, Sequence[Any]], dict[str, Approx]]] = {
    "ScaledDotProductAttention": scaled_dot_product,
    "MultiheadAttention": multihead,
}
