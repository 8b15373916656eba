"""Capsules: one step of a run, whole, in a file. A step whose loss or gradient was not finite leaves one behind.

    params/... state/... carried/... history/...   weights, what layers remember, the solver's history: before it
    batch/<k>/<input>   samples/<k>    every input array of micro-batch k, and which samples of data.train it holds
    batch/<k>/<input>/data ...         the arrays data, indices, indptr and shape of a sparse input
    meta: kind, iteration, first_sample, seed, loss, grad_norm, solver, inputs, config, places, fallback

What the data section says is not needed to run the step again, and no file that it names is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..arrays.backend import csr_of
from ..arrays.sparse import CSR
from ..data.loader import Batch
from ..net import Net
from ..run import carried
from ..schema.errors import ConfigError
from ..schema.locations import Place
from ..solvers.solver import Solver
from .rundir import find_run

FOLDER = "capsules"


@dataclass
class Capsule:
    """A capsule as read: `batches` are the inputs of each micro-batch, `samples` which samples they are."""

    file: Path
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]
    batches: list[dict[str, Any]]
    samples: list[np.ndarray]

    def place(self, layer: str) -> Place | None:
        """Where the layer was written, in the configuration that the run was started with."""
        known = self.meta["places"].get(layer)
        return None if known is None else Place(**known)


def write_capsule(run: Path, net: Net, solver: Solver, batches: Sequence[Batch], config: str, fallback: bool) -> Path:
    """Write the step that `solver` has just refused into the folder of a run; the path of the file.

    Errors   DataError (exit 3) where it cannot be written
    """
    arrays: dict[str, np.ndarray] = {**net.arrays(), **carried.stored(net), **solver.arrays()}
    for k, batch in enumerate(batches):
        for name, array in batch.host.items():
            arrays |= _stored_as(f"batch/{k}/{snapshot.escape(name)}", array)
        arrays[f"samples/{k}"] = batch.samples
    places = {node.name: asdict(node.place) for node in net.graph.nodes if node.place is not None}
    meta = {
        "kind": "capsule",
        "iteration": solver.iteration,
        "first_sample": net.first_sample,
        "seed": net.seed,
        "loss": solver.loss,
        "grad_norm": solver.grad_norm,
        "solver": solver.state(),
        "inputs": list(net.graph.inputs),  # in their order, which the file does not keep
        "config": config,
        "places": places,
        "fallback": fallback,
    }
    path = run / FOLDER / f"step-{solver.iteration:08d}.h5"
    with snapshot.writing(path, "the run's checkpoints are untouched"):
        path.parent.mkdir(exist_ok=True)
    snapshot.write_snapshot(path, arrays, meta)
    return path


def capsule_of(target: str | Path) -> Path:
    """The capsule that a path names: the file itself, or the newest capsule of a run.

    Errors   ConfigError where there is none
    """
    run = find_run(target)
    if run is None:
        return Path(target)
    files = sorted((run.path / FOLDER).glob("step-*.h5"))
    if not files:
        hint = "a run writes one when it stops at a loss that is not finite, or skips the first such step"
        raise ConfigError(f"the run {run.path} has no capsule", hint=hint)
    # By the name that was given, such as `latest`: one file is read, so nothing can be mixed with another run's.
    named = Path(target) / FOLDER / files[-1].name
    return named if named.is_file() else files[-1]


def read_capsule(target: str | Path) -> Capsule:
    """Read the capsule that a path names.

    Errors   ConfigError for a run without a capsule, and for a file that is something else; DataError where it is
             damaged or missing
    """
    file = capsule_of(target)
    arrays, meta = snapshot.read_snapshot(file)
    if meta.get("kind") != "capsule":
        message = f"{file} is no capsule but {meta.get('kind', 'something else')}"
        raise ConfigError(message, hint="capsules stand in the folder capsules/ of a run that diverged")
    batches: dict[int, dict[str, Any]] = {}
    samples: dict[int, np.ndarray] = {}
    for path, array in arrays.items():
        kind, _, rest = path.partition("/")
        number, _, name = rest.partition("/")
        if kind == "batch":
            name, _, part = name.partition("/")
            held = batches.setdefault(int(number), {})
            if part:
                held.setdefault(snapshot.unescape(name), {})[part] = array
            else:
                held[snapshot.unescape(name)] = array
        elif kind == "samples":
            samples[int(number)] = array
    order = sorted(batches)
    whole = [{name: _whole(file, name, held) for name, held in batches[k].items()} for k in order]
    return Capsule(file, arrays, meta, whole, [samples[k] for k in order])


def _stored_as(path: str, array: Any) -> dict[str, np.ndarray]:
    """The arrays that an input is stored as, by path."""
    return {f"{path}/{part}": a for part, a in array.parts.items()} if isinstance(array, CSR) else {path: array}


def _whole(file: Path, name: str, held: Any) -> Any:
    """An input from what is stored of it. DataError where that is no sparse matrix, nor an array."""
    return csr_of(held, f"{file}: input '{name}'") if isinstance(held, dict) else held
