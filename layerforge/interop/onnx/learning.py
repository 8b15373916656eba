"""How a net's parameters learn, which ONNX has no words for: kept as a text among the metadata, for the way back.

    layerforge.learning = {"conv1": {"lr_mult": {"weight": 1.0, "bias": 2.0}}, "conv2": {"freeze": true}}

Layers and parameters as the configuration calls them, and only what is not as the layer itself declares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...contract.layer import Layer
from ...net import Net
from ...schema.texts import from_json, to_json

KEY = "layerforge.learning"
FACTORS = {"lr_mult": "lr", "decay_mult": "decay"}


def told(net: Net) -> dict[str, str]:
    """The metadata of a net: nothing where all of its layers learn as they declare it."""
    found: dict[str, dict[str, Any]] = {}
    for (layer, name), its in (net.graph.multipliers() | net.parameters.changed).items():
        decl, entry = net.layers[layer].param_decls[name], found.setdefault(layer, {})
        for key, field in FACTORS.items():
            if getattr(its, field) != getattr(decl, key):
                entry.setdefault(key, {})[name] = getattr(its, field)
        if its.freeze:
            entry["freeze"] = True
    found = {layer: entry for layer, entry in found.items() if entry}
    return {KEY: to_json(found)} if found else {}


def of_layer(metadata: Mapping[str, str], layer: Layer) -> dict[str, Any]:
    """The keys of a layer of that name in a configuration; what does not fit it is left out."""
    try:
        entry = from_json(metadata.get(KEY, "{}"))[layer.name]
        factors = {key: dict(entry[key]) for key in FACTORS if key in entry}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    names, found = layer.param_decls.keys(), dict[str, Any]()
    for key, values in factors.items():
        if values.keys() <= names and all(type(v) in (int, float) and v >= 0 for v in values.values()):
            found[key] = values
    if entry.get("freeze") is True and names:
        found["freeze"] = True
    return found
