"""Copies of nets and solvers by `copy.deepcopy` and `pickle`: for target networks, averages of models, other processes.

A copy is built anew from its configuration and takes over all arrays, so that it trains on as the original would,
bit for bit: parameters (shared ones stay shared), gradients, running statistics, iteration, histories, what is frozen
by now. Memory, plans and what engines remember are its own. Arrays on a device travel by the host.

No file of LayerForge's is read by pickle: snapshots and checkpoints are for keeping, and safe to open; a pickle is not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..contract.layer import Layer
from ..schema import user_modules
from ..schema.errors import ConcurrencyError
from ..schema.params import Declared
from ..schema.registry import LAYERS
from . import carried, tuning
from .net_parts import NetParts
from .turns import turns_of

RUN = ("seed", "iteration", "first_sample", "phase")


def state_of(net: NetParts) -> dict[str, Any]:
    """All that a copy of a net takes over, without a piece of the net's own machinery.

    Arrays are copies on the host: whoever copies or pickles this does so when the net's turn is over.
    """
    flat = net.parameters

    def host(array: Any) -> np.ndarray:
        return np.array(net.backend.to_host(array))

    grads = {key: slot.view(flat.grad) for key, slot in flat.slots.items() if slot.offset < len(flat.grad)}
    layers = net.layers.values()
    values = [value for layer in layers for value in vars(layer).values() if isinstance(value, Declared)]
    return {
        "types": user_types([*layers, *values]),  # first: what follows may need them
        "taken": net.passes.turns.taken,
        "config": net.config,
        "backend": net.backend,
        "keep": "all" if net.keep is None else sorted(net.keep),
        "inputs": {name: replace(spec, draw=None) for name, spec in net.graph.inputs.items()},
        "run": {name: getattr(net.passes.run, name) for name in RUN},
        "settings": {layer.name: {name: getattr(layer, name) for name in layer.fields} for layer in layers},
        "multipliers": dict(flat.changed),
        "params": {key: host(slot.view(flat.data)) for key, slot in flat.slots.items()},
        "grads": {key: host(grad) for key, grad in grads.items()},
        "rows": {key: host(rows.marks) for key, rows in flat.rows.items()},
        "state": {(name, key): host(array) for name, named in net.state.items() for key, array in named.items()},
        "carried": {key: host(array) for key, array in carried.copies(layers).items()},
    }


def take_over(net: NetParts, state: Mapping[str, Any]) -> None:
    """Give a net that was just built from the same configuration the arrays of `state_of`."""
    for name, value in state["run"].items():
        setattr(net.passes.run, name, value)
    for layer, fields in state["settings"].items():
        vars(net.layers[layer]).update(fields)
    tuning.apply(net, state["multipliers"])
    flat, from_host = net.parameters, net.backend.from_host
    for key, array in state["params"].items():
        flat.slots[key].view(flat.data)[...] = from_host(array)
    for key, array in state["grads"].items():
        if flat.slots[key].offset < len(flat.grad):
            flat.slots[key].view(flat.grad)[...] = from_host(array)
    for key, marks in state["rows"].items():
        flat.rows[key].marks[...] = from_host(marks)
    for (layer, name), array in state["state"].items():
        net.layers[layer].state[name][...] = from_host(array)
    carried.put_back(net.layers.values(), {key: from_host(array) for key, array in state["carried"].items()})


def demand_one_moment(net: Any, taken: int) -> None:
    """ConcurrencyError unless a copied net is as it was when what belongs to it was copied (`Turns.taken`)."""
    turns = turns_of(net)
    if turns is not None and turns.taken != taken:
        message = f"{turns.what} was used by another thread between the copying of it and of its solver"
        raise ConcurrencyError(message, hint="hold a threading.Lock around the copying, and around each step")


class UserTypes:
    """Types that are not LayerForge's own: unpickling it in another process registers them there."""

    def __init__(self, classes: list[type], files: list[str]) -> None:
        self.classes, self.files = classes, files

    def __reduce__(self) -> Any:
        return _known_again, (self.files, self.classes)


def _known_again(files: list[str], classes: list[type]) -> UserTypes:
    """Files named by `import:` are run; classes of other modules came with the modules that pickle imported."""
    user_modules.import_all(files)
    for layer in (cls for cls in classes if issubclass(cls, Layer) and cls.type_name not in LAYERS.names()):
        LAYERS.add(layer)  # whose module registers it in a call, or in a fixture
    return UserTypes(classes, files)


def user_types(objects: Iterable[Any]) -> UserTypes:
    """The users' types among those of some objects. What is defined inside a function cannot be found elsewhere."""
    classes = {type(each): None for each in objects if not type(each).__module__.startswith("layerforge.")}
    files = [sys.modules[c.__module__].__file__ or "" for c in classes if user_modules.is_file(c.__module__)]
    others = [c for c in classes if not user_modules.is_file(c.__module__) and "<locals>" not in c.__qualname__]
    return UserTypes(others, sorted(set(files)))
