"""Checkpoints: everything that a run needs to go on, in one snapshot file.

    params/<layer>/<name>  state/<layer>/<name>  history/<k>/<layer>/<name>  transform/<input>.<constant>
    carried/<layer>/<k>    what a stateful layer goes on from
    meta: kind, iteration, position, seed, fallback, solver, config, kinds, files (their fingerprints), failure
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from .. import snapshot
from ..data.opening import OpenData
from ..graph.signature import Signature
from ..net import Net
from ..run import carried
from ..run.counting import LossPart
from ..run.stored_arrays import weights_meta
from ..schema.errors import DataError
from ..schema.params import parse_as
from ..solvers.solver import Solver

TRANSFORM = "transform/"  # where a checkpoint keeps the constants of the input transform
STATE = "state"  # the kind of a snapshot that another program's training goes on from: see state_bytes


@dataclass
class Window:
    """The steps since the last row of metrics.

    sums, counts   of each loss, times its weight: the sum over what it is a mean of, and how much that was. Where the
                   loss is a sum there is no count, and the mean is that over the steps
    """

    steps: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, losses: Iterable[LossPart], seconds: float) -> None:
        """Count a step: the losses of its micro-batches."""
        for loss in losses:
            over = 1 if loss.count is None else loss.count
            self.sums[loss.name] = self.sums.get(loss.name, 0.0) + loss.weight * loss.value * over
            if loss.count is not None:
                self.counts[loss.name] = self.counts.get(loss.name, 0) + loss.count
        self.steps += 1
        self.seconds += seconds

    @property
    def loss(self) -> float:
        """The losses together, each the mean over everything that it counted."""
        if not self.steps:
            return math.nan
        return sum(total / (self.counts.get(name, self.steps) or 1) for name, total in self.sums.items())

    @property
    def milliseconds(self) -> float:
        """Mean time of a step, without evaluations, checkpoints and waiting for data."""
        return round(1e3 * self.seconds / self.steps, 3) if self.steps else math.nan


@dataclass
class Position:
    """How far a run is.

    epoch, batch    completed epochs, and batches consumed in the present one
    best, metrics   the best value of the monitored metric, and all metrics when it was seen
    latest          the newest value of every metric
    window          what the next row of metrics has so far
    recent          the steps since the last evaluation, or line without one: the loss beside the next one
    stop_best, stop_waited   early stopping: the best value, and the evaluations since
    ending          why the run ends before its last step; "" while it does not
    hooks, logged   the state of users' hooks by name, and what they have logged for the next row of metrics
    """

    epoch: int = 0
    batch: int = 0
    best: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    window: Window = field(default_factory=Window)
    recent: Window = field(default_factory=Window)
    stop_best: float | None = None
    stop_waited: int = 0
    ending: str = ""
    hooks: dict[str, Any] = field(default_factory=dict)
    logged: dict[str, float] = field(default_factory=dict)

    def renew_loss(self) -> None:
        """What stands beside the values of an evaluation is as new as they are."""
        if self.recent.steps:
            self.latest["train/loss"] = self.recent.loss
        self.recent = Window()

    def improves(self, value: float | None, higher: bool) -> bool:
        """Take note of the metric that chooses the best; whether it is the best so far. `higher`: large is good."""
        if value is None or math.isnan(value):
            return False
        if self.best is not None and not (value > self.best if higher else value < self.best):
            return False
        self.best, self.metrics = value, dict(self.latest)
        return True

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any], source: str = "the checkpoint") -> Position:
        """The position that a checkpoint holds; what an earlier version did not know keeps its default.

        Errors   DataError where it holds none, or something else
        """
        try:
            values = dict(meta["position"])
            windows = {"window": _typed(Window, _of_each_loss(values.pop("window")))}
            if "recent" in values:
                windows["recent"] = _typed(Window, values.pop("recent"))
            return _typed(cls, values | windows)
        except (KeyError, TypeError, ValueError):
            hint = "it was not written by this program; take its weights only: --init-weights"
            raise DataError(f"{source} holds no position of a run", hint=hint) from None


def _of_each_loss(window: Mapping[str, Any]) -> dict[str, Any]:
    """A window as it is written now; an earlier version kept one total of all losses, weighted by the samples."""
    if "total" not in window:
        return dict(window)
    rest = {key: value for key, value in window.items() if key not in ("total", "samples")}
    return {**rest, "sums": {"": window["total"]}, "counts": {"": window["samples"]}}


def _typed(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A dataclass from values of a file; TypeError or KeyError where one has another type or another name."""
    hints = get_type_hints(kind)
    return kind(**{k: v if isinstance(v, Window) else parse_as(hints[k], v) for k, v in dict(values).items()})


