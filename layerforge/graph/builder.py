"""Builds the graph of a net from its configuration alone: names resolved, blocks expanded, shapes inferred.

No data are touched. All errors of a net are collected, each with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..arrays.spec import Spec
from ..config.document import Config
from ..contract import call
from ..contract.layer import Layer, describe_count, within
from ..layers.plumbing.input import Input
from ..schema.errors import ConfigError, LayerForgeError, flatten, raise_all
from ..schema.locations import PlacedDict, place_of
from ..schema.registry import LAYERS, WIRING_KEYS
from ..schema.synonyms import did_you_mean
from . import missing_flatten, sharing
from .blocks import Expansion
from .gradients import find_gradients
from .graph import PHASES, Blob, Graph, Node, PhaseGraph, Step, Wiring
from .in_place import merge_storage, unsafe, use_of
from .inputs import demand_room, input_of, parse_inputs
from .starting_values import starting_values

INPUT_KEYS = ("name", "type", "top")  # what an Input layer takes of the keys of Wiring
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")


class Builder:
    """Builds a Graph step by step, collecting errors instead of stopping at the first."""

    def __init__(self, inputs: Mapping[str, Spec], input_grads: set[str], dtype: str) -> None:
        self.inputs = dict(inputs)
        self.input_grads = set(input_grads)
        self.dtype = dtype
        self.errors: list[LayerForgeError] = []
        self.nodes: list[Node] = []
        self.names: set[str] = set()
        self.aliases: dict[str, str | None] = {}
        self.broken: set[str] = set()  # tops of layers that have errors: what reads them is not blamed for that
        self.of_data = False  # the inputs are those of a data section, which feeds no others
        self.inputs_known = True  # False: the data section has errors, so that any blob may be one of its own

    def build(self, net: Sequence[Any], blocks: Mapping[str, Any], xp: Any) -> Graph:
        """The graph of a net section; look at `errors` before using it."""
        expansion = Expansion(blocks, next(iter(self.inputs), None), self.errors)
        expansion.expand(net)
        self.aliases = expansion.aliases
        for item in expansion.layers:
            try:
                self._add(item, xp)
            except ConfigError as error:
                self.errors += flatten(error)
                tops = item.get("top", item.get("name"))
                self.broken |= {t for t in (tops if isinstance(tops, list) else [tops]) if isinstance(t, str)}
        if not net:
            self.errors.append(ConfigError("net has no layers", place=place_of(net), hint="list at least one layer"))
        phases = {phase: self._phase(phase) for phase in PHASES}
        shared = sharing.shared_parameters(self.nodes, self.errors)
        running = [node for node in self.nodes if not isinstance(node.layer, Input)]
        starts = starting_values(running, phases, shared)
        graph = Graph(running, self.inputs, frozenset(self.input_grads), phases, shared, starts)
        set_up = self._set_up(phases.values())
        self.errors += sharing.unknown_names(n for n in running if n.name in set_up)
        self.errors += sharing.contradictions(graph, set_up)
        if not self.errors:
            for phase in phases.values():
                find_gradients(graph, phase)
        return graph

    # One layer ----------------------------------------------------------------------------------------------------

    def _add(self, item: PlacedDict, xp: Any) -> None:
        name, kind = item.get("name"), item.get("type")
        owner = f"layer '{name}' ({kind})" if kind else f"layer '{name}'"
        place = place_of(item)
        mine, theirs = PlacedDict(place=place), PlacedDict(place=place)
        for key, value in item.items():
            target = mine if key in WIRING_KEYS else theirs
            target[key] = value
            target.copy_places(item, key)
        errors: list[LayerForgeError] = []
        wiring = layer = None
        try:
            wiring = Wiring.from_config(mine, owner)
        except ConfigError as error:
            errors += flatten(error)
        try:
            if kind is not None:
                layer = LAYERS.get(kind, place_of(item, "type")).from_config(theirs, owner)
        except ConfigError as error:
            errors += flatten(error)
        if wiring is not None:
            errors += self._name_errors(wiring.name, item)
        if errors or wiring is None or layer is None:
            raise_all(errors)
            return
        layer.name, layer.xp, layer.dtype, layer.place = wiring.name, xp, self.dtype, place_of(item, "name") or place
        bottoms, tops = self._bottoms(wiring, layer, item), self._tops(wiring, layer)
        if not within(len(tops), layer.tops):
            message = f"{owner} makes {describe_count(layer.tops)} top(s), {len(tops)} are named"
            raise ConfigError(message, place=place_of(item, "top") or layer.place)
        layer.tops_wanted = len(tops)
        node = Node(layer, wiring, bottoms, tops, item)
        node.loss_weights = self._loss_weights(node, item)
        if isinstance(layer, Input):
            self._add_input(node, layer)
        self.nodes.append(node)
        self.names.add(node.name)

    def _add_input(self, node: Node, layer: Input) -> None:
        """Make the top of an Input layer an input of the net; no step is left of the layer."""
        for key in (key for key in node.item if key in WIRING_KEYS and key not in INPUT_KEYS):
            message = f"{call.owner(layer)}: an input has no '{key}'"
            raise ConfigError(message, place=place_of(node.item, key, of="key"), hint="remove it")
        name = node.tops[0]
        self.inputs[name] = input_of(layer, name, self.inputs, self.of_data and self.inputs_known)
        self.input_grads |= {name} if layer.grad else set()

    def _name_errors(self, name: str, item: PlacedDict) -> list[LayerForgeError]:
        place = place_of(item, "name")
        if not NAME.match(name):
            hint = "a letter or _, then letters, digits, _ . / -"
            return [ConfigError(f"'{name}' is not a layer name", place=place, hint=hint)]
        if name in self.names:
            return [ConfigError(f"two layers are called '{name}'", place=place, hint="give one another name")]
        return []

    def _bottoms(self, wiring: Wiring, layer: Layer, item: PlacedDict) -> tuple[str, ...]:
        if wiring.bottom is not None:
            names = [wiring.bottom] if isinstance(wiring.bottom, str) else wiring.bottom
            return tuple(names)
        if within(0, layer.bottoms):
            return ()
        mine = set(PHASES) if wiring.phase is None else {wiring.phase}
        for node in reversed(self.nodes):  # the layer above that runs whenever this one does
            if node.tops and mine <= ({node.wiring.phase} if node.wiring.phase else set(PHASES)):
                return (node.tops[0],)
        if not self.inputs and not self.inputs_known:
            return ("?",)
        if not self.inputs:
            raise ConfigError(
                f"{call.owner(layer)} has nothing to read", place=layer.place, hint="declare `inputs:` or `data:`"
            )
        return (next(iter(self.inputs)),)

    def _tops(self, wiring: Wiring, layer: Layer) -> tuple[str, ...]:
        if wiring.top is not None:
            return tuple([wiring.top] if isinstance(wiring.top, str) else wiring.top)
        return () if layer.tops == 0 else (wiring.name,)

    def _loss_weights(self, node: Node, item: PlacedDict) -> tuple[float, ...]:
        given, count = node.wiring.loss_weight, len(node.tops)
        if given is None:
            return (1.0,) + (0.0,) * (count - 1) if node.layer.loss and count else (0.0,) * count
        weights = [given] if isinstance(given, float) else given
        if len(weights) != count:
            raise ConfigError(
                f"{call.owner(node.layer)}: {len(weights)} loss_weight(s) for {count} top(s)",
                place=place_of(item, "loss_weight"),
            )
        return tuple(weights)

    # One phase ----------------------------------------------------------------------------------------------------

    def _phase(self, phase: str) -> PhaseGraph:
        graph = PhaseGraph(phase)
        for name, spec in self.inputs.items():
            graph.add(Blob(name, len(graph.blobs), len(graph.blobs), spec, needs_grad=name in self.input_grads))
        for node in (n for n in self.nodes if n.runs_in(phase) and not isinstance(n.layer, Input)):
            try:
                graph.steps.append(self._step(graph, node))
            except LayerForgeError as error:
                self.errors += flatten(error)
                for top in node.tops:
                    self._new_blob(graph, top, node)
        return graph

    def _step(self, graph: PhaseGraph, node: Node) -> Step:
        bottoms = [self._find(graph, node, name) for name in node.bottoms]
        for i, blob in enumerate(bottoms):
            blob.readers.append((node, i))
        in_place = self._in_place(graph, node, bottoms)
        tops = []
        for j, name in enumerate(node.tops):
            over = in_place and j == 0
            existing = graph.current.get(name)
            if existing is not None and not over:
                by = f"layer '{existing.producer.name}'" if existing.producer else "an input"
                raise ConfigError(
                    f"{call.owner(node.layer)}: top '{name}' is already made by {by}",
                    place=node.place,
                    hint="give it another name",
                )
            tops.append(self._new_blob(graph, name, node, bottoms[0] if over else None))
        if node.layer.top_is_view:
            merge_storage(graph, [*bottoms, *tops])
        if all(b.spec is not None for b in bottoms):
            try:
                specs = call.setup(node.layer, [b.spec for b in bottoms])
            except LayerForgeError as error:
                raise missing_flatten.named(error, graph, node, bottoms) from error.__cause__
            for i in (i for i, blob in enumerate(bottoms) if blob.producer is None):
                demand_room(node.layer, i, node.bottoms[i], [b.spec for b in bottoms if b.spec is not None])
            if len(specs) < len(tops):
                raise ConfigError(
                    f"{call.owner(node.layer)} makes {len(specs)} top(s), {len(tops)} are named", place=node.place
                )
            for blob, spec in zip(tops, specs, strict=False):
                blob.spec = spec
            if in_place and specs[0] != bottoms[0].spec:
                why = f"its top would be {specs[0]}, its bottom is {bottoms[0].spec}"
                raise self._not_in_place(node, bottoms[0], why)
        return Step(node, tuple(b.index for b in bottoms), tuple(b.index for b in tops), in_place)

    def _new_blob(self, graph: PhaseGraph, name: str, node: Node, over: Blob | None = None) -> Blob:
        blob = Blob(name, len(graph.blobs), len(graph.blobs) if over is None else over.storage, producer=node)
        graph.add(blob)
        return blob

    def _find(self, graph: PhaseGraph, node: Node, name: str) -> Blob:
        blob = graph.current.get(name) or graph.current.get(str(self.aliases.get(name)))
        if blob is None and (name in self.broken or not self.inputs_known):
            return Blob(name, -1, -1)
        if blob is None:
            known = list(graph.current)
            near = did_you_mean(name, known)
            later = any(name in n.tops for n in self.nodes)
            reason = " in this phase" if later and graph.phase == "eval" else ""
            raise ConfigError(
                f"{call.owner(node.layer)}: bottom '{name}' is not produced by any earlier layer{reason}",
                place=node.place_of_bottom(name),
                hint=f"known blobs: {', '.join(known) or 'none: declare `inputs:` or `data:`'}"
                + (f"; {near}" if near else ""),
            )
        if blob.overwritten_by is not None:
            raise ConfigError(
                f"{call.owner(node.layer)}: bottom '{name}' was overwritten in place by layer"
                f" '{blob.overwritten_by.name}'",
                place=node.place_of_bottom(name),
                hint=f"give the top of '{blob.overwritten_by.name}' a name of its own",
            )
        return blob

    def _in_place(self, graph: PhaseGraph, node: Node, bottoms: list[Blob]) -> bool:
        """Whether the node overwrites its first bottom; ConfigError where it asks for that and it is not safe."""
        overlap = set(node.tops) & set(node.bottoms)
        if not overlap:
            return False
        blob = bottoms[0]
        why = unsafe(graph, node, blob) if node.tops[0] == node.bottoms[0] and len(overlap) == 1 else (
            "only the first top may overwrite the first bottom"
        )
        if why:
            raise self._not_in_place(node, blob, why)
        mine = graph.sharing.get(blob.storage, [])
        for other in mine:
            other.overwritten_by = node
            other.settled = use_of(other).needed is None
        graph.sharing[blob.storage] = [other for other in mine if not other.settled]
        return True

    @staticmethod
    def _not_in_place(node: Node, blob: Blob, why: str) -> ConfigError:
        hint = f"give its top a name of its own, for example `top: {node.name}`"
        message = f"{call.owner(node.layer)} cannot run in place on '{blob.name}': {why}"
        return ConfigError(message, place=node.place, hint=hint)

    # The whole net ------------------------------------------------------------------------------------------------

    def _set_up(self, phases: Iterable[PhaseGraph]) -> dict[str, list[Spec]]:
        """The Specs of the bottoms of each layer that could be set up, by name."""
        found = {}
        for phase in phases:
            for step in phase.steps:
                specs = [spec for i in step.bottoms if (spec := phase.blobs[i].spec) is not None]
                if len(specs) == len(step.bottoms):
                    found[step.node.name] = specs
        return found


def builder_for(
    config: Config, dtype: str, errors: list[LayerForgeError], known: Mapping[str, Spec] | None = None
) -> Builder:
    """The builder for a net with the inputs of a configuration: those of its data section, or as declared.

    errors  gets those of the inputs
    known   the inputs, where the data that say them need not be here
    """
    of_data = config.tree.get("data") is not None
    specs: Mapping[str, Spec] = {}
    grads: set[str] = set()
    inputs_known = True
    if known is not None and of_data:
        specs = known
    elif config.data is not None:
        try:
            specs = {n: s.with_dtype(dtype) for n, s in config.data.specs("train").items()}
        except LayerForgeError as error:  # the file of a source may be missing: the rest is looked at all the same
            errors.append(error)
            inputs_known = False
    else:
        specs, grads = parse_inputs(config.inputs, dtype, errors)
        inputs_known = not of_data
    builder = Builder(specs, grads, dtype)
    builder.of_data = of_data
    builder.inputs_known = inputs_known
    return builder
