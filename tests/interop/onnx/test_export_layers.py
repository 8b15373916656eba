"""Every example of every layer that has a counterpart in ONNX computes the same in ONNX Runtime."""

from __future__ import annotations

import pytest
from support.onnx_nets import differences, examples_of
from support.tools import demand

from layerforge.interop.onnx.netgraph import known_types
from layerforge.layers import builtin_layers
from layerforge.schema.registry import LAYERS

TYPES = known_types()
EXPORTED = sorted(kind for kind, why in TYPES.items() if not why)


@pytest.mark.parametrize("kind", EXPORTED)
def test_a_layer_computes_the_same(kind: str) -> None:
    demand("onnxruntime")
    tried, found = 0, []
    for example, net in examples_of(LAYERS.get(kind)):
        specs = {f"x{i}": spec for i, spec in enumerate(example.bottoms)}
        outputs = [blob.name for blob in net.graph.phases["eval"].outputs()]
        tried += 1
        found += [f"{example.params} {example.note}: {one}" for one in differences(net, specs, outputs)]
    assert tried
    assert not found, "\n".join(found)


def test_every_layer_is_exported_or_has_a_reason_why_not() -> None:
    assert {cls.type_name for cls in builtin_layers()} - {"Input"} == set(TYPES)
