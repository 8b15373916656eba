"""What there is to say about a net before it runs: its layers, their shapes, parameters, work and memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..contract import call
from ..engines.protocol import NO_KERNELS
from ..graph.graph import Node, PhaseGraph, Step
from ..net import Net
from ..plan.engines import NO_OTHER
from ..plan.plan import EngineChoice, Plan
from ..plan.planner import choices_of
from ..plan.precision import computing_in, in_words
from ..run.executor import Executor
from ..run.staging import dummy
from ..run.summary import align, shape_in_words
from ..schema.errors import LayerForgeError
from ..schema.precisions import FULL
from ..schema.registry import FILLERS
from ..schema.texts import bytes_in_words


def mega(count: float) -> str:
    """A count in millions."""
    return f"{count / 1e6:,.2f}"


# What a layer keeps ---------------------------------------------------------------------------------------------------


def planned(net: Net) -> Executor:
    """The executor of a training step on the batches that the configuration says.

    A net with a memory layout knows what it needs. Of others a second net runs a forward on dummy values: neither this
    net nor a data set is touched.

    Errors   LayerForgeError where the net does not take the dummy values
    """
    if net.keep is not None:
        executor = net.passes.executor_for("train", {n: s.shape for n, s in net.graph.inputs.items()})
        if executor.layout is not None:
            return executor
    twin = Net(net.config, keep="none", backend=net.backend)
    with np.errstate(all="ignore"):
        twin.forward(phase="train", copy=False, **{name: dummy(spec) for name, spec in twin.graph.inputs.items()})
    return twin.passes.current


def kept_bytes(executor: Executor) -> dict[str, int]:
    """Bytes that each layer keeps from the forward of a plan to its backward; parameters and state do not count.

    With a layout, its buffers that live from forward into backward count at the layer that made them; the inputs are
    the executor's, and what a step has cast is kept by the layer that reads it. Without one, memory that several layers
    keep counts at the first of them.
    """
    plan, layout = executor.plan, executor.layout
    kept = dict.fromkeys(plan.choices, 0)
    layers = [step.node.layer for step in plan.steps]
    if layout is not None:
        keepers = {name: name for name in kept} | _readers_of_casts(plan)
        for buffer in layout.buffers:
            if buffer.owner in keepers and buffer.first < len(layers) <= buffer.last:
                kept[keepers[buffer.owner]] += buffer.nbytes
        return kept
    seen = {id(_owner(array)) for layer in layers for array in _own_arrays(layer)}
    for layer in layers:
        arrays = [] if layer.kept is None else _arrays(dict(layer.kept.items()))
        owners = {id(o): o for o in map(_owner, arrays)}
        kept[layer.name] = sum(o.nbytes for key, o in owners.items() if key not in seen)
        seen |= set(owners)
    return kept


def _readers_of_casts(plan: Plan) -> dict[str, str]:
    """By a step that casts, which no configuration names, the first layer that reads what it makes."""
    made = {step.tops[0]: step.node.name for step in plan.steps if step.node.name not in plan.choices}
    found: dict[str, str] = {}
    for step in plan.steps:
        for index in step.bottoms:
            if index in made:
                found.setdefault(made[index], step.node.name)
    return found


def _own_arrays(layer: Any) -> Iterator[Any]:
    for namespace in (layer.params, layer.grads, layer.state):
        yield from (array for _, array in namespace.items())


def _arrays(value: Any) -> Iterator[Any]:
    """The arrays in nested tuples, lists and mappings."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _arrays(item)
    elif hasattr(value, "nbytes") and hasattr(value, "shape"):
        yield value


def _owner(array: Any) -> Any:
    """The array that holds the memory of a view; the array itself where it is none."""
    while hasattr(getattr(array, "base", None), "nbytes"):
        array = array.base
    return array


