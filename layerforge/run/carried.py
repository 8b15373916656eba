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
        for name, key in sorted(copied):
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


def load(net: NetParts, arrays: Mapping[str, np.ndarray], samples: int | None = None) -> None:
    """Take what `stored` told of; a net that carried nothing there begins from zero.

    samples   in the batches to come: what was carried for others is of no use, and is left out
    """
    for layer in net.layers.values():
        if layer.carries:
            layer.carried.clear()
            path = f"{CARRIED}{snapshot.escape(layer.name)}/"
            held = [arrays[name] for name in sorted(arrays) if name.startswith(path)]
            if held and samples in (None, len(held[0])):
                layer.carried["train"] = tuple(net.backend.from_host(array) for array in held)
