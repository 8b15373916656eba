"""Checkpoints: everything that a run needs to go on, in one snapshot file.

    params/<layer>/<name>  state/<layer>/<name>  history/<k>/<layer>/<name>  transform/<input>.<constant>
    meta: kind, format, iteration, position, seed, fallback, solver, config
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import snapshot
from ..data.opening import OpenData
from ..net import Net
from ..solvers.solver import Solver
from .trained import TRANSFORM

FORMAT = 1


@dataclass
class Window:
    """The steps since the last row of metrics."""

    total: float = 0.0
    samples: int = 0
    steps: int = 0
    seconds: float = 0.0

    def add(self, loss: float, samples: int, seconds: float) -> None:
        """Count a step."""
        self.total += loss * samples
        self.samples += samples
        self.steps += 1
        self.seconds += seconds

    @property
    def loss(self) -> float:
        """Mean over the samples."""
        return self.total / self.samples if self.samples else math.nan

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
    """

    epoch: int = 0
    batch: int = 0
    best: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    window: Window = field(default_factory=Window)

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> Position:
        """The position that a checkpoint holds."""
        values = dict(meta["position"])
        return cls(**{**values, "window": Window(**values["window"])})


def checkpoint_bytes(
    net: Net, solver: Solver, data: OpenData, position: Position, config: str
) -> bytes:
    """A checkpoint, built in memory: parameters, running statistics, history, position, and the configuration."""
    meta = {
        "kind": "checkpoint",
        "format": FORMAT,
        "iteration": solver.iteration,
        "position": asdict(position),
        "seed": net.run.seed,
        "fallback": data.fallback_used,
        "solver": solver.state(),
        "config": config,
    }
    scaling = {TRANSFORM + name: array for name, array in data.transform.state().items()}
    return snapshot.pack({**net.arrays(), **solver.arrays(), **scaling}, meta)


class Checkpoints:
    """The checkpoint files of a run: last, best, and the newest `keep_last` numbered ones."""

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder, self.keep_last = folder, keep_last

    def write(self, content: bytes, iteration: int, *, best: bool, numbered: bool) -> None:
        """Write `last`, and `best` and a numbered file where asked for; then remove numbered ones beyond keep_last."""
        snapshot.atomic_write(self.folder / "last.h5", content)
        if best:
            snapshot.atomic_write(self.folder / "best.h5", content)
        if numbered and self.keep_last:
            snapshot.atomic_write(self.folder / f"step-{iteration:08d}.h5", content)
            for old in sorted(self.folder.glob("step-*.h5"))[: -self.keep_last]:
                old.unlink(missing_ok=True)
