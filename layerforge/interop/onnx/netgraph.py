"""From a net to an ONNX graph: the steps in eval that some outputs need, one by one, by the table of exports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..._version import __version__
from ...arrays.spec import Spec
from ...check.draws import with_batch
from ...graph.graph import PhaseGraph, Step
from ...net import Net
from ...plan.plan import Plan
from ...plan.planner import with_shapes
from ...schema.errors import ConfigError, LayerForgeError, raise_all
from ..predicted import predicted
from . import conversions  # noqa: F401  # fills the tables
from .batch_norms import fold_batch_norms
from .exporting import EXPORTS, REFUSED, SIZES, Building, Export, Extent, Length, Unexportable, Value
from .graph import Node, OnnxGraph, ValueInfo


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in the order of the first: the outputs of a file."""
    return tuple(dict.fromkeys(names))


def graph_of_net(
    net: Net, outputs: Sequence[str] | None = None, *, fold_batch_norm: bool = False
) -> tuple[OnnxGraph, list[str]]:
    """The graph, and what is to be known of it.

    outputs   blobs by name, each once; None: what the net gives without its targets

    Errors   ConfigError naming all layers that have no counterpart in ONNX, and for names that are no blobs
    """
    phase = net.graph.phases["eval"]
    wanted = distinct(predicted(net) if outputs is None else outputs)
    plans, notes = _plans(net, phase, wanted)
    graph = OnnxGraph(net.config.name or "net", producer=f"LayerForge {__version__}")
    building = Building(
        graph,
        _arrays(net),
        dict(net.graph.shared),
        notes=notes,
        host=net.backend.to_host,
    )
    if net.dtype != "float32":
        building.notes.append(f"the net computes in {net.dtype}, the file in float32")
    _Walk(net, phase, plans, building).run(wanted)
    if fold_batch_norm:
        fold_batch_norms(graph)
    return graph, building.notes


def _plans(net: Net, phase: PhaseGraph, outputs: tuple[str, ...]) -> tuple[list[Plan], list[str]]:
    """The steps with the shapes of several numbers of samples; of the declared one where no other will do."""
    given = dict(net.graph.inputs)
    try:
        plans = [with_shapes(phase, with_batch(given, n), outputs, None, False) for n in SIZES]
        for specs in zip(*(plan.specs for plan in plans), strict=True):
            lengths(specs)
        return plans, []
    except LayerForgeError as error:
        plan = with_shapes(phase, given, outputs, None, False)
        why = f"the number of samples is fixed: with another one {error.message}"
        return [plan], [why]


def _arrays(net: Net) -> dict[tuple[str, str], np.ndarray]:
    """Parameters and statistics on the host."""
    found = {}
    for layer, named in net.params.items():
        for name in named:
            key = net.graph.shared.get((layer, name), (layer, name))
            if key not in found:
                found[key] = np.array(net.backend.to_host(net.params[key[0]][key[1]].data))
    for layer, arrays in net.state.items():
        for name, array in arrays.items():
            found[layer, name] = np.array(net.backend.to_host(array))
    return found