def memory_of(executor: Executor) -> dict[str, Any] | None:
    """How much memory a plan shares; None where it has no memory layout, as no engine runs in it.

    arena_bytes     of all that a pass makes, in one piece
    unshared_bytes  what the same would take if nothing shared a place
    own_arrays      the layers that make arrays of their own in every pass, beside it
    """
    layout = executor.layout
    if layout is None:
        return None
    return {"arena_bytes": layout.size, "unshared_bytes": layout.unshared, "own_arrays": list(layout.exempt)}


# The description ------------------------------------------------------------------------------------------------------


def describe(net: Net) -> dict[str, Any]:
    """All about a net as plain values; sizes are those of one batch.

    inputs   name, shape, dtype
    engine   library, threads, why: which computes; None where all is the reference's, and why
    precision   asked, at the top level; mixed: those other than float32 in which some layers may compute; why all
             layers stay float32 that were asked for less, None where they need not
    layers   name, type, bottoms, tops, shapes, parameters, flops (of one forward), kept_bytes (None: not known; of
             layers that run in eval only 0), phase (None: both), in_place, frozen, shares, starts (of parameters whose
             filler the graph chose: filler, why), engine (who computes it), why (not another), into (the layer that it
             became a part of; None where it is one of its own), precision (what it computes and stores in), wide (why
             not in the one asked for)
    totals   batch_size, parameters, trained_parameters, parameter_bytes, forward_flops, forward_flops_per_sample,
             step_flops (forward and backward, estimated), kept_bytes; of layers that run in train
    memory   arena_bytes, unshared_bytes, own_arrays: see memory_of; None where every layer makes its own arrays
    notes    what could not be found out
    """
    notes: list[str] = []
    computed = choices_of(net.graph, net.engine_request)
    try:
        executor = planned(net)
        kept: Mapping[str, int] | None = kept_bytes(executor)
        memory = memory_of(executor)
    except LayerForgeError as error:
        kept = memory = None
        notes.append(f"what is kept for backward is not known, for the net does not take dummy values: {error.message}")
    steps = {step.node.name: step for phase in ("eval", "train") for step in net.graph.phases[phase].steps}
    layers = [_layer(net, steps[node.name], kept) | _choice(computed[node.name]) for node in net.graph.nodes]
    return {
        "name": net.config.name,
        "backend": net.backend.name,
        "dtype": net.dtype,
        "engine": net.engine_request.computing(net.graph.nodes),
        "precision": computing_in(net.engine_request, net.graph.nodes),
        "inputs": [{"name": n, "shape": list(s.shape), "dtype": s.dtype} for n, s in net.graph.inputs.items()],
        "layers": layers,
        "totals": _totals(net, layers, steps, kept),
        "memory": memory,
        "notes": notes,
    }


def _choice(choice: EngineChoice) -> dict[str, Any]:
    return {
        "engine": choice.engine,
        "why": choice.why or None,
        "into": choice.into or None,
        "precision": choice.precision,
        "wide": choice.wide or None,
    }


def _phase(net: Net, node: Node) -> PhaseGraph:
    """The phase whose shapes speak for a layer: train, where it runs there."""
    return net.graph.phases["train" if node.runs_in("train") else "eval"]


def _specs(net: Net, node: Node, indices: Iterable[int]) -> list[Spec]:
    specs = (_phase(net, node).blobs[i].spec for i in indices)
    return [spec for spec in specs if spec is not None]


def _layer(net: Net, step: Step, kept: Mapping[str, int] | None) -> dict[str, Any]:
    node, layer, flat = step.node, step.node.layer, net.parameters
    owned = [flat.slots[node.name, name] for name in layer.params if (node.name, name) in flat.slots]
    tops = _specs(net, node, step.tops)
    flags = [layer.needs_param_grad[name] for name in layer.params]
    return {
        "name": node.name,
        "type": layer.type_name,
        "bottoms": list(node.bottoms),
        "tops": list(node.tops),
        "shapes": [list(spec.shape) for spec in tops],
        "parameters": sum(slot.size for slot in owned),
        "flops": _flops(node, _specs(net, node, step.bottoms), tops),
        "kept_bytes": None if kept is None else kept.get(node.name, 0),
        "phase": node.wiring.phase,
        "in_place": step.in_place,
        "frozen": bool(flags) and not any(flags),
        "starts": _starts(net, node),
        "shares": {name: ".".join(flat.shared[node.name, name]) for name in node.wiring.share},
    }


