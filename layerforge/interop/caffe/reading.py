"""Nets and weights from the files that Caffe writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...schema.errors import ConfigError, LayerForgeError
from . import loading
from .blobs import array
from .files import is_hdf5
from .message import Message

SUFFIXES = (".caffemodel", ".binaryproto", ".pb")  # of files that hold a definition in binary form


@dataclass
class Weights:
    """The blobs of a file of weights, by layer, in Caffe's order and layout; None for one that another layer has.

    source   the file
    """

    source: str
    layers: dict[str, list[np.ndarray | None]] = field(default_factory=dict)


def read_definition(path: str | Path, problems: list[LayerForgeError]) -> Message:
    """The net in a prototxt, or inside a caffemodel, brought up to date, with the layers of all phases.

    problems   takes what is wrong with values, for who wants to tell of more with them

    Errors   DataError for a damaged file, ConfigError for old forms that are contradictory, and for weights alone
    """
    if is_hdf5(path):
        hint = "name its prototxt first: layerforge import caffe NET.prototxt WEIGHTS.caffemodel.h5"
        raise ConfigError(f"{path} is HDF5, which holds weights and no definition", hint=hint)
    if Path(path).suffix in SUFFIXES:
        return loading.load_weights(path)
    return loading.load_net(path, problems)


def read_weights(path: str | Path) -> Weights:
    """The weights in a caffemodel, or in one of HDF5. Errors: DataError for a damaged file."""
    return taken_out(loading.load_weights(path), str(path))


def taken_out(net: Message, source: str) -> Weights:
    """The blobs of the layers of a net, which has them no more then."""
    weights = Weights(source)
    for layer in net.get("layer"):
        if blobs := layer.get("blobs"):
            weights.layers[layer.get("name")] = [array(blob) if blob.values else None for blob in blobs]
            layer.clear("blobs")
    return weights
