"""Attention as products of matrices, head by head, on a softmax that overwrites its scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...layers.sequences.attention import ScaledDotProductAttention, visible
from ...layers.sequences.multihead_attention import MultiheadAttention, heads
from . import primitives
from .activation import LINEAR
from .base import OneDnn
from .primitives import MINIMUM, SOFTMAX

MANY_KEYS = 1024  # up to so many a running sum of oneDNN's is as good as the reference's


class OneDnnAttention(OneDnn):
    """Queries (N, ..., L, E), keys (N, ..., S, E) and values (N, ..., S, F), without gaps in memory."""

    has_bfloat16 = True

    def unfit_for_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        keys = bottoms[1 if len(bottoms) > 2 else 0].shape[-2]
        return f"sums of more than {MANY_KEYS} numbers" if keys > MANY_KEYS else None

    @property
    def replays(self) -> bool:  # type: ignore[override]
        """A mask has to be looked at every time."""
        return not self.no_grad_bottoms or len(self.needs_grad) <= self.no_grad_bottoms[0]

    def attend(self, q: Any, k: Any, v: Any, scale: float, mask: Any, y: Any) -> Any:
        """Write y, which may have gaps; the weights A (N, ..., L, S)."""
        weights = self.buf("weights", (*q.shape[:-1], k.shape[-2]), life="saved")
        scores = self.buf("scores", weights.shape, self.dtype) if self.halved else weights
        self.op("scores", primitives.matmul, scaled(scale))(q, self.view("k", k, turned), None, scores)
        blind = None
        if mask is not None:
            seen = visible(np, mask, self.causal, q.shape, k.shape[-2])
            blind = ~seen.any(axis=-1, keepdims=True)
            np.copyto(scores, -np.inf, where=~seen)
            np.copyto(scores, 0, where=blind)  # alike, for now: a softmax of -inf alone would be NaN
        elif self.causal:  # the first key is seen by every query
            self.op("past", primitives.binary, MINIMUM)(scores, self.view("limits", scores, limits), scores)
        self.op("weights", primitives.softmax, weights.ndim - 1, SOFTMAX)(scores, weights)
        if blind is not None:
            np.copyto(weights, np.zeros((), weights.dtype), where=blind)
        self.op("y", primitives.matmul)(weights, v, None, y)
        return weights

    def attend_back(self, dy: Any, kept: Any, scale: float, grads: Sequence[Any]) -> None:
        """Write dq, dk and dv, which may have gaps."""
        dq, dk, dv = grads
        columns = self.view("weights", kept.weights, turned)
        self.product_into("dv", columns, dy, dv)
        ds = self.buf("dscores", kept.weights.shape)
        self.op("dweights", primitives.matmul)(dy, self.view("v", kept.v, turned), None, ds)
        if ds.shape[-1] > MANY_KEYS:
            self.act("centred", centre)(kept.weights, ds)
        self.op("dscores", primitives.softmax_backward, ds.ndim - 1, SOFTMAX)(kept.weights, ds, ds)
        self.product_into("dq", ds, kept.k, dq, scaled(scale))
        self.product_into("dk", self.view("dscores", ds, turned), kept.q, dk, scaled(scale))

    def product_into(self, name: str, a: Any, b: Any, into: Any, post_ops: Sequence[Any] = ()) -> None:
        """into = a b, which may have gaps. In bfloat16 it is copied there: products with gaps are slow."""
        if self.halved and not self.view(f"{name} dense", into, lambda d: d.flags.c_contiguous):
            dense = self.buf(f"{name} dense", into.shape)
            self.op(f"{name} dense", primitives.matmul, post_ops)(a, b, None, dense)
            self.op(f"{name} with gaps", primitives.copy)(dense, into)
        else:
            self.op(name, primitives.matmul, post_ops)(a, b, None, into)

    def dense(self, name: str, x: Any, life: str = "call") -> Any:
        """x, or a copy of it without gaps: products of many small matrices are slow on anything else."""
        if self.view(f"{name} dense", x, lambda a: a.flags.c_contiguous):
            return x
        copy = self.buf(f"{name} settled", x.shape, life=life)
        self.op(f"{name} settled", primitives.copy)(x, copy)
        return copy


class OneDnnScaledDotProductAttention(OneDnnAttention, ScaledDotProductAttention):
    """ScaledDotProductAttention."""

    def forward(self, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        scale = 1 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale
        q, k, v = (self.dense(name, x, "saved") for name, x in (("q", q), ("k", k), ("v", v)))
        y = self.buf("y", (*q.shape[:-1], v.shape[-1]))
        self.save(q=q, k=k, v=v, weights=self.attend(q, k, v, scale, mask, y), scale=scale)
        return y

    def backward(self, dy: Any) -> tuple[Any, ...]:
        kept = self.saved
        grads = [self.buf(f"d{name}", getattr(kept, name).shape) for name in "qkv"]
        self.attend_back(self.dense("dy", dy), kept, kept.scale, grads)
        return (*grads, None)[: len(self.needs_grad)]


class OneDnnMultiheadAttention(OneDnnAttention, MultiheadAttention):
    """MultiheadAttention. The heads of q, k, v and dz are copied apart; z, dq, dk and dv are written in place."""

    can_overwrite_grad = True

    def forward(self, *bottoms: Any) -> Any:
        xs, mask = bottoms[: 1 if len(bottoms) < 3 else 3], bottoms[-1] if len(bottoms) % 2 == 0 else None
        inputs, apart = [], []
        for i, (x, block) in enumerate(self.blocks(xs)):
            inputs.append(self.matrix(f"x{i}", x, "saved"))
            a = self.buf(f"a{i}", (*x.shape[:-1], block.stop - block.start))
            self.linear_map("in_proj", i, block, inputs[-1], self.matrix(f"a{i}", a))
            apart += self.view(f"heads {i}", a, self.by_head)
        q, k, v = (self.dense(name, x, "saved") for name, x in zip("qkv", apart, strict=True))
        z = self.buf("z", (*xs[0].shape[:-1], v.shape[1] * v.shape[3]), life="saved")
        weights = self.attend(q, k, v, self.scale_of(q), mask, self.view("z heads", z, self.by_head)[0])
        y = self.buf("y out", z.shape)
        self.linear_map("out_proj", 0, slice(None), self.matrix("z", z), self.matrix("y", y))
        self.save(xs=xs, inputs=inputs, q=q, k=k, v=v, z=z, weights=weights)
        return y

    def by_head(self, a: Any) -> list[Any]:
        """(N, L, one or more times E) as views (N, heads, L, E/heads)."""
        size = self.params.out_proj_weight.shape[0]
        return [heads(a[:, :, i : i + size], self.num_heads) for i in range(0, a.shape[2], size)]

    def linear_map(self, name: str, i: int, block: slice, rows: Any, out: Any) -> None:
        """out = rows Wᵀ + b, for a block of the rows of W."""
        weight = self.view(f"{name} {i} turned", self.operands[f"{name}_weight"], lambda w: w[block].T)
        bias = self.view(f"{name} {i} bias", self.params[f"{name}_bias"], lambda b: b[block]) if self.bias else None
        self.op(f"{name} {i}", primitives.matmul)(rows, weight, bias, out)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        kept = self.saved
        dz = self.buf("dz", dy.shape)
        rows = self.matrix("dy", dy), self.matrix("z", kept.z), self.matrix("dz", dz)
        self.map_back("out_proj", 0, slice(None), *rows)
        das = [self.buf(f"da{i}", (*x.shape[:-1], b.stop - b.start)) for i, (x, b) in enumerate(self.blocks(kept.xs))]
        grads = [part for i, da in enumerate(das) for part in self.view(f"da{i} heads", da, self.by_head)]
        apart = self.dense("dz", self.view("dz heads", dz, self.by_head)[0])
        self.attend_back(apart, kept, self.scale_of(kept.q), grads)
        dxs: list[Any] = []
        for i, (x, block) in enumerate(self.blocks(kept.xs)):
            dx = self.buf(f"dx{i}", x.shape) if self.needs_grad[i] else None
            into = None if dx is None else self.matrix(f"dx{i}", dx)
            self.map_back("in_proj", i, block, self.matrix(f"da{i}", das[i]), kept.inputs[i], into)
            dxs.append(dx)
        return (*dxs, None)[: len(self.needs_grad)]

    def map_back(self, name: str, i: int, block: slice, da: Any, rows: Any, dx: Any) -> None:
        """Add the gradients of a linear map's parameters, and write that of its rows where it is wanted."""
        if self.needs_param_grad[f"{name}_weight"]:
            into = self.view(f"{name} {i} grad", self.grads[f"{name}_weight"], lambda g: g[block])
            self.add_product(f"{name} {i} dW", da, rows, into)
        if self.bias and self.needs_param_grad[f"{name}_bias"]:
            total = self.view(f"{name} {i} bias grad", self.grads[f"{name}_bias"], lambda g: g[block])
            self.add_column_sums(da, total, f"{name} {i} db")
        if dx is not None:
            weight = self.view(f"{name} {i} rows", self.operands[f"{name}_weight"], lambda w: w[block])
            self.set_product(f"{name} {i} dx", da, weight, dx)


def scaled(factor: float) -> tuple[tuple[int, float, float], ...]:
    """The post-op that multiplies every result."""
    return ((LINEAR, factor, 0.0),)


def centre(weights: Any, dweights: Any) -> None:
    """dA less its mean under the weights, which changes no score's gradient A (dA - Σ A dA).

    oneDNN adds A dA up as a running sum: of very many keys it loses digits where dA lies far from 0.
    """
    for a, da in zip(weights.reshape(-1, weights.shape[-1]), dweights.reshape(-1, weights.shape[-1]), strict=True):
        da -= (a * da).sum()


def turned(a: Any) -> Any:
    """The transposes of the matrices in the last two axes."""
    return a.swapaxes(-1, -2)


def limits(scores: Any) -> Any:
    """What causal scores must not exceed: -inf where a key lies in the future, which gives it the weight 0.

    Of NaN and a limit the instruction behind it gives the limit: in the past that is inf, and the row becomes NaN.
    """
    seen = visible(np, None, True, scores.shape, scores.shape[-1])
    return np.where(seen, np.inf, -np.inf).astype(np.float32)[(None,) * (scores.ndim - 2)]
