"""Which neighbours of a plan become one: a layer takes the one above it into its own passes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..engines.protocol import is_engine_layer
from ..graph.graph import Step
from .plan import Plan


def fused(plan: Plan) -> Plan:
    """The plan in which layers have absorbed those above them, where nobody else sees the blob between."""
    if not plan.engine:
        return plan
    readers: dict[int, list[Step]] = {}
    for step in plan.steps:
        for index in step.bottoms:
            readers.setdefault(index, []).append(step)
    choices = dict(plan.choices)
    gone: set[str] = set()
    steps: list[Step] = []
    for step in plan.steps:
        if step.node.name in gone:
            continue
        while (above := _only_reader(step, readers, plan.staying)) is not None and absorbs(step, above, plan):
            gone.add(above.node.name)
            choices[above.node.name] = replace(choices[above.node.name], into=step.node.name)
            step.node.layer.absorb(above.node.layer)
            node = replace(step.node, tops=above.node.tops, loss_weights=above.node.loss_weights)
            step = replace(step, node=node, tops=above.tops)
        steps.append(step)
    return replace(plan, steps=tuple(steps), choices=choices)


def _only_reader(step: Step, readers: Mapping[int, Sequence[Step]], stay: Collection[int]) -> Step | None:
    """The one step that reads the one top of a step, if it reads nothing else."""
    if len(step.tops) != 1 or step.tops[0] in stay:
        return None
    found = readers.get(step.tops[0], [])
    return found[0] if len(found) == 1 and len(found[0].bottoms) == len(found[0].tops) == 1 else None


def absorbs(step: Step, above: Step, plan: Plan) -> bool:
    """Whether an engine's layer can do the work of the layer above it along with its own."""
    layer, upper = step.node.layer, above.node.layer
    if step.node.wiring.recompute != above.node.wiring.recompute:
        return False
    if not (is_engine_layer(layer) and is_engine_layer(upper)):
        return False
    return layer.can_absorb(upper, plan.specs[step.tops[0]], plan)
