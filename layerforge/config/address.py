"""Dotted addresses into a configuration: `solver.lr`, `net.fc1.out_features`, `train.milestones.0`.

A list of mappings that have names (layers) is addressed by name, any other list by position from 0. Names may contain
dots themselves; the longest one that fits is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_DOTS = 100  # in the name of an entry


def names_in(container: Any) -> list[str]:
    """What the next part of an address into `container` may be."""
    if isinstance(container, Mapping):
        return [str(key) for key in container]
    if isinstance(container, list):
        return list(layer_names(container)) or [str(index) for index in range(len(container))]
    return []


def entry(container: Any, parts: list[str]) -> tuple[Any, int] | None:
    """The key or index of the entry that `parts` begin with and how many parts name it; None where there is none."""
    if isinstance(container, Mapping):
        keys: dict[str, Any] = {key: key for key in container if isinstance(key, str)}
    elif isinstance(container, list):
        keys = layer_names(container) or {str(index): index for index in range(len(container))}
    else:
        return None
    for count in range(min(len(parts), MOST_DOTS), 0, -1):
        name = ".".join(parts[:count])
        if name in keys:
            return keys[name], count
    return None


def within_block(items: list[Any], name: str, at: str) -> str | None:
    """What to say of a name that lies inside a use of a block in a list of layers; None where it does not."""
    for use in (item for item in items if isinstance(item, Mapping) and "block" in item):
        if isinstance(use.get("name"), str) and name.startswith(f"{use['name']}."):
            here, body = f"{at}.{use['name']}", f"blocks.{use['block']}.net"
            return f"set an argument: {here}.with.NAME, or a layer of every copy: {body}.LAYER.KEY"
    return None


def layer_names(items: list[Any]) -> dict[str, int]:
    """The position of each item that has a name; of the first where two have the same."""
    found: dict[str, int] = {}
    for index, item in enumerate(items):
        if isinstance(item, Mapping) and isinstance(item.get("name"), str):
            found.setdefault(item["name"], index)
    return found
