"""Nets and weights from the files that Caffe writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...schema.errors import ConfigError, LayerForgeError
from ...schema.texts import first_few
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

    Errors   DataError for a damaged file, ConfigError for old forms that are contradictory, for weights alone, and for
             a definition without layers
    """
    if is_hdf5(path):
        hint = "name its prototxt first: layerforge import caffe NET.prototxt WEIGHTS.caffemodel.h5"
        raise ConfigError(f"{path} is HDF5, which holds weights and no definition", hint=hint)
    if Path(path).suffix in SUFFIXES:
        return loading.load_weights(path)
    net = loading.load_net(path, problems)
    if not net.get("layer") and not problems:
        hint = "give the prototxt of a net" + ("" if Path(path).stat().st_size else ": this file is empty")
        raise ConfigError(f"{path} describes no net: there are no layers in it", hint=hint)
    return net


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


def demand_match(weights: Weights, definition: str, whole: Message, learned: Iterable[str]) -> None:
    """Refuse weights of which none belong to a net.

    definition   its file
    whole        the net with the layers of all phases
    learned      its layers that have blobs

    Errors   ConfigError with the names of both
    """
    learned, known = list(learned), {layer.get("name") for layer in whole.get("layer")}
    if not learned or known & weights.layers.keys():
        return
    if not weights.layers:
        raise ConfigError(f"{weights.source} holds no weights", hint="give the .caffemodel that training wrote")
    theirs, ours = first_few(list(weights.layers)), first_few(learned)
    told = f"{weights.source}: none of its layers is in the definition {definition}"
    raise ConfigError(told, hint=f"it has weights for {theirs}; the definition asks for those of {ours}")
