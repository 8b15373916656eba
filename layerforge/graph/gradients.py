"""Which blobs of a phase need a gradient, and which layers have anything to do in backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .graph import Graph, PhaseGraph
from .multipliers import Multipliers


def find_gradients(
    graph: Graph, phase: PhaseGraph, changed: Mapping[tuple[str, str], Multipliers] | None = None
) -> None:
    """Mark which blobs need a gradient and which nodes have anything to do in backward.

    changed  multipliers that hold instead of the configuration's
    """
    multipliers = graph.multipliers() | dict(changed or {})
    for number, step in enumerate(phase.steps):
        layer = step.node.layer
        keys = ((layer.name, name) for name in layer.param_decls)
        learns = any(not multipliers[graph.shared.get(key, key)].frozen for key in keys)
        able = layer.is_differentiable()
        needs_grad = tuple(
            able and phase.blobs[b].needs_grad and i not in layer.no_grad_bottoms for i, b in enumerate(step.bottoms)
        )
        runs_backward = able and (learns or any(needs_grad))
        phase.steps[number] = replace(step, needs_grad=needs_grad, runs_backward=runs_backward)
        for top in step.tops:
            spec = phase.blobs[top].spec
            phase.blobs[top].needs_grad = runs_backward and spec is not None and spec.is_real
