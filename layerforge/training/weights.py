"""`--init-weights FILE`: a new run whose layers start from the weights of a snapshot, found by the layers' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from .. import snapshot
from ..net import Net
from ..schema.errors import ConfigError, DataError
from ..schema.synonyms import did_you_mean
from .rundir import weights_of

KINDS = ("params", "state")


def init_weights(net: Net, path: str | Path, allow_missing: Iterable[str] = ()) -> list[str]:
    """Take parameters and running statistics from a snapshot or run; return what is to be said about it, as lines.

    allow_missing   patterns (`*`, `?`, `[...]`) of layer names. A layer that one of them matches may be missing from
                    the file, have other shapes there, or be in the file only: the net's layer then starts as it would
                    without the file, all of it

    Errors   DataError naming every missing, unexpected and mis-shaped array of other layers; ConfigError for a pattern
             that matches no layer, and for a file that holds no weights
    """
    file = weights_of(path)
    arrays, meta = snapshot.read_snapshot(file)
    mine, theirs = net.arrays(), {k: v for k, v in arrays.items() if k.split("/")[0] in KINDS}
    if not theirs and mine:
        raise ConfigError(f"{file} holds no weights", hint="give a checkpoint, a run or a file of net.save()")
    free = _matching(allow_missing, {_layer(name) for name in [*mine, *theirs]})
    differences = _differences(mine, theirs)
    apart = free & {_layer(name) for name in differences}
    wrong = [text for name, text in differences.items() if _layer(name) not in free]
    if wrong:
        layers = dict.fromkeys(_layer(name) for name in differences if _layer(name) not in free)
        allow = " ".join(f"--allow-missing '{layer}'" for layer in layers)
        hint = f"{'; '.join(wrong)}\n     = to begin anew with what does not fit: {allow}"
        raise DataError(f"{file} does not fit this net", hint=hint)
    together = mine | {k: v for k, v in theirs.items() if _layer(k) not in apart}
    net.load_arrays({k: v for k, v in together.items() if k in mine}, str(file))
    return _remarks(file, meta, differences)


def _layer(name: str) -> str:
    """The layer that an array belongs to."""
    return snapshot.unescape(name.split("/")[1])


def _matching(patterns: Iterable[str], layers: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matched = {layer for layer in layers if fnmatchcase(layer, pattern)}
        if not matched:
            hint = did_you_mean(pattern, layers) or f"layers: {', '.join(sorted(layers))}"
            raise ConfigError(f"--allow-missing: no layer is called '{pattern}'", hint=hint)
        found |= matched
    return found


def _differences(mine: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """In words, what is wrong with each array that does not fit."""
    words = {k: f"missing {k}" for k in mine if k not in theirs}
    words |= {k: f"unexpected {k}" for k in theirs if k not in mine}
    for name, array in mine.items():
        if name in theirs and theirs[name].shape != array.shape:
            words[name] = f"{name} has shape {theirs[name].shape}, the net's is {array.shape}"
    return {name: snapshot.unescape(text) for name, text in words.items()}


def _remarks(file: Path, meta: Mapping[str, object], differences: Mapping[str, str]) -> list[str]:
    lines = []
    if meta.get("kind") == "checkpoint":
        step = meta.get("iteration")
        lines.append(
            f"{file} is a checkpoint, after step {step}; only its weights are taken, and a new run begins"
            f" (to go on with the old one: --resume-from {file})"
        )
    if differences:
        lines.append(f"not taken from {file}: {'; '.join(differences.values())}")
    return lines
