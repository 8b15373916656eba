"""Plans: for one phase and one set of input shapes, what runs in which order and when a blob's memory may go.

Shapes are inferred by running every layer's setup again; no data are touched. A net keeps one plan per batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..contract import call
from ..contract.layer import Memory
from ..graph.graph import PhaseGraph, Step
from ..schema.errors import ConfigError
from ..schema.synonyms import did_you_mean

AGAIN = " again"  # behind the name of a layer: the memory of its second forward, where it is recomputed


@dataclass
class Plan:
    """The steps of one phase for inputs of given shapes. Blobs are numbered; `names` and `specs` go by number."""

    phase: str
    steps: list[Step]
    names: list[str]
    specs: list[Spec]
    inputs: list[tuple[int, str]]
    outputs: dict[str, int]
    losses: list[tuple[int, float]]
    released: dict[str, tuple[int, ...]]  # by node: the blobs that nobody needs after it
    current: dict[str, int]
    kept: frozenset[int]  # the blobs that were asked to be kept, data and gradient
    backward: bool = True  # whether one may follow
    segments: dict[int, int] = field(default_factory=dict)  # what is recomputed: numbers of last and first steps
    choices: dict[str, Any] = field(default_factory=dict)  # by layer: who computes it, and why (rewrite.py)
    zeros: dict[int, Any] = field(default_factory=dict)  # gradients of tops that nobody differentiated
    held: dict[str, Any] = field(default_factory=dict)  # the inputs, in memory of the plan's own
    carrier: Callable[[], Any] | None = None  # makes what copies inputs there, where an engine does
    carriers: dict[str, Any] = field(default_factory=dict)
    seeds: dict[int, tuple[float, Any]] = field(default_factory=dict)
    cotangents: dict[int, Any] = field(default_factory=dict)  # memory for those that a caller gives
    memory: Memory = field(default_factory=Memory)  # of the net itself, where there is no arena
    arena: Any = None  # where everything lies (arena.py)
    tapes: dict[str, Any] = field(default_factory=dict)  # what forward and backward repeat, in an arena
    one_by_one: bool = False  # every layer is to be asked in every pass: somebody looks at their calls
    setters: frozenset[str] = frozenset()  # layers that can write the gradients of their parameters, adding to none
    adder: Callable[[], Any] | None = None  # makes what adds gradients at forks, where an engine does
    adders: dict[tuple[int, int], Any] = field(default_factory=dict)

    @cached_property
    def fed(self) -> frozenset[int]:
        """The blobs that depend on an input."""
        found = {i for i, _ in self.inputs}
        for step in self.steps:
            found |= set(step.tops) if found & set(step.bottoms) else set()
        return frozenset(found)

    @cached_property
    def holds(self) -> frozenset[int]:
        """The blobs that its passes know: inputs that are given, and what its steps make."""
        return frozenset(i for i, _ in self.inputs) | {i for step in self.steps for i in step.tops}

    @cached_property
    def makers(self) -> dict[int, Step]:
        """The step that makes each blob."""
        return {i: step for step in self.steps for i in step.tops}

    @property
    def again(self) -> dict[str, Memory]:
        """The memory in which layers run forward once more, by name."""
        if not self.segments or self.arena is None:
            return {}
        memories = self.arena.memories
        return {name.removesuffix(AGAIN): memory for name, memory in memories.items() if name.endswith(AGAIN)}

    @property
    def segment_of(self) -> dict[int, int]:
        """For every step that is recomputed the number of the last step of its segment."""
        return {i: last for last, first in self.segments.items() for i in range(first, last + 1)}

    def staying(self) -> set[int]:
        """The blobs that must exist after the pass: outputs, losses, inputs, what is kept, and what metrics read."""
        stay = set(self.outputs.values()) | {i for i, _ in self.losses} | {i for i, _ in self.inputs}
        counted = set(stay)  # what they are means over is looked up afterwards, in what they or numbers below them read
        for step in reversed(self.steps):
            if counted & set(step.tops):
                stay |= set(step.bottoms)
                counted |= {i for i in step.bottoms if not self.specs[i].shape}
        return stay | self.kept

    def seed(self, xp: Any, dtype: str, index: int, value: float) -> Any:
        """An upstream gradient that is everywhere `value`; the same array as long as the value is."""
        known = self.seeds.get(index)
        if known is None or known[0] != value:
            known = self.seeds[index] = value, fixed(xp.full(self.specs[index].shape, value, dtype=dtype))
        return known[1]

    def index_of(self, name: str) -> int:
        """The number of a blob; ConfigError with a suggestion where there is none."""
        if name not in self.current:
            hint = did_you_mean(name, self.current) or f"blobs: {', '.join(self.current)}"
            raise ConfigError(f"the net has no blob '{name}' in phase {self.phase}", hint=hint)
        return self.current[name]


def fixed(array: Any) -> Any:
    """An array that passes share: whoever would write to it, as to a gradient, gets an error. CuPy cannot say no."""
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array


def make_plan(
    graph: PhaseGraph,
    inputs: Mapping[str, Spec],
    targets: tuple[str, ...] | None,
    keep: Collection[str] | None,
    rewrite: Callable[[Plan], None] = lambda plan: None,
    *,
    backward: bool = True,
) -> Plan:
    """The plan for inputs of these Specs. `targets` limits it to what these blobs need; `keep` None keeps all blobs.

    rewrite   changes the steps before it is settled when a blob's memory may go
    backward  whether one may follow

    Errors   ConfigError for an input that is missing; LayerError where a layer cannot take the shapes
    """
    current = {name: blob.index for name, blob in graph.current.items()}
    names = [b.name for b in graph.blobs]
    kept = frozenset(i for i, name in enumerate(names) if keep is None or name in keep)
    specs = [b.spec or Spec(()) for b in graph.blobs]
    plan = Plan(graph.phase, [], names, specs, [], {}, [], {}, current, kept, backward)
    plan.outputs = (
        {b.name: b.index for b in graph.outputs()} if targets is None else {t: plan.index_of(t) for t in targets}
    )
    plan.steps = _needed(graph.steps, set(plan.outputs.values())) if targets is not None else list(graph.steps)
    _place_inputs(plan, graph, inputs)
    for step in plan.steps:
        specs = call.setup(step.node.layer, [plan.specs[i] for i in step.bottoms])
        for index, spec in zip(step.tops, specs, strict=False):
            plan.specs[index] = spec
    plan.losses = _losses(plan)
    rewrite(plan)
    plan.released = _released(plan)
    plan.segments = _segments(plan.steps)
    return plan


def _segments(steps: Sequence[Step]) -> dict[int, int]:
    """The runs of steps that are recomputed together: neighbours of one use of a block, or of none."""
    found: dict[int, int] = {}
    first = 0
    for i, step in enumerate(steps):
        scope = step.node.name.rpartition(".")[0]
        if i and not (steps[i - 1].node.wiring.recompute and steps[i - 1].node.name.rpartition(".")[0] == scope):
            first = i
        following = steps[i + 1].node if i + 1 < len(steps) else None
        goes_on = following and following.wiring.recompute and following.name.rpartition(".")[0] == scope
        if step.node.wiring.recompute and not goes_on:
            found[i] = first
    return found


def _losses(plan: Plan) -> list[tuple[int, float]]:
    return [
        (top, weight)
        for step in plan.steps
        for top, weight in zip(step.tops, step.node.loss_weights, strict=True)
        if weight
    ]


def _needed(steps: list[Step], wanted: set[int]) -> list[Step]:
    """The steps that the wanted blobs depend on."""
    chosen: list[Step] = []
    for step in reversed(steps):
        if wanted & set(step.tops):
            chosen.append(step)
            wanted |= set(step.bottoms)
    return chosen[::-1]


def _place_inputs(plan: Plan, graph: PhaseGraph, inputs: Mapping[str, Spec]) -> None:
    read = {i for step in plan.steps for i in step.bottoms} | set(plan.outputs.values())
    missing = [b.name for b in graph.blobs if b.producer is None and b.index in read and b.name not in inputs]
    if missing:
        given = ", ".join(inputs) or "none"
        raise ConfigError(
            f"forward needs the input(s) {', '.join(missing)} (given: {given})",
            hint="give an array for each, or say which blobs you want: of=[...]",
        )
    for blob in graph.blobs:
        if blob.producer is None and blob.name in inputs:
            plan.inputs.append((blob.index, blob.name))
            plan.specs[blob.index] = inputs[blob.name]


def _released(plan: Plan) -> dict[str, tuple[int, ...]]:
    """After which node each blob is not read any more."""
    released: dict[str, tuple[int, ...]] = {step.node.name: () for step in plan.steps}
    stay = plan.staying()
    last = {index: step.node.name for step in plan.steps for index in (*step.bottoms, *step.tops)}
    for index, node in last.items():
        if index not in stay:
            released[node] += (index,)
    return released
