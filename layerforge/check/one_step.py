"""One step of a net as named arrays, in the order in which they come about. Traces and comparisons are made of these.

    parameters/<layer>/<name>/data   what the step begins with
    blobs/<blob>/data                forward, the inputs first
    statistics/<layer>/<name>        running statistics, as forward leaves them
    blobs/<blob>/grad                backward, from the last layer to the first
    parameters/<layer>/<name>/grad   what all of it is for

A blob that is overwritten in place has no data of its own any more. Shared parameters stand under their owner. Of a
sparse input these are the numbers that it stores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.sparse import stored
from ..graph.graph import Blob, PhaseGraph
from ..net import Net
from ..schema.errors import LayerForgeError
from ..snapshot import escape, unescape
from .harness import SEED

STREAM = 5  # of random cotangents


@dataclass(frozen=True)
class OneStep:
    """What came of a step: its arrays by path, on the host, and what backward began from, by blob."""

    arrays: dict[str, np.ndarray]
    cotangents: dict[str, np.ndarray]


def take_step(net: Net, inputs: Mapping[str, Any], phase: str = "train", seed: int = SEED) -> OneStep:
    """Forward and backward of a net that keeps all of its blobs; running statistics go on, parameters stay.

    Backward begins from the losses with their weights; in a net without losses from random numbers for each output
    that has a gradient, which depend on `seed` only. A net without any gradient goes forward only.
    """
    graph, host = net.graph.phases[phase], net.backend.to_host
    arrays = {path: np.array(host(data)) for path, data in _params(net, "data")}
    net.zero_grad()
    net.forward(phase=phase, backward=True, copy=False, **inputs)
    blobs = [b for b in in_order(graph) if b.overwritten_by is None]
    arrays |= {f"blobs/{escape(b.name)}/data": np.array(host(stored(net.blobs[b.name].data))) for b in blobs}
    arrays |= {
        f"statistics/{escape(layer)}/{name}": np.array(host(array))
        for layer, named in net.state.items()
        for name, array in named.items()
    }
    cotangents = starts(net, phase, seed)
    if cotangents:
        net.backward(cotangents)
        for blob in reversed(blobs):
            grad = _gradient(net, blob)
            if grad is not None:
                arrays[f"blobs/{escape(blob.name)}/grad"] = np.array(host(stored(grad)))
        trained = {path: grad for path, grad in _params(net, "grad") if grad is not None}
        arrays |= {path: np.array(host(grad)) for path, grad in trained.items()}
    return OneStep(arrays, cotangents)


def in_order(graph: PhaseGraph) -> list[Blob]:
    """The blobs that a phase can be asked for, inputs first, then as the layers make them."""
    return sorted(graph.current.values(), key=lambda blob: blob.index)


def starts(net: Net, phase: str, seed: int) -> dict[str, np.ndarray]:
    """What backward begins from, by blob, after a forward: the losses' weights, or random numbers for the outputs."""
    graph = net.graph.phases[phase]
    nodes = [step.node for step in graph.steps if step.runs_backward]
    losses = {top: weight for node in nodes for top, weight in zip(node.tops, node.loss_weights, strict=True) if weight}
    if losses:
        return {top: np.full(net.blobs[top].shape, weight, net.dtype) for top, weight in losses.items()}
    rng = np.random.default_rng([seed, STREAM])
    outputs = [b for b in graph.outputs() if b.needs_grad]
    return {b.name: rng.normal(size=net.blobs[b.name].shape).astype(net.dtype) for b in outputs}


def _params(net: Net, what: str) -> Iterator[tuple[str, Any]]:
    """(path, live array) of every parameter under its owner: its data, or its grad, which is None of a frozen one."""
    for layer, name in ordered_parameters(net):
        yield f"parameters/{escape(layer)}/{name}/{what}", getattr(net.params[layer][name], what)


def ordered_parameters(net: Net) -> list[tuple[str, str]]:
    """(layer, name) of every parameter in the order of the layers; shared ones under their owner only."""
    every = [(layer.name, name) for layer in net.layers.values() for name in layer.params]
    return [key for key in every if key in net.parameters.slots]


def statistics_of(net: Net) -> dict[str, np.ndarray]:
    """Copies of the running statistics by "layer.name", on the host."""
    host = net.backend.to_host
    return {f"{layer}.{name}": np.array(host(a)) for layer, named in net.state.items() for name, a in named.items()}


def _gradient(net: Net, blob: Blob) -> Any:
    """The gradient of a blob after backward; None where it has none."""
    try:
        return net.blobs[blob.name].grad if blob.needs_grad else None
    except LayerForgeError:  # it does not lie below what backward began from
        return None


def owner_of(graph: PhaseGraph, path: str) -> tuple[str, str]:
    """(layer or "input", what of it) for a path: ("fc1", "weight.grad"), ("fc1", "fc1"), ("input", "image")."""
    kind, name, *rest = (unescape(part) for part in path.split("/"))
    if kind == "blobs":
        producer = graph.current[name].producer
        return producer.name if producer else "input", name if rest == ["data"] else f"{name}.grad"
    return name, rest[0] if rest[-1] != "grad" else f"{rest[0]}.grad"
