"""Where a top of a plan overwrites its bottom, asked for or not: wherever nobody needs the bottom any more.

Decided after engines were chosen, as an engine's backward may read what the reference's does not. The proof is the
graph's (graph/in_place.py); a plan knows besides what stays when all is done and who reads last.
"""

from __future__ import annotations

from dataclasses import replace

from ..contract.layer import reads
from ..graph.graph import Step
from ..graph.in_place import StorageUse, is_input, is_read, unsafe_in_place
from .plan import Plan


def with_in_place(plan: Plan) -> Plan:
    """The plan in which every step runs in place that may."""
    uses, storage = _uses(plan), list(range(len(plan.specs)))
    steps: list[Step] = []
    for number, step in enumerate(plan.steps):
        use = uses[storage[step.bottoms[0]]] if step.bottoms else StorageUse()
        allowed = _may_overwrite(plan, number, step, use)
        steps.append(replace(step, in_place=allowed) if allowed != step.in_place else step)
        if allowed or step.node.layer.top_is_view:
            for top in step.tops:
                storage[top] = storage[step.bottoms[0]]
                uses[storage[top]] |= uses[top]
    return replace(plan, steps=tuple(steps))


def _uses(plan: Plan) -> list[StorageUse]:
    """The uses of every blob."""
    stay, named, inputs = plan.staying, set(plan.current.values()), {i for i, _ in plan.inputs}
    uses = [
        StorageUse(needed=is_input(name) if i in inputs else None, stays=i in stay, named=i in stay and i in named)
        for i, name in enumerate(plan.names)
    ]
    for number, step in enumerate(plan.steps):
        layer, again = step.node.layer, step.node.wiring.recompute
        for j, top in enumerate(step.tops):  # a forward that runs once more would write over what is there by then
            if again or reads(layer, "top", j):
                uses[top] |= StorageUse(needed=is_read(plan.names[top], layer.name))
        for j, bottom in enumerate(step.bottoms):
            needed = again or reads(layer, "bottom", j)
            uses[bottom] |= StorageUse(needed=is_read(plan.names[bottom], layer.name) if needed else None, last=number)
    return uses


def _may_overwrite(plan: Plan, number: int, step: Step, use: StorageUse) -> bool:
    """Whether a step may write its first top over its first bottom, of whose storage this is the use.

    To the proof from declarations, which it shares with the graph, it adds what only a plan knows.
    """
    if not (step.bottoms and step.tops) or unsafe_in_place(step.node.layer, [use]):
        return False
    if use.named if step.in_place else use.stays:
        return False  # somebody reads it by its name when all is done
    if use.last > number or step.bottoms.count(step.bottoms[0]) > 1:
        return False
    return plan.specs[step.bottoms[0]].shape == plan.specs[step.tops[0]].shape
