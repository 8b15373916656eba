"""What layers carry from batch to batch, such as the states of an LSTM that is `stateful`.

Each phase carries its own, so that an evaluation never touches what a training goes on from. The arrays are replaced by
each forward and never written into: to hold them is to have a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from .. import snapshot
from ..arrays.backend import Array
from ..contract.layer import Layer
from ..schema.errors import DataError
from .net_parts import NetParts

CARRIED = "carried/"  # what a path of a checkpoint begins with, and a name among copies of running statistics


def copies(carriers: Iterable[Layer]) -> dict[tuple[str, str], Array]:
    """What layers carry, by layer and "carried/PHASE/NUMBER"."""
    return {
        (layer.name, f"{CARRIED}{phase}/{number}"): array
        for layer in carriers
        for phase, arrays in layer.carried.items()
        for number, array in enumerate(arrays)
    }


def put_back(carriers: Iterable[Layer], copied: Mapping[tuple[str, str], Array]) -> None:
    """Let layers carry what `copies` told of, and nothing else."""
    for layer in carriers:
        layer.carried.clear()
        for name, key in copied:  # in the order of their numbers, as `copies` tells of them
            if name == layer.name and key.startswith(CARRIED):
                phase = key.split("/")[1]
                layer.carried[phase] = (*layer.carried.get(phase, ()), copied[name, key])


def stored(net: NetParts) -> dict[str, np.ndarray]:
    """What a training goes on from, by path: carried/LAYER/NUMBER."""
    return {
        f"{CARRIED}{snapshot.escape(layer.name)}/{number}": np.array(net.backend.to_host(array))
        for layer in net.layers.values()
        for number, array in enumerate(layer.carried.get("train", ()))
    }


def load(net: NetParts, arrays: Mapping[str, np.ndarray], file: str = "", samples: int | None = None) -> None:
    """Take what `stored` told of; a net that carried nothing there begins from zero.

    file      that holds the arrays, for errors
    samples   in the batches to come: what was carried for others is of no use, and is left out

    Errors   DataError for arrays that the layer cannot go on from
    """
    for layer in net.layers.values():
        if layer.carries:
            layer.carried.clear()
            path = f"{CARRIED}{snapshot.escape(layer.name)}/"
            held = _demand_fit(layer, {name: arrays[name] for name in arrays if name.startswith(path)}, path, file)
            if held and samples in (None, len(held[0])):
                layer.carried["train"] = tuple(net.backend.from_host(a.astype(net.dtype, copy=False)) for a in held)


def _demand_fit(layer: Layer, named: Mapping[str, np.ndarray], path: str, file: str) -> list[np.ndarray]:
    """Arrays by their numbers. DataError where one is missing, or has not the shape that the layer carries."""
    names = [f"{path}{number}" for number in range(len(named))]
    shapes = layer.carried_shapes
    for number, name in enumerate(names):
        found = named.get(name)
        if found is None:
            told = f"has {', '.join(sorted(named)[:4])}, but no {name}"
        elif shapes is not None and len(shapes) != len(names):
            told = f"has {len(names)} arrays of '{layer.name}' to go on from, it carries {len(shapes)}"
        elif shapes is not None and found.shape[1:] != tuple(shapes[number]):
            expected = ", ".join(map(str, ("N", *shapes[number])))
            told = f"{name} has shape {found.shape}, '{layer.name}' carries ({expected})"
        elif found.ndim == 0 or found.dtype.kind != "f" or len(found) != len(named[names[0]]):
            told = f"{name}, of dtype {found.dtype} and shape {found.shape}, is nothing to go on from"
        else:
            continue
        raise DataError(f"{file}: {told}" if file else told, hint="is it of this net's training?")
    return [named[name] for name in names]
