"""Every layer of the catalogue, with all its examples in one net, is written as Python and computes the same bits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from support.onnx_nets import randomize
from support.written_nets import loaded, ours

from layerforge import Net
from layerforge.check.harness import draw
from layerforge.interop.python import write_model
from layerforge.layers import builtin_layers

# Layers without a written form, and why. Examples with sparse bottoms are left out of the others.
WITHOUT = {
    "Input": "it is no step of a net, but an input",
    "Silence": "it has no top",
    "SparseMatmul": "its bottom is always sparse",
}
LAYERS = {cls.type_name: cls for cls in builtin_layers()}


def net_of_examples(cls: Any) -> tuple[Net, dict[str, Any]]:
    """A net with a layer for each dense example, and inputs for it."""
    inputs: dict[str, Any] = {}
    given: dict[str, Any] = {}
    layers: list[dict[str, Any]] = []
    for number, example in enumerate(cls.examples):
        if any(spec.sparse for spec in example.bottoms):
            continue
        names = [f"x{number}_{i}" for i in range(len(example.bottoms))]
        rng = np.random.default_rng([number, 16])
        for name, spec in zip(names, example.bottoms, strict=True):
            inputs[name] = {"shape": list(spec.shape), **({} if spec.is_real else {"dtype": "int64"})}
            given[name] = draw(spec, rng)
        tops = [f"y{number}_{i}" for i in range(example.tops)]
        layer = {"name": f"layer.{number}", "type": cls.type_name, **example.params, "top": tops}
        layers.append({**layer, **({"bottom": names} if names else {})})
    config = {"name": "examples", "engine": "reference", "inputs": inputs, "net": layers}
    net = Net.from_config(config, keep="none")
    randomize(net)
    return net, given


@pytest.mark.parametrize("kind", sorted(LAYERS.keys() - WITHOUT))
def test_a_written_layer_computes_the_same_bits(kind: str) -> None:
    net, given = net_of_examples(LAYERS[kind])
    blobs = [blob for blob in net.graph.phases["eval"].current if blob.startswith("y")]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        written = write_model(net, blobs)
        theirs = loaded(written).forward(*(given[name] for name in written.inputs))
        theirs = theirs if len(blobs) > 1 else (theirs,)
        for blob, mine, other in zip(blobs, ours(net, blobs, given), theirs, strict=True):
            assert mine.shape == np.shape(other) and mine.dtype == np.asarray(other).dtype, blob
            np.testing.assert_array_equal(other, mine, blob)


def test_the_layers_without_a_written_form_are_those_and_no_others() -> None:
    assert set(WITHOUT) <= set(LAYERS)
    net = Net.from_config({"inputs": {"x": {"shape": [3, 4]}}, "net": [{"name": "s", "type": "Silence"}]})
    assert not [step for step in net.graph.phases["eval"].steps if step.tops]
