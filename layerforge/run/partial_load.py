"""Part of a snapshot: which of a file's arrays a net takes, found by the names of layers, some of them renamed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .. import snapshot
from ..schema.errors import ConfigError, DataError
from ..schema.synonyms import did_you_mean

KINDS = ("params", "state")


class Words:
    """What a caller calls the two choices: keywords of Python, or flags of a command line; without `allow` neither is
    offered.
    """

    def __init__(self, allow: str, rename: str, allowing: str) -> None:
        self.allow, self.rename, self.allowing = allow, rename, allowing

    def allowed(self, layers: Iterable[str]) -> str:
        """How one says that these layers need not fit."""
        if not self.allow:
            return ""
        separator = " " if self.allowing else ", "
        listed = separator.join(f"{self.allowing}'{layer}'" for layer in layers)
        return listed if self.allowing else f"{self.allow}=[{listed}]"

    def renamed(self, old: str, new: str) -> str:
        """How one says that something has another name."""
        if not self.rename:
            return f"'{old}' there is '{new}' here"
        return f"{self.rename} '{old}={new}'" if self.allowing else f"{self.rename}={{'{old}': '{new}'}}"


PYTHON = Words("allow_missing", "rename", "")
FLAGS = Words("--allow-missing", "--rename", "--allow-missing ")
WHOLE = Words("", "", "")  # all of it or an error


def fitting(
    mine: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    source: str,
    allow_missing: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
    words: Words = PYTHON,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a file that a net takes, by the net's paths, and in words what does not fit.

    mine           the net's arrays by path
    source         what errors call the file
    allow_missing  patterns (`*`, `?`, `[...]`) of layer names, as the net has them. A layer that one of them matches
                   may be missing from the file, have other shapes there, or be in the file only: of such a layer
                   nothing is taken
    rename         {name in the file: name in the net}, all at once: of layers ("fc1": "head"), of arrays
                   ("fc1.weight": "fc1.kernel"), or with one `*` in both ("encoder/*": "body/*")

    Errors   DataError naming every missing, unexpected and mis-shaped array of other layers; ConfigError for a pattern
             or name that matches nothing, for two arrays of one name, and for a file that holds no weights
    """
    theirs = {k: v for k, v in arrays.items() if k.split("/")[0] in KINDS}
    if not theirs and mine:
        raise ConfigError(f"{source} holds no weights", hint="give a checkpoint, a run or a file of net.save()")
    theirs = _renamed(theirs, rename or {}, mine, words)
    free = matching(allow_missing, {_layer(name) for name in [*mine, *theirs]}, words)
    differences = _differences(mine, theirs)
    wrong = {name: text for name, text in differences.items() if _layer(name) not in free}
    if wrong:
        allow = words.allowed(dict.fromkeys(_layer(name) for name in wrong))
        hint = f"{'; '.join(wrong.values())}\n     = to begin anew with what does not fit: {allow}"
        raise DataError(f"{source} does not fit this net", hint=hint)
    apart = free & {_layer(name) for name in differences}
    chosen = {k: v for k, v in theirs.items() if k in mine and _layer(k) not in apart}
    return chosen, list(differences.values())


def _layer(path: str) -> str:
    """The layer that an array belongs to; "" in a path that no LayerForge wrote."""
    return snapshot.unescape([*path.split("/"), ""][1])


def _array(path: str) -> str:
    """An array as "layer.name"."""
    return f"{_layer(path)}.{path.split('/', 2)[-1]}"


# Names ----------------------------------------------------------------------------------------------------------------


def _renamed(
    theirs: Mapping[str, np.ndarray], rename: Mapping[str, str], mine: Mapping[str, Any], words: Words
) -> dict[str, np.ndarray]:
    """The arrays under the names that they have in the net."""
    for old, new in rename.items():
        _demand_names(old, new, theirs, mine, words)
    found: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}
    for path, array in theirs.items():
        name = _path_in_net(path, rename)
        if name in found:
            both = f"'{_array(origin[name])}' and '{_array(path)}' of the file would both be '{_array(name)}'"
            raise ConfigError(f"{words.rename}: {both}", hint="rename the other one, too")
        found[name], origin[name] = array, path
    return found


def _path_in_net(path: str, rename: Mapping[str, str]) -> str:
    kind, name = path.split("/")[0], path.split("/", 2)[-1]
    layer = _layer(path)
    for old, new in rename.items():
        if old == layer:
            return f"{kind}/{snapshot.escape(new)}/{name}"
        if old == _array(path):
            other, _, own = new.rpartition(".")
            return f"{kind}/{snapshot.escape(other)}/{own}"
        if old.count("*") == 1 and fnmatchcase(layer, _literal(old)):
            before, after = old.split("*")
            part = layer[len(before) : len(layer) - len(after)]
            return f"{kind}/{snapshot.escape(new.replace('*', part))}/{name}"
    return path


def _literal(pattern: str) -> str:
    """A pattern in which only `*` stands for something."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _demand_names(old: str, new: str, theirs: Mapping[str, np.ndarray], mine: Mapping[str, Any], words: Words) -> None:
    """ConfigError where the file has nothing of the old name, or the net nothing of the new one."""
    if old.count("*") != new.count("*") or old.count("*") > 1:
        raise ConfigError(f"{words.rename}: '{old}' and '{new}' need one * each, or none")
    names = [*dict.fromkeys(map(_layer, theirs)), *map(_array, theirs)]
    if not any(_path_in_net(path, {old: new}) != path for path in theirs) and old not in names:
        hint = did_you_mean(old, names) or f"layers of the file: {', '.join(dict.fromkeys(map(_layer, theirs)))}"
        raise ConfigError(f"{words.rename}: the file has nothing that is called '{old}'", hint=hint)
    known = [*dict.fromkeys(map(_layer, mine)), *map(_array, mine)]
    if "*" not in new and new not in known:
        hint = did_you_mean(new, known) or f"layers of the net: {', '.join(dict.fromkeys(map(_layer, mine)))}"
        raise ConfigError(f"{words.rename}: the net has nothing that is called '{new}'", hint=hint)


def matching(patterns: Iterable[str], layers: Iterable[str], words: Words) -> set[str]:
    """The layers that the patterns match. ConfigError for a pattern that matches none"""
    if isinstance(patterns, str):
        raise ConfigError(f"{words.allow} is a list of patterns, got '{patterns}'", hint=f"['{patterns}']")
    found: set[str] = set()
    for pattern in patterns:
        matched = {layer for layer in layers if fnmatchcase(layer, pattern)}
        if not matched:
            hint = did_you_mean(pattern, layers) or f"layers: {', '.join(sorted(layers))}"
            raise ConfigError(f"{words.allow}: no layer is called '{pattern}'", hint=hint)
        found |= matched
    return found


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """In words, what is wrong with each array that does not fit."""
    words = {k: f"missing {k}" for k in mine if k not in theirs}
    words |= {k: f"unexpected {k}" for k in theirs if k not in mine}
    for name, array in mine.items():
        if name in theirs and theirs[name].shape != array.shape:
            words[name] = f"{name} has shape {theirs[name].shape}, the net's is {tuple(array.shape)}"
    return {name: snapshot.unescape(text) for name, text in words.items()}
