"""Operators of ONNX Runtime, which its optimizer writes, as ONNX's own: the domain com.microsoft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..graph import OWN, Node, OnnxGraph

DOMAIN = "com.microsoft"


@dataclass
class Writing:
    """The nodes that one becomes; those between have names of their own."""

    node: Node
    nodes: list[Node] = field(default_factory=list)

    def op(self, op: str, *inputs: str, to: str = "", domain: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        made = to or f"{self.node.outputs[0]}.{op.lower()}{len(self.nodes)}"
        name = self.node.name if to else made
        self.nodes.append(Node(op, list(inputs), [made], attributes, name, domain))
        return made

    def constant(self, *numbers: int) -> str:
        """Whole numbers as a value."""
        return self.op("Constant", value=np.array(numbers, np.int64))

    def input(self, i: int) -> str:
        """An input, "" where it is not there."""
        return self.node.inputs[i] if i < len(self.node.inputs) else ""

    def number(self, name: str, default: float) -> Any:
        """An attribute."""
        return self.node.attributes.get(name, default)


def expanded(graph: OnnxGraph) -> OnnxGraph:
    """The graph with ONNX's own operators in the place of those that are known here; others stay."""
    nodes: list[Node] = []
    for node in graph.nodes:
        writing = Writing(node)
        expand = EXPANSIONS.get(node.op) if node.domain == DOMAIN and node.inputs and node.outputs else None
        if expand is not None and expand(writing):
            nodes += [replace(one, note=f"written as {DOMAIN}.{node.op}") for one in writing.nodes]
        else:
            nodes.append(node)
    return replace(graph, nodes=nodes)


def _gelu(w: Writing) -> bool:
    """Gelu, BiasGelu and FastGelu: GELU of x, or of x + bias; FastGelu is the one with tanh."""
    x = w.op("Add", w.input(0), w.input(1)) if w.input(1) else w.input(0)
    kind = "tanh" if w.node.op == "FastGelu" else "none"
    w.op("Gelu", x, to=w.node.outputs[0], approximate=kind)
    return True


def _quick_gelu(w: Writing) -> bool:
    """QuickGelu: x σ(alpha x)."""
    w.op("Swish", w.input(0), to=w.node.outputs[0], alpha=float(w.number("alpha", 1.702)))
    return True


def _skip_norm(w: Writing) -> bool:
    """SkipLayerNormalization: a LayerNormalization, or RMSNormalization, of x + skip + bias; that sum is output 3."""
    simple = w.node.op.startswith("SkipSimplified")
    bias, total = w.input(3 if simple else 4), w.node.outputs[3] if len(w.node.outputs) > 3 else ""
    if any(w.node.outputs[1:3]):
        return False
    x = w.op("Add", w.input(0), w.input(1), to="" if bias else total)
    x = w.op("Add", x, bias, to=total) if bias else x
    op, own = ("RMSNormalization", [w.input(2)]) if simple else ("LayerNormalization", [w.input(2), w.input(3)])
    own = own if own[-1] else own[:-1]
    w.op(op, x, *own, to=w.node.outputs[0], axis=-1, epsilon=float(w.number("epsilon", 1e-12)))
    return True


def _fused_mat_mul(w: Writing) -> bool:
    """FusedMatMul: alpha A B, of matrices that may be transposed."""
    if any(w.number(name, 0) for name in ("transBatchA", "transBatchB")):
        return False
    if w.number("transA", 0) or w.number("transB", 0):
        return False
    alpha = float(w.number("alpha", 1.0))
    if alpha == 1:
        w.op("MatMul", w.input(0), w.input(1), to=w.node.outputs[0])
        return True
    product = w.op("MatMul", w.input(0), w.input(1))
    w.op("Mul", product, w.op("Constant", value=np.float32(alpha)), to=w.node.outputs[0])
    return True


def _attention(w: Writing) -> bool:
    """Attention: queries, keys and values from one linear map of x, then heads; without mask and past."""
    if any(w.input(i) for i in range(3, len(w.node.inputs))) or any(w.node.outputs[1:]):
        return False
    if any(w.node.attributes.get(name) for name in ("qkv_hidden_sizes", "do_rotary", "past_present_share_buffer")):
        return False
    linear = w.op("MatMul", w.input(0), w.input(1))
    linear = w.op("Add", linear, w.input(2)) if w.input(2) else linear
    parts = [f"{w.node.outputs[0]}.{part}" for part in "qkv"]
    w.nodes.append(Node("Split", [linear], parts, {"axis": 2, "num_outputs": 3}, f"{w.node.outputs[0]}.qkv"))
    _heads(w, parts, bool(w.number("unidirectional", 0)))
    return True


def _multi_head(w: Writing) -> bool:
    """MultiHeadAttention of queries, keys and values with heads side by side; without bias, mask and past."""
    if (
        not (w.input(1) and w.input(2))
        or any(w.input(i) for i in range(3, len(w.node.inputs)))
        or any(w.node.outputs[1:])
    ):
        return False
    _heads(w, w.node.inputs[:3], bool(w.number("unidirectional", 0)))
    return True


def _heads(w: Writing, parts: list[str], causal: bool) -> None:
    """Attention of heads, from (N, L, E) and back."""
    shape = w.constant(0, 0, int(w.number("num_heads", 1)), -1)
    q, k, v = (w.op("Transpose", w.op("Reshape", part, shape), perm=[0, 2, 1, 3]) for part in parts)
    scale = float(w.number("scale", 0.0))
    told: dict[str, Any] = {"causal": int(causal)} | ({"scale": scale} if scale else {})
    y = w.op("ScaledDotProductAttention", q, k, v, domain=OWN, **told)
    w.op("Reshape", w.op("Transpose", y, perm=[0, 2, 1, 3]), w.constant(0, 0, -1), to=w.node.outputs[0])


EXPANSIONS: dict[str, Callable[[Writing], bool]] = {
    **dict.fromkeys(("Gelu", "BiasGelu", "FastGelu"), _gelu),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _skip_norm),
    "QuickGelu": _quick_gelu,
    "FusedMatMul": _fused_mat_mul,
    "Attention": _attention,
    "MultiHeadAttention": _multi_head,
}