def _starts(net: Net, node: Node) -> dict[str, dict[str, Any]]:
    chosen = {name: net.graph.starting_values.get((node.name, name)) for name in node.layer.param_decls}
    return {name: {"filler": value.filler.plain(), "why": value.why} for name, value in chosen.items() if value}


def _flops(node: Node, bottoms: list[Spec], tops: list[Spec]) -> int:
    try:
        return node.layer.flops(bottoms, tops)
    except (Exception, SystemExit) as error:  # a user's layer may count wrongly: say which one
        raise call.failure(node.layer, "setup", bottoms, error, exit_code=2) from error


def _totals(
    net: Net, layers: list[dict[str, Any]], steps: Mapping[str, Step], kept: Mapping[str, int] | None
) -> dict[str, Any]:
    train = [layer for layer in layers if layer["phase"] != "eval"]
    forward = sum(layer["flops"] for layer in train)
    step = sum(layer["flops"] * (1 + _backward_passes(steps[layer["name"]])) for layer in train)
    shapes = [spec.shape for spec in net.graph.inputs.values()]
    batch = shapes[0][0] if shapes and shapes[0] else 1
    return {
        "batch_size": batch,
        "parameters": net.parameters.count,
        "trained_parameters": sum(slot.size for slot in net.parameters.slots.values() if not slot.frozen),
        "parameter_bytes": net.parameters.count * np.dtype(net.dtype).itemsize,
        "forward_flops": forward,
        "forward_flops_per_sample": forward / max(1, batch),
        "step_flops": step,
        "kept_bytes": None if kept is None else sum(kept.values()),
    }


def _backward_passes(step: Step) -> int:
    """How many times the work of forward a backward is about: once for the bottoms, once for the parameters."""
    layer = step.node.layer
    learns = any(layer.needs_param_grad[n] for n in layer.params)
    return int(any(step.needs_grad)) + int(learns) if step.runs_backward else 0


# The table ------------------------------------------------------------------------------------------------------------

HEADINGS = ("layer", "type", "bottoms", "top", "parameters", "MFLOP", "kept", "engine", "precision", "")
NUMBERS = (4, 5, 6)
ENGINE, PRECISION = 7, 8


def net_table(net: Net) -> str:
    """The table of a net that is printed before it is trained: a line for each layer, then the totals."""
    return table_of(describe(net))


def table_of(about: Mapping[str, Any]) -> str:
    """The table of a description."""
    totals = about["totals"]
    rows = [HEADINGS, *map(_input_row, about["inputs"])]
    rows += [_layer_row(layer, {about["engine"]["why"], about["precision"]["why"]}) for layer in about["layers"]]
    sums = ("total", "", "", "", f"{totals['parameters']:,}", mega(totals["forward_flops"]))
    rows.append((*sums, bytes_in_words(totals["kept_bytes"]), "", "", ""))
    if all(layer["precision"] == FULL for layer in about["layers"]):
        rows = [(*row[:PRECISION], *row[PRECISION + 1 :]) for row in rows]
    if about["engine"]["library"] is None:  # then all is the reference's, and a line below says why
        rows = [(*row[:ENGINE], *row[ENGINE + 1 :]) for row in rows]
    lines = align(rows, NUMBERS)
    rule = "-" * max(map(len, lines))
    computed = in_words(about["dtype"], about["precision"], about["backend"])
    head = f"{about['name']}: one batch of {totals['batch_size']}, {computed}"
    return "\n".join([head, "", lines[0], rule, *lines[1:-1], rule, lines[-1], "", *_summary(about)])


