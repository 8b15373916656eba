"""What of the last pass of a net can be had by name, and where not: why, and how to get it.

A plan holds fewer blobs than its phase has names: `outputs=` leaves layers out, an engine computes neighbours as one,
inputs may not have been given. A cotangent or tangent for such a blob would reach nobody, so it is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..arrays.bfloat16 import widened
from ..graph.graph import PHASES, Graph, PhaseGraph
from ..graph.uses import warn_of_raw
from ..plan.plan import Plan
from ..schema.errors import ConfigError
from ..schema.precisions import FULL
from ..schema.synonyms import did_you_mean
from .executor import Executor
from .net_parts import NetParts
from .parameters import Slot
from .views import BlobError, BlobView, MissingName, Named, ParamView, numbers, write


def checked_keep(graph: Graph, keep: str | Iterable[str]) -> frozenset[str] | None:
    """The names to keep; None stands for all."""
    if isinstance(keep, str) and keep in ("all", "none"):
        return None if keep == "all" else frozenset()
    if keep is None or not isinstance(keep, Iterable):
        raise ConfigError(f'keep must be "all", "none" or a list of blobs, got {keep!r}')
    names = frozenset([keep] if isinstance(keep, str) else keep)
    known = {b for g in graph.phases.values() for b in g.current}
    for name in names - known:
        raise ConfigError(f"keep: there is no blob '{name}'", hint=did_you_mean(name, known))
    return names


def demand_phase(phase: str) -> None:
    """ConfigError for what is no phase."""
    if phase not in PHASES:
        raise ConfigError(f"phase must be one of {', '.join(PHASES)}, got '{phase}'")


def input_array(net: NetParts, name: str, value: Any) -> Any:
    """What was given for an input, on the net's backend and in the input's dtype."""
    spec = net.graph.inputs.get(name)
    if spec is None:
        known = list(net.graph.inputs)
        hint = did_you_mean(name, known) or f"its inputs: {', '.join(known) or 'none'}"
        raise ConfigError(f"the net has no input '{name}'", hint=hint)
    if spec.sparse:
        return net.backend.csr_from(f"input '{name}'", value, spec.shape[1], spec.dtype)
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if not spec.is_real and kind not in ("i", "u", "b"):
        found = numbers(f"input '{name}'", value, net.backend, None)
        if found.dtype.kind not in "iub":
            raise ConfigError(f"input '{name}' is an index and takes integers, got {found.dtype}")
    if spec.is_real and (kind or np.asarray(value).dtype.kind) in ("i", "u"):
        warn_of_raw(net, name, value)
    return numbers(f"input '{name}'", value, net.backend, spec.dtype)


# Cotangents and tangents ----------------------------------------------------------------------------------------------


def by_name(mapping: Any, keywords: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What was given by names: as one mapping, for names that no keyword can have, as keywords, or both.

    Errors   ConfigError for what is no mapping, for one that is empty, and for names that were given twice
    """
    if mapping is None:
        return dict(keywords)
    if not isinstance(mapping, Mapping) or not all(isinstance(name, str) for name in mapping):
        message = f"a {what} belongs to a name, got {type(mapping).__name__}"
        raise ConfigError(message, hint='give it as a keyword, fc=array, or in a mapping: {"block/fc": array}')
    if not mapping and not keywords:
        raise ConfigError(f"the mapping of {what}s is empty", hint="name at least one blob, or give none at all")
    twice = sorted(mapping.keys() & keywords.keys())
    if twice:
        raise ConfigError(f"the {what} of '{twice[0]}' was given twice, in the mapping and as a keyword")
    return {**mapping, **keywords}


def seeds(net: NetParts, plan: Plan, given: Mapping[str, Any], what: str) -> dict[int, Any]:
    """Cotangents or tangents by the number of their blob, on the backend.

    Errors   ConfigError for names, shapes and kinds of numbers that do not fit; BlobError for what the plan has not
    """
    found = {}
    for name, value in given.items():
        index = plan.index_of(name)
        demand_held(net, plan, name, index)
        spec = plan.specs[index]
        if spec.sparse:
            raise ConfigError(f"blob '{name}' is sparse: no {what} can be given for it", hint="name a dense blob")
        if not spec.is_real:
            raise ConfigError(f"blob '{name}' is an index, which has no derivative: {what} was given for it")
        array = numbers(f"{what} of '{name}'", value, net.backend, net.dtype)
        if array.shape != spec.shape:
            raise ConfigError(f"{what} of '{name}' has shape {array.shape}, the blob is {spec}")
        found[index] = array
    return found


def parameter_of(net: NetParts, name: str) -> Slot | None:
    """Where a parameter called "layer.name" is, for a shared one its owner's place; None where there is none.

    Errors   ConfigError where it is frozen
    """
    layer, _, own = name.rpartition(".")
    slot = net.parameters.slots.get(net.parameters.shared.get((layer, own), (layer, own)))
    if slot is not None and slot.frozen:
        raise ConfigError(f"parameter '{name}' is frozen and has no gradient", hint="set its .frozen to False first")
    return slot


