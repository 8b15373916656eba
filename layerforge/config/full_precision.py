"""A configuration whose net computes in the precision of its dtype: what is proven, or written, is that net."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from ..schema.locations import PlacedDict

KEYS = ("precision", "matmul_precision")


def without_lowering(tree: PlacedDict) -> PlacedDict:
    """The tree of a configuration in which neither the net nor a layer asks for less than its dtype."""
    made = copy.deepcopy(tree)
    for holder in [made, *_layers(made.get("net")), *_layers(made.get("blocks"))]:
        for key in KEYS:
            holder.pop(key, None)
    return made


def _layers(value: Any) -> Iterator[Any]:
    """The mappings that are items of lists: layers, and those of blocks."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(value, list) and isinstance(item, dict):
            yield item
        yield from _layers(item)
