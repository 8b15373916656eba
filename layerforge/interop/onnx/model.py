"""An ONNX model that was opened: its configuration, its weights, and the account of how exact it is.

model = load_model("net.onnx")
net = model.net(keep="all")
net.forward(phase="eval", x=x)
model.outputs       # ONNX's names of what it gives, and what they are called here
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...net import Net
from ...schema.errors import raise_all
from ..fidelity import Report
from .graph import OnnxGraph
from .parameters import learned
from .patterns import LAYERS, rewrite
from .patterns.contrib import expanded
from .reading import Reader, load_graph
from .translation import Translation, translate

STACKED = 12  # Loops behind one another that are layers


class Model:
    """A graph of ONNX as a configuration of LayerForge, with its weights.

    graph     what was read
    name      of the net
    config    the mapping for Net.from_config
    arrays    weights and statistics by the names of `net.arrays()`
    report    how exact each node is, what was ignored, what things are called
    inputs    ONNX's names of what is given to the net, and what they are called here
    outputs   ONNX's names of what it gives, and what they are called here
    """

    def __init__(self, translation: Translation) -> None:
        """Use `load_model` or `of_graph`."""
        self.translation = translation
        self.graph: OnnxGraph = translation.graph
        self.name: str = translation.graph.name or Path(translation.report.source).stem
        self.arrays: dict[str, np.ndarray] = translation.arrays
        self.report: Report = translation.report
        self.inputs: dict[str, str] = translation.feeds
        self.outputs: dict[str, str] = translation.outputs

    @property
    def config(self) -> dict[str, Any]:
        """The mapping for Net.from_config."""
        inputs = {"inputs": dict(self.translation.inputs)} if self.translation.inputs else {}
        return {"name": self.name, **inputs, "net": [dict(layer) for layer in self.translation.layers]}

    def net(self, *, keep: str | Iterable[str] = "all", engine: str | None = None, backend: str | None = None) -> Net:
        """A net with the weights of the file.

        keep     "all" blobs, a list of names, or "none"
        engine   auto, reference or onednn, as in a configuration
        """
        config = self.config | ({"engine": engine} if engine else {})
        net = Net.from_config(config, keep=keep, backend=backend)
        self.fill(net)
        return net

    def fill(self, net: Net) -> None:
        """Put the weights that are here into a net of this configuration."""
        net.load_arrays(net.arrays() | self.arrays, self.report.source)


def of_graph(graph: OnnxGraph, source: str, inputs: Mapping[str, Sequence[int]] | None = None) -> Model:
    """A model of a graph that was read.

    Errors   ConfigError for everything that is invalid or not supported, all at once
    """
    best: Translation | None = None
    for made in _attempts(graph, source, inputs):
        if not made.errors:
            return Model(made)
        best = made if best is None or len(made.errors) < len(best.errors) else best
    raise_all(best.errors if best is not None else [])
    raise AssertionError("a translation that has failed has errors")


def _attempts(graph: OnnxGraph, source: str, inputs: Mapping[str, Sequence[int]] | None) -> Iterator[Translation]:
    """Translations in the order in which they are wanted: patterns recognised, and all dynamic lengths left open."""
    graph = replace(expanded(graph), learned=learned(graph))
    for only_batch in (False, True):
        shorter = _without_loops(graph, source, inputs, only_batch)
        plain = translate(shorter, source, inputs, only_batch=only_batch)
        if plain.spent:  # whatever else is recognised
            yield plain
            return
        yield translate(rewrite(shorter, plain.values), source, inputs, only_batch=only_batch)
        yield plain
        if not plain.widened:
            return


def _without_loops(
    graph: OnnxGraph, source: str, inputs: Mapping[str, Sequence[int]] | None, only_batch: bool
) -> OnnxGraph:
    """A graph with layers in the place of the Loops that are recognised, before any is imported run after run.

    What one reads that stands behind another is known once that is a layer.
    """
    for _ in range(STACKED):
        loops = [node for node in graph.nodes if node.op == "Loop"]
        if not loops:
            break
        values = translate(graph, source, inputs, only_batch=only_batch, loops=False).values
        shorter = rewrite(graph, values, [LAYERS])
        if sum(node.op == "Loop" for node in shorter.nodes) == len(loops):
            break
        graph = shorter
    return graph


def load_model(
    path: str | Path, inputs: Mapping[str, Sequence[int]] | None = None, *, reader: Reader | None = None
) -> Model:
    """Open a model of ONNX (versions 7 to 23 of its operators).

    reader   reads the file, as it may read others
    inputs   shapes of inputs by name, where the file leaves lengths open: the first, of the batch, need not be said

    The file is read by a process of its own, as in `reading.load_graph`.

    Errors   ConfigError (exit 2) for everything that is invalid or not supported, all at once with node and operator,
             and for lengths that nobody says; DataError (exit 3) for a damaged file
    """
    return of_graph(load_graph(path, reader), str(path), inputs)
