"""A configuration for another backend than it says: a net that was trained on a GPU is used where there is none."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

from ..arrays.backend import NAMES, NUMPY
from ..schema import registry
from ..schema.locations import PlacedDict
from ..schema.user_modules import level_of_user
from .sections import ENGINES

ON_ALL = ("auto", "reference")  # the engines that every backend has


def belongs(engine: str, backend: str) -> bool:
    """Whether an engine computes on the arrays of a backend."""
    return engine in ON_ALL or registry.engine(engine).on_device() == (backend != NUMPY.name)


def moved(tree: PlacedDict, backend: str) -> PlacedDict:
    """The tree of a configuration for a backend; itself where it says that one. Engines of another are `auto`, with a
    warning.
    """
    if tree.get("backend", "numpy") == backend:
        return tree
    made, replaced = copy.deepcopy(tree), set()
    if backend in NAMES:  # a stand-in has no name that a configuration can say
        made["backend"] = backend
    for holder in [made, *_mappings(made.get("net")), *_mappings(made.get("blocks"))]:
        engine = holder.get("engine")
        if engine in ENGINES and not belongs(engine, backend):
            replaced.add(engine)
            holder["engine"] = "auto"
    for engine in sorted(replaced):
        text = f"engine '{engine}' cannot compute on backend {backend}: auto takes its place"
        warnings.warn(text, stacklevel=level_of_user())
    return made


def _mappings(value: Any) -> Iterator[Any]:
    """All mappings in a value: layers, and blocks with theirs."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _mappings(item)
