"""The pipeline that makes a plan: shapes, engines, fusion, in-place use, last uses. Each part makes a new plan.

Shapes are inferred by running every layer's setup again; no data are touched. A net keeps one plan for
each phase, shapes of inputs and wanted outputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..arrays.spec import Spec
from ..contract import call
from ..graph.graph import Graph, PhaseGraph, Step
from ..schema.errors import ConfigError
from .engines import EngineRequest, overwriting_layers, with_engines
from .fusion import fused
from .in_place import with_in_place
from .plan import EngineChoice, Plan, index_of
from .precision import with_precision

Key = tuple[str, str]  # a parameter: its layer and its name


def make_plan(
    graph: PhaseGraph,
    inputs: Mapping[str, Spec],
    targets: tuple[str, ...] | None,
    keep: Collection[str] | None,
    request: EngineRequest | None = None,
    *,
    backward: bool = True,
    shared: Mapping[Key, Key] | None = None,
) -> Plan:
    """The plan for inputs of these Specs. `targets` limits it to what these blobs need; `keep` None keeps all blobs.

    request   what the net asks of its engines; without it the plan is the graph's own, on the reference alone
    backward  whether one may follow
    shared    the parameters that belong to another layer, by user

    Errors   ConfigError for an input that is missing; LayerError where a layer cannot take the shapes; BackendError
             (exit 5) where an engine is asked for by name and cannot be had
    """
    plan = with_shapes(graph, inputs, targets, keep, backward)
    if request is not None:
        plan = with_engines(plan, request)
        plan = with_precision(plan, request, left_out(graph, plan))
        plan = fused(plan)
        plan = with_in_place(plan)
    overwriting = overwriting_layers(plan.steps, shared or {})
    return replace(plan, overwriting=overwriting, released=released(plan), segments=segments(plan.steps))


def choices_of(graph: Graph, request: EngineRequest) -> dict[str, EngineChoice]:
    """Who computes each layer in training, and in what; of layers that run in eval only, who does there.

    Nothing is run.

    Errors   BackendError (exit 5) where an engine is asked for by name and cannot be had
    """
    found: dict[str, EngineChoice] = {}
    for name in ("eval", "train"):
        phase = graph.phases[name]
        inputs = {name: spec for name, spec in graph.inputs.items() if name in phase.current}
        found |= make_plan(phase, inputs, None, frozenset(), request, backward=name == "train").choices
    return found


def with_shapes(
    graph: PhaseGraph,
    inputs: Mapping[str, Spec],
    targets: tuple[str, ...] | None,
    keep: Collection[str] | None,
    backward: bool,
) -> Plan:
    """The steps of a phase that are needed, as the graph has them, and the Specs of all blobs."""
    current = {name: blob.index for name, blob in graph.current.items()}
    names = tuple(b.name for b in graph.blobs)
    if targets is None:
        outputs = {b.name: b.index for b in graph.outputs()}
        steps = tuple(graph.steps)
    else:
        outputs = {name: index_of(name, current, graph.phase) for name in targets}
        steps = needed(graph.steps, set(outputs.values()))
    given = given_inputs(graph, inputs, {i for step in steps for i in step.bottoms} | set(outputs.values()))
    specs = [b.spec or Spec(()) for b in graph.blobs]
    for index, name in given:
        specs[index] = inputs[name]
    for step in steps:
        found = call.setup(step.node.layer, [specs[i] for i in step.bottoms])
        for index, spec in zip(step.tops, found, strict=False):
            specs[index] = spec
    return Plan(
        phase=graph.phase,
        steps=steps,
        names=names,
        specs=tuple(specs),
        inputs=given,
        outputs=outputs,
        losses=losses(steps),
        current=current,
        kept=frozenset(i for i, name in enumerate(names) if keep is None or name in keep),
        keeps_all=keep is None,
        backward=backward,
    )


def left_out(graph: PhaseGraph, plan: Plan) -> Plan:
    """The steps of a phase that a plan does without, with the Specs that the graph was built with."""
    done = {step.node.name for step in plan.steps}
    steps = tuple(step for step in graph.steps if step.node.name not in done)
    return replace(plan, steps=steps, specs=tuple(blob.spec or Spec(()) for blob in graph.blobs), choices={})


def needed(steps: Sequence[Step], wanted: set[int]) -> tuple[Step, ...]:
    """The steps that the wanted blobs depend on."""
    chosen: list[Step] = []
    for step in reversed(steps):
        if wanted & set(step.tops):
            chosen.append(step)
            wanted = wanted | set(step.bottoms)
    return tuple(chosen[::-1])


def given_inputs(graph: PhaseGraph, inputs: Mapping[str, Spec], read: set[int]) -> tuple[tuple[int, str], ...]:
    """Number and name of the inputs that are given. ConfigError where one that is read is not."""
    missing = [b.name for b in graph.blobs if b.producer is None and b.index in read and b.name not in inputs]
    if missing:
        given = ", ".join(inputs) or "none"
        raise ConfigError(
            f"forward needs the input(s) {', '.join(missing)} (given: {given})",
            hint="give an array for each, or say which blobs you want: outputs=[...]",
        )
    return tuple((b.index, b.name) for b in graph.blobs if b.producer is None and b.name in inputs)


def losses(steps: Sequence[Step]) -> tuple[tuple[int, float], ...]:
    """The tops that are minimised, with their weights."""
    pairs = (pair for step in steps for pair in zip(step.tops, step.node.loss_weights, strict=True))
    return tuple((top, weight) for top, weight in pairs if weight)


def released(plan: Plan) -> dict[str, tuple[int, ...]]:
    """After which layer each blob is not read any more."""
    found: dict[str, tuple[int, ...]] = {step.node.name: () for step in plan.steps}
    last = {index: step.node.name for step in plan.steps for index in (*step.bottoms, *step.tops)}
    for index, name in last.items():
        if index not in plan.staying:
            found[name] += (index,)
    return found


def segments(steps: Sequence[Step]) -> dict[int, int]:
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
