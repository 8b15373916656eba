"""The registries: what a `type:` in YAML may name, and which modules to import to find it.

Look-ups import lazily and by name: a net of three types loads the modules of three. This is the one place where
something to the left may reach something to the right (`layers`, `engines`, `solvers`, `data`), and only through a name
that a configuration asks for.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import threading
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any, TypeVar

from .errors import ConfigError
from .locations import Place
from .synonyms import hint_for_type

Class = TypeVar("Class", bound=type)

# Keys of a layer's mapping that the framework owns, so that no hyper-parameter can have these names.
WIRING_KEYS = (
    *("name", "type", "bottom", "top", "phase", "loss_weight", "lr_mult", "decay_mult", "freeze", "share"),
    *("engine", "recompute", "precision", "matmul_precision"),
)
BLOCK_KEYS = ("block", "repeat", "with")
RESERVED = WIRING_KEYS + BLOCK_KEYS

# How a module makes a type: `class Linear(Layer):`, or `Tanh = elementwise(` where a table has it.
MADE_HERE = re.compile(rb"\n(?:class )?([A-Z]\w*)(?:\(| = )")


class Registry:
    """The known types of one kind, made in `package` and its modules, or in a module of that name.

    A type is found by its name in the text of the modules, and only where that fails by importing all of them: reading
    a hundred files takes a tenth of the time of importing them. All are imported for a list of the names, and before a
    user's type is registered.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._types: dict[str, type] = {}
        self._discovering = self._discovered = False
        self._lock = threading.RLock()  # another thread that wants all types waits until they are known

    def add(self, cls: Class) -> Class:
        """Register a class under its type name; another class of that name is an error, the same one again is not.

        Before a user's class all of the framework's are registered: a name that is taken is an error where it is taken
        again, and not in the module of the framework's that comes later.
        """
        if not cls.__module__.startswith("layerforge."):
            self._discover()
        name = getattr(cls, "type_name", cls.__name__)
        known = self._types.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(
                f"{self.kind} type {name} is registered twice: in {known.__module__} and in {cls.__module__}",
                hint="give one of the two classes another name",
            )
        self._types[name] = cls
        return cls

    def _discover(self) -> None:
        if self._discovered:
            return
        with self._lock:
            if self._discovering or self._discovered:
                return  # a module looks something up while it is imported, or another thread was faster
            self._discovering = True
            try:
                folders = getattr(importlib.import_module(self.package), "__path__", [])
                for module in pkgutil.walk_packages(folders, f"{self.package}."):
                    importlib.import_module(module.name)
                self._discovered = True
            finally:  # where it failed, the next look-up says so again, and does not miss types silently
                self._discovering = False

    @cached_property
    def _makers(self) -> dict[str, list[str]]:
        """The modules in whose text a type of that name is made. Without their text, as in a zip archive, none."""
        makers: dict[str, list[str]] = {}
        for folder in getattr(importlib.import_module(self.package), "__path__", []):
            for module, text in texts(folder, self.package):
                for name in MADE_HERE.findall(text):
                    makers.setdefault(name.decode(), []).append(module)
        return makers

    def __contains__(self, name: str) -> bool:
        """Whether there is a type of that name, once what makes it is imported.

        That is done for a known type too: its module may still be on its way in another thread, which is waited for.
        """
        for module in self._makers.get(name, ()):
            importlib.import_module(module)
        if name not in self._makers or name not in self._types:
            self._discover()
        return name in self._types

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._discover()
        return sorted(self._types)

    def get(self, name: Any, place: Place | None = None) -> Any:
        """The class of that name; ConfigError with a suggestion where there is none."""
        if not isinstance(name, str) or name not in self:
            raise ConfigError(f"unknown {self.kind} type '{name}'", place=place, hint=hint_for_type(name, self.names()))
        return self._types[name]

    def remove(self, name: str) -> None:
        """Forget a type (for tests and interactive work)."""
        self._types.pop(name, None)


def texts(folder: str, package: str) -> Iterator[tuple[str, bytes]]:
    """Name and text of the modules in a package's folder and those below, of which none is imported."""
    for module in pkgutil.iter_modules([folder]):
        path, name = os.path.join(folder, module.name), f"{package}.{module.name}"
        if module.ispkg:
            yield from texts(path, name)
        elif os.path.isfile(f"{path}.py"):
            with open(f"{path}.py", "rb") as file:
                yield name, file.read()


LAYERS = Registry("layer", "layerforge.layers")
FILLERS = Registry("filler", "layerforge.contract.fillers")
SOLVERS = Registry("solver", "layerforge.solvers.rules")
SCHEDULES = Registry("schedule", "layerforge.solvers.schedules")
SOURCES = Registry("data source", "layerforge.data")


def engine_names() -> list[str]:
    """The engines that there are, sorted: packages in the folder of engines. Whether one can be used it says itself."""
    folder = importlib.import_module("layerforge.engines").__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if module.ispkg)


def engine(kind: str) -> Any:
    """The package of an engine: `missing()` says why it cannot be used here, `layers()` what it does."""
    return importlib.import_module(f"layerforge.engines.{kind}")


def register(cls: Class) -> Class:
    """Class decorator that makes a Layer known to YAML under its class name.

    Errors   ConfigError when a hyper-parameter has a name that the framework owns, when the name is taken, and, for
             built-in layers, when there are no examples: a layer without examples cannot be tested.
    """
    for name in getattr(cls, "fields", {}):
        if name in RESERVED or name in getattr(cls, "framework_names", ()):
            raise ConfigError(f"{cls.__name__}: '{name}' is a key of the framework and cannot be a hyper-parameter")
    if not getattr(cls, "examples", None):
        message = f"{cls.__name__} has no examples: a layer without examples cannot be tested"
        if cls.__module__.startswith("layerforge."):
            raise ConfigError(message)
        warnings.warn(f"{message}; add `examples = [Example(...)]`", stacklevel=2)
    return LAYERS.add(cls)


def register_source(cls: Class) -> Class:
    """Class decorator that makes a data Source known to YAML under its class name."""
    return SOURCES.add(cls)


def register_schedule(cls: Class) -> Class:
    """Class decorator that makes a learning-rate Schedule known to YAML under its `type_name`, or its class name."""
    return SCHEDULES.add(cls)
