"""A net written as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...net import Net
from ...snapshot import atomic_write
from .files import model_bytes, package
from .graph import OnnxGraph
from .learning import told
from .netgraph import graph_of_net


@dataclass(frozen=True)
class Exported:
    """What was written: the graph, and what is to be known of it."""

    graph: OnnxGraph
    notes: tuple[str, ...]


def save_model(
    net: Net,
    path: str | Path,
    *,
    outputs: Sequence[str] | None = None,
    fold_batch_norm: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Write a net, as it computes in eval, to an ONNX file (opset 17, IR 8) for any number of samples.

    outputs          blobs by name; None: what the net gives without its targets
    fold_batch_norm  multiply each BatchNorm into the Linear or convolution below it where nothing else reads that
    metadata         texts to be kept in the file, beside what learning.py keeps there

    Inputs, blobs, layers and parameters keep their names: a node is called as its layer, or begins so.

    Errors   ConfigError naming all layers that have no counterpart, and where the package onnx is missing; DataError
             where the file cannot be written
    """
    package()
    graph, notes = graph_of_net(net, outputs, fold_batch_norm=fold_batch_norm)
    graph.metadata.update({**told(net), **(metadata or {})})
    atomic_write(path, model_bytes(graph))
    return Exported(graph, tuple(notes))
