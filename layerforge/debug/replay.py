"""`layerforge replay`: a step that was not finite, run once more, to the first array that went wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.backend import Backend
from ..arrays.sparse import CSR, places
from ..net import Net
from ..schema.errors import DivergedError
from ..solvers.solver import Solver
from ..training.capsule import Capsule, read_capsule
from .replay_net import rebuild
from .watch import DATA, LOSS, NORM, PARAMETER, Seen, Watch, first_cause, look


@dataclass
class Replayed:
    """A step that was run again.

    loss, grad_norm   as they came out this time
    as_trained        loss and norm of the net as training runs it, fused and in place, where the step is finite
                      when every blob is kept
    part              the micro-batch in which it happened
    cause             the first array that is not finite and matters; None where the step is finite this time
    seen              every array up to the cause, in order of time
    history           the solver's history of the parameter that is the cause, where one is
    """

    capsule: Capsule
    net: Net
    loss: float
    grad_norm: float
    part: int
    cause: Seen | None
    as_trained: tuple[float, float] | None
    seen: list[Seen]
    history: list[Seen]

    @property
    def samples(self) -> list[int]:
        """Where the cause is an input: which samples of the batch are not finite."""
        if self.cause is None or self.cause.kind != DATA:
            return []
        array = self.capsule.batches[self.part][self.cause.name]
        if isinstance(array, CSR):
            return np.unique(places(array)[~np.isfinite(array.data), 0]).tolist()
        return [int(i) for i in np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))]


def replay(target: str | Path, *, allow_import: bool = False, backend: str | Backend | None = None) -> Replayed:
    """Run the step of a capsule (or of a run's newest one) again and find what went non-finite first.

    Errors   ConfigError for what is no capsule or would need `allow_import`; DataError for a damaged one
    """
    capsule = read_capsule(target)
    net, solver = rebuild(capsule, allow_import, backend)
    watch, cause, part, refused = net.watch, None, -1, False
    if len(capsule.batches) > 1:
        solver.begin_step(capsule.batches)
    while cause is None and not refused and part + 1 < len(capsule.batches):
        part += 1
        watch.begin(capsule.batches[part])
        refused = _accumulate(solver, capsule.batches[part])
        cause = first_cause(watch.losses) or first_cause(list(watch.gradients.values()))
    if not refused:
        solver.measure()
    if cause is None and not solver.is_finite:
        cause = _overflow(solver, watch)
    seen = watch.seen if cause is None else [s for s in watch.seen if s.time <= cause.time]
    as_trained = _as_trained(capsule, backend) if cause is None else None
    return Replayed(capsule, net, *_figures(solver), part, cause, as_trained, seen, _history(capsule, cause))


def _figures(solver: Solver) -> tuple[float, float]:
    return solver.loss or 0.0, math.nan if solver.grad_norm is None else solver.grad_norm


def _as_trained(capsule: Capsule, backend: str | Backend | None) -> tuple[float, float]:
    """Loss and norm without keeping and watching the blobs. The capsule's imports have been run by now."""
    _, solver = rebuild(capsule, True, backend, watched=False)
    if len(capsule.batches) > 1:
        solver.begin_step(capsule.batches)
    if not any(_accumulate(solver, batch) for batch in capsule.batches):
        solver.measure()
    return _figures(solver)


def _accumulate(solver: Solver, batch: dict[str, Any]) -> bool:
    """Whether a backward refused what the loss sent down."""
    try:
        solver.accumulate(**batch)
    except DivergedError:
        return True
    return False


def _overflow(solver: Solver, watch: Watch) -> Seen:
    """The loss or the norm, which overflows although every array is finite."""
    if not math.isfinite(solver.loss or 0.0):
        kind, number, parts = LOSS, solver.loss, watch.losses
    else:
        kind, number = NORM, solver.grad_norm
        parts = sorted(watch.gradients.values(), key=lambda s: -max(abs(s.low), abs(s.high)))
    seen = look(kind, kind, parts[0].layer if parts else "", np.asarray(number, dtype=np.float64), parts)
    seen.time = len(watch.seen)
    return seen


def _history(capsule: Capsule, cause: Seen | None) -> list[Seen]:
    if cause is None or cause.kind != PARAMETER:
        return []
    layer, _, name = cause.name.rpartition(".")
    return [
        look("history", f"{cause.name} (history {path.split('/')[1]})", layer, array)
        for path, array in capsule.arrays.items()
        if path.startswith("history/") and path.endswith(f"/{layer}/{name}")
    ]
