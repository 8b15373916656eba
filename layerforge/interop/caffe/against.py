"""`import caffe --check`: whether an imported net computes what OpenCV does, layer by layer, or what a file recorded.

Compared is the largest difference with the largest number of a blob: at most 1e-5 of it for what the net gives, and at
most 1e-4 for what it computes on the way, where rounding in many layers may add up and cancel out again.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.npz import headers, read_array
from ...net import Net
from ...schema.errors import ConfigError, DataError
from ...schema.optional import require
from . import binary, text
from .message import Message
from .model import Model
from .saving import net_of
from .translation import FEEDING

OUTPUT, INNER = 1e-5, 1e-4  # of the largest number
PROGRAM = Path(__file__).with_name("opencv_child.py")
SECONDS = 600  # that OpenCV may take
SEED = 1  # of the inputs
VERSION = "4.10"  # what is compared with: later versions have no reader of Caffe's files, or another one


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


def demand_opencv() -> None:
    """Refuse early where there is no OpenCV. Errors: ConfigError with the line that installs it."""
    if importlib.util.find_spec("cv2") is None:
        require("cv2", extra="opencv", why="--check without --reference")


def row(tag: str, name: str, found: Any, expected: np.ndarray, room: float) -> Row:
    """Compare two arrays: the same numbers in the same order, whatever axes of length 1 the shapes have."""
    found = np.asarray(found)
    if found.size != expected.size or _long(found.shape) != _long(expected.shape):
        return Row(tag, name, np.inf, room, f"its shape is {found.shape}, expected {expected.shape}")
    f, e = found.reshape(-1).astype(np.float64), expected.reshape(-1).astype(np.float64)
    finite = np.isfinite(e)
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
        forward(model, net, case["input"], "eval" if model.phase == "TEST" else "train")
        for name, expected in case["out"].items():
            end = name in ends or ends.get(name) is not None
            room = OUTPUT if end else INNER
            found = [row(tag, name, made, expected, room) for made in _made(model, net, name)]
            rows.append(min(found, key=lambda one: one.largest))
    return Comparison(str(path), rows)


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


# OpenCV ---------------------------------------------------------------------------------------------------------------


def against_opencv(model: Model) -> Comparison:
    """Compare with OpenCV on random inputs, in a process of its own, which may crash.

    OpenCV is given the layers of this phase, with inputs in the place of those that read data. Layers that read labels
    are left out for it: it only predicts.

    Errors   ConfigError where OpenCV is not there, cannot load or cannot run the net: that tells nothing of the import
    """
    demand_opencv()
    twin, left = predicting(model)
    generator = np.random.default_rng(SEED)
    inputs = {
        name: generator.standard_normal(section["shape"]).astype(np.float32)
        for name, section in model.config.get("inputs", {}).items()
    }
    net = model.net(keep="all")
    if not model.arrays:
        _draw_blobs(model, net, generator)
    own = {name: array for name, array in inputs.items() if name in _fed(model)}
    forward(model, net, {_foreign(model, name): array for name, array in own.items()})
    stored = net_of(model, net)
    kept = {layer.get("name") for layer in twin.get("layer")}
    stored.values["layer"] = [layer for layer in stored.get("layer") if layer.get("name") in kept]
    names, found = _run(text.render(twin).encode(), binary.serialize(stored), {
        _foreign(model, name): array for name, array in own.items()
    })  # fmt: skip
    ends, rows = set(outputs(model).values()), []
    own_names = {name for name, _ in _layers(model)}
    for name, versions in _layers(model):
        if name in left:
            rows.append(Row("", name, np.nan, OUTPUT, f"not compared: {left[name]}"))
            continue
        known = [name, *(version.blob for version in versions[:1] if version.blob not in own_names)]
        number = next((names.index(each) for each in known if each in names), None)  # some are called as their top
        if number is None:
            rows.append(Row("", name, np.nan, OUTPUT, "not compared: OpenCV leaves it out"))
        for j, version in enumerate(versions):
            if f"{number}/{j}" in found:
                room = OUTPUT if version.name in ends else INNER
                shown = name if len(versions) == 1 else f"{name}, top {version.blob}"
                rows.append(row("", shown, net.blobs[version.name].data, found[f"{number}/{j}"], room))
    drawn = "" if model.arrays else ", with weights drawn at random for both"
    return Comparison(f"OpenCV {_version()}{drawn}", rows)


def _draw_blobs(model: Model, net: Net, generator: np.random.Generator) -> None:
    """Blobs of a net without weights. Fillers are 0 unless a definition says otherwise, and would compare nothing.

    Numbers stay about as large as they are: weights have the variance 2 / fan-in, what is one number for each channel
    is about 1 (factors, slopes, variances) or about 0 (biases, means).
    """
    for layer in model.definition.get("layer"):
        blobs = model.blob_maps.get(layer.get("name"), [])
        statistics = layer.get("type") == "BatchNorm" and len(blobs) == 3
        for number, place in enumerate(blobs):
            shape = tuple(place.shape)
            if statistics and number == 2:
                value = np.ones(shape)
            elif len(shape) > 1:
                value = generator.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
            elif number == (1 if statistics else 0):
                value = generator.uniform(0.5, 1.5, shape)
            else:
                value = generator.normal(0, 0.1, shape)
            model.param(net, layer.get("name"), number).data = value


def _fed(model: Model) -> set[str]:
    """The inputs that are given: the first tops of the layers that feed the net, and all of those of type Input."""
    found = set()
    for number, layer in enumerate(model.definition.get("layer")):
        if layer.get("type") in FEEDING:
            tops = model.translation.names.tops[number]
            found |= {version.name for version in (tops if layer.get("type") == "Input" else tops[:1])}
    return found


def foreign_inputs(model: Model) -> list[str]:
    """Caffe's names of the inputs."""
    return [_foreign(model, name) for name in model.config.get("inputs", {})]


