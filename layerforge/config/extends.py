"""`extends: base.yaml`: a configuration that says only how it differs from another one.

Mappings are merged key by key, everything else is replaced: lists (and so the whole `net`) and also values that the
extending file sets to null. Of several bases the later one wins; the extending file wins over all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ..errors import ConfigError, LayerForgeError
from ..places import Place, PlacedDict, place_of
from .yaml_file import load_yaml

MAX_FILES = 100
MAX_CHARACTERS = 4 * 2**20  # of all files together


@dataclass
class Files:
    """What was read: (path, text) of each file, the one asked for first, and the errors that did not stop reading."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    errors: list[LayerForgeError] = field(default_factory=list)
    reads: int = 0
    characters: int = 0


def load_with_bases(path: str, files: Files, place: Place | None = None, chain: tuple[str, ...] = ()) -> PlacedDict:
    """The tree of a file merged over the files that it extends. `chain` are the files that led here.

    Errors   ConfigError for a base that cannot be read, and for files that extend each other in a circle
    """
    files.reads += 1
    if files.reads > MAX_FILES:
        raise ConfigError(f"extends leads to more than {MAX_FILES} files", place=place)
    tree, text = load_yaml(path, place, files.errors)
    files.characters += len(text)
    if files.characters > MAX_CHARACTERS:
        raise ConfigError(f"extends leads to more than {MAX_CHARACTERS} characters", place=place)
    real = [os.path.realpath(link) for link in chain]
    if os.path.realpath(path) in real:
        circle = " -> ".join((*chain[real.index(os.path.realpath(path)) :], path))
        raise ConfigError(f"extends goes round in a circle: {circle}", place=place, hint="remove one of the links")
    if path not in (known for known, _ in files.texts):
        files.texts.append((path, text))
    return merge_bases(tree, os.path.dirname(path), files, (*chain, path))


def merge_bases(tree: PlacedDict, folder: str, files: Files, chain: tuple[str, ...] = ()) -> PlacedDict:
    """`tree` without its `extends`, merged over the files named there; relative ones are looked for in `folder`."""
    bases = tree.get("extends")
    result = PlacedDict()
    named = bases if isinstance(bases, list) else [] if bases is None else [bases]
    for index, base in enumerate(named):
        place = place_of(bases, index) if isinstance(bases, list) else place_of(tree, "extends")
        if not isinstance(base, str) or not base:
            raise ConfigError("extends must be the path of a file or a list of paths", place=place)
        result = merge(result, load_with_bases(os.path.join(folder, os.path.expanduser(base)), files, place, chain))
    return merge(result, tree, leave_out="extends")


def merge(base: PlacedDict, over: PlacedDict, leave_out: str | None = None) -> PlacedDict:
    """A new mapping: the entries of `base`, replaced or (mappings) merged by those of `over`."""
    merged = PlacedDict(place=over.place or base.place)
    for key, value in base.items():
        merged[key] = value
        merged.copy_places(base, key)
    for key, value in over.items():
        if key == leave_out:
            continue
        below = base.get(key)
        both = isinstance(below, PlacedDict) and isinstance(value, PlacedDict)
        merged[key] = merge(below, value) if both else value
        merged.copy_places(over, key)
    return merged
