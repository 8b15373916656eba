"""ScaledDotProductAttention, and what it shares with MultiheadAttention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.formula import formula
from ...arrays.functional import expect_role, filled, shape_mismatch, softmax, sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class ScaledDotProductAttention(Layer):
    """ScaledDotProductAttention: for every query the mean of the values, weighted by how its keys fit

        Z = scale q kᵀ                 how query l fits key s
        A = softmax Z, over s          the weights: positive, each row sums up to 1
        y = A v

    Products are matrix products, but ⊙ goes element by element. With `causal`, query l sees the keys s <= l only. A
    mask says which keys may be seen: 0 is no, anything else yes. What may not be seen has weight 0, whatever its score;
    a query that may see nothing gives 0, as in torch. Where no score of a key that may be seen is finite, as after an
    overflow, or one is NaN, y is NaN.

    Shapes    q (N, L, E), k (N, S, E), v (N, S, F), real; y (N, L, F). All may have further axes after N, such as
              heads, that are equal. Optional bottom mask, real or index, without gradient: (N, S), such as a mask of
              the steps of a sequence; (N, L, S); or one for each head
    Backward  Two matrix products and a softmax, each in reverse:
                  dv = Aᵀ dy,   dA = dy vᵀ
                  dZ = A ⊙ (dA - r), where r[l] = Σₛ dA[l, s] A[l, s] is subtracted from row l: the softmax of each row
                  dq = scale dZ k,   dk = scale dZᵀ q
              A is 0 where nothing may be seen, and so is dZ: masks need no further care.
    Keeps     q, k, v and A, which has N L S elements
    Cost      2NLS(E + F) flops forward for the products, without the softmax; twice that backward
    Errors    LayerError when shapes do not fit or there is no key
    Source    Vaswani et al. 2017; compare torch.nn.functional.scaled_dot_product_attention with a boolean mask
    """

    bottoms = (3, 4)
    backward_reads = ("bottom[0]", "bottom[1]", "bottom[2]")
    no_grad_bottoms = (3,)

    causal: bool = param(False, help="query l sees only the keys s <= l (torch: is_causal)")
    scale: float | None = param(None, help="factor of the scores; null: 1/√E")

    examples = [
        Example({}, [Spec((2, 3, 4)), Spec((2, 5, 4)), Spec((2, 5, 2))]),
        Example({"causal": True}, [Spec((2, 4, 3)), Spec((2, 4, 3)), Spec((2, 4, 3))]),
        Example({"causal": True}, [Spec((2, 2, 3, 4)), Spec((2, 2, 5, 4)), Spec((2, 2, 5, 3))], "heads"),
        Example({"scale": 0.25}, [Spec((2, 3, 2)), Spec((2, 3, 2)), Spec((2, 3, 1)), index((2, 3), 2)], "mask of keys"),
        Example({}, [Spec((2, 3, 2)), Spec((2, 4, 2)), Spec((2, 4, 2)), index((2, 3, 4), 2)]),
        Example({}, [*[Spec((2, 2, 3, 2))] * 3, index((2, 3, 3), 2)], "one mask for all heads"),
        Example({"causal": True}, [*[Spec((2, 2, 3, 2))] * 3, index((2, 2, 3, 3), 2)], "a mask for each head"),
        Example({}, [*[Spec((2, 3, 2))] * 3, Spec((2, 3), low=1, high=2)], "a mask of reals"),
        Example({}, [*[Spec((2, 3, 2))] * 3, index((2, 3), 1)], "nothing may be seen"),
        Example({}, [Spec((1, 1, 1)), Spec((1, 1, 1)), Spec((1, 1, 1))]),
        Example({}, [Spec((2, 0, 3)), Spec((2, 2, 3)), Spec((2, 2, 3))], "no query"),
        Example({"causal": True}, [*[Spec((2, 3, 4), low=-100, high=100)] * 2, Spec((2, 3, 4))], "extreme"),
    ]
    bad_examples = [
        Bad({}, "takes 3 to 4 bottom(s), got 1", [Spec((2, 3, 4))]),
        Bad({}, "expected (N, L, E)", [Spec((3, 4))] * 3),
        Bad(
            {},
            "bottom[1], the keys, has shape (2, 5, 3), expected (2, S, 4)",
            [Spec((2, 3, 4)), *[Spec((2, 5, 3))] * 2],
        ),
        Bad({}, "bottom[2], the values, has shape (2, 4, 4)", [*[Spec((2, 3, 4))] * 2, Spec((2, 4, 4))]),
        Bad({}, "the mask, has shape (3,)", [*[Spec((2, 3, 4))] * 3, index((3,), 2)]),
        Bad({}, "the mask, has shape (2, 4), expected (2, 3)", [*[Spec((2, 3, 4))] * 3, index((2, 4), 2)]),
        Bad({}, "there is no key", [Spec((2, 3, 4)), *[Spec((2, 0, 4))] * 2]),
        Bad({"is_causal": True}, "did you mean 'causal'?"),
    ]

    def setup(self, q: Spec, k: Spec, v: Spec, mask: Spec | None = None) -> Spec:
        check_operands(q, k, v)
        if mask is not None:
            check_mask(3, mask.shape, q.shape, k.shape[-2])
        return q.with_shape((*q.shape[:-1], v.shape[-1]))

    def forward(self, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        scale = 1 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale
        y, weights = attend(self.xp, q, k, v, scale, visible(self.xp, mask, self.causal, q.shape, k.shape[-2]))
        self.save(q=q, k=k, v=v, weights=weights, scale=scale)
        return y

    def backward(self, dy: Any) -> tuple[Any, ...]:
        kept = self.saved
        grads = attend_back(self.xp, dy, kept.q, kept.k, kept.v, kept.weights, kept.scale)
        return (*grads, None)[: len(self.needs_grad)]

    def jvp(self, *tangents: Any) -> Any:
        kept = self.saved
        moves = filled(self.xp, tangents[:3], [kept.q.shape, kept.k.shape, kept.v.shape])
        return None if moves is None else attend_along(*moves, kept.q, kept.k, kept.v, kept.weights, kept.scale)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * (bottoms[0].size + tops[0].size) * bottoms[1].shape[-2]


def attend(xp: Any, q: Any, k: Any, v: Any, scale: float, seen: Any = None) -> tuple[Any, Any]:
    """y and the weights A; `seen`, if given, are booleans that broadcast to A's shape."""
    scores = (scale * q) @ k.swapaxes(-1, -2)
    if seen is None:
        weights = softmax(xp, scores, -1, out=scores)
    else:  # exp(-inf) is 0; rows in which nothing is seen get scores that are alike, and are 0 in the end
        sighted = seen.any(axis=-1, keepdims=True)
        scores = xp.where(seen, scores, xp.where(sighted, -math.inf, 0).astype(scores.dtype))
        weights = softmax(xp, scores, -1, out=scores)
        weights *= sighted
    return weights @ v, weights