def _input_row(blob: Mapping[str, Any]) -> tuple[str, ...]:
    return (blob["name"], "input", "", f"{shape_in_words(blob['shape'])} {blob['dtype']}", "", "", "", "", "", "")


def _layer_row(layer: Mapping[str, Any], general: Collection[str | None]) -> tuple[str, ...]:
    """A line of the table. `general` are reasons that hold for all layers, which need not be said of each."""
    remarks = [_start(name, value) for name, value in layer["starts"].items()]
    remarks += [f"{layer['phase']} only"] if layer["phase"] else []
    remarks += [word for word, key in (("in place", "in_place"), ("frozen", "frozen")) if layer[key]]
    remarks += [f"{mine} is {other}" for mine, other in layer["shares"].items()]
    remarks += [layer["why"]] if layer["why"] not in (None, NO_OTHER, *general) else []
    remarks += [layer["wide"]] if layer["wide"] not in (None, NO_KERNELS, layer["why"], *general) else []
    return (
        layer["name"],
        layer["type"],
        ", ".join(layer["bottoms"]),
        " ".join(map(shape_in_words, layer["shapes"])),
        f"{layer['parameters']:,}",
        mega(layer["flops"]),
        bytes_in_words(layer["kept_bytes"]),
        f"in {layer['into']}" if layer["into"] else layer["engine"],
        layer["precision"],
        ", ".join(remarks),
    )


def _start(name: str, start: Mapping[str, Any]) -> str:
    """The filler that was chosen for a parameter in a few words: xavier gain 0.316 (HingeLoss 'loss' follows)."""
    filler = start["filler"]
    defaults = {key: field.default for key, field in FILLERS.get(filler["type"]).fields.items()}
    own = [f"{key} {filler[key]:.3g}" for key, default in defaults.items() if filler[key] != default]
    words = [filler["type"], *own]
    return f"{'' if name == 'weight' else f'{name} '}{' '.join(words)} ({start['why']})"


def _engine_line(engine: Mapping[str, Any]) -> str:
    if engine["library"] is None:
        return f"engine      reference: {engine['why']}"
    threads = engine["threads"]
    return f"engine      {engine['library']}" + (f", {threads} thread{'s' if threads > 1 else ''}" if threads else "")


def _precision_line(precision: Mapping[str, Any]) -> list[str]:
    why = precision["why"]
    return [] if why is None else [f"precision   float32, not {precision['asked']}: {why}"]


def _memory_line(memory: Mapping[str, Any] | None) -> list[str]:
    if memory is None:
        return []
    sizes = bytes_in_words(memory["arena_bytes"]), bytes_in_words(memory["unshared_bytes"])
    own = f"; arrays of their own: {', '.join(memory['own_arrays'])}" if memory["own_arrays"] else ""
    return [f"memory      {sizes[0]} for blobs, gradients and workspaces of a step, {sizes[1]} without sharing{own}"]


def _summary(about: Mapping[str, Any]) -> list[str]:
    totals = about["totals"]
    frozen = totals["parameters"] - totals["trained_parameters"]
    return [
        f"parameters  {totals['parameters']:,} ({bytes_in_words(totals['parameter_bytes'])})"
        + (f", {frozen:,} of them frozen" if frozen else ""),
        f"forward     {mega(totals['forward_flops_per_sample'])} MFLOP per sample,"
        f" {mega(totals['forward_flops'])} per batch; with backward about {mega(totals['step_flops'])}",
        f"kept        {bytes_in_words(totals['kept_bytes'])} from forward to backward"
        " (what several layers keep counts at the first)",
        *_memory_line(about["memory"]),
        _engine_line(about["engine"]),
        *_precision_line(about["precision"]),
        *(f"note        {text}" for text in about["notes"]),
    ]
