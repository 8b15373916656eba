"""The arrays of a net by the paths that snapshots store them under: params/<layer>/<name> and state/<layer>/<name>."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import snapshot
from ..config.yaml_dump import dump_yaml
from ..graph.signature import Signature
from ..schema.errors import DataError
from .net_parts import NetParts
from .parameters import Parameters


def stored_arrays(
    parameters: Parameters, state: Mapping[str, Mapping[str, Any]], data: Any = None
) -> Iterator[tuple[str, Any]]:
    """Path and live array of every parameter (shared ones once, under their owner) and running statistic.

    data   the flat array that the parameters are shown in, where that is not the live one
    """
    for (layer, name), slot in parameters.slots.items():
        yield f"params/{snapshot.escape(layer)}/{name}", slot.view(parameters.data if data is None else data)
    for layer, arrays in state.items():
        for name, array in arrays.items():
            yield f"state/{snapshot.escape(layer)}/{name}", array


def take_over(
    mine: Mapping[str, Any], arrays: Mapping[str, np.ndarray], from_host: Callable[[Any, Any], Any], source: str
) -> None:
    """Write arrays over those of the same paths; nothing is changed unless all of them fit.

    Errors   DataError naming every missing, unexpected and mis-shaped array
    """
    theirs = {k: v for k, v in arrays.items() if k.split("/")[0] in ("params", "state")}
    problems = [f"missing {k}" for k in mine if k not in theirs]
    problems += [f"unexpected {k}" for k in theirs if k not in mine]
    problems += [
        f"{k} has shape {theirs[k].shape}, the net's is {tuple(v.shape)}"
        for k, v in mine.items()
        if k in theirs and theirs[k].shape != v.shape
    ]
    if problems:
        raise DataError(f"{source} does not fit this net", hint="; ".join(snapshot.unescape(p) for p in problems))
    for path, array in mine.items():
        array[...] = from_host(theirs[path], array.dtype if path.startswith("params/") else None)


def weights_meta(net: NetParts) -> dict[str, Any]:
    """What a file of weights says of the net that they are of."""
    config = dump_yaml(net.config.resolved())
    return {"kind": "weights", "config": config, "signature": Signature.of(net.graph).plain}
