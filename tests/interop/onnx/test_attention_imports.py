"""Attention of ONNX's version 23, with heads on an axis of their own or side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_graphs import compare, drawn, imported, model, node
from support.tools import demand

from layerforge.schema.errors import LayerForgeError

N, HEADS, L, S, E = 2, 3, 4, 5, 6


def graph(joined: bool, inputs: str = "q k v", mask: Any = None, **told: Any) -> Any:
    """A model of the operator with a dynamic batch."""
    lengths = {"q": L, "k": S, "v": S}
    shapes: dict[str, Any] = {
        name: ["N", n, HEADS * E] if joined else ["N", HEADS, n, E] for name, n in lengths.items()
    }
    if mask is not None:
        shapes["m"] = mask
    if joined:
        told |= {"q_num_heads": HEADS, "kv_num_heads": HEADS}
    return model([node("Attention", inputs, **told)], shapes, ["y"], opset=23)


def feeds(proto: Any, n: int = N) -> dict[str, np.ndarray]:
    """Random inputs; of a mask at least one key may be seen by each query."""
    found = {}
    for i, info in enumerate(proto.graph.input):
        kind, shape = info.type.tensor_type.elem_type, [d.dim_value or n for d in info.type.tensor_type.shape.dim]
        found[info.name] = drawn(shape, i, "bool" if kind == 9 else "float32")
        if kind == 9:
            found[info.name][..., 0] = True
    return found


@pytest.mark.parametrize("told", [{}, {"scale": 0.7}, {"is_causal": 1}])
@pytest.mark.parametrize("joined", [False, True])
def test_attention(joined: bool, told: dict[str, Any]) -> None:
    demand("onnxruntime")
    proto = graph(joined, **told)
    made = compare(proto, feeds(proto), feeds(proto, 3))
    (layer,) = [one for one in made.config["net"] if one["type"] == "ScaledDotProductAttention"]
    assert layer.get("scale") == told.get("scale")
    assert layer.get("causal", False) is bool(told.get("is_causal", 0))


@pytest.mark.parametrize("heads", [1, HEADS])
@pytest.mark.parametrize("joined", [False, True])
def test_a_boolean_mask(joined: bool, heads: int) -> None:
    demand("onnxruntime")
    proto = graph(joined, "q k v m", (["N", heads, L, S], "bool"))
    compare(proto, feeds(proto), feeds(proto, 3))


@pytest.mark.parametrize(
    ("inputs", "mask", "told", "message"),
    [
        ("q k v m", ["N", 1, L, S], {}, "attn_mask is added"),
        ("q k v m", ([L, S], "bool"), {}, "attn_mask has shape"),
        ("q k v", None, {"softcap": 2.0}, "softcap"),
    ],
)
def test_what_our_layer_does_otherwise_is_refused(inputs: str, mask: Any, told: dict[str, Any], message: str) -> None:
    demand("onnx")
    with pytest.raises(LayerForgeError, match=message):
        imported(graph(False, inputs, mask, **told))


def test_fewer_heads_of_keys_are_refused() -> None:
    demand("onnx")
    made = node("Attention", "q k v", q_num_heads=4, kv_num_heads=2)
    proto = model([made], {"q": [N, L, 8], "k": [N, S, 4], "v": [N, S, 4]}, ["y"], opset=23)
    with pytest.raises(LayerForgeError, match="kv_num_heads 2"):
        imported(proto)
