"""Rewriting a plan for speed: which engine computes each layer, which neighbours become one, what runs in place.

Nothing here changes what is computed: an engine's layer stands in for a reference layer of the same hyper-parameters,
parameters and state, and `choices` says of every layer who computes it and why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..arrays import threads
from ..contract.layer import reads
from ..graph.graph import Node, Step
from ..schema import registry
from ..schema.errors import BackendError
from .plan import Plan

FAST = "onednn"  # what `engine: auto` means on a CPU
NO_OTHER = "no other"  # why a layer is the reference's that no engine has


@dataclass(frozen=True)
class Choice:
    """Who computes a layer, and why not another; `into` names the layer that it became a part of."""

    engine: str
    why: str = ""
    into: str = ""


@dataclass(frozen=True)
class Wish:
    """What a net asks of its engines: the top-level key `engine`, the backend and the type of its numbers."""

    engine: str
    backend: str
    dtype: str

    def obstacle(self) -> str | None:
        """Why no layer of the net can be computed by the fast engine; None where some may."""
        if self.backend != "numpy":
            return f"the backend is {self.backend}"
        if self.dtype != "float32":
            return f"the numbers are {self.dtype}"
        return registry.engine(FAST).missing()

    def of(self, node: Node) -> str:
        """The engine that a layer asks for: its own key, or the net's."""
        return node.wiring.engine or self.engine

    def computing(self, nodes: Iterable[Node]) -> dict[str, Any]:
        """For tables and records: the `library` that computes in a net of these layers and with how many `threads`.

        Both are None where all is the reference's; then `why` says why.
        """
        why = "asked for" if all(self.of(node) == "reference" for node in nodes) else self.obstacle()
        if why:
            return {"library": None, "threads": None, "why": why}
        return {"library": registry.engine(FAST).describe(), "threads": threads.CURRENT.count, "why": None}


def rewrite(plan: Plan, wish: Wish) -> None:
    """Give every step of a plan its engine, fuse what can be one, and allow what is safe in place.

    Errors   BackendError (exit 5) where an engine is asked for by name and cannot be had
    """
    wishes = {step.node.name: wish.of(step.node) for step in plan.steps}
    asked = sorted(name for name, kind in wishes.items() if kind == FAST)
    wanted = any(kind != "reference" for kind in wishes.values())
    obstacle = wish.obstacle() if wanted else None
    if asked and obstacle:
        raise BackendError(f"engine '{FAST}' is asked for, but {obstacle}", hint="or set `engine: auto`")
    table = registry.engine(FAST).layers() if wanted and not obstacle else {}
    plan.steps = [_stand_in(plan, step, wishes[step.node.name], table, obstacle) for step in plan.steps]
    if table:
        engine = registry.engine(FAST)
        plan.adder, plan.carrier = engine.adder(), engine.carrier()
        _fuse(plan)
    _settle_in_place(plan)


def _stand_in(plan: Plan, step: Step, wish: str, table: Mapping[str, Any], obstacle: str | None) -> Step:
    layer = step.node.layer
    cls = table.get(layer.type_name)
    if wish == "reference" or cls is None or not cls.stands_for(layer):
        why = "asked for" if wish == "reference" else obstacle or NO_OTHER
        plan.choices[layer.name] = Choice("reference", why)
        return step
    why = cls.refuses(layer, [plan.specs[i] for i in step.bottoms], [plan.specs[i] for i in step.tops])
    if why:
        plan.choices[layer.name] = Choice("reference", why)
        return step
    plan.choices[layer.name] = Choice(cls.engine)
    return replace(step, node=replace(step.node, layer=cls.instead_of(layer)))


# Fusion -------------------------------------------------------------------------------------------------------------


def _fuse(plan: Plan) -> None:
    """Let layers take the one above them into their own passes, where nobody else sees the blob between."""
    stay = plan.staying()
    readers: dict[int, list[Step]] = {}
    for step in plan.steps:
        for index in step.bottoms:
            readers.setdefault(index, []).append(step)
    gone: set[str] = set()
    steps: list[Step] = []
    for step in plan.steps:
        if step.node.name in gone:
            continue
        while (above := _only_reader(step, readers, stay)) is not None and absorbs(step, above, plan):
            gone.add(above.node.name)
            plan.choices[above.node.name] = replace(plan.choices[above.node.name], into=step.node.name)
            step.node.layer.absorb(above.node.layer)
            node = replace(step.node, tops=above.node.tops, loss_weights=above.node.loss_weights)
            step = replace(step, node=node, tops=above.tops)
        steps.append(step)
    plan.steps = steps


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
    between = plan.specs[step.tops[0]]
    return hasattr(upper, "engine") and hasattr(layer, "can_absorb") and layer.can_absorb(upper, between, plan)


# In place -----------------------------------------------------------------------------------------------------------


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


def _settle_in_place(plan: Plan) -> None:
    """Allow a top to overwrite its bottom wherever nobody needs the bottom any more, asked for or not.

    Decided after engines were chosen, as an engine's backward may read what the reference's does not. Blobs that share
    memory, as views and tops in place do, are one storage, and what holds for one of them must hold for all.
    """
    uses, storage = _uses(plan), list(range(len(plan.specs)))
    for number, step in enumerate(plan.steps):
        use = uses[storage[step.bottoms[0]]] if step.bottoms else Use()
        allowed = _may_overwrite(plan, number, step, use)
        if allowed != step.in_place:
            plan.steps[number] = replace(step, in_place=allowed)
        if allowed or step.node.layer.top_is_view:
            for top in step.tops:
                storage[top] = storage[step.bottoms[0]]
                uses[storage[top]] |= uses[top]


def _uses(plan: Plan) -> list[Use]:
    """The uses of every blob."""
    stay, named, inputs = set(plan.staying()), set(plan.current.values()), {i for i, _ in plan.inputs}
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
