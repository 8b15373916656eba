"""A plugin of pytest (-p support.only_dev): what the extra `dev-full` brings beyond `dev` is not found, as in a clone
whose owner has installed `dev` alone.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

from layerforge.schema.optional import mere_folder

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def brought(extra: str) -> set[str]:
    """The distributions that an extra names, or an extra in it."""
    found: set[str] = set()
    for line in PROJECT["optional-dependencies"][extra]:
        name, within = re.fullmatch(r"([\w-]+)(?:\[(.*)\])?.*", line).groups()
        found |= set().union(*map(brought, within.split(","))) if name == PROJECT["name"] else {name}
    return found


ABSENT = brought("dev-full") - brought("dev")
MODULES = {module for module, names in packages_distributions().items() if ABSENT.intersection(names)}


class WithoutThem:
    """Python's search along sys.path that goes past these modules, and finds a folder of such a name as ever."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in MODULES:
            specs = {one: PathFinder.find_spec(name, [one]) for one in sys.path}
            path = [one for one, spec in specs.items() if spec is None or mere_folder(spec)]
        return PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutThem
