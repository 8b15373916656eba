"""Golden cases of attention and positional embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.golden_cases import Case

from layerforge.arrays.spec import Spec, index

from .builders import learned, one

DOT, HEADS, WHERE = "ScaledDotProductAttention", "MultiheadAttention", "PositionalEmbedding"


def multihead(name: str, hyper: Mapping[str, Any], *bottoms: Spec) -> Case:
    """A case of MultiheadAttention with its parameters."""
    size = bottoms[0].shape[2]
    params: dict[str, tuple[int, ...]] = {"in_proj_weight": (3 * size, size), "out_proj_weight": (size, size)}
    if hyper.get("bias", True):
        params |= {"in_proj_bias": (3 * size,), "out_proj_bias": (size,)}
    return one(f"{HEADS}-{name}", {"num_heads": 2, **hyper}, *bottoms, params=params)


def dot(name: str, hyper: Mapping[str, Any], *bottoms: Spec) -> Case:
    """A case of ScaledDotProductAttention."""
    return one(f"{DOT}-{name}", hyper, *bottoms)


Q, K, V = Spec((2, 3, 4)), Spec((2, 5, 4)), Spec((2, 5, 2))
SQUARE, IN_HEADS = [Spec((2, 4, 3))] * 3, [Spec((2, 3, 4, 2))] * 3
X, Y = Spec((2, 4, 6)), Spec((2, 5, 6))

CASES = [
    dot("plain", {}, Q, K, V),
    dot("scale", {"scale": 0.3}, Q, K, V),
    dot("causal", {"causal": True}, *SQUARE),
    dot("causal-more-keys", {"causal": True}, Q, K, V),
    dot("heads", {}, *IN_HEADS),
    dot("mask-of-keys", {}, Q, K, V, index((2, 5), 2)),
    dot("mask", {}, Q, K, V, index((2, 3, 5), 2)),
    dot("mask-for-all-heads", {}, *IN_HEADS, index((2, 4, 4), 2)),
    dot("mask-for-each-head", {"causal": True}, *IN_HEADS, index((2, 3, 4, 4), 2)),
    dot("nothing-seen", {}, Q, K, V, index((2, 5), 1)),
    dot("far-from-zero", {}, *[Spec((2, 4, 3), low=5, high=20)] * 3),
    multihead("self", {}, X),
    multihead("causal", {"causal": True, "num_heads": 3}, X),
    multihead("no-bias", {"bias": False, "embed_dim": 6}, X),
    multihead("one-head", {"num_heads": 1}, X),
    multihead("masked", {}, X, index((2, 4), 2)),
    multihead("masked-causal", {"causal": True}, X, index((2, 4, 4), 2)),
    multihead("across", {}, X, Y, Y),
    multihead("across-masked", {}, X, Y, Y, index((2, 2, 4, 5), 2)),
    learned(f"{WHERE}-learned", {"max_len": 5}, (2, 4, 3), weight=(5, 3)),
    learned(f"{WHERE}-full", {"max_len": 4}, (3, 4, 2), weight=(4, 2)),
    one(f"{WHERE}-waves", {"kind": "sinusoidal"}, Spec((2, 50, 6))),
    one(f"{WHERE}-odd-waves", {"kind": "sinusoidal"}, Spec((1, 4, 5))),
]