def _foreign(model: Model, name: str) -> str:
    """Caffe's name of an input."""
    for blob, versions in model.translation.names.versions.items():
        if versions[0].name == name:
            return str(blob)
    return name


def _layers(model: Model) -> Iterator[tuple[str, list[Any]]]:
    """Each layer of Caffe's with the versions that it makes, without those that feed the net."""
    for number, layer in enumerate(model.definition.get("layer")):
        if layer.get("type") not in FEEDING:
            yield layer.get("name"), model.translation.names.tops[number]


def predicting(model: Model) -> tuple[Message, dict[str, str]]:
    """The net without its data and what reads labels: for each layer that is left out, why."""
    twin = Message("NetParameter")
    twin.set("name", model.name)
    gone: set[str] = set()
    left: dict[str, str] = {}
    fed = _fed(model)
    inputs = model.config.get("inputs", {})
    for number, layer in enumerate(model.definition.get("layer")):
        tops = model.translation.names.tops[number]
        if layer.get("type") in FEEDING:
            for version in tops:
                if version.name not in fed:
                    gone.add(version.blob)
                    continue
                made = twin.add("layer", Message("LayerParameter", name=version.blob, type="Input", top=[version.blob]))
                shape = Message("BlobShape", dim=inputs[version.name]["shape"])
                made.set("input_param", Message("InputParameter", shape=[shape]))
            continue
        if any(blob in gone for blob in layer.get("bottom")):
            gone |= set(layer.get("top"))
            left[layer.get("name")] = "it reads labels"
            continue
        made = layer.copy()
        for name in ("include", "exclude", "phase", "blobs", "loss_weight", "param"):
            made.clear(name)
        twin.add("layer", made)
    return twin, left


def _run(definition: bytes, weights: bytes, inputs: Mapping[str, np.ndarray]) -> tuple[list[str], dict[str, Any]]:
    """The names of OpenCV's layers, and what they make as `<number>/<top>`."""
    given: dict[str, Any] = dict(inputs)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("net.prototxt", "net.caffemodel", "in.npz", "out.npz")]
        files[0].write_bytes(definition)
        files[1].write_bytes(weights)
        with files[2].open("wb") as file:
            np.savez(file, **given)
        command = [sys.executable, "-P", str(PROGRAM), *map(str, files)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise _refused(f"did not come to an end within {SECONDS} s") from None
        if done.returncode < 0:
            raise _refused(f"crashed (signal {-done.returncode})")
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise _refused(f"does not take this net: {lines[-1][-400:]}")
        with np.load(files[3], allow_pickle=False) as made:
            arrays = {key: made[key] for key in made.files}
    return [str(name) for name in arrays.pop("names")], arrays


def _refused(told: str) -> ConfigError:
    hint = "compare with numbers that Caffe gave: --check --reference F.npz, or import without --check"
    return ConfigError(f"OpenCV {_version()} {told}", hint=hint)


def _version() -> str:
    from importlib import metadata

    for name in ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return VERSION
