"""Where a top of a plan overwrites its bottom, asked for or not: wherever nobody needs the bottom any more.

Decided after engines were chosen, as an engine's backward may read what the reference's does not. Blobs that share
memory, as views and tops in place do, are one storage, and what holds for one of them must hold for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..contract.layer import reads
from ..graph.graph import Step
from .plan import Plan


@dataclass(frozen=True)
class Use:
    """What is known of the uses of a storage: of one blob, or of several that share memory.

    stays     it is needed when all is done; by its name, where `named`
    is_input  it is an input of the net
    needed    somebody's backward reads it, or a forward that runs once more
    last      the number of the last step that reads it, -1 for none
    """

    stays: bool = False
    named: bool = False
    is_input: bool = False
    needed: bool = False
    last: int = -1

    def __or__(self, other: Use) -> Use:
        return Use(
            self.stays or other.stays,
            self.named or other.named,
            self.is_input or other.is_input,
            self.needed or other.needed,
            max(self.last, other.last),
        )


def with_in_place(plan: Plan) -> Plan:
    """The plan in which every step runs in place that may."""
    uses, storage = _uses(plan), list(range(len(plan.specs)))
    steps: list[Step] = []
    for number, step in enumerate(plan.steps):
        use = uses[storage[step.bottoms[0]]] if step.bottoms else Use()
        allowed = _may_overwrite(plan, number, step, use)
        steps.append(replace(step, in_place=allowed) if allowed != step.in_place else step)
        if allowed or step.node.layer.top_is_view:
            for top in step.tops:
                storage[top] = storage[step.bottoms[0]]
                uses[storage[top]] |= uses[top]
    return replace(plan, steps=tuple(steps))


def _uses(plan: Plan) -> list[Use]:
    """The uses of every blob."""
    stay, named, inputs = plan.staying, set(plan.current.values()), {i for i, _ in plan.inputs}
    uses = [Use(i in stay, i in stay and i in named, i in inputs) for i in range(len(plan.specs))]
    for number, step in enumerate(plan.steps):
        layer, again = step.node.layer, step.node.wiring.recompute
        for j, top in enumerate(step.tops):  # a forward that runs once more would write over what is there by then
            uses[top] |= Use(needed=again or reads(layer, "top", j))
        for j, bottom in enumerate(step.bottoms):
            uses[bottom] |= Use(needed=again or reads(layer, "bottom", j), last=number)
    return uses


def _may_overwrite(plan: Plan, number: int, step: Step, use: Use) -> bool:
    """Whether a step may write its first top over its first bottom, of whose storage this is the use."""
    layer = step.node.layer
    if not (layer.inplace and step.bottoms and step.tops) or reads(layer, "bottom", 0):
        return False
    if use.named if step.in_place else use.stays:
        return False  # somebody reads it by its name when all is done
    if use.is_input or use.needed or use.last > number or step.bottoms.count(step.bottoms[0]) > 1:
        return False
    return plan.specs[step.bottoms[0]].shape == plan.specs[step.tops[0]].shape
