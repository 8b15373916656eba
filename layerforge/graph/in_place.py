"""Whether a layer may write its top over its bottom: reasoned about storage, not names.

A view and its origin are one storage. Overwriting it is refused while anybody's backward reads any name of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..contract.layer import reads
from .graph import Blob, Node, PhaseGraph


def unsafe_in_place(graph: PhaseGraph, node: Node, blob: Blob) -> str | None:
    """Why a node must not overwrite a blob; None when everyone's declarations allow it."""
    if blob.index < 0:
        return None
    if not node.layer.inplace:
        return f"{node.layer.type_name} cannot write its top over its bottom"
    if reads(node.layer, "bottom", 0):
        return "its own backward reads its bottom"
    reasons = (why_needed(other, besides=node) for other in graph.sharing.get(blob.storage, []))
    return next((why for why in reasons if why), None)


def why_needed(blob: Blob, besides: Node | None) -> str | None:
    """Why a blob must keep its numbers; None where nobody's backward reads it, one node not counted."""
    if blob.producer is None:
        return f"'{blob.name}' is an input of the net, which belongs to the caller"
    if reads(blob.producer.layer, "top", blob.producer.tops.index(blob.name)):
        return f"the backward of '{blob.producer.name}' reads '{blob.name}'"
    for reader, i in blob.readers:
        if reader is not besides and reads(reader.layer, "bottom", i):
            return f"the backward of '{reader.name}' reads '{blob.name}'"
    return None


def merge_storage(graph: PhaseGraph, blobs: Sequence[Blob]) -> None:
    """Blobs that may share memory count as one storage."""
    first, *others = sorted({b.storage for b in blobs if b.index >= 0}) or [-1]
    for storage in others:
        moved = graph.sharing.pop(storage, [])
        for blob in moved:
            blob.storage = first
        graph.sharing.setdefault(first, []).extend(moved)