@formula
def softmax_back(xp: Any, weights: Any, dweights: Any, scale: float) -> Any:
    """The gradient of s from that of the weights softmax(scale s), sums along the last axis."""
    return weights * (dweights - sum_of(dweights * weights, -1, keepdims=True)) * scale


def attend_back(xp: Any, dy: Any, q: Any, k: Any, v: Any, weights: Any, scale: float) -> tuple[Any, Any, Any]:
    """dq, dk, dv."""
    dv = weights.swapaxes(-1, -2) @ dy
    dweights = dy @ v.swapaxes(-1, -2)
    dscores = softmax_back(xp, weights, dweights, scale)
    return dscores @ k, dscores.swapaxes(-1, -2) @ q, dv


def attend_along(dq: Any, dk: Any, dv: Any, q: Any, k: Any, v: Any, weights: Any, scale: float) -> Any:
    """The tangent of y: both products by the product rule, and the softmax as in attend_back, being symmetric."""
    dscores = scale * (dq @ k.swapaxes(-1, -2) + q @ dk.swapaxes(-1, -2))
    dweights = weights * (dscores - sum_of(dscores * weights, -1, keepdims=True))
    return dweights @ v + weights @ dv


def visible(xp: Any, mask: Any, causal: bool, q_shape: tuple[int, ...], keys: int) -> Any:
    """Which keys each query may see, in a shape that broadcasts to (N, ..., L, S); None for all."""
    seen = None
    if mask is not None:  # (N, S) and (N, L, S) get axes of size 1 for what they do not tell apart
        between = (1,) * (len(q_shape) - mask.ndim)
        seen = mask.reshape(mask.shape[:1] + between + mask.shape[1:]) != 0
    if causal:
        past = xp.arange(q_shape[-2])[:, None] >= xp.arange(keys)
        seen = past if seen is None else seen & past
    return seen


def check_operands(q: Spec, k: Spec, v: Spec) -> None:
    """LayerError unless queries, keys and values fit each other."""
    for i, operand in enumerate((q, k, v)):
        expect_role(f"bottom[{i}]", operand, "real")
    if q.ndim < 3 or not q.shape[-1]:
        raise LayerError(f"bottom[0], the queries, has shape {q.shape}, expected (N, L, E): samples, steps, features")
    around = ", ".join(map(str, q.shape[:-2]))
    if k.ndim != q.ndim or (*k.shape[:-2], k.shape[-1]) != (*q.shape[:-2], q.shape[-1]):
        raise shape_mismatch("bottom[1], the keys,", k.shape, f"({around}, S, {q.shape[-1]})")
    if v.shape[:-1] != k.shape[:-1]:
        raise shape_mismatch("bottom[2], the values,", v.shape, f"({around}, {k.shape[-2]}, F)")
    if not k.shape[-2]:
        raise LayerError("there is no key to attend to", hint="the axis of steps of bottom[1] is empty")


def check_mask(i: int, mask: tuple[int, ...], q: tuple[int, ...], keys: int) -> None:
    """LayerError unless bottom i is a mask for queries of this shape and as many keys."""
    wanted = [(q[0], keys), (q[0], q[-2], keys), (*q[:-1], keys)]
    if mask not in wanted:
        raise shape_mismatch(f"bottom[{i}], the mask,", mask, " or ".join(str(w) for w in dict.fromkeys(wanted)))
