"""`import caffe --check` without --reference: whether an imported net computes what OpenCV does, layer by layer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...net import Net
from ...schema.errors import ConfigError
from ...schema.optional import require_soon
from ..comparison import INNER, OUTPUT, Comparison, Row, row
from ..judge import Failed, run_judge
from . import binary, text
from .against import forward, outputs
from .inputs import FEEDING
from .model import Model
from .opencv_child import NO_OPENCV
from .saving import net_of
from .twin import Twin, copy_of, drawn, predicting

PROGRAM = Path(__file__).with_name("opencv_child.py")
SECONDS = 600  # that OpenCV may take
SEED = 1  # of the inputs
VERSION = "4.10"  # what is compared with: later versions have no reader of Caffe's files, or another one
INSTALL = "pip install 'opencv-python-headless>=4.10,<4.11', which needs no libraries of a desktop"


def demand_opencv() -> None:
    """Refuse early where there is no OpenCV. Errors: ConfigError with the line that installs it."""
    require_soon("cv2", extra="opencv", why="--check without --reference")


def against_opencv(model: Model) -> Comparison:
    """Compare with OpenCV on random inputs, in a process of its own, which may crash.

    OpenCV is given the layers of this phase, with inputs in the place of those that read data. Layers that read labels,
    losses and metrics are left out for it: it only predicts.

    Errors   ConfigError where OpenCV is not there, cannot load or cannot run the net: that tells nothing of the import
    """
    demand_opencv()
    twin = predicting(model)
    generator = np.random.default_rng(SEED)
    inputs = drawn(model, generator)
    net = model.net(keep="all")
    if not model.arrays:
        _draw_blobs(model, net, generator)
    given = {blob: inputs[name] for blob, name in twin.inputs.items()}
    forward(model, net, given)
    names, found = _of_opencv(model, net, twin, given)
    ends, rows = set(outputs(model).values()), []
    own_names = {name for name, _ in _layers(model)}
    detections = {layer.get("name") for layer in twin.net.get("layer") if layer.get("type") == "DetectionOutput"}
    for name, versions in _layers(model):
        if name in twin.left:
            rows.append(Row("", name, np.nan, OUTPUT, f"not compared: {twin.left[name]}"))
            continue
        known = [name, *(version.blob for version in versions[:1] if version.blob not in own_names)]
        number = next((names.index(each) for each in known if each in names), None)  # some are called as their top
        if number is None:
            rows.append(Row("", name, np.nan, OUTPUT, "not compared: OpenCV leaves it out"))
        for j, version in enumerate(versions):
            copy = copy_of(name, j)
            key = f"{names.index(copy)}/0" if copy in names else f"{number}/{j}"
            if key in found:
                room = OUTPUT if version.name in ends else INNER
                shown = name if len(versions) == 1 else f"{name}, top {version.blob}"
                theirs = found[key] if name not in detections else _by_classes(found[key], version.name, net)
                rows.append(row("", shown, net.blobs[version.name].data, theirs, room))
    drawn_for_both = "" if model.arrays else ", with weights drawn at random for both"
    return Comparison(f"OpenCV {_version()}{drawn_for_both}", rows)


def _by_classes(found: np.ndarray, blob: str, net: Net) -> np.ndarray:
    """OpenCV's detections in the order of Caffe's, by samples and classes, with empty rows behind them as here."""
    objects = found.reshape(-1, 7)
    rows = np.full(net.blobs[blob].shape, -1, np.float32)
    objects = objects[np.lexsort((objects[:, 1], objects[:, 0]))][: rows.shape[2]]
    rows[0, 0, : len(objects)] = objects
    return rows


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


def _layers(model: Model) -> Iterator[tuple[str, list[Any]]]:
    """Each layer of Caffe's with the versions that it makes, without those that feed the net."""
    for number, layer in enumerate(model.definition.get("layer")):
        if layer.get("type") not in FEEDING:
            yield layer.get("name"), model.translation.names.tops[number]


def _of_opencv(model: Model, net: Net, twin: Twin, given: Mapping[str, np.ndarray]) -> tuple[list[str], dict[str, Any]]:
    """The names of OpenCV's layers, and what they make of the inputs as `<number>/<top>`; none of a net without any."""
    kept = {layer.get("name") for layer in twin.net.get("layer")} - set(twin.inputs)
    if not kept:
        return [], {}
    stored = net_of(model, net)
    stored.values["layer"] = [layer for layer in stored.get("layer") if layer.get("name") in kept]
    return _run(text.render(twin.net).encode(), binary.serialize(stored), given)


def _run(definition: bytes, weights: bytes, inputs: Mapping[str, np.ndarray]) -> tuple[list[str], dict[str, Any]]:
    """The names of OpenCV's layers, and what they make as `<number>/<top>`."""
    given: dict[str, Any] = dict(inputs)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("net.prototxt", "net.caffemodel", "in.npz", "out.npz")]
        files[0].write_bytes(definition)
        files[1].write_bytes(weights)
        with files[2].open("wb") as file:
            np.savez(file, **given)
        try:
            run_judge(PROGRAM, *files, seconds=SECONDS)
        except Failed as failed:
            last = failed.told[-400:]
            if failed.code == NO_OPENCV:
                raise ConfigError(f"OpenCV {_version()} cannot be imported: {last}", hint=INSTALL) from None
            raise _refused(f"does not take this net: {last}" if failed.code else failed.told) from None
        with np.load(files[3], allow_pickle=False) as made:
            arrays = {key: made[key] for key in made.files}
    return [str(name) for name in arrays.pop("names")], arrays


def _refused(told: str) -> ConfigError:
    hint = (
        "the net was imported without an error, only this check cannot be had: leave out --check, or compare with"
        " numbers that Caffe gave, --check --reference F.npz"
    )
    return ConfigError(f"OpenCV {_version()} {told}", hint=hint)


def _version() -> str:
    from importlib import metadata

    for name in ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return VERSION
