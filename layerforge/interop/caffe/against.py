"""`import caffe --check`: whether an imported net computes what a file recorded; opencv.py compares with OpenCV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...data.npz import headers, read_array
from ...net import Net
from ...schema.errors import ConfigError, DataError, LayerForgeError
from ..comparison import INNER, OUTPUT, Comparison, row
from .model import Model

# A file ---------------------------------------------------------------------------------------------------------------


def against_reference(model: Model, path: str | Path) -> Comparison:
    """Compare with a file of inputs and what they give.

        input/<blob>, out/<blob or layer>                  one case
        <tag>/input/<blob>, <tag>/out/<blob or layer>      several

    Where a layer is called as a blob that others overwrite in place, either may be meant, and the nearer one counts.

    Errors   DataError for a file that holds neither; ConfigError for names that the net does not have
    """
    arrays = {name: read_array(path, name) for name in headers(path)}
    cases: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for key, array in arrays.items():
        parts = key.split("/")
        for at in (0, 1):
            if len(parts) > at + 1 and parts[at] in ("input", "out"):
                case = cases.setdefault("/".join(parts[:at]), {"input": {}, "out": {}})
                case[parts[at]]["/".join(parts[at + 1 :])] = array
                break
    cases = {tag: case for tag, case in cases.items() if case["input"] and case["out"]}
    if not cases:
        hint = "its arrays are input/<blob> and out/<blob or layer>, or the same below <tag>/"
        raise DataError(f"{path} holds no case to compare with", hint=hint)
    net = model.net(keep="all")
    ends = outputs(model)
    rows = []
    for tag, case in cases.items():
        try:
            forward(model, net, case["input"], "eval" if model.phase == "TEST" else "train")
        except LayerForgeError:
            _demand_shapes(model, str(path), tag, case["input"])
            raise
        for name, expected in case["out"].items():
            end = name in ends or ends.get(name) is not None
            room = OUTPUT if end else INNER
            found = [row(tag, name, made, expected, room) for made in _made(model, net, name)]
            rows.append(min(found, key=lambda one: one.largest))
    return Comparison(str(path), rows)


def _demand_shapes(model: Model, path: str, tag: str, given: Mapping[str, np.ndarray]) -> None:
    """Refuse inputs that a net did not take in other shapes than its own, by their names in the file."""
    sections = model.config.get("inputs", {})
    for name, array in given.items():
        section = sections.get(model.first_version(name))
        if section is not None and tuple(section["shape"]) != array.shape:
            key = "/".join(part for part in (tag, "input", name) if part)
            shape, wanted = tuple(array.shape), tuple(section["shape"])
            hint = f"--input {name}={','.join(map(str, shape))} gives the net that shape, where it can have it"
            raise ConfigError(f"{path}: {key} has the shape {shape}, the net's input {wanted}", hint=hint)


def outputs(model: Model) -> dict[str, str]:
    """The blobs that no layer reads, and the layers that make them."""
    found: dict[str, str] = {}
    for number, layer in enumerate(model.definition.get("layer")):
        for version in model.translation.names.tops[number]:
            if all(reader < 0 for reader, _ in version.readers):
                found |= {version.blob: version.name, layer.get("name"): version.name}
    return found


def _made(model: Model, net: Net, name: str) -> list[Any]:
    """What the last pass made under a name: as a layer's first top, and as a blob, which layers may overwrite in place.

    Errors   ConfigError where there is neither
    """
    found = []
    for number, layer in enumerate(model.definition.get("layer")):
        tops = model.translation.names.tops[number]
        if layer.get("name") == name and tops:
            found.append(net.blobs[tops[0].name].data)
    if not found or name in model.translation.names.versions:
        found.append(model.blob(net, name).data)
    return found


def forward(model: Model, net: Net, given: Mapping[str, np.ndarray], phase: str = "eval") -> None:
    """Run a net on inputs by Caffe's names; those that are not given, such as labels, are zeros.

    Errors   those of the net, and ConfigError for a name that is no input of it
    """
    named: dict[str, Any] = {model.first_version(name): array for name, array in given.items()}
    missing = [name for name in model.config.get("inputs", {}) if name not in named]
    named |= {name: np.zeros(model.config["inputs"][name]["shape"], np.float32) for name in missing}
    unknown = [name for name in given if model.first_version(name) not in model.config.get("inputs", {})]
    if unknown:
        known = ", ".join(model.config.get("inputs", {})) or "none"
        raise ConfigError(f"the net has no input '{unknown[0]}'", hint=f"its inputs: {known}")
    net.forward(phase=phase, backward=False, **named)