class _Walk:
    """The state of an export: which value each blob is."""

    def __init__(self, net: Net, phase: PhaseGraph, plans: Sequence[Plan], building: Building) -> None:
        self.net, self.phase, self.plan, self.building = net, phase, plans[0], building
        self.specs = [tuple(plan.specs[i] for plan in plans) for i in range(len(plans[0].specs))]
        self.values: dict[int, Value] = {}
        self.errors: list[LayerForgeError] = []

    def run(self, outputs: Sequence[str]) -> None:
        """Write inputs, nodes and outputs. Errors: ConfigError with all layers that have no counterpart."""
        graph, building = self.building.graph, self.building
        read = {i for step in self.plan.steps for i in step.bottoms} | set(self.plan.outputs.values())
        building.names |= {blob.name for blob in self.phase.blobs}
        for index, name in self.plan.inputs:
            if index in read:
                value = self._blob(index, name)
                self.values[index] = value
                graph.inputs.append(_info(value))
                self._count_by(value)
        for step in self.plan.steps:
            self._step(step)
        raise_all(self.errors)
        for name in outputs:
            value = self.values[self.plan.outputs[name]]
            if value.name != name or any(value.name == one.name for one in graph.inputs):
                value = self._bound(Value(building.unique(f"{name}/output"), value.dtype, value.shape), value)
            graph.outputs.append(_info(value))

    def _bound(self, target: Value, value: Value) -> Value:
        """A value under another name."""
        name = self.building.unique(target.name, self.building.node_names)
        self.building.graph.nodes.append(Node("Identity", [value.name], [target.name], {}, name))
        return target

    def _count_by(self, value: Value) -> None:
        """The number of samples is the first length that follows it."""
        if self.building.batch[0]:
            return
        for axis, length in enumerate(value.shape):
            if isinstance(length, Extent):
                self.building.batch = (value.name, axis, length)
                return

    def _step(self, step: Step) -> None:
        """Export a layer, or keep why not."""
        layer, building = step.node.layer, self.building
        tops = [self._blob(i, "") for i in step.tops]
        w = Export(building, layer, [self.values[i] for i in step.bottoms], tops, len(building.graph.nodes))
        try:
            exporter = EXPORTS.get(layer.type_name)
            if exporter is None:
                w.refuse(REFUSED.get(layer.type_name) or "ONNX has no counterpart of this type")
            made = exporter(w, *w.bottoms)
        except Unexportable as error:
            self.errors.append(error)
            made = [Value(building.unique(f"{layer.name}/unknown"), top.dtype, top.shape) for top in tops]
        values = [made] if isinstance(made, Value) else list(made)
        for j, (index, top) in enumerate(zip(step.tops, tops, strict=True)):
            self.values[index] = self._named(w, values[j], top, self._name(index), first=j == 0)

    def _name(self, index: int) -> str:
        """What a blob is called: its name is that of its last version, and of an input."""
        blob = self.phase.blobs[index]
        named = self.phase.current[blob.name]
        overwritten = any(b.name == blob.name and b.producer is None for b in self.phase.blobs)
        if named.index == index and not overwritten:
            return blob.name
        producer = blob.producer
        return self.building.unique(blob.name if producer is None else producer.name)

    def _named(self, w: Export, value: Value, top: Value, name: str, first: bool) -> Value:
        """Give the value of a top its blob's name, and the node that makes it the layer's."""
        target = Value(name, top.dtype, top.shape)
        own = w.building.graph.nodes[w.first :]
        maker = next((node for node in own if value.name in node.outputs), None)
        if maker is None or maker.op == "Constant":
            maker = Node("Identity", [value.name], [value.name], {}, w.layer.name)
            w.building.graph.nodes.append(maker)
            maker.outputs = [name]
        else:
            for node in own:
                node.inputs = [name if one == value.name else one for one in node.inputs]
                node.outputs = [name if one == value.name else one for one in node.outputs]
        if first and w.layer.name not in w.building.node_names:
            maker.name = self.building.unique(w.layer.name, self.building.node_names)
        return target

    def _blob(self, index: int, name: str) -> Value:
        """A blob with its lengths."""
        specs = self.specs[index]
        dtype = "float32" if specs[0].is_real else "int64"
        if specs[0].sparse:
            what = self.phase.blobs[index].name
            self.errors.append(ConfigError(f"'{what}' is sparse: ONNX Runtime has no sparse inputs", hint="densify it"))
        return Value(name, dtype, lengths(specs))


def lengths(specs: Sequence[Spec]) -> tuple[Length, ...]:
    """The lengths of a blob from its Specs for several numbers of samples.

    Errors   ConfigError where one follows the number of samples in another way than a line
    """
    found: list[Length] = []
    for axis, length in enumerate(specs[0].shape):
        seen = [spec.shape[axis] for spec in specs]
        if len(set(seen)) == 1:
            found.append(length)
            continue
        per = seen[1] - seen[0]
        extent = Extent(per, seen[0] - per * SIZES[0])
        if any(extent.per * n + extent.plus != one for n, one in zip(SIZES, seen, strict=True)):
            raise ConfigError(f"a length of {seen} for {SIZES} samples cannot be said in ONNX")
        found.append(extent)
    return tuple(found)


def _info(value: Value) -> ValueInfo:
    shape = tuple(length if isinstance(length, int) else str(length) for length in value.shape)
    return ValueInfo(value.name, value.dtype, shape)


def known_types() -> Mapping[str, str]:
    """Every type of the tables: "" for one that is exported, otherwise why it is not."""
    return {**dict.fromkeys(EXPORTS, ""), **REFUSED}
