"""Which gradients are needed: pruned from the parameters that learn and the inputs whose gradient is wanted."""

from __future__ import annotations

from collections.abc import Mapping

from .graph import Graph, PhaseGraph
from .multipliers import Multipliers


def find_gradients(
    graph: Graph, phase: PhaseGraph, changed: Mapping[tuple[str, str], Multipliers] | None = None
) -> None:
    """Mark which blobs need a gradient and which nodes have anything to do in backward.

    changed  multipliers that hold instead of the configuration's
    """
    multipliers = graph.multipliers() | dict(changed or {})
    for step in phase.steps:
        layer = step.node.layer
        keys = ((layer.name, name) for name in layer.param_decls)
        learns = any(not multipliers[graph.shared.get(key, key)].frozen for key in keys)
        able = layer.is_differentiable()
        step.needs_grad = tuple(
            able and phase.blobs[b].needs_grad and i not in layer.no_grad_bottoms for i, b in enumerate(step.bottoms)
        )
        step.runs_backward = able and (learns or any(step.needs_grad))
        for top in step.tops:
            spec = phase.blobs[top].spec
            phase.blobs[top].needs_grad = step.runs_backward and spec is not None and spec.is_real
