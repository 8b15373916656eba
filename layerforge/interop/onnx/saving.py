"""A net written as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...net import Net
from ...schema.errors import ConfigError
from ...snapshot import atomic_write, writing
from . import scores
from .files import model_bytes, package
from .graph import OnnxGraph
from .learning import told
from .netgraph import graph_of_net
from .ordering import drop_unread

MOST = (2 << 30) - (16 << 20)  # bytes of parameters: Protocol Buffers end at 2 GiB, nodes included


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
    metadata         texts to be kept in the file, beside what learning.py and scores.py keep there

    Inputs, blobs, layers and parameters keep their names: a node is called as its layer, or begins so.

    Errors   ConfigError naming all layers that have no counterpart, and where the package onnx is missing; DataError
             where the file cannot be written
    """
    exported = net_graph(net, outputs, fold_batch_norm=fold_batch_norm)
    exported.graph.metadata.update(metadata or {})
    return kept(exported, path)


def net_graph(net: Net, outputs: Sequence[str] | None = None, *, fold_batch_norm: bool = False) -> Exported:
    """What save_model writes. Errors: those of save_model, but for the file's"""
    package()
    graph, notes = graph_of_net(net, outputs, fold_batch_norm=fold_batch_norm)
    graph.metadata.update({**told(net), **scores.told(net, graph, outputs)})
    return Exported(graph, tuple(notes))


def kept(exported: Exported, path: str | Path) -> Exported:
    """Write the file. Errors: those of `content` and `write`"""
    write(content(exported), path)
    return exported


def content(exported: Exported) -> bytes:
    """The bytes of the file, without what nothing reads. Errors: ConfigError beyond what a file of ONNX holds"""
    graph = exported.graph
    drop_unread(graph)
    size = sum(array.nbytes for array in graph.initializers.values())
    if size > MOST:
        hint = "layerforge export safetensors has no such limit; --blob names a blob that fewer layers are needed for"
        told = f"the parameters take {size / 2**30:.1f} GiB, and a file of ONNX holds less than 2 GiB"
        raise ConfigError(told, hint=hint)
    return model_bytes(graph)


def write(content: bytes, path: str | Path) -> None:
    """Write a file, and the folder that it is in. Errors: DataError where that cannot be done"""
    folder = Path(path).parent
    with writing(folder, "choose another place"):
        folder.mkdir(parents=True, exist_ok=True)
    atomic_write(path, content)
