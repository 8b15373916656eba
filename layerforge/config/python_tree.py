"""Mappings and lists of Python as a tree like that of a YAML file, only without places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..schema.errors import ConfigError
from ..schema.locations import PlacedDict, PlacedList
from .scalars import LARGEST, SMALLEST, forbidden_character, shorten
from .yaml_file import MAX_DEPTH


def placed_copy(mapping: Mapping[str, Any]) -> PlacedDict:
    """A copy of a configuration given as a mapping. Tuples become lists, NumPy's scalars Python's; other objects stay.

    Errors   ConfigError for what no YAML file could hold either: keys that are no strings, integers beyond 64 bits,
             control characters, mappings that contain themselves
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"a configuration must be a mapping, got {type(mapping).__name__}")
    return _copy(mapping, 1)


def _copy(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ConfigError(f"values are nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or forbidden_character(key, also="\t\n\r"):
                raise ConfigError(f"a key must be a string without control characters, got {shorten(repr(key))}")
        return PlacedDict({key: _copy(item, depth + 1) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return PlacedList([_copy(item, depth + 1) for item in value])
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and not SMALLEST <= value <= LARGEST:
        raise ConfigError("an integer does not fit into 64 bits")
    if isinstance(value, str) and (bad := forbidden_character(value)):
        raise ConfigError(f"a string must not contain the control character {bad}: {shorten(repr(value))}")
    return value
