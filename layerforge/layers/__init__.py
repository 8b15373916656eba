"""The layers, a folder for each family: one file per derivation, tables where an operation is one line.

A layer belongs to the family in whose folder it is written, a table's entries to that of the table's base. The registry
finds every module; a family's own `__init__.py` says what it is called in `layerforge layers` and docs/layers.md.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from ..contract.layer import Layer
from ..schema.registry import LAYERS

# In the order in which they are shown: from what works on single elements to what is made of whole nets.
FAMILIES = (
    *("elementwise", "broadcasting", "reductions", "matrices", "shapes", "indexing"),
    *("convolutions", "poolings", "norms", "sequences", "detection", "losses", "metrics", "plumbing"),
)


def titles() -> dict[str, str]:
    """What each family is called, by its folder."""
    return {family: importlib.import_module(f"{__name__}.{family}").TITLE for family in FAMILIES}


def is_builtin(cls: type) -> bool:
    """Whether a layer is one of the framework's own."""
    return cls.__module__.startswith(f"{__name__}.")


def module_name(cls: type) -> str:
    """The file that a type is written in, without its folder."""
    return Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__).stem


def family_of(cls: type) -> str:
    """What the family of a layer is called; the name of its file for one that is not the framework's own."""
    return titles()[cls.__module__.split(".")[-2]] if is_builtin(cls) else module_name(cls)


def builtin_layers() -> list[type[Layer]]:
    """The framework's own layers, whatever else is registered."""
    return [cls for cls in map(LAYERS.get, LAYERS.names()) if is_builtin(cls)]


def by_family(layers: Iterable[type[Layer]]) -> dict[str, list[type[Layer]]]:
    """Layers by name within their families, in the order of FAMILIES; then those that are not the framework's own."""
    groups: dict[str, list[type[Layer]]] = {}
    for cls in sorted(layers, key=lambda cls: (cls.type_name.lower(), cls.type_name)):
        groups.setdefault(family_of(cls), []).append(cls)
    order = [title for title in titles().values() if title in groups]
    return {family: groups[family] for family in [*order, *sorted(groups.keys() - set(order))]}
