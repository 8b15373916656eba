"""`--init-weights FILE`: a new run whose layers start from the weights of a snapshot, found by the layers' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..net import Net
from ..run.partial_load import FLAGS
from ..run.weights_file import read_weights
from .rundir import weights_of


def init_weights(
    net: Net, path: str | Path, allow_missing: Iterable[str] = (), rename: Mapping[str, str] | None = None
) -> list[str]:
    """Take parameters and running statistics from a file of weights or a run; return what is to be said, as lines.

    allow_missing, rename   as `Net.load` has them; a layer that is not taken starts as it would without the file

    Errors   those of `Net.load`
    """
    file = weights_of(path)
    given = read_weights(file)
    chosen, differences = given.fitting(net, allow_missing, rename, FLAGS)
    net.load_arrays(net.arrays() | chosen, str(file))
    return _remarks(file, given.meta, differences)


def _remarks(file: Path, meta: Mapping[str, object], differences: Iterable[str]) -> list[str]:
    lines = []
    if meta.get("kind") == "checkpoint":
        step = meta.get("iteration")
        lines.append(
            f"{file} is a checkpoint, after step {step}; only its weights are taken, and a new run begins"
            f" (to go on with the old one: --resume-from {file})"
        )
    if differences:
        lines.append(f"not taken from {file}: {'; '.join(differences)}")
    return lines
