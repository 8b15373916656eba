"""Rewriting a plan for speed: which engine computes each layer, which neighbours become one, what runs in place.

Nothing here changes what is computed: an engine's layer stands in for a reference layer of the same hyper-parameters,
parameters and state, and `choices` says of every layer who computes it and why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import registry, threads
from .errors import BackendError
from .graph import Node, Step
from .layer import reads
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


def _settle_in_place(plan: Plan) -> None:
    """Allow a top to overwrite its bottom wherever nobody needs the bottom any more, asked for or not.

    Decided after engines were chosen, as an engine's backward may read what the reference's does not. Blobs that share
    memory, as views and tops in place do, are one storage, and what holds for one of them must hold for all.
    """
    stay, storage = plan.staying(), {i: i for i in range(len(plan.specs))}
    for number, step in enumerate(plan.steps):
        allowed = _may_overwrite(plan, number, step, storage, stay)
        if allowed != step.in_place:
            plan.steps[number] = replace(step, in_place=allowed)
        if allowed or step.node.layer.top_is_view:
            storage |= dict.fromkeys(step.tops, storage[step.bottoms[0]])


def _may_overwrite(plan: Plan, number: int, step: Step, storage: Mapping[int, int], stay: Collection[int]) -> bool:
    layer = step.node.layer
    if not (layer.inplace and step.bottoms and step.tops) or reads(layer, "bottom", 0):
        return False
    bottom = step.bottoms[0]
    versions = {i for i, s in storage.items() if s == storage[bottom]}
    inputs = {i for i, _ in plan.inputs}
    asked = step.in_place or not versions & set(stay)
    if step.in_place and versions & set(stay) & set(plan.current.values()):
        return False  # somebody reads it by its name when all is done
    if not asked or versions & inputs or step.bottoms.count(bottom) > 1:
        return False
    if plan.specs[bottom].shape != plan.specs[step.tops[0]].shape:
        return False
    for position, other in enumerate(plan.steps):
        theirs = other.node.layer
        if other.node.wiring.recompute and versions & {*other.bottoms, *other.tops}:
            return False  # forward will want to read it once more, or write it once more over what is there by then
        if any(reads(theirs, "top", j) for j, i in enumerate(other.tops) if i in versions):
            return False
        mine = [j for j, i in enumerate(other.bottoms) if i in versions]
        if any(reads(theirs, "bottom", j) for j in mine) or (mine and position > number):
            return False
    return True
