"""Shapes: the same numbers in another order."""

from __future__ import annotations

from ..exporting import Export, Value, exports


@exports("Flatten", "Reshape")
def reshape(w: Export, x: Value) -> Value:
    """Reshape, with -1 for what follows the batch."""
    return w.reshape(x, w.tops[0].shape)