def _demand_no_parameter(net: NetParts, name: str) -> None:
    """ConfigError where a name that is no blob's is meant to be a parameter's."""
    layer, _, own = name.rpartition(".")
    if layer in net.layers and not any(name in phase.current for phase in net.graph.phases.values()):
        known = list(net.layers[layer].param_decls)
        hint = did_you_mean(own, known) or f"there are: {', '.join(known) or 'none'}"
        raise ConfigError(f"layer '{layer}' has no parameter '{own}'", hint=hint)


def parameters_among(
    net: NetParts, given: Mapping[str, Any], what: str
) -> tuple[list[tuple[Slot, Any]], dict[str, Any]]:
    """Of tangents or directions by name those of parameters, on the backend, and the others.

    Errors   ConfigError for parameters that are frozen, shapes that do not fit, and one that was given twice
    """
    found: dict[tuple[str, str], tuple[Slot, Any]] = {}
    others = {}
    called: dict[tuple[str, str], str] = {}
    for name, value in given.items():
        slot = parameter_of(net, name)
        if slot is None:
            _demand_no_parameter(net, name)
            others[name] = value
            continue
        array = numbers(f"{what} of '{name}'", value, net.backend, net.dtype)
        if array.shape != slot.shape:
            raise ConfigError(f"{what} of '{name}' has shape {array.shape}, the parameter {slot.shape}")
        if slot.key in found:
            message = f"'{name}' shares its numbers with '{called[slot.key]}', which moves with it"
            raise ConfigError(f"two {what}s are given for one parameter: {message}", hint="give one of them")
        found[slot.key] = slot, array
        called[slot.key] = name
    return list(found.values()), others


def cotangents(net: NetParts, executor: Executor, given: Mapping[str, Any]) -> dict[int, Any]:
    """The seeds of a backward, in memory of the executor's.

    Errors   those of `seeds`; BlobError where nothing below a blob wants a gradient
    """
    plan = executor.plan
    found = seeds(net, plan, given, "cotangent")
    for index, array in found.items():
        if not net.graph.phases[plan.phase].blobs[index].needs_grad:
            hint = "declare inputs with `grad: true`; parameters that are frozen can be unfrozen"
            raise BlobError(f"nothing below blob '{plan.names[index]}' wants a gradient", hint=hint)
        found[index] = executor.cotangent(index, array)
    return found


def demand_full_precision(plan: Plan, what: str) -> None:
    """ConfigError where a layer computes in less than float32, in which what is asked for has no digits."""
    for name, choice in plan.choices.items():
        if choice.precision != FULL:
            message = f"{what} is not computed in precision {choice.precision}, in which layer '{name}' is"
            raise ConfigError(message, hint=f"build the net with precision: {FULL}")


def outputs(executor: Executor, copy: bool) -> dict[str, Any]:
    """What a forward returns: live arrays or copies, and of what is stored in bfloat16 float32."""
    values, halved = executor.values, executor.plan.halved
    kinds = executor.plan.outputs.items()
    return {n: widened(values[i]) if i in halved else values[i].copy() if copy else values[i] for n, i in kinds}


def demand_losses(net: NetParts, plan: Plan) -> None:
    """ConfigError unless a plan has losses, BlobError unless something below them wants a gradient."""
    if not plan.losses:
        raise ConfigError(
            "the net has no loss to start backward from",
            hint="name a blob: net.backward(fc=dy), or give a layer a loss_weight",
        )
    blobs = net.graph.phases[plan.phase].blobs
    if not any(blobs[i].needs_grad for i, _ in plan.losses):
        hint = "all parameters are frozen, or there are none: unfreeze some, or declare an input with `grad: true`"
        raise BlobError("nothing below the losses wants a gradient", hint=hint)


def demand_held(net: NetParts, plan: Plan, name: str, index: int) -> None:
    """BlobError, with a remedy, where a blob of the phase is none of this plan's."""
    if index in plan.holds:
        return
    maker = net.graph.phases[plan.phase].blobs[index].producer
    if maker is None:
        raise BlobError(f"input '{name}' was not given to the last forward", hint=f"net.forward({name}=...)")
    choice = plan.choices.get(maker.name)
    if choice is None:
        raise BlobError(f"blob '{name}' was not computed by the last forward", hint=f'ask for it: outputs=["{name}"]')
    first = choice.into or maker.name
    one = [first, *(other for other, its in plan.choices.items() if its.into == first)]
    message = f"blob '{name}' was not kept by the last forward, which computed the layers {', '.join(one)} as one"
    raise BlobError(message, hint=_keeping(net, name))


def _keeping(net: NetParts, name: str) -> str:
    names = ", ".join(f'"{each}"' for each in [*sorted(net.keep or ()), name])
    return f'build the net with keep="all" or keep=[{names}]'


# Views ----------------------------------------------------------------------------------------------------------------


def blobs(net: NetParts) -> Named:
    """Every blob of the last forward's phase by name."""
    phase = net.graph.phases[net.passes.run.phase]
    return Blobs(net, phase)


