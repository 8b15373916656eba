"""Checkpoints: everything that a run needs to go on, in one snapshot file.

    params/<layer>/<name>  state/<layer>/<name>  history/<k>/<layer>/<name>  transform/<input>.<constant>
    meta: kind, format, iteration, epoch, batch, seed, best, solver, config
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .. import snapshot
from ..data.transform import InputTransform
from ..net import Net
from ..solvers.solver import Solver
from .trained import TRANSFORM

FORMAT = 1


@dataclass
class Position:
    """How far a run is: completed epochs, batches consumed in the present one, and the best value so far."""

    epoch: int = 0
    batch: int = 0
    best: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def checkpoint_bytes(
    net: Net, solver: Solver, transform: InputTransform, position: Position, config: str
) -> bytes:
    """A checkpoint, built in memory: parameters, running statistics, history, position, and the configuration."""
    meta = {
        "kind": "checkpoint",
        "format": FORMAT,
        "iteration": solver.iteration,
        "epoch": position.epoch,
        "batch": position.batch,
        "seed": net.run.seed,
        "best": position.best,
        "metrics": position.metrics,
        "solver": solver.state(),
        "config": config,
    }
    scaling = {TRANSFORM + name: array for name, array in transform.state().items()}
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
