"""MultiheadAttention: attention in several subspaces at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ...arrays.functional import filled, map_rows, product_over_rows, rows, sum_of
from ...arrays.spec import Spec, index
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .attention import attend, attend_along, attend_back, check_mask, check_operands, visible


@register
class MultiheadAttention(Layer):
    """MultiheadAttention: attention in several subspaces at once, between linear maps

        q = x_q W_qᵀ + b_q,   k = x_k W_kᵀ + b_k,   v = x_v W_vᵀ + b_v
        z = the heads' scaled dot-product attention, side by side
        y = z W_outᵀ + b_out

    Head h has the features h E/heads to (h + 1) E/heads of q, k, v and z, and scale √(heads/E). With one bottom
    (or two: x and mask) x_q = x_k = x_v: self-attention. With three (or four, with a mask) these are the queries,
    keys and values. Masks and `causal` are as in ScaledDotProductAttention. in_proj_weight is W_q, W_k and W_v
    stacked, as in torch, and in_proj_bias is b_q, b_k and b_v; W_out and b_out are out_proj_weight and out_proj_bias.
    All products are matrix products. In masks 0 is hidden, 1 seen: torch's key_padding_mask and boolean attn_mask are
    the opposite, True is hidden there.

    Shapes    x_q (N, L, E), x_k and x_v (N, S, E), real: torch's batch_first=True. y (N, L, E). Optional last bottom
              mask, real or index, without gradient: (N, S), (N, L, S) or (N, heads, L, S)
              in_proj_weight (3E, E), in_proj_bias (3E,), out_proj_weight (E, E), out_proj_bias (E,)
    Backward  The way back through three known layers: Linear, ScaledDotProductAttention, Linear, whose pages derive
                  dW_out = dyᵀ z,   db_out = Σ dy over samples and steps,   dz = dy W_out
                  dq, dk, dv from dz, head by head
                  dW_q = dqᵀ x_q,   db_q = Σ dq,   dx_q = dq W_q       and the same for k and v
              In self-attention x is used three times: dx = dq W_q + dk W_k + dv W_v, one product with the stacked
              weights.
    Keeps     the bottoms, q, k, v, z, and the weights of attention: N heads L S elements
    Cost      8NLE² + 4NLSE flops forward in self-attention, without the softmax, twice that backward
    Errors    LayerError when shapes do not fit, when the heads do not divide E
    Source    Vaswani et al. 2017; compare torch.nn.MultiheadAttention, where out_proj is a module: out_proj.weight
    """

    bottoms = (1, 4)
    backward_reads = ("bottom",)

    num_heads: int = param(help="heads; they divide the E features among them", ge=1)
    embed_dim: int | None = param(None, help="features E, to be sure of them; null: those of the bottom", ge=1)
    bias: bool = param(True, help="learn additive biases")
    causal: bool = param(False, help="step l sees only the steps s <= l")
    weight_filler: Filler = param({"type": "xavier", "mode": "average"}, help="start values of both weights")
    bias_filler: Filler = param("constant", help="start values of both biases")

    examples = [
        Example({"num_heads": 2}, [Spec((2, 3, 4))]),
        Example({"num_heads": 1, "causal": True, "bias": False}, [Spec((2, 4, 3))]),
        Example({"num_heads": 2, "embed_dim": 4}, [Spec((2, 3, 4)), index((2, 3), 2)], "with a mask of steps"),
        Example({"num_heads": 3, "causal": True}, [Spec((2, 4, 6)), Spec((2, 4), low=1, high=2)], "a mask of reals"),
        Example({"num_heads": 2}, [Spec((2, 3, 4)), Spec((2, 5, 4)), Spec((2, 5, 4))], "across"),
        Example(
            {"num_heads": 2},
            [Spec((2, 3, 4)), Spec((2, 2, 4)), Spec((2, 2, 4)), index((2, 2, 3, 2), 2)],
            "across, with a mask for each head",
        ),
        Example({"num_heads": 1}, [Spec((1, 1, 1))]),
        Example({"num_heads": 2}, [Spec((0, 3, 4))], "no sample"),
        Example({"num_heads": 2}, [Spec((2, 3, 4), low=-10, high=10)]),
    ]
    bad_examples = [
        Bad({}, "num_heads is required"),
        Bad({"num_heads": 0}, "must be >= 1"),
        Bad({"num_heads": 3}, "3 heads do not divide 4 features", [Spec((2, 3, 4))]),
        Bad({"num_heads": 2, "embed_dim": 8}, "has 4 features, embed_dim is 8", [Spec((2, 3, 4))]),
        Bad({"num_heads": 2}, "expected (N, L, E)", [Spec((3, 4))]),
        Bad({"num_heads": 2}, "with axes (N, L, E)", [Spec((2, 2, 3, 4))]),
        Bad({"num_heads": 2}, "the mask, has shape (2, 4)", [Spec((2, 3, 4)), index((2, 4), 2)]),
        Bad({"num_heads": 2}, "has shape (2, 5, 6)", [Spec((2, 3, 4)), Spec((2, 5, 4)), Spec((2, 5, 6))]),
        Bad({"num_heads": 2}, "must be real numbers", [index((2, 3, 4), 2)]),
    ]

    def setup(self, *bottoms: Spec) -> Spec:
        xs, masked = bottoms[: 1 if len(bottoms) < 3 else 3], len(bottoms) % 2 == 0
        q, k, v = xs * 3 if len(xs) == 1 else xs
        check_operands(q, k, v)
        n, steps, features = self.check_features(q, v)
        if masked:
            check_mask(len(xs), bottoms[-1].shape, (n, self.num_heads, steps, features), k.shape[1])
        self.no_grad_bottoms = (len(xs),) if masked else ()  # the mask is the second bottom or the fourth
        self.add_param("in_proj_weight", (3 * features, features), self.weight_filler)
        self.add_param("out_proj_weight", (features, features), self.weight_filler)
        if self.bias:
            self.add_param("in_proj_bias", (3 * features,), self.bias_filler, decay_mult=0)
            self.add_param("out_proj_bias", (features,), self.bias_filler, decay_mult=0)
        return q

    def check_features(self, q: Spec, v: Spec) -> tuple[int, ...]:
        """The shape of q, unless its features or those of v are not as the heads and embed_dim want them."""
        if q.ndim != 3 or v.shape[-1] != q.shape[-1]:
            wrong = q.shape if q.ndim != 3 else v.shape
            raise LayerError(f"a bottom has shape {wrong}; all are blobs with axes (N, L, E), and E is the same")
        features = q.shape[2]
        if self.embed_dim not in (None, features):
            raise LayerError(f"bottom[0] has {features} features, embed_dim is {self.embed_dim}")
        if features % self.num_heads:
            raise LayerError(f"{self.num_heads} heads do not divide {features} features")
        return q.shape

    def forward(self, *bottoms: Any) -> Any:
        xs = bottoms[: 1 if len(bottoms) < 3 else 3]
        mask = bottoms[-1] if len(bottoms) % 2 == 0 else None
        q, k, v = self.project(xs, self.params.in_proj_weight, self.params.in_proj_bias if self.bias else None)
        seen = visible(self.xp, mask, self.causal, q.shape, k.shape[-2])
        z, weights = attend(self.xp, q, k, v, self.scale_of(q), seen)
        z = joined(z)
        self.save(xs=xs, q=q, k=k, v=v, z=z, weights=weights)
        y = map_rows(z, self.params.out_proj_weight.T)
        if self.bias:
            y += self.params.out_proj_bias
        return y

    def project(self, xs: Sequence[Any], weight: Any, bias: Any = None) -> list[Any]:
        """q, k and v (N, heads, L, E/heads), with or without a bias."""
        parts: list[Any] = []
        for x, block in self.blocks(xs):
            a = map_rows(x, weight[block].T)
            if bias is not None:
                a += bias[block]
            parts += self.xp.split(a, a.shape[-1] // x.shape[-1], axis=-1)
        return [heads(part, self.num_heads) for part in parts]

    def blocks(self, xs: Sequence[Any]) -> Iterator[tuple[Any, slice]]:
        """Each bottom, and which rows of in_proj_weight act on it."""
        size = xs[0].shape[-1] * (3 // len(xs))
        return ((x, slice(i * size, (i + 1) * size)) for i, x in enumerate(xs))

    def scale_of(self, q: Any) -> float:
        """1 over the root of a head's features."""
        return 1 / math.sqrt(q.shape[-1])

    def backward(self, dy: Any) -> tuple[Any, ...]:
        kept = self.saved
        self.learn("out_proj", slice(None), dy, kept.z)
        dz = heads(map_rows(dy, self.params.out_proj_weight), self.num_heads)
        grads = attend_back(self.xp, dz, kept.q, kept.k, kept.v, kept.weights, self.scale_of(kept.q))
        parts = [joined(grad) for grad in grads]
        if len(kept.xs) == 1:
            parts = [self.xp.concatenate(parts, axis=-1)]
        dxs = []
        for (x, block), da in zip(self.blocks(kept.xs), parts, strict=True):
            self.learn("in_proj", block, da, x)
            dxs.append(map_rows(da, self.params.in_proj_weight[block]))
        return (*dxs, None)[: len(self.needs_grad)]

    def learn(self, name: str, block: slice, da: Any, x: Any) -> None:
        """Add the gradients of the linear map a = W x + b, for a block of its rows."""
        if self.needs_param_grad[f"{name}_weight"]:
            self.grads[f"{name}_weight"][block] += product_over_rows(rows(da), rows(x))
        if self.bias and self.needs_param_grad[f"{name}_bias"]:
            self.grads[f"{name}_bias"][block] += sum_of(rows(da), 0)

    def jvp(self, *tangents: Any) -> Any:
        kept = self.saved
        moves = filled(self.xp, tangents[: len(kept.xs)], [x.shape for x in kept.xs])
        if moves is None:
            return None
        return self.along(self.project(moves, self.params.in_proj_weight))

    def along(self, dqkv: Sequence[Any]) -> Any:
        """The tangent of y from those of q, k and v."""
        kept = self.saved
        dz = attend_along(*dqkv, kept.q, kept.k, kept.v, kept.weights, self.scale_of(kept.q))
        return map_rows(joined(dz), self.params.out_proj_weight.T)

    def jvp_params(self, **moved: Any) -> Any:
        kept = self.saved
        d = {name: moved.get(name, self.xp.zeros_like(w)) for name, w in self.params.items()}
        dy = map_rows(kept.z, d["out_proj_weight"].T) + d.get("out_proj_bias", 0)
        if "in_proj_weight" in moved or "in_proj_bias" in moved:
            dy += self.along(self.project(kept.xs, d["in_proj_weight"], d.get("in_proj_bias")))
        return dy

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        (n, steps, features), keys = tops[0].shape, bottoms[0 if len(bottoms) < 3 else 1].shape[1]
        return 4 * n * features * ((steps + keys) * features + steps * keys)


def heads(x: Any, count: int) -> Any:
    """(N, L, E) as (N, heads, L, E/heads): a view."""
    n, steps, features = x.shape
    return x.reshape(n, steps, count, features // count).swapaxes(1, 2)


def joined(x: Any) -> Any:
    """(N, heads, L, E/heads) as (N, L, E): the heads side by side."""
    n, count, steps, features = x.shape
    return x.swapaxes(1, 2).reshape(n, steps, count * features)
