"""Files of weights, by their suffix: snapshots of LayerForge, safetensors, and the pickles of torch.

    weights.h5            a snapshot: the net's own arrays by path
    weights.safetensors   torch's names; with what a snapshot says of its net as texts of the metadata, as JSON
    weights.pt            torch's names; read by torch alone, never written
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import safetensors_file, snapshot
from ..schema.errors import ConfigError, DataError
from ..schema.texts import from_json, to_json
from . import torch_file
from .net_parts import NetParts
from .partial_load import PYTHON, WHOLE, Words, fitting
from .state_dict import fitting_state
from .stored_arrays import stored_arrays

OURS = "layerforge."  # in front of our texts in a file's metadata
ARRAYS = OURS + "arrays"  # the one of arrays that are no weights, such as an input transform


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    file        what errors call it
    arrays      by the paths of snapshots: of other files those that are no weights
    meta        what it says of the net that they are of; {} of a file that LayerForge did not write
    state_dict  the weights by torch's names, where the file has them so
    """

    file: str
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any] = field(default_factory=dict)
    state_dict: Mapping[str, np.ndarray] | None = None

    def fitting(
        self,
        net: NetParts,
        allow_missing: Iterable[str] = (),
        rename: Mapping[str, str] | None = None,
        words: Words = PYTHON,
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """What a net takes of it, by the net's paths, and in words what does not fit: see `partial_load.fitting`."""
        if self.state_dict is not None:
            return fitting_state(net, self.state_dict, self.file, allow_missing, rename, words)
        mine = dict(stored_arrays(net.parameters, net.state))
        return fitting(mine, self.arrays, self.file, allow_missing, rename, words)

    def whole(self, net: NetParts) -> Mapping[str, np.ndarray]:
        """All of it by a net's paths, for `Net.load_arrays`, which refuses what does not fit; so does this, by names.

        Errors   DataError naming every missing, unexpected and mis-shaped array
        """
        return self.arrays if self.state_dict is None else self.fitting(net, words=WHOLE)[0]


def read_weights(path: str | Path) -> Weights:
    """Read a file of weights.

    Errors   DataError (exit 3) for what cannot be read as what its suffix says; ConfigError for a file of torch.save
             where torch is not installed
    """
    suffix, file = Path(path).suffix, str(path)
    if suffix in torch_file.SUFFIXES:
        return Weights(file, {}, {}, torch_file.read_torch_file(path))
    if suffix == safetensors_file.SUFFIX:
        state_dict, texts = safetensors_file.read_safetensors(path)
        meta = {key.removeprefix(OURS): _value(text, file) for key, text in texts.items() if key.startswith(OURS)}
        return Weights(file, _arrays(meta.pop(ARRAYS.removeprefix(OURS), {}), file), meta, state_dict)
    arrays, meta = snapshot.read_snapshot(path)
    return Weights(file, arrays, meta)


def write_weights(
    path: str | Path, net: NetParts, meta: Mapping[str, Any], more: Mapping[str, np.ndarray] | None = None
) -> None:
    """Write a net's weights as the suffix says, atomically, with what is to be known of it; by default a snapshot.

    more   arrays by path that are no weights, such as those of an input transform

    Errors   DataError where the file cannot be written; ConfigError for the suffix of a file of torch.save, and for
             names that are the same in torch's way of writing them
    """
    suffix, more = Path(path).suffix, more or {}
    if suffix in torch_file.SUFFIXES:
        hint = f"{Path(path).with_suffix(safetensors_file.SUFFIX)}, which torch reads by safetensors.torch.load_file"
        raise ConfigError(f"cannot write {path}: {suffix} files are pickles, which LayerForge never writes", hint=hint)
    if suffix == safetensors_file.SUFFIX:
        texts = {**meta, **({ARRAYS.removeprefix(OURS): _plain(more)} if more else {})}
        metadata = {"format": "pt", **{OURS + key: to_json(value, sort=True) for key, value in texts.items()}}
        safetensors_file.write_safetensors(path, net.state_dict(), metadata)
        return
    snapshot.write_snapshot(path, {**net.arrays(), **more}, meta)


def _plain(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Arrays of float64 as JSON has them."""
    return {path: [list(array.shape), np.asarray(array, np.float64).ravel().tolist()] for path, array in arrays.items()}


def _value(text: str, file: str) -> Any:
    try:
        return from_json(text)
    except (ValueError, RecursionError):
        raise _foreign(file, "a text of its metadata is no JSON") from None


def _arrays(plain: Any, file: str) -> dict[str, np.ndarray]:
    try:
        found = {}
        for path, (shape, numbers) in plain.items():
            sizes = [*shape]
            if not all(type(n) is int and n >= 0 for n in sizes) or math.prod(sizes) != len(numbers) or len(sizes) > 32:
                raise ValueError
            found[path] = np.array([float(n) for n in numbers]).reshape(sizes)
            if not np.isfinite(found[path]).all():
                raise ValueError
        return found
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise _foreign(file, "its constants are no arrays") from None


def _foreign(file: str, problem: str) -> DataError:
    hint = f"leave out of its metadata what begins with {OURS}"
    return DataError(f"{file} is not a file that LayerForge wrote: {problem}", hint=hint)
