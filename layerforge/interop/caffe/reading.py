"""Nets and weights from the files that Caffe writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .message import Message


@dataclass
class Weights:
    """The blobs of a file of weights, by layer, in Caffe's order and layout.

    source   the file
    """

    source: str
    layers: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def blobs_for(self, layer: str, count: int) -> list[np.ndarray]:
        """The blobs of a layer."""
        return self.layers[layer]


def read_net(path: str | Path, phase: str, level: int, stages: tuple[str, ...]) -> Message:
    """The definition in a prototxt or a caffemodel, upgraded, with the layers of this phase."""
    from . import text

    return text.load(path, "NetParameter")


def read_weights(path: str | Path) -> Weights:
    """The weights in a caffemodel, or in one of HDF5."""
    raise NotImplementedError
