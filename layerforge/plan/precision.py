"""What each layer of a plan computes and stores in.

With `precision: bf16-mixed` blobs and their gradients are bfloat16 wherever the layer that makes them has kernels for
it, but for the results of products that only layers of float32 read, such as scores: these are float32. So are
parameters, their gradients, statistics and sums. Between a layer that computes so and one that does not stands a step
that casts, with the gradient's cast in its backward. On the reference engine the same is computed by rounding what goes
into a layer and what comes out of it (engines/rounding.py), which is what the words mean. So a device computes, in
`bf16-mixed` and in `16-mixed`; with 16-mixed a solver scales the losses (solvers/loss_scale.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..arrays.spec import Spec
from ..engines.protocol import NO_KERNELS, is_engine_layer
from ..engines.rounding import ROUNDED, rounding
from ..graph.graph import Node, Step, Wiring
from ..schema import registry
from ..schema.errors import ConfigError, LayerForgeError
from ..schema.locations import Place, PlacedDict, place_of
from ..schema.precisions import BF16_MIXED, FP16_MIXED, FULL, MEDIUM, PRECISIONS
from .engines import ASKED_FOR, FAST, SPARSE, EngineRequest, with_engines
from .plan import REFERENCE, EngineChoice, Plan

STAYS_WIDE = "mixed precision leaves it float32"  # why a layer does on a device
ONE_OF_THE_TWO = "leave out one of the two: mixed precision halves float32"


def impossible(request: EngineRequest, nodes: Iterable[Node], tree: PlacedDict) -> list[LayerForgeError]:
    """What is asked for and cannot be, wherever the net would run: an error for each place."""
    asked: list[tuple[str | None, Place | None]] = [(request.precision, place_of(tree, "precision"))]
    asked += [(node.wiring.precision, place_of(node.item, "precision") or node.place) for node in nodes]
    errors: list[LayerForgeError] = []
    for precision, place in asked:
        if precision in (None, FULL):
            continue
        if request.dtype != FULL:
            error = ConfigError(f"precision: {precision} with dtype: {request.dtype}", hint=ONE_OF_THE_TWO, place=place)
            errors.append(error)
        elif precision == FP16_MIXED and not request.on_device:
            hint = f"set backend: cupy, or precision: {BF16_MIXED}"
            errors.append(ConfigError(f"precision: {precision} needs a GPU", hint=hint, place=place))
    return errors


def lacking(request: EngineRequest, nodes: Iterable[Node]) -> str | None:
    """Why all layers of a net stay float32 that ask for less; None where some may not, or none asks."""
    asking = [node for node in nodes if request.precision_of(node) != FULL]
    if not asking or request.on_device or any(request.of(node) == REFERENCE for node in asking):
        return None
    return request.obstacle(FAST) or registry.engine(FAST).bfloat16_missing()


def computing_in(request: EngineRequest, nodes: Iterable[Node]) -> dict[str, Any]:
    """For tables and records, as `EngineRequest.computing`.

    asked  the precision at the top level
    mixed  those other than float32 that layers ask for, unless none can be had
    why    none can (`lacking`)
    """
    nodes = list(nodes)
    why, asked = lacking(request, nodes), {request.precision_of(node) for node in nodes}
    mixed = [word for word in PRECISIONS if word in asked and word != FULL and not why]
    return {"asked": request.precision, "mixed": mixed, "why": why}


def in_words(dtype: str, precision: Mapping[str, Any], backend: str) -> str:
    """What a net computes in and on, for the first line of a table: "float32, bf16-mixed on numpy"."""
    return f"{', '.join([dtype, *precision['mixed']])} on {backend}"


def scales_losses(request: EngineRequest, nodes: Iterable[Node]) -> bool:
    """Whether some layer asks for float16, in which small gradients are zero unless the losses are scaled."""
    return request.on_device and any(request.precision_of(node) == FP16_MIXED for node in nodes)


def with_precision(plan: Plan, request: EngineRequest, left_out: Plan) -> Plan:
    """The plan in which every layer computes in the precision that it asks for, where it can.

    left_out  the steps of the phase that it does without, in the shapes of the configuration: what they read is rounded
              as in a forward of all, so that a blob has the same bits whatever else is computed
    """
    for step in plan.steps:
        if is_engine_layer(step.node.layer) and request.matmul_precision_of(step.node) == MEDIUM:
            step.node.layer.products_in_bfloat16(*_specs(plan, step))
    if all(request.precision_of(step.node) == FULL for step in plan.steps):
        return plan
    plan = _halved(plan, request)
    made = {i for step in plan.steps if _halves(step.node) for i in step.tops}
    readers = [step for step in left_out.steps if made & set(step.bottoms)]
    others = _halved(with_engines(replace(left_out, steps=tuple(readers)), request), request) if readers else left_out
    return _with_casts(plan, {i for step in (*plan.steps, *others.steps) for i in _read_in_half(step)})


def _halved(plan: Plan, request: EngineRequest) -> Plan:
    """The plan in which the layers compute in half that ask for it and can."""
    choices, steps = dict(plan.choices), list(plan.steps)
    for number, step in enumerate(plan.steps):
        name, asked = step.node.name, request.precision_of(step.node)
        if asked == FULL:
            continue
        why = _obstacle_there(plan, step) if request.on_device else _obstacle(plan, step, choices[name])
        choices[name] = replace(choices[name], precision=FULL if why else asked, wide=why or "")
        if not why:
            steps[number] = _in_half(step, asked)
    return replace(plan, steps=tuple(steps), choices=choices)


def _obstacle(plan: Plan, step: Step, choice: EngineChoice) -> str | None:
    """Why a step stays float32; None where it need not."""
    layer = step.node.layer
    if is_engine_layer(layer):
        return registry.engine(layer.engine).bfloat16_missing() or layer.refuses_bfloat16(*_specs(plan, step))
    if layer.type_name not in ROUNDED:
        return NO_KERNELS
    return None if choice.why == ASKED_FOR else choice.why


def _specs(plan: Plan, step: Step) -> tuple[list[Spec], list[Spec]]:
    """Of a step's bottoms and of its tops."""
    return [plan.specs[i] for i in step.bottoms], [plan.specs[i] for i in step.tops]


