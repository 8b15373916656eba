"""A net written back as Caffe reads it: its definition as a prototxt, its blobs as a caffemodel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...net import Net
from ...schema.errors import ConfigError
from ...snapshot import atomic_write
from . import binary, fields, hdf5, text
from .blobs import blob
from .message import Message
from .model import Model
from .views import ImportedNet


def save_model(net: Net, definition: str | Path, weights: str | Path) -> None:
    """Write a net that was imported from Caffe back to Caffe's files.

    net          made by `load_model(...).net()`; what was trained elsewhere is loaded into it: net.load("runs/...")
    definition   a prototxt: that of the import, brought up to date, with the layers of all phases
    weights      a .caffemodel, or in HDF5 a .caffemodel.h5: the present blobs in Caffe's order and layout, those of
                 shared parameters under each layer that has them, of BatchNorm the sums and their factor

    Errors   ConfigError for a net that was not imported; DataError where a file cannot be written
    """
    model = model_of(net)
    write(model, net.arrays(), definition, weights)


def write(model: Model, arrays: Mapping[str, np.ndarray], definition: str | Path, weights: str | Path) -> None:
    """Write a model with the arrays of a net. Errors   DataError for an array that is missing"""
    stored = stored_net(model, arrays)
    in_hdf5 = str(weights).endswith((".h5", ".hdf5"))
    blobs = hdf5.model_bytes(stored) if in_hdf5 else binary.serialize(stored)
    atomic_write(weights, blobs)
    atomic_write(definition, whole_definition(model))


def whole_definition(model: Model) -> bytes:
    """The definition with the layers of all phases, brought up to date, as a prototxt without blobs."""
    whole = model.whole.copy()
    for layer in whole.get("layer"):
        layer.clear("blobs")
    whole.set("name", model.name)
    return text.render(whole).encode("utf-8", errors="surrogateescape")


def model_of(net: Net) -> Model:
    """The model that a net was made of. Errors: ConfigError for another net."""
    model = net.imported if isinstance(net, ImportedNet) else None
    if isinstance(model, Model):
        return model
    hint = "model = caffe.load_model(...); net = model.net(); net.load(the trained weights); then save that net"
    raise ConfigError("only a net that was imported from Caffe can be written back to Caffe", hint=hint)


def net_of(model: Model, net: Net) -> Message:
    """The NetParameter that Caffe would store: every layer with its blobs."""
    return stored_net(model, net.arrays())


def stored_net(model: Model, arrays: Mapping[str, np.ndarray]) -> Message:
    """The same of the arrays of a net."""
    stored = Message("NetParameter")
    stored.set("name", model.name)
    written = set()
    for layer in model.definition.get("layer"):
        made = _storable(layer)
        made.clear("blobs")
        name = layer.get("name")
        if name in model.blob_maps and name not in written:
            made.set("blobs", [blob(values) for values in model.get_blobs(name, arrays)])
            written.add(name)
        stored.add("layer", made)
    return stored


def _storable(message: Message) -> Message:
    """A copy without the fields that have no number of their own, as forks of Caffe disagree about it."""
    twin = Message(message.kind)
    table = fields.MESSAGES[message.kind]
    for name, value in message.values.items():
        if table[name].number is not None:
            twin.values[name] = _storable_value(value)
    return twin


def _storable_value(value: Any) -> Any:
    if isinstance(value, Message):
        return _storable(value)
    if isinstance(value, list):
        return [_storable_value(item) for item in value]
    return np.array(value) if isinstance(value, np.ndarray) else value
