"""Attention that is written as two matrix products with a softmax between them."""

from __future__ import annotations

import math

import numpy as np

from ..graph import OWN, Node
from ..values import Known, Stream
from .activations import near
from .looking import Look
from .movements import transposed

HIDDEN = -1e4  # scores of what may not be seen, or less


def attention(look: Look, node: Node) -> list[Node] | None:
    """Scaled dot-product attention: softmax(scale q kᵀ + mask) v.

    The scale may be a factor or a divisor of q, of k, of both or of the scores; the mask is one that is known: all may
    be seen, or query l sees the keys s <= l. Masks that the net computes stay as they are written.
    """
    softmax = look.maker(node.inputs[0], "Softmax")
    if softmax is None or not _over_last(look, softmax):
        return None
    name, number, masks = softmax.inputs[0], 1.0, []
    while (scores := look.maker(name, "Add", "Where", "Mul", "Div", "MatMul")) is not None and scores.op != "MatMul":
        if scores.op in ("Mul", "Div"):
            by, rest = look.factors(name)
            if len(rest) != 1 or rest[0] == name:
                return None
            number, name = number * by, rest[0]
            continue
        masked = _masked(look, scores, number)
        if masked is None:
            return None
        masks.append(masked[1])
        name = masked[0]
    if scores is None:
        return None
    return _in_place(look, node, scores, number, masks)


def _in_place(look: Look, node: Node, scores: Node, number: float, masks: list[Known]) -> list[Node] | None:
    """The node of attention, if shapes and masks are as a layer has them."""
    by_q, qs = look.factors(scores.inputs[0])
    by_k, ks = look.factors(scores.inputs[1])
    v = node.inputs[1]
    if len(qs) != 1 or len(ks) != 1 or any(not isinstance(look.values.get(one), Stream) for one in (*qs, *ks, v)):
        return None
    q, k_turned, scale = qs[0], ks[0], number * by_q * by_k
    shapes = [look.shapes(one) for one in (q, k_turned, v)]
    if any(one is None or len(one[0]) < 3 for one in shapes):
        return None
    for of_q, of_k, of_v in zip(*(one or () for one in shapes), strict=True):
        if not of_q[:-2] == of_k[:-2] == of_v[:-2] or of_q[-1] != of_k[-2] or of_k[-1] != of_v[-2]:
            return None
    causal = _causal(masks, [(q[-2], k[-1]) for q, k in zip(shapes[0] or (), shapes[1] or (), strict=True)])
    if causal is None or not scale:
        return None
    ndim, features = len((shapes[0] or ())[0]), (shapes[0] or ())[0][-1]
    turn = transposed(look, k_turned, (*range(ndim - 2), ndim - 1, ndim - 2))
    usual = near(scale, 1 / math.sqrt(features))
    attributes = {"causal": int(causal)} | ({} if usual else {"scale": scale})
    inputs = [q, turn.outputs[0], v]
    return [turn, Node("ScaledDotProductAttention", inputs, node.outputs, attributes, node.name, OWN)]


def _over_last(look: Look, softmax: Node) -> bool:
    axis = softmax.attributes.get("axis", -1 if look.graph.opset >= 13 else 1)
    return axis == -1 or axis == look.ndim(softmax.inputs[0]) - 1


def _masked(look: Look, node: Node, factor: float) -> tuple[str, Known] | None:
    """Scores before they were masked, and what may be seen: by a known mask that is added, or that chooses.

    What it hides must be so after the factor behind it, too.
    """
    if factor <= 0:
        return None
    hidden = HIDDEN / factor
    if node.op == "Add":
        for name, mask in (node.inputs, node.inputs[::-1]):
            known = look.known(mask)
            if known is None or (known.learned and not (known.array <= hidden).any()):
                continue
            if all(((one == 0) | (one <= hidden)).all() for one in known.arrays):
                return name, Known(tuple(one == 0 for one in known.arrays))
        return None
    condition, *branches = node.inputs
    known = look.known(condition)
    for i, name in enumerate(branches):
        number = look.number(branches[1 - i])
        if known is not None and number is not None and number <= hidden:
            return name, Known(tuple(one.astype(bool) == (i == 0) for one in known.arrays))
    return None


def _causal(masks: list[Known], sizes: list[tuple[int, int]]) -> bool | None:
    """Whether masks together hide what comes later, or nothing; None where it is something else."""
    possible = {False, True}
    for variant, (queries, keys) in enumerate(sizes):
        seen = np.ones((queries, keys), bool)
        for mask in masks:
            one = mask.arrays[min(variant, len(mask.arrays) - 1)]
            fits = all(n in (1, length) for n, length in zip(one.shape[::-1], (keys, queries), strict=False))
            if not fits or any(length != 1 for length in one.shape[:-2]):
                return None
            seen = seen & one.reshape(one.shape[-2:])
        earlier = np.array_equal(seen, np.tri(queries, keys, dtype=bool))
        possible &= ({False} if seen.all() else set()) | ({True} if earlier else set())
    return min(possible, default=None)
