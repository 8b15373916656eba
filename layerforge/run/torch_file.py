"""Weights in the files of torch.save. They are pickles: torch reads them, and only those that `weights_only` allows."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..schema.errors import DataError
from ..schema.optional import require
from ..schema.regular_files import irregular
from ..schema.texts import first_few
from .state_dict import plain_arrays

SUFFIXES = (".pt", ".pth")
LONGEST = 200  # characters of torch's words
HINT = "write weights alone: torch.save(model.state_dict(), path), or safetensors' save_file, which needs no torch here"


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """The state_dict that torch.save wrote: by itself, or beside other things under a name of its own.

    Errors   ConfigError where torch is not installed; DataError for what is no such file, for one that holds anything
             that would be executed, and for one without a state_dict or with several
    """
    if not Path(path).is_file():
        raise DataError(f"cannot read {path}: it is {irregular(path) or 'no file'}", hint="check the path")
    torch = require("torch", extra="torch", why=f"reading {path}, a pickle of torch's,")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        why = str(problem).rpartition("WeightsUnpickler error: ")[2]  # behind what to do in torch
        message = f"torch's weights_only refused {path}, which may hold more than weights: {_first(why)}"
        raise DataError(message, hint=HINT) from None
    except Exception as problem:  # torch raises what it meets, from any of its parts
        message = f"torch cannot read {path}: {type(problem).__name__}: {_first(str(problem))}"
        raise DataError(message, hint=HINT) from None
    return plain_arrays(_state_dict(held, path), str(path))


def _first(text: str) -> str:
    """The first sentence of what torch says, which may be pages."""
    return text.strip().partition("\n")[0].partition(". ")[0][:LONGEST]


def _state_dict(held: Any, path: str | Path) -> Mapping[str, Any]:
    if not isinstance(held, Mapping):
        raise DataError(f"{path} holds a {type(held).__name__}, not a state_dict", hint=HINT)
    if not held or any(_is_tensor(value) for value in held.values()):
        return held
    found = [name for name, part in held.items() if _is_state_dict(part)]
    if len(found) != 1:
        there = f"several: {first_few(map(str, found))}" if found else f"none: {first_few(map(str, held))}"
        hint = "net.load_state_dict(torch.load(path, weights_only=True)['...'])"
        raise DataError(f"{path} should hold one state_dict, and holds {there}", hint=hint)
    return held[found[0]]


def _is_state_dict(part: Any) -> bool:
    return isinstance(part, Mapping) and bool(part) and all(_is_tensor(value) for value in part.values())


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")
