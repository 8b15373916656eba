"""`import caffe --check`: whether an imported net computes what a file recorded; opencv.py compares with OpenCV.

Compared is the largest difference with the largest number of a blob: at most 1e-5 of it for what the net gives, and at
most 1e-4 for what it computes on the way, where rounding in many layers may add up and cancel out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.npz import headers, read_array
from ...net import Net
from ...schema.errors import ConfigError, DataError, LayerForgeError
from .model import Model

OUTPUT, INNER = 1e-5, 1e-4  # of the largest number
NOT_FINITE = "no number is finite"  # on both sides, which shows nothing


@dataclass(frozen=True)
class Row:
    """One blob that was compared.

    tag      of the inputs in a reference, "" where there is none
    name     the layer of Caffe's, or the blob
    largest  the largest difference, in shares of the largest number; nan where there is nothing to compare
    room     what it may be
    told     why there is nothing to compare, or what is wrong beside numbers
    """

    tag: str
    name: str
    largest: float
    room: float
    told: str = ""

    @property
    def verdict(self) -> str:
        """equal, differs, or why it was not compared."""
        if np.isnan(self.largest):
            return self.told
        if self.told == NOT_FINITE:
            return NOT_FINITE
        return "equal" if self.largest <= self.room else f"differs{self.told and f': {self.told}'}"

    @property
    def wrong(self) -> bool:
        """Whether it differs."""
        return not np.isnan(self.largest) and not self.largest <= self.room

    @property
    def plain(self) -> dict[str, Any]:
        """As data."""
        number = None if np.isnan(self.largest) else float(self.largest)
        tag = {"tag": self.tag} if self.tag else {}
        return {**tag, "layer": self.name, "difference": number, "tolerance": self.room, "verdict": self.verdict}


@dataclass(frozen=True)
class Comparison:
    """What was compared with, and the result for each layer."""

    against: str
    rows: list[Row]
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs, and something was compared."""
        return self.compared > 0 and not any(row.wrong for row in self.rows)

    @property
    def compared(self) -> int:
        """How many rows compare numbers."""
        return sum(not np.isnan(row.largest) for row in self.rows)

    @property
    def result(self) -> str:
        """The result in a few words."""
        wrong = sum(row.wrong for row in self.rows)
        if not self.compared:
            return "nothing was compared"
        return f"{wrong} of {self.compared} differ" if wrong else f"all {self.compared} are equal"

    @property
    def plain(self) -> dict[str, Any]:
        """As data."""
        rows = [row.plain for row in self.rows]
        return {"against": self.against, "equal": self.equal, "layers": rows, "notes": list(self.notes)}


def row(tag: str, name: str, found: Any, expected: np.ndarray, room: float) -> Row:
    """Compare two arrays: the same numbers in the same order, whatever axes of length 1 the shapes have."""
    found = np.asarray(found)
    if found.size != expected.size or _long(found.shape) != _long(expected.shape):
        return Row(tag, name, np.inf, room, f"its shape is {found.shape}, expected {expected.shape}")
    f, e = found.reshape(-1).astype(np.float64), expected.reshape(-1).astype(np.float64)
    finite = np.isfinite(e)
    if e.size and not finite.any() and not np.isfinite(f).any():
        return Row(tag, name, np.inf, room, NOT_FINITE)
    if not np.array_equal(f[~finite], e[~finite], equal_nan=True):
        return Row(tag, name, np.inf, room, "other numbers that are not finite")
    if not finite.any():
        return Row(tag, name, 0.0, room)
    largest, difference = np.abs(e[finite]).max(), np.abs(f[finite] - e[finite]).max()
    share = difference if not largest else difference / largest
    return Row(tag, name, float("inf") if np.isnan(share) else float(share), room)


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


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
