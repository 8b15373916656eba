"""Do the competitors compute the same? Losses, gradients and two updates from identical weights and batches.

In float64 all must agree to EXACT: then they are the same net and make the same update. In float32 they must agree to
SINGLE, or to a few times what either side loses to rounding: a ReLU whose input is rounded to the other side of 0
changes gradients by more than that. Who rounds to bfloat16 is compared with our float32, within the net's `coarse`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .catalogue import NETS
from .driver import Entrant, Settings, Worker, WorkerError, entrants, setup_message
from .problem import Problem, load

EXACT, SINGLE, ROUNDINGS = 1e-6, 1e-3, 3
COARSE_FLOOR = 0.05  # the same as FLOOR, of who rounds to bfloat16
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
    """Another one against us on a net: in float64, in float32, and what float32 itself costs the worse of the two.

    Who rounds to bfloat16 is compared with our float32 alone.
    """

    net: str
    entrant: Entrant
    exact: Difference | None
    single: Difference
    rounding: Difference | None

    @property
    def bound(self) -> float:
        """What `single` may be."""
        return NETS[self.net].coarse if self.rounding is None else max(SINGLE, ROUNDINGS * self.rounding.size)

    @property
    def fine(self) -> bool:
        """Whether both compute the same."""
        return (self.exact is None or self.exact.size <= EXACT) and self.single.size <= self.bound


def compare(
    nets: Sequence[str], ways: Sequence[str], against: Sequence[str], threads: int, settings: Settings
) -> tuple[list[Comparison], list[str]]:
    """Every competitor in every variant, and our other ways, against our first; and notes on those that do not compete.

    Errors   WorkerError where one fails that should compete
    """
    found, notes = [], []
    for net in nets:
        if NETS[net].draws:
            notes.append(f"{net}: its random numbers are drawn by each side for itself")
            continue
        faster = f"solver.lr={FASTER * load(net).lr}"
        own = {dtype: replace(settings, overrides=(*settings.overrides, faster, f"dtype={dtype}")) for dtype in DTYPES}
        tasks = {dtype: load(net, changed.overrides) for dtype, changed in own.items()}
        start = start_weights(tasks["float32"])
        first, *others = entrants(net, ways, against)
        ours = answers(tasks, first, threads, own, start)
        for entrant in others:
            kept = {dtype: task for dtype, task in tasks.items() if dtype == "float32" or not entrant.coarse}
            try:
                theirs = answers(kept, entrant, threads, own, start)
            except WorkerError as error:
                if not error.absent:
                    raise
                notes.append(f"{net}: {error}")
                continue
            found.append(compared(net, entrant, ours, theirs))
    return found, notes


def compared(net: str, entrant: Entrant, ours: Mapping[str, Answer], theirs: Mapping[str, Answer]) -> Comparison:
    """What is between us and another one, who may have no answer in float64."""
    if entrant.coarse:
        found = difference(ours["float32"], theirs["float32"], COARSE_FLOOR)
        return Comparison(net, entrant, None, found, None)
    exact, single = (difference(ours[dtype], theirs[dtype]) for dtype in DTYPES)
    return Comparison(net, entrant, exact, single, max(map(rounding, (ours, theirs))))


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
    tasks: Mapping[str, Problem], entrant: Entrant, threads: int, settings: Mapping[str, Settings], start: Arrays
) -> dict[str, Answer]:
    """What a worker says, by dtype; so are tasks and settings."""
    found = {}
    with Worker(entrant, threads, settings["float32"]) as worker, tempfile.TemporaryDirectory() as folder:
        weights, out = Path(folder, "start.npz"), Path(folder, "out.npz")
        np.savez(weights, **start)
        for dtype, task in tasks.items():
            worker.ask("setup", **setup_message(task, entrant, threads, settings[dtype], "train", None))
            loss = worker.ask("verify", weights=str(weights), out=str(out))["loss"]
            with np.load(out) as arrays:
                gradients = {name: arrays[f"gradient/{name}"] for name in start}
                changes = {name: arrays[f"weight/{name}"] - before for name, before in start.items()}
            found[dtype] = Answer(loss, gradients, changes)
    return found


def rounding(side: Mapping[str, Answer]) -> Difference:
    """How far a side is from itself in float64."""
    return difference(side["float64"], side["float32"])


def difference(a: Answer, b: Answer, floor: float = FLOOR) -> Difference:
    """The largest relative difference of two answers."""
    loss = Difference(abs(a.loss - b.loss) / max(abs(a.loss), 1e-12), "loss")
    gradients = of_arrays(a.gradients, b.gradients, "gradient", floor)
    return max(loss, gradients, of_arrays(a.changes, b.changes, "update", floor))


def of_arrays(a: Arrays, b: Arrays, what: str, share: float) -> Difference:
    """The largest norm of a difference relative to the array's own norm.

    Norms below a share of the largest one count as that.
    """
    norms = {name: float(np.linalg.norm(array)) for name, array in a.items()}
    floor = max(share * max(norms.values()), 1e-30)
    found = {name: float(np.linalg.norm(a[name] - b[name])) / max(norms[name], floor) for name in a}
    worst = max(found, key=lambda name: found[name])
    return Difference(found[worst], f"{what} of {worst}")