class Blobs(Named):
    """The blobs of a phase. A name of another phase is an error that says so."""

    def __init__(self, net: NetParts, phase: PhaseGraph) -> None:
        remedy = "inputs are given to forward: net.forward(x=...); blobs are what it makes"
        super().__init__("blob", lambda: list(phase.current), lambda name: _view(net, phase, name), remedy=remedy)
        self._net, self._phase = net, phase

    def _known(self, name: str) -> str:
        if name in self._phase.current:
            return name
        others = [p for p in PHASES if name in self._net.graph.phases[p].current]
        if others:
            message = f"there is no blob '{name}' in phase {self._phase.phase}, which the last forward was in"
            raise MissingName(message, hint=f'it is made in phase {others[0]}: net.forward(phase="{others[0]}", ...)')
        return super()._known(name)


def _view(net: NetParts, phase: PhaseGraph, name: str) -> BlobView:
    index, last = phase.current[name].index, net.passes.last
    spec = last.plan.specs[index] if last is not None else phase.current[name].spec
    assert spec is not None
    return BlobView(name, spec, lambda: _data(net, name, index), lambda: _grad(net, name, index), net.backend)


def _data(net: NetParts, name: str, index: int) -> Any:
    last = net.passes.last
    if last is None:
        raise BlobError(f"blob '{name}' has no data yet", hint="call net.forward(...) first")
    demand_held(net, last.plan, name, index)
    if last.values[index] is None:
        why = f": {last.unusable}" if last.unusable else ""
        raise BlobError(f"blob '{name}' was not kept by the last forward{why}", hint=_keeping(net, name))
    return widened(last.values[index])


def _grad(net: NetParts, name: str, index: int) -> Any:
    last = net.passes.last
    if last is None or not last.grads:
        raise BlobError(f"blob '{name}' has no gradient yet", hint="call net.backward() after net.forward(...)")
    if last.grads[index] is not None:
        return widened(last.grads[index])
    demand_held(net, last.plan, name, index)
    if not net.graph.phases[last.plan.phase].blobs[index].needs_grad:
        hint = "inputs: declare `grad: true`; other blobs: nothing below them is learned"
    elif net.keep is not None and name not in net.keep:
        hint = _keeping(net, name)
    else:
        hint = "it does not lie below what the last backward started from"
    raise BlobError(f"blob '{name}' has no gradient", hint=hint)


def params(net: NetParts) -> Named:
    """Parameters by layer and name."""
    names = [n for n, layer in net.layers.items() if len(layer.params)]
    remedy = "write into its parameters: net.params[layer][name].data = ..."
    return Named("layer with parameters", lambda: names, lambda name: _params_of(net, name), remedy=remedy)


def _params_of(net: NetParts, layer_name: str) -> Named:
    layer = net.layers[layer_name]

    def put(name: str, value: Any) -> None:
        ParamView(layer, name, net.backend).data = value

    return Named(
        f"parameter of '{layer_name}'",
        lambda: list(layer.params),
        lambda name: ParamView(layer, name, net.backend),
        put,
    )


def state(net: NetParts) -> Named:
    """Running statistics by layer and name: live arrays. Assigning writes into them."""
    names = [n for n, layer in net.layers.items() if len(layer.state)]
    remedy = "write into its arrays: net.state[layer][name] = ..."
    return Named("layer with state", lambda: names, lambda name: _state_of(net, name), remedy=remedy)


def _state_of(net: NetParts, layer_name: str) -> Named:
    held = net.layers[layer_name].state

    def put(name: str, value: Any) -> None:
        with net.passes.turns:
            write(f"state '{layer_name}.{name}'", held[name], value, net.backend)

    return Named(f"state of '{layer_name}'", lambda: list(held), lambda name: held[name], put)


# Attributes -----------------------------------------------------------------------------------------------------------


REMEDIES = {
    "phase": 'a phase is named for each pass: net.forward(phase="eval", ...)',
    "training": 'a phase is named for each pass: net.forward(phase="eval", ...)',
    "lr": "the learning rate is the solver's",
}
MOVING = ("iteration", "first_sample")  # set in every step
FIXED = ("backend", "xp", "dtype", "config", "graph", "layers", "parameters", "passes", "seed", "engine_request")


class Settled:
    """Base of Net: to assign an attribute that a net does not have, or that it was built with, would do nothing."""

    _settled: frozenset[str] = frozenset()  # the attributes of a net that is built

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] != "_" and name not in MOVING and self._settled and (name in FIXED or not self._may_have(name)):
            what = f"'{name}' of a net that is built cannot be replaced" if name in FIXED else f"a net has no '{name}'"
            raise ConfigError(what, hint=REMEDIES.get(name) or "say it in the configuration, and build the net anew")
        object.__setattr__(self, name, value)

    def _may_have(self, name: str) -> bool:
        """Subclasses may have attributes of their own."""
        return name in vars(self) or hasattr(type(self), name) or type(self).__module__ != "layerforge.net"
