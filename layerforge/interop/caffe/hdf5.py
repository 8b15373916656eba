"""Weights and solver states that Caffe wrote as HDF5, read as the messages of its binary files, and written.

    .caffemodel.h5    data/<layer>/<i>
    .solverstate.h5   iter, current_step, learned_net, history/<i>

Foreign files are read by a child process with limits (see data/hdf5_child.py).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...data.files import file_error
from ...data.hdf5 import describe, read_arrays, read_text
from .blobs import array, blob
from .message import Message, Origin

NUMBERS = frozenset(map(str, range(1000)))  # of the blobs of a layer
REMEDY = "is it a .caffemodel.h5 or .solverstate.h5 that Caffe wrote?"


def load_model(path: str | Path) -> Message:
    """The NetParameter of a .caffemodel.h5: its layers have a name and blobs, nothing else.

    Of a parameter that layers share Caffe stores the owner's: a blob that is missing before others is an empty one.
    Errors   DataError that names the file: it is damaged, or has no weights as Caffe stores them
    """
    found = describe(str(path))
    layers: dict[str, dict[str, str]] = {}  # layer to the datasets of its blobs by their number
    for name in (*found["arrays"], *found["refused"]):
        group, _, rest = name.partition("/")
        layer, _, number = rest.rpartition("/")
        if group == "data" and layer:
            layers.setdefault(layer, {})[number] = name
    if not layers:
        raise file_error(path, "holds no weights: there is nothing in data/<layer>/", REMEDY)
    _demand_floats(path, found, [name for names in layers.values() for name in names.values()])
    for layer, names in layers.items():
        if not names.keys() <= NUMBERS:
            told = ", ".join(sorted(names)[:8])
            raise file_error(path, f"'data/{layer}' has {told}, which are not the numbers of blobs", REMEDY)
    arrays = read_arrays(str(path), [name for names in layers.values() for name in names.values()])
    net = Message("NetParameter", Origin(str(path)))
    for layer, names in layers.items():
        made = net.add("layer", Message("LayerParameter", Origin(f"{path}: data/{layer}")))
        made.set("name", layer)
        last = max(map(int, names))
        made.set("blobs", [_blob_of(arrays, names.get(str(number))) for number in range(last + 1)])
    return net


def _blob_of(arrays: Mapping[str, np.ndarray], name: str | None) -> Message:
    """A dataset as a blob; an empty one where there is none."""
    return Message("BlobProto") if name is None else blob(arrays[name])


def load_state(path: str | Path) -> Message:
    """The SolverState of a .solverstate.h5.

    Errors   DataError that names the file: it is damaged, or no state of a solver as Caffe stores it
    """
    found = describe(str(path))
    history = {name.removeprefix("history/"): name for name in found["arrays"] if name.startswith("history/")}
    history |= {name.removeprefix("history/"): name for name in found["refused"] if name.startswith("history/")}
    numbers = [name for name in ("iter", "current_step") if name in found["arrays"]]
    if "iter" not in numbers:
        raise file_error(path, "holds no state of a solver: there is no number 'iter'", REMEDY)
    _demand_floats(path, found, list(history.values()))
    ordered = _in_order(path, "history", history)
    arrays = read_arrays(str(path), [*numbers, *ordered])
    state = Message("SolverState", Origin(str(path)))
    for name in numbers:
        value = arrays[name].reshape(-1)
        if value.dtype.kind not in "iu" or len(value) != 1 or not 0 <= int(value[0]) < 1 << 31:
            raise file_error(path, f"'{name}' is not one whole number from 0 on", REMEDY)
        state.set(name, int(value[0]))
    if "learned_net" in found["refused"]:  # a text, not numbers
        state.set("learned_net", read_text(str(path), "learned_net"))
    state.set("history", [blob(arrays[name]) for name in ordered])
    return state


def _demand_floats(path: str | Path, found: Mapping[str, Any], names: list[str]) -> None:
    """Refuse blobs that are not of numbers as weights are. `found` is the file's description."""
    for name in names:
        if name in found["refused"]:
            raise file_error(path, f"'{name}' {found['refused'][name]}", REMEDY)
        if np.dtype(found["arrays"][name][1]).kind != "f":
            raise file_error(path, f"'{name}' holds {found['arrays'][name][1]}, not numbers with a point", REMEDY)


def _in_order(path: str | Path, group: str, names: dict[str, str]) -> list[str]:
    """Datasets by their numbers 0, 1, ..., all of which must be there."""
    expected = [str(number) for number in range(len(names))]
    missing = [number for number in expected if number not in names]
    if missing:
        raise file_error(path, f"'{group}' has {', '.join(sorted(names)[:8])}, but no {missing[0]}", REMEDY)
    return [names[number] for number in expected]


# Writing --------------------------------------------------------------------------------------------------------------


def model_bytes(net: Message) -> bytes:
    """The content of a .caffemodel.h5: a group for every layer, its blobs as float32."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        data = file.create_group("data")
        for layer in net.get("layer"):
            group = data.require_group(layer.get("name"))
            for number, values in enumerate(layer.get("blobs")):
                group.create_dataset(str(number), data=_stored(values))
    return out.getvalue()


def state_bytes(state: Message) -> bytes:
    """The content of a .solverstate.h5."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_dataset("iter", data=np.array([state.get("iter")], np.int32))
        file.create_dataset("learned_net", data=np.bytes_(state.get("learned_net").encode()))
        file.create_dataset("current_step", data=np.array([state.get("current_step")], np.int32))
        history = file.create_group("history")
        for number, values in enumerate(state.get("history")):
            history.create_dataset(str(number), data=_stored(values))
    return out.getvalue()


def _stored(values: Message) -> np.ndarray:
    """The numbers of a blob as Caffe stores them."""
    return np.asarray(array(values), np.float32)
