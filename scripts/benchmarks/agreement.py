"""Do the competitors compute the same? Losses, gradients and two updates from identical weights and batches.

In float64 all must agree to EXACT: then they are the same net and make the same update. In float32 they must agree to
SINGLE, or to a few times what either side loses to rounding: a ReLU whose input is rounded to the other side of 0
changes gradients by more than that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .catalogue import NETS, OURS
from .driver import Entrant, Settings, Worker, WorkerError, entrants, setup_message
from .problem import Problem, load

EXACT, SINGLE, ROUNDINGS = 1e-6, 1e-3, 3
FLOOR = 1e-4  # of the largest norm among the net's gradients: below it a gradient is rounding (a bias before BatchNorm)
FASTER = 100  # times the lr of the benchmark: an update must be larger than the rounding of a weight
DTYPES = ("float64", "float32")

Arrays = Mapping[str, np.ndarray]


class Answer(NamedTuple):
    """What one side computes in one dtype: the loss, gradients and changes of the weights by parameter."""

    loss: float
    gradients: Arrays
    changes: Arrays


class Difference(NamedTuple):
    """The largest relative difference between two answers, and what it is of."""

    size: float
    where: str


class Comparison(NamedTuple):
    """A competitor against us on a net: in float64, in float32, and what float32 itself costs the worse of the two."""

    net: str
    entrant: Entrant
    exact: Difference
    single: Difference
    rounding: Difference

    @property
    def fine(self) -> bool:
        """Whether both compute the same."""
        return self.exact.size <= EXACT and self.single.size <= max(SINGLE, ROUNDINGS * self.rounding.size)


def compare(
    nets: Sequence[str], against: Sequence[str], threads: int, settings: Settings
) -> tuple[list[Comparison], list[str]]:
    """Every competitor in every variant against us; and notes on those that do not compete.

    Errors   WorkerError where one fails that should compete
    """
    found, notes = [], []
    for net in nets:
        if NETS[net].draws:
            notes.append(f"{net}: its random numbers are drawn by each side for itself")
            continue
        faster = f"solver.lr={FASTER * load(net).lr}"
        overrides = {dtype: [*settings.overrides, faster, f"dtype={dtype}"] for dtype in DTYPES}
        tasks = {dtype: load(net, own) for dtype, own in overrides.items()}
        start = start_weights(tasks["float32"])
        ours = answers(tasks, Entrant(OURS), threads, settings, start, overrides)
        for entrant in entrants(net, against)[1:]:
            try:
                theirs = answers(tasks, entrant, threads, settings, start, overrides)
            except WorkerError as error:
                if not error.absent:
                    raise
                notes.append(f"{net}: {error}")
                continue
            exact, single = (difference(ours[dtype], theirs[dtype]) for dtype in DTYPES)
            found.append(Comparison(net, entrant, exact, single, max(map(rounding, (ours, theirs)))))
    return found, notes


def start_weights(task: Problem) -> dict[str, np.ndarray]:
    """Random weights of the size that keeps signals alive, around 1 for the scales of normalisations."""
    rng, arrays = np.random.default_rng(1), {}
    for name, shape in task.shapes.items():
        values = rng.standard_normal(shape)
        if len(shape) > 1:
            values *= np.sqrt(1 / np.prod(shape[1:]))
        else:
            values = 0.1 * values + ("bias" not in name)
        arrays[name] = values.astype(np.float32)
    return arrays


def answers(
    tasks: Mapping[str, Problem],
    entrant: Entrant,
    threads: int,
    settings: Settings,
    start: Arrays,
    overrides: Mapping[str, list[str]],
) -> dict[str, Answer]:
    """What a worker says, by dtype."""
    found = {}
    with Worker(entrant, threads, settings) as worker, tempfile.TemporaryDirectory() as folder:
        weights, out = Path(folder, "start.npz"), Path(folder, "out.npz")
        np.savez(weights, **start)
        for dtype, task in tasks.items():
            message = setup_message(task, entrant, threads, settings, "train", None)
            worker.ask("setup", **message | {"overrides": overrides[dtype]})
            loss = worker.ask("verify", weights=str(weights), out=str(out))["loss"]
            with np.load(out) as arrays:
                gradients = {name: arrays[f"gradient/{name}"] for name in start}
                changes = {name: arrays[f"weight/{name}"] - before for name, before in start.items()}
            found[dtype] = Answer(loss, gradients, changes)
    return found


def rounding(side: Mapping[str, Answer]) -> Difference:
    """How far a side is from itself in float64."""
    return difference(side["float64"], side["float32"])


def difference(a: Answer, b: Answer) -> Difference:
    """The largest relative difference of two answers."""
    loss = Difference(abs(a.loss - b.loss) / max(abs(a.loss), 1e-12), "loss")
    return max(loss, of_arrays(a.gradients, b.gradients, "gradient"), of_arrays(a.changes, b.changes, "update"))


def of_arrays(a: Arrays, b: Arrays, what: str) -> Difference:
    """The largest norm of a difference relative to the array's own norm.

    Norms below FLOOR times the largest one count as that.
    """
    norms = {name: float(np.linalg.norm(array)) for name, array in a.items()}
    floor = max(FLOOR * max(norms.values()), 1e-30)
    found = {name: float(np.linalg.norm(a[name] - b[name])) / max(norms[name], floor) for name in a}
    worst = max(found, key=lambda name: found[name])
    return Difference(found[worst], f"{what} of {worst}")
