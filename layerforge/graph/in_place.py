"""The proof that a layer may write its first top over its first bottom: of storages, not of names.

Blobs that share memory, as views and tops in place do, are one storage, and what holds for one of them must hold for
all. The graph proves what a configuration asks for by name; plan/in_place.py uses the same proof for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..contract.layer import Layer, reads
from .graph import Blob, Node, PhaseGraph


@dataclass(frozen=True)
class StorageUse:
    """What is known of the uses of a storage: of one blob, or of several that share memory.

    needed  why its values must stay after the layers above have read them; None where nobody needs them
    stays   it is needed when all is done; by its name, where `named`
    last    the number of the last step that reads it, -1 for none
    """

    needed: str | None = None
    stays: bool = False
    named: bool = False
    last: int = -1

    def __or__(self, other: StorageUse) -> StorageUse:
        return StorageUse(
            self.needed or other.needed,
            self.stays or other.stays,
            self.named or other.named,
            max(self.last, other.last),
        )


def unsafe_in_place(layer: Layer, uses: Iterable[StorageUse]) -> str | None:
    """Why a layer must not write its first top over its first bottom; None where everyone's declarations allow it.

    uses  those of the bottom and of whatever shares its memory, by all but this layer
    """
    if not layer.inplace:
        return f"{layer.type_name} cannot write its top over its bottom"
    if reads(layer, "bottom", 0):
        return "its own backward reads its bottom"
    return next((use.needed for use in uses if use.needed), None)


def is_input(name: str) -> str:
    """Why an input must stay as it is."""
    return f"'{name}' is an input of the net, which belongs to the caller"


def is_read(name: str, by: str) -> str:
    """Why a blob that a backward reads must stay as it is."""
    return f"the backward of '{by}' reads '{name}'"


# In a graph -----------------------------------------------------------------------------------------------------------


def unsafe(graph: PhaseGraph, node: Node, blob: Blob) -> str | None:
    """Why a node must not overwrite a blob of a graph that is built up to this node; None where it may."""
    if blob.index < 0:
        return None
    return unsafe_in_place(node.layer, (use_of(other, node) for other in graph.sharing.get(blob.storage, [])))


def use_of(blob: Blob, besides: Node | None = None) -> StorageUse:
    """The use of a blob by those that are known by now, one node not counted."""
    if blob.producer is None:
        return StorageUse(is_input(blob.name))
    if reads(blob.producer.layer, "top", blob.producer.tops.index(blob.name)):
        return StorageUse(is_read(blob.name, blob.producer.name))
    read = (reader for reader, i in blob.readers if reader is not besides and reads(reader.layer, "bottom", i))
    return StorageUse(next((is_read(blob.name, reader.name) for reader in read), None))


def merge_storage(graph: PhaseGraph, blobs: Sequence[Blob]) -> None:
    """Blobs that may share memory count as one storage."""
    first, *others = sorted({b.storage for b in blobs if b.index >= 0}) or [-1]
    for storage in others:
        moved = graph.sharing.pop(storage, [])
        for blob in moved:
            blob.storage = first
        graph.sharing.setdefault(first, []).extend(moved)
