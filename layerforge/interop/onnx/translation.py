"""From an ONNX graph to the layers of a configuration, with all errors at once and an account of every node.

Node after node is folded, where all that it reads is known, or imported by the table of `importing.py`, which the
modules of `conversions/` fill; what cannot be is collected, and its outputs go on as a guess, so that whatever else is
wrong is told of in the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...net import FORWARD_WORDS
from ...schema.errors import ConfigError, LayerForgeError, flatten
from ...schema.synonyms import did_you_mean
from ..emitting import Made
from ..fidelity import Entry, Report
from . import (
    branches,
    conversions,  # noqa: F401  # fills the table
    folding_maths,  # noqa: F401  # fills the table
)
from .constants import held, is_learned
from .folding import FOLDS, MOVES, OF_SHAPES, NotComputed, Room, fold, lengths, vanishes
from .functions import Copying
from .graph import Node, OnnxGraph
from .importing import IMPORTS, REFUSED, Site
from .labels import without_labels
from .learning import of_layer
from .naming import Names
from .ordering import needed, used
from .parameters import learned
from .values import BOOL, INDEX, REAL, Attributes, Known, Stream, Unsupported, Value, called, kind_of
from .variants import MANY, shapes_of

OPSETS = range(7, 24)  # versions of ONNX's own operators that are known
TOLD = 1 << 12  # numbers of an input that says how another one is moved


@dataclass
class Translation:
    """An ONNX graph, translated.

    layers    the layers of the configuration, in order
    inputs    what is given to the net, as the section `inputs` has it
    outputs   ONNX's names of what the net gives, and what they are called here
    feeds     ONNX's names of what is given, and what they are called here
    arrays    weights and statistics by the names of `net.arrays()`
    values    what is known of each value, by ONNX's names
    sites     each node with what became of it
    report    the account of it
    errors    everything that is wrong
    widened   lengths beside those of the batch are left open
    spent     Loops became more nodes than they may
    """

    graph: OnnxGraph
    report: Report
    layers: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    feeds: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    errors: list[LayerForgeError] = field(default_factory=list)
    widened: bool = False
    spent: bool = False


def translate(
    graph: OnnxGraph,
    source: str,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    only_batch: bool = False,
    loops: bool = True,
) -> Translation:
    """Translate a graph; look at `errors` before using the result.

    shapes      of inputs by name, for lengths that the graph leaves open
    only_batch  of dynamic lengths only that of the batch stays open; the others are fixed to what they are given as
    loops       whether the bodies of Loops are imported as often as they run; without it that is an error

    One variant has a large batch, unless the numbers that are known become too many there.
    """
    done = _translated(graph, source, shapes or {}, only_batch, loops, many=True)
    if any(isinstance(error, NotComputed) for error in done.errors):
        fewer = _translated(graph, source, shapes or {}, only_batch, loops, many=False)
        if len(fewer.errors) < len(done.errors):
            fewer.report.notes.append(f"what is known was computed for small batches alone, not for {MANY} samples")
            return fewer
    return done


def _translated(
    graph: OnnxGraph, source: str, shapes: Mapping[str, Sequence[int]], only_batch: bool, loops: bool, many: bool
) -> Translation:
    """A translation with a large batch among its variants, or without."""
    graph, notes = without_labels(graph)
    done = Translation(graph, Report("ONNX", source, notes=notes, unit="node"))
    if graph.opset not in OPSETS:
        told = f"{source} uses version {graph.opset} of ONNX's operators"
        done.errors.append(Unsupported(told, hint=f"versions {OPSETS[0]} to {OPSETS[-1]} are read: convert it"))
        return done
    if not graph.outputs:
        done.errors.append(ConfigError(f"{source}: the graph has no outputs", hint="a net is what its outputs need"))
        return done
    walk = _Walk(done, branches.MOST if loops else 0)
    try:
        walk.feed(shapes, only_batch, many)
    except LayerForgeError as error:
        done.errors += flatten(error)
        return done
    with np.errstate(all="ignore"):
        for node in needed(graph):
            walk.convert(node)
        walk.finish()
    done.spent = loops and walk.left < 0
    return done


class _Walk:
    """The state of a translation, which all sites share: what each value is."""

    def __init__(self, done: Translation, left: int) -> None:
        self.done, graph = done, done.graph
        self.opset, self.foreign = graph.opset, not graph.producer.startswith("LayerForge")
        stored = (array for array in graph.initializers.values() if array.dtype.kind == "f" and array.size > 1)
        self.constants_learn = self.foreign and not any(True for _ in stored)
        self.learned = graph.learned or learned(graph)
        self.surely = self.learned.surely
        done.report.notes += self.learned.notes
        self.arrays = done.arrays
        self.values = done.values
        self.values[""] = Known((np.zeros(0),))
        self.casts: dict[tuple[str, str], Stream] = {}
        self.constants: dict[int, tuple[Known, Stream]] = {}
        self.owners: dict[tuple[str, tuple[int, ...]], tuple[Made, str]] = {}
        self.filled: dict[str, list[tuple[str, int]]] = {}
        self.parts: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
        self.room = Room.of(graph)
        self.copies = Copying(done.report.source, graph)
        self.left = left
        self.absorbed: dict[int, Site] = {}  # by id of the node, what it is part of
        self.readers: dict[str, list[Node]] = {}
        nodes = needed(graph)
        self.read_by(nodes)
        self.given = {info.name for info in graph.outputs}
        self.names = Names(graph, set(FORWARD_WORDS))
        self.count = 1  # of variants
        self.batch: tuple[int, ...] | None = None
        self.ones: Stream | None = None
        self.rounded = False

    def read_by(self, nodes: Sequence[Node]) -> None:
        """Enter what nodes read."""
        for node in nodes:
            for name in used(node):
                self.readers.setdefault(name, []).append(node)

    # What sites ask for -------------------------------------------------------------------------------------------

    def unique(self, name: str) -> str:
        """A name that no other blob or layer has."""
        return self.names.unique(name)

    def alone(self, name: str, op: str) -> Node | None:
        """The node of that operator which alone reads a value, where no output does."""
        readers = self.readers.get(name, [])
        if len(readers) != 1 or name in self.given or readers[0].op != op or readers[0].inputs.count(name) != 1:
            return None
        return readers[0]

    def known(self, name: str) -> Known | None:
        """What is known of a value without running the net."""
        value = self.values.get(name)
        return value if name and isinstance(value, Known) else None

    def absorb(self, node: Node, site: Site) -> list[str]:
        """A node that is part of what another one becomes; what its outputs are called here."""
        self.absorbed[id(node)] = site
        return [self._top(name) for name in node.outputs]

    def hold(self, site: Site, value: Known) -> Stream:
        """Known numbers as a layer."""
        return held(site, value)

    # What is given ------------------------------------------------------------------------------------------------

    def feed(self, shapes: Mapping[str, Sequence[int]], only_batch: bool, many: bool) -> None:
        """The inputs of the net, and the numbers that are stored. Errors: ConfigError for lengths that nobody says."""
        graph = self.done.graph
        sizes, counts = shapes_of(graph.inputs, shapes, only_batch, many)
        self.done.widened = sizes != shapes_of(graph.inputs, shapes, True, many)[0]
        self.count = max((len(one) for one in sizes.values()), default=1)
        for info in graph.inputs:
            if info.name not in self.readers and info.name not in self.given:
                self.done.report.notes.append(f"the input '{info.name}' is not needed")
                continue
            kind, name = kind_of(info.dtype), self.names.blob(info.name)
            if kind not in (REAL, INDEX, BOOL):
                raise Unsupported(f"the input '{info.name}' is of type {info.dtype}: tensors of numbers are supported")
            role = "real" if kind == REAL else "index"
            specs = tuple(Spec(shape, role=role) for shape in sizes[info.name])
            self.values[info.name] = stream = Stream(name, specs, kind)
            if self.batch is None and counts is not None and tuple(shape[:1] for shape in stream.shapes) == counts:
                self.batch, self.sampled = tuple(n for (n,) in counts), stream
            self.done.feeds[info.name] = name
            self.done.inputs[name] = {"shape": list(specs[0].shape)} | ({} if role == "real" else {"dtype": "int64"})
        self.store(graph.initializers)

    def store(self, initializers: Mapping[str, np.ndarray]) -> None:
        """Enter numbers that are stored: layers learn them, where they are real."""
        for name, array in initializers.items():
            of_formula = array.ndim == 0 and self.foreign and name not in self.surely  # so is what is made of it
            constant = of_formula or name in self.learned.constants
            learned = name if array.dtype.kind == "f" and not constant and np.isfinite(array).all() else ""
            self.values[name] = Known((self._plain(array),) * self.count, learned, (name if learned else "", ()))

    def _plain(self, array: np.ndarray) -> np.ndarray:
        """Numbers of a kind that NumPy computes with."""
        if array.dtype.kind == "f" and array.dtype.itemsize != 4 and not self.rounded:
            self.rounded = True
            told = f"numbers of dtype {array.dtype} are float32 here, and so is what is computed"
            self.done.report.notes.append(told)
        return array

    # One node -----------------------------------------------------------------------------------------------------

    def convert(self, node: Node) -> None:
        """Convert a node, or keep what is wrong with it and go on with a guess."""
        if id(node) in self.absorbed:
            whole = self.absorbed[id(node)]
            made = [(one.name, str(one.item["type"])) for one in whole.made]
            self.done.report.entries.append(Entry(called(node), node.op, becomes=made))
            return
        values = [self.values.get(name) if name else None for name in node.inputs]
        attributes = Attributes(node)
        tops = [self._top(name) for name in node.outputs]
        learned = [value.learned for value in values if isinstance(value, Known) and value.learned]
        folded = not any(isinstance(value, Stream) for value in values)
        own = self.names.layer(node, () if folded else learned)
        site = Site(self, node, own, values, tops, attributes, names=list(node.outputs))
        entry = Entry(site.name, node.op)
        self.done.report.entries.append(entry)
        self.done.sites.append(site)
        try:
            missing = [name for name, value in zip(node.inputs, values, strict=True) if name and value is None]
            if missing:
                raise site.invalid(f"reads '{missing[0]}', which nothing before it makes")
            self._convert(site)
            site.freeze()
            unread = attributes.unread()
            if unread:
                raise site.unsupported(f"the attribute {unread[0]} is not supported")
        except LayerForgeError as error:
            self._failed(site, entry, error)
        entry.becomes = [(made.name, str(made.item["type"])) for made in site.made]
        entry.notes += [node.note, *site.notes] if node.note else site.notes
        for j, name in enumerate(site.names):
            self._settle(site, j, name)
        for layer in site.made:
            self.done.layers.append(of_layer(self.done.graph.metadata, layer.layer) | layer.item)

    def _top(self, name: str) -> str:
        """What an output is called here; "" where nobody reads it."""
        return self.names.blob(name) if name and (name in self.readers or name in self.given) else ""

    def _settle(self, site: Site, j: int, name: str) -> None:
        """What an output of a node is."""
        if not name:
            return
        value = site.outputs.get(j)
        if value is None and j < len(site.tops) and site.tops[j]:
            streams = [one for one in site.inputs if isinstance(one, Stream)]
            specs = streams[0].specs if streams else (Spec((1,)),) * self.count
            value = site.streams.get(site.tops[j], Stream(site.tops[j], specs, guessed=True))
        if value is not None:
            self.values[name] = value

    def _convert(self, site: Site) -> None:
        node, values = site.node, site.inputs
        if node.op == "If" and not node.domain:
            return branches.take(self, site)
        if node.op == "Loop" and not node.domain:
            return branches.repeat(self, site)
        every = [value for value in values if value is not None]
        if node.op in OF_SHAPES and values and isinstance(values[0], Stream) and not node.domain:
            site.outputs[0] = lengths(site, values[0])
            return None
        if node.op in FOLDS and not node.domain and all(isinstance(v, Known) for v in every) and not self._ties(site):
            known = [value if isinstance(value, Known) else None for value in values]
            found = self._same_parts(site, fold(node, site.attributes, known, self.opset, self.count, self.room))
            site.outputs.update(enumerate(found))
            if node.op == "Transpose" and isinstance(values[0], Known):
                dims = site.attributes.integers("perm") or list(range(values[0].ndim))[::-1]
                site.outputs[0] = values[0].transposed(tuple(dims))
            elif node.op == "Identity":
                site.outputs[0] = every[0]
            elif found[0].learned and node.op not in MOVES:
                site.note(f"computed once, of '{found[0].learned}'")
            return None
        name = f"{node.domain}.{node.op}" if node.domain else node.op
        conversion = IMPORTS.get(name)
        if conversion is None and name in FOLDS and name not in REFUSED:
            raise site.unsupported("what it reads is computed by the net: it must be constant")
        if conversion is None:
            hint = REFUSED.get(name) or did_you_mean(name, IMPORTS)
            raise site.unsupported("this operator is not supported", hint=hint or "")
        return conversion(site)

    def _same_parts(self, site: Site, found: list[Known]) -> list[Known]:
        """Outputs of a node; what another one has moved in the same way has the origin of that one."""
        known = [value for value in site.inputs if isinstance(value, Known)]
        told = [value for value in known if not value.learned]
        if site.node.op not in MOVES or len(told) == len(known) or any(one.array.size > TOLD for one in told):
            return found
        key = [site.node.op, str(sorted(site.node.attributes.items()))]
        key += [str(one.origin if one.learned else (one.shape, one.array.tolist(), one.fixed)) for one in known]
        origins = self.parts.setdefault("|".join(key), [one.origin for one in found])
        return [replace(one, origin=origin) for one, origin in zip(found, origins, strict=False)]

    def _ties(self, site: Site) -> bool:
        """Whether a node computes with what others learn, too: folded, it would have numbers of its own."""
        known = [value for value in site.inputs if isinstance(value, Known)]
        if site.node.op in (*MOVES, *OF_SHAPES, "CastLike") or vanishes(site.node, known):
            return False
        read = zip(site.node.inputs, site.inputs, strict=True)
        learned = [(name, one.learned) for name, one in read if isinstance(one, Known) and is_learned(site, one)]
        return any(len(self.readers.get(name, ())) > 1 for names in learned for name in names)

    def _failed(self, site: Site, entry: Entry, error: LayerForgeError) -> None:
        """Keep the errors of a node; where its inputs are guesses only what does not depend on them."""
        for one in flatten(error):
            if site.guessed and not isinstance(one, Unsupported):
                continue
            self.done.errors.append(one)
            entry.problems.append(one.message)
        if not entry.problems:
            entry.problems.append("what it reads cannot be imported")

    # The end ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Outputs that other nodes read, too, get a name of their own; what nobody reads is no output."""
        done = self.done
        node = Node("Output", [], [])
        site = Site(self, node, "output", [], [], Attributes(node))
        read = {name for item in done.layers for name in _listed(item.get("bottom", []))}
        for info in done.graph.outputs:
            value = self.values.get(info.name)
            if value is None:
                done.errors.append(ConfigError(f"the output '{info.name}' is made by no node"))
                continue
            try:
                stream = site.as_stream(value)
            except LayerForgeError as error:
                done.errors += flatten(error)
                continue
            if stream.name in {*done.outputs.values(), *done.inputs, *read}:
                name = self.unique(self.names.blob(info.name))
                (stream,) = site.emit("Identity", stream, name=name, dtype=stream.dtype)
            done.outputs[info.name] = stream.name
        done.layers += [made.item for made in site.made]
        self._silence()
        done.report.layers = dict(self.names.renamed_layers)
        there = {*_tops(done.layers), *done.inputs}
        done.report.blobs = {old: new for old, new in self.names.blobs.items() if old != new and new in there}

    def _silence(self) -> None:
        """A Silence for what nobody reads, so that it is no output."""
        layers, outputs = self.done.layers, self.done.outputs.values()
        read = {name for item in layers for name in _listed(item.get("bottom", []))}
        unused = [name for name in _tops(layers) if name not in outputs and name not in read]
        if unused:
            bottom = unused if len(unused) > 1 else unused[0]
            layers.append({"name": self.unique("silence"), "type": "Silence", "bottom": bottom})


def _tops(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What layers make."""
    makers = (item for item in layers if item["type"] != "Silence")
    return [top for item in makers for top in _listed(item.get("top", item["name"]))]


def _listed(bottom: str | list[str]) -> list[str]:
    return [bottom] if isinstance(bottom, str) else bottom