def _obstacle_there(plan: Plan, step: Step) -> str | None:
    """Why a step stays float32 on a device, whose kernels and products compute whatever they are given."""
    if step.node.layer.type_name not in ROUNDED:
        return STAYS_WIDE
    return SPARSE if any(plan.specs[i].sparse for i in step.bottoms) else None


def _in_half(step: Step, precision: str) -> Step:
    """The step whose layer computes in half, or as if it did."""
    layer = step.node.layer
    if is_engine_layer(layer):
        layer.halve()
        return step
    return replace(step, node=replace(step.node, layer=rounding(layer, precision)))


def _with_casts(plan: Plan, read: Collection[int]) -> Plan:
    """The plan in which every step reads its bottoms as it computes, by steps that cast before the first reader.

    read  the blobs that somebody reads in half
    """
    _widen_tops(plan, read)
    halved = {i for step in plan.steps for i in step.tops if plan.specs[i].is_real and _is_stored(step.node)}
    casts = Casts(plan, frozenset(halved | _inputs(plan)))
    steps: list[Step] = []
    for step in plan.steps:
        bottoms = list(step.bottoms)
        for j, index in enumerate(step.bottoms):
            if plan.specs[index].is_real and (index in casts.halved) != _takes_halves(step, j):
                bottoms[j] = casts.of(step, j)
        steps += [*casts.new, replace(step, bottoms=tuple(bottoms))]
        casts.new.clear()
    kept = plan.kept | frozenset(casts.made.values()) if plan.keeps_all else plan.kept  # a second backward reads them
    plan = replace(plan, steps=casts.counted(steps), kept=kept)
    return replace(plan, names=casts.names, specs=casts.specs, halved=casts.halved, rounded=_rounded(plan))


