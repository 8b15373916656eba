"""`extends: base.yaml`: a configuration that says only how it differs from another one.

Mappings are merged key by key, everything else is replaced: lists (and so the whole `net`) and also values that the
extending file sets to null. A mapping laid over a list of layers changes those that it names:

    net: {fc1: {out_features: 512}}

Of several bases the later one wins; the extending file wins over all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ..schema.errors import ConfigError, LayerForgeError
from ..schema.locations import Place, PlacedDict, PlacedList, place_of
from ..schema.params import show
from ..schema.synonyms import did_you_mean
from .address import layer_names, within_block
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
        path = os.path.join(folder, os.path.expanduser(base))
        result = merge(result, load_with_bases(path, files, place, chain), files.errors)
    return merge(result, tree, files.errors, leave_out="extends")


def merge(
    base: PlacedDict, over: PlacedDict, errors: list[LayerForgeError], leave_out: str | None = None, at: str = ""
) -> PlacedDict:
    """A new mapping: the entries of `base`, replaced or (mappings) merged by those of `over`.

    errors   takes what cannot be merged: layers that the list in `base` does not have
    at       the address of both, with a dot behind it
    """
    merged = PlacedDict(place=over.place or base.place)
    for key, value in base.items():
        merged[key] = value
        merged.copy_places(base, key)
    for key, value in over.items():
        if key == leave_out:
            continue
        below = base.get(key)
        if isinstance(below, PlacedDict) and isinstance(value, PlacedDict):
            merged[key] = merge(below, value, errors, at=f"{at}{key}.")
        elif isinstance(below, PlacedList) and isinstance(value, PlacedDict) and key == "net":
            merged[key] = merge_layers(below, value, errors, f"{at}{key}")
            continue  # the list stands where it did
        else:
            merged[key] = value
        merged.copy_places(over, key)
    return merged


def merge_layers(base: PlacedList, over: PlacedDict, errors: list[LayerForgeError], at: str = "net") -> PlacedList:
    """A new list of layers: those of `base`, the ones that `over` names merged with what it says of them."""
    merged = PlacedList(base, place=base.place)
    merged.value_places = dict(base.value_places)
    names = layer_names(base)
    for name, changes in over.items():
        index = names.get(name)
        place = place_of(over, name, of="key")
        if index is None:
            inside = within_block(base, name, at)
            hint = inside or did_you_mean(name, names) or f"its layers: {', '.join(list(names)[:20]) or 'none'}"
            errors.append(ConfigError(f"'{at}' has no layer '{name}' to change", place=place, hint=hint))
        elif not isinstance(changes, PlacedDict):
            message = f"'{at}.{name}' is a whole layer or block, got {show(changes)} for it"
            errors.append(ConfigError(message, place=place, hint=f"say what changes: {name}: {{KEY: VALUE}}"))
        else:
            merged[index] = merge(base[index], changes, errors, at=f"{at}.{name}.")
            merged[index].place = base[index].place
    return merged
