"""Numbers for the inputs of a net, from what its layers say of them. No data set is touched."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Blob, Graph, PhaseGraph
from ..layer import Layer
from ..spec import Spec

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
    return {name: _bounded(spec, phase, blobs[name]) for name, spec in graph.inputs.items()}


def _bounded(spec: Spec, phase: PhaseGraph, blob: Blob) -> Spec:
    if spec.low is not None or spec.high is not None or spec.draw is not None:
        return spec
    if not spec.is_real:
        return replace(spec, low=0, high=_classes(phase, blob))
    for step in phase.steps:
        for i in (i for i, index in enumerate(step.bottoms) if index == blob.index):
            shown = _example_specs(step.node.layer, i)
            if shown and all(s.low is not None or s.high is not None or s.draw is not None for s in shown):
                return replace(spec, low=shown[0].low, high=shown[0].high, draw=shown[0].draw)
    return spec


def _classes(phase: PhaseGraph, blob: Blob) -> int:
    """How many different labels every reader of an index blob accepts."""
    found: list[int] = []
    for step in phase.steps:
        if blob.index not in step.bottoms:
            continue
        passed_on = [phase.blobs[top] for top in step.tops if _is_index(phase.blobs[top])]
        if passed_on:
            found += [_classes(phase, top) for top in passed_on]
            continue
        highs = {s.high for s in _example_specs(step.node.layer, step.bottoms.index(blob.index)) if not s.is_real}
        if len(highs) == 1 and None not in highs:  # all of its examples agree, as for a label "same or different"
            found += [int(high) for high in highs if high is not None]
        scores = phase.blobs[step.bottoms[0]].spec
        if scores is not None and scores.is_real and scores.ndim >= 2:
            found.append(scores.shape[1])
    return max(1, min(found, default=CLASSES))


def _is_index(blob: Blob) -> bool:
    return blob.spec is not None and not blob.spec.is_real


def _example_specs(layer: Layer, i: int) -> list[Spec]:
    return [example.bottoms[i] for example in layer.examples if len(example.bottoms) > i]