def _inputs(plan: Plan) -> set[int]:
    """The inputs that come in as bfloat16: nobody reads them otherwise, and nobody asked to see them."""
    seen = plan.kept | frozenset(plan.outputs.values())
    dense = {i for i, _ in plan.inputs if plan.specs[i].is_real and not plan.specs[i].sparse}
    read = [(i, _takes_halves(step, j)) for step in plan.steps for j, i in enumerate(step.bottoms) if i in dense]
    return {i for i, _ in read} - {i for i, halves in read if not halves} - seen


def _widen_tops(plan: Plan, read: Collection[int]) -> None:
    """Let tops be float32 that nobody reads in half, such as scores: losses and metrics then see all digits."""
    for step in plan.steps:
        layer: Any = step.node.layer
        if _halves(step.node) and not any(i in read for i in step.tops):
            layer.widen_top()


def _read_in_half(step: Step) -> list[int]:
    """The bottoms that a step reads so."""
    return [i for j, i in enumerate(step.bottoms) if _reads_halves(step.node, j)]


def _halves(node: Node) -> bool:
    """Whether a layer computes in bfloat16, or as if it did."""
    return getattr(node.layer, "halved", False)


def _reads_halves(node: Node, j: int) -> bool:
    """Whether it takes its real bottom j so: not one that has no gradient, such as a mask."""
    return _halves(node) and j not in node.layer.no_grad_bottoms


def _stores_halves(node: Node) -> bool:
    """Whether its arrays are bfloat16: on the reference they are float32 whose values are rounded."""
    return _halves(node) and is_engine_layer(node.layer)


def _takes_halves(step: Step, j: int) -> bool:
    """Whether a step reads its bottom j as bfloat16."""
    return _stores_halves(step.node) and _reads_halves(step.node, j)


def _is_stored(node: Node) -> bool:
    """Whether its tops are bfloat16, too."""
    layer: Any = node.layer
    return _stores_halves(node) and not layer.wide_top


def _rounded(plan: Plan) -> dict[int, str]:
    """The blobs whose values a stand-in rounds that does not store them so, and to which precision."""
    found: dict[int, str] = {}
    for step in plan.steps:
        layer: Any = step.node.layer
        if _halves(step.node) and not is_engine_layer(layer) and not layer.wide_top:
            found |= {i: layer.rounds_to for i in step.tops if plan.specs[i].is_real}
    return found


class Casts:
    """The steps that cast blobs of a plan, one for each blob that somebody reads in the other type.

    halved  the blobs that are stored in bfloat16
    new     the steps made since they were taken
    """

    def __init__(self, plan: Plan, halved: frozenset[int]) -> None:
        self.plan = plan
        self.names, self.specs, self.halved = plan.names, plan.specs, halved
        self.made: dict[int, int] = {}  # by blob the one that holds its cast
        self.new: list[Step] = []

    def of(self, reader: Step, j: int) -> int:
        """The blob that a reader gets in the place of its bottom j."""
        index = reader.bottoms[j]
        if index not in self.made:
            self.made[index] = len(self.names)
            self.new.append(self._step(reader, j, index))
        return self.made[index]

    def _step(self, reader: Step, j: int, index: int) -> Step:
        narrows, top = index not in self.halved, len(self.names)
        stored = "bfloat16" if narrows else FULL
        name = f"{reader.node.name} (bottom {j} in {stored})"  # of the reader's block: they are recomputed together
        layer = registry.engine(self.plan.engine).cast()(reader.node.layer, name, self.specs[index].ndim, narrows)
        self.names, self.specs = (*self.names, f"{self.names[index]} in {stored}"), (*self.specs, self.specs[index])
        self.halved |= {top} if narrows else frozenset()
        wiring = Wiring(name=name, type=layer.type_name, recompute=reader.node.wiring.recompute)
        node = Node(layer, wiring, (self.names[index],), (self.names[top],), {}, (0.0,))
        return Step(node, (index,), (top,), needs_grad=(False,))

    def counted(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """The steps, each that casts with a backward where one of its readers wants the gradient."""
        wanted = {i for step in steps for i, wants in zip(step.bottoms, step.needs_grad, strict=False) if wants}
        cast = set(self.made.values())
        return tuple(
            replace(step, needs_grad=(True,), runs_backward=True) if cast & set(step.tops) & wanted else step
            for step in steps
        )
