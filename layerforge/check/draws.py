"""Values for the inputs of a net, from what its layers say of them, and for its parameters. No data set is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..arrays.spec import Spec
from ..contract.layer import Layer
from ..graph.graph import Blob, Graph, PhaseGraph
from ..net import Net
from ..schema.errors import LayerForgeError
from .harness import SEED, draw

BATCH = 4  # samples; BatchNorm needs several, and with two every normalised value is 1 or -1
CLASSES = 2  # for labels of which nothing is known


def with_batch(specs: dict[str, Spec], batch: int) -> dict[str, Spec]:
    """The same inputs with another number of samples. The batch axis is the first of the first input."""
    declared = next((spec.shape[:1] for spec in specs.values()), ())
    return {
        name: spec.with_shape((batch, *spec.shape[1:])) if declared and spec.shape[:1] == declared else spec
        for name, spec in specs.items()
    }


def input_specs(graph: Graph) -> dict[str, Spec]:
    """The inputs of a net with bounds for their values: the source's, or those of the layers that read them."""
    phase = graph.phases["train"]
    blobs = {b.name: b for b in phase.blobs if b.producer is None}
    batch = next((spec.shape[:1] for spec in graph.inputs.values()), ())
    return {name: _bounded(spec, phase, blobs[name], batch) for name, spec in graph.inputs.items()}


def _bounded(spec: Spec, phase: PhaseGraph, blob: Blob, batch: tuple[int, ...]) -> Spec:
    if spec.low is not None or spec.high is not None or spec.draw is not None:
        return spec
    if not spec.is_real:
        first, *others = _accepted(phase, blob, batch) or [range(CLASSES)]
        values = [n for n in first if all(n in other for other in others)] or [0]
        if len(values) == values[-1] - values[0] + 1:
            return replace(spec, low=values[0], high=values[-1] + 1)
        return replace(spec, draw=lambda rng, shape: rng.choice(values, size=shape))
    for step in phase.steps:
        for i in (i for i, index in enumerate(step.bottoms) if index == blob.index):
            shown = _example_specs(step.node.layer, i)
            if shown and all(s.low is not None or s.high is not None or s.draw is not None for s in shown):
                return replace(spec, low=shown[0].low, high=shown[0].high, draw=shown[0].draw)
    return spec


def _accepted(phase: PhaseGraph, blob: Blob, batch: tuple[int, ...]) -> list[range]:
    """The integers that each reader of an index blob accepts, those behind a layer that passes it on included."""
    found: list[range] = []
    for step in phase.steps:
        specs = [_small(spec, batch) for index in step.bottoms if (spec := phase.blobs[index].spec) is not None]
        passed_on = [phase.blobs[top] for top in step.tops if _is_index(phase.blobs[top])]
        for i in (i for i, index in enumerate(step.bottoms) if index == blob.index):
            told = step.node.layer.index_range(i, *specs) if len(specs) == len(step.bottoms) else None
            if told is not None:
                found.append(told)
            elif passed_on:
                found += [accepted for top in passed_on for accepted in _accepted(phase, top, batch)]
            else:
                found += _guessed(step.node.layer, i, specs[0])
    return found


def _small(spec: Spec, batch: tuple[int, ...]) -> Spec:
    """A Spec in a small batch: an index of samples must be allowed in that as well as in the declared one."""
    if not batch or spec.shape[:1] != batch:
        return spec
    return spec.with_shape((min(BATCH, spec.shape[0]), *spec.shape[1:]))


def _guessed(layer: Layer, i: int, first: Spec) -> list[range]:
    """What a layer that does not tell may accept: what all of its examples agree on, and classes of scores."""
    found = []
    highs = {s.high for s in _example_specs(layer, i) if not s.is_real}
    if len(highs) == 1 and None not in highs:
        found += [range(int(high)) for high in highs if high is not None]
    if first.is_real and first.ndim >= 2:
        found.append(range(first.shape[1]))
    return found


def _is_index(blob: Blob) -> bool:
    return blob.spec is not None and not blob.spec.is_real


def _example_specs(layer: Layer, i: int) -> list[Spec]:
    return [example.bottoms[i] for example in layer.examples if len(example.bottoms) > i]


def random_inputs(net: Net, seed: int = SEED, *, few: bool = True) -> dict[str, np.ndarray]:
    """Random inputs of a few samples, or of the declared shapes; also where the net takes no other. Nothing is read."""
    specs = input_specs(net.graph)
    if not few:
        return _drawn(specs, seed)
    small = with_batch(specs, BATCH)
    try:
        net.forward(phase="eval", copy=False, **_drawn(small, seed))
    except LayerForgeError:
        small = specs
    return _drawn(small, seed)


def _drawn(specs: Mapping[str, Spec], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, 2])
    return {name: draw(spec, rng) for name, spec in specs.items()}


def disturb(net: Net, seed: int = SEED) -> None:
    """Move parameters off their start values by a tenth: a zero bias would hide its own gradient's errors."""
    rng = np.random.default_rng([seed, 1])
    for slot in net.parameters.slots.values():
        array = slot.view(net.parameters.data)
        host = net.backend.to_host(array)
        size = float(np.sqrt(np.mean(host * host))) if host.size else 0.0
        array += net.backend.from_host(0.1 * (size or 1.0) * rng.normal(size=host.shape))
