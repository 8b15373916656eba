"""A layer of Caffe, or a whole definition, with random blobs: run here, and by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Net
from layerforge.interop import caffe
from layerforge.interop.caffe import Model
from layerforge.run.views import BlobError

from .tools import demand


def layer_text(kind: str, bottoms: Sequence[Any], more: str = "", tops: str = "top: 'y'") -> str:
    """A net of an Input for each bottom, b0, b1 ..., and the layer y."""
    lines = []
    for i, bottom in enumerate(bottoms):
        dims = " ".join(f"dim: {n}" for n in np.shape(bottom))
        lines.append(f"layer {{ name: 'in{i}' type: 'Input' top: 'b{i}' input_param {{ shape {{ {dims} }} }} }}")
    wires = " ".join(f"bottom: 'b{i}'" for i in range(len(bottoms)))
    return "\n".join([*lines, f"layer {{ name: 'y' type: '{kind}' {wires} {tops} {more} }}"])


class Layer:
    """One layer of Caffe with its bottoms.

    more     what stands in the layer beside name, type and wires
    blobs    what it has learned, in Caffe's layout
    """

    def __init__(
        self, path: Path, kind: str, *bottoms: Any, more: str = "", blobs: Sequence[Any] = (), phase: str = "test"
    ) -> None:
        file = path / "net.prototxt"
        file.write_text(layer_text(kind, bottoms, more))
        self.model = caffe.load_model(file, phase=phase)
        self.bottoms = [np.asarray(bottom) for bottom in bottoms]
        self.phase = "train" if phase == "train" else "eval"
        if blobs:
            self.model.set_blobs("y", blobs)

    @property
    def given(self) -> dict[str, Any]:
        """The bottoms by name."""
        return {f"b{i}": bottom for i, bottom in enumerate(self.bottoms)}

    def top(self) -> np.ndarray:
        """What it makes of them, in 32 bits."""
        net = self.model.net()
        net.forward(phase=self.phase, **self.given)
        return np.asarray(self.model.blob(net, "y").data)

    def precise(self) -> Net:
        """The net in 64 bits after a forward, with the blobs of the model."""
        net = Net.from_config({**self.model.config, "dtype": "float64"})
        net.load_arrays(net.arrays() | {k: a.astype(np.float64) for k, a in self.model.arrays.items()}, "the model")
        net.forward(phase=self.phase, backward=True, **self.given)
        return net

    def gradients(self, dy: Any = None) -> list[np.ndarray | None]:
        """Of each bottom, for this gradient of the top, or of the loss; None where there is none."""
        net = self.precise()
        net.backward(None if dy is None else {"y": np.asarray(dy, dtype=np.float64)})
        found: list[np.ndarray | None] = []
        for name in self.given:
            try:
                found.append(np.array(net.blobs[name].grad))
            except BlobError:
                found.append(None)
        return found

    def assert_gradients(self, *checked: int, seed: int = 0) -> None:
        """The gradients of these bottoms are the slopes of random sums of the top along random directions."""
        rng, net = np.random.default_rng(seed), self.precise()
        y = net.blobs["y"].data
        dy = rng.normal(size=y.shape) if y.ndim else np.ones(())
        found = self.gradients(dy if y.ndim else None)

        def total(i: int, moved: Any) -> float:
            net.forward(phase=self.phase, **{**self.given, f"b{i}": moved})
            return float((dy * net.blobs["y"].data).sum())

        for i in checked:
            x = self.bottoms[i].astype(np.float64)
            direction, step, gradient = rng.normal(size=x.shape), 1e-5, found[i]
            slope = (total(i, x + step * direction) - total(i, x - step * direction)) / (2 * step)
            assert gradient is not None
            assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-7), f"bottom {i}"


def opencv(model: Model, net: Net, path: Path, **given: Any) -> np.ndarray:
    """What OpenCV makes of a net that is written back for it, of inputs by Caffe's names."""
    demand("cv2")
    import cv2

    caffe.save_model(net, path / "written.prototxt", path / "written.caffemodel")
    theirs = cv2.dnn.readNetFromCaffe(str(path / "written.prototxt"), str(path / "written.caffemodel"))
    for name, value in given.items():
        theirs.setInput(np.asarray(value, dtype=np.float32), name)
    return theirs.forward()


def random_blobs(model: Model, seed: int = 0) -> None:
    """Give every layer of a model blobs that keep numbers of a usual size."""
    rng = np.random.default_rng(seed)
    for site in model.translation.sites:
        if not site.blobs:
            continue
        drawn = []
        for number, place in enumerate(site.blobs):
            shape, each = place.shape, int(np.prod(place.shape[1:], dtype=np.int64))
            if place.namespace == "state":
                drawn.append([rng.normal(0, 0.1, shape), rng.uniform(0.5, 1.5, shape), np.ones(shape)][number % 3])
            elif len(shape) > 1 and each > 1 and site.type != "BN":
                drawn.append(rng.normal(0, each**-0.5, shape))
            else:
                drawn.append(rng.uniform(0.7, 1.3, shape) if number == 0 else rng.normal(0, 0.1, shape))
        model.set_blobs(site.name, [np.asarray(one, dtype=np.float32) for one in drawn])