def checkpoint_bytes(
    net: Net,
    solver: Solver,
    data: OpenData,
    position: Position,
    config: str,
    signature: Signature,
    weights: Mapping[str, np.ndarray] | None = None,
    files: Mapping[str, Any] | None = None,
    failure: str = "",
) -> bytes:
    """A checkpoint, built in memory: parameters, running statistics, history, position, and the configuration.

    files     the fingerprints of what else the run depends on
    failure   what ended the run after this step; "" in every checkpoint but one that was made because of it
    weights   what stands for parameters and statistics where it is not the net's own: see averaging.py
    """
    meta = {
        "kind": "checkpoint",
        "iteration": solver.iteration,
        "position": asdict(position),
        "seed": net.seed,
        "fallback": data.fallback_used,
        "solver": solver.state(),
        "config": config,
        "signature": signature.plain,
        "kinds": {name: kind.plain for name, kind in data.transform.kinds.items()},
        "files": dict(files or {}),
    }
    if failure:
        meta["failure"] = failure
    scaling = {TRANSFORM + name: array for name, array in data.transform.state().items()}
    held = {**(net.arrays() if weights is None else weights), **carried.stored(net)}
    return snapshot.pack({**held, **solver.arrays(), **scaling}, meta)


def state_bytes(net: Net, solver: Solver) -> bytes:
    """The state of a training that another program began: weights, statistics, history and counts, but no run.

    With `--resume-from` a new run goes on from it, with the configuration that it is given.
    """
    meta = {**weights_meta(net), "kind": STATE, "iteration": solver.iteration, "solver": solver.state()}
    return snapshot.pack({**net.arrays(), **solver.arrays()}, meta)


class Checkpoints:
    """The checkpoint files of a run: last, best, and the newest `keep_last` numbered ones.

    `last` is written when all others are there: a run that is killed in between goes on from the one before and writes
    them again.
    """

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder, self.keep_last = folder, keep_last

    def write(self, content: bytes, iteration: int, *, best: bool, numbered: bool) -> None:
        """Write `best` and a numbered file where asked for, then `last`; remove numbered ones beyond keep_last.

        The newest are those of the last steps up to this one. Later ones are there where a run was resumed from a
        checkpoint before them: they are kept until the run comes to their steps again.

        Errors   DataError (exit 3) where one cannot be written; the last good checkpoint stays
        """
        number = numbered and self.keep_last
        names = ["best.h5"] * best + [f"step-{iteration:08d}.h5"] * bool(number) + ["last.h5"]
        for name in names:
            self._write(self.folder / name, content)
        with snapshot.writing(self.folder, "the new checkpoint is there"):
            files = sorted(f for f in self.folder.glob("step-*.h5") if f.name <= names[-2]) if number else []
            for old in files[: -self.keep_last]:
                old.unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        try:
            snapshot.atomic_write(path, content)
        except DataError as error:
            if (self.folder / "last.h5").exists():
                way = f"layerforge train {self.folder.parent} --resume"
                error.hint = f"{error.hint}; the last good checkpoint is there, and goes on with: {way}"
            raise
