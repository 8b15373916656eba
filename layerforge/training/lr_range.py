"""The learning-rate range test: a few steps in which lr grows exponentially, and where the loss falls fastest.

The net that makes them is thrown away. Smith 2017 (Cyclical Learning Rates for Training Neural Networks) looks for the
rates between which a net learns; what is suggested here is the rate of the steepest descent of the smoothed loss.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.awaited import awaiting
from ..arrays.uploading import uploads_to
from ..config.document import Config
from ..data.loader import Batch
from ..schema.errors import ConfigError, DivergedError
from ..solvers.schedules import Fixed
from .batches import accumulated, check_batches, grouped
from .overfit import SameBatches
from .preparation import Parts, prepare

DIVERGED = 4.0  # a smoothed loss so many times its lowest ends the test
FIRST, LAST = 10, 5  # steps at the beginning and at the end whose slope says little, of a hundred


@dataclass(frozen=True)
class Tried:
    """One step of the test. smoothed is the moving average of the losses, corrected for its start."""

    step: int
    lr: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class LrRange:
    """What came of a test.

    tried       its steps
    suggestion  the rate of the steepest descent; None where the loss fell nowhere
    lowest      the rate with the lowest smoothed loss: an upper limit
    stopped     why it ended before its last step; "" where it did not
    notice      what has to be said of the data; "" where nothing has
    """

    tried: list[Tried]
    suggestion: float | None
    lowest: float | None
    stopped: str
    notice: str = ""


def lr_range(
    config: Config | Mapping[str, Any],
    *,
    min_lr: float = 1e-7,
    max_lr: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    backend: Any = None,
) -> LrRange:
    """Train a net for some steps, of which step k has lr = min_lr (max_lr / min_lr)^(k / (steps - 1)).

    Net, solver, batches, micro-batches, clipping and seed are those of a training; its schedule is left out, and
    nothing is written. It ends early where the smoothed loss is 4 times its lowest, and where loss or gradient are not
    finite.

    smoothing   the share that the moving average of the loss keeps in each step; 0 takes the losses as they are

    Errors   ConfigError for bounds that are no range, and those of a training
    """
    if not 0 < min_lr < max_lr < math.inf:
        raise ConfigError(f"min_lr {min_lr:g} and max_lr {max_lr:g} are no range", hint="0 < min_lr < max_lr")
    if steps < 2 or not 0 <= smoothing < 1:
        raise ConfigError(f"steps {steps}, smoothing {smoothing:g}", hint="at least 2 steps, and 0 <= smoothing < 1")
    parts = prepare(config if isinstance(config, Config) else Config.from_dict(config), backend)
    _demand_fixed(parts)
    feed, section = parts.train, parts.config.train
    check_batches(parts.net, parts.data.section, {"train": feed.samples}, steps * section.accumulate_grad_batches)
    tried, stopped = _run(parts, [min_lr * (max_lr / min_lr) ** (k / (steps - 1)) for k in range(steps)], smoothing)
    lowest = min(tried, key=lambda each: each.smoothed).lr if tried else None
    return LrRange(tried, steepest(tried), lowest, stopped, parts.data.notice if parts.data.fallback_used else "")


def _demand_fixed(parts: Parts) -> None:
    schedule = parts.solver.schedule
    if not isinstance(schedule, Fixed) or schedule.warmup:
        raise ConfigError("the range test sets lr in every step", hint="override the schedule: solver.schedule=fixed")


def _run(parts: Parts, rates: list[float], smoothing: float) -> tuple[list[Tried], str]:
    """The steps that were made, and why there are no more; "" after the last."""
    with closing(_groups(parts)) as groups:  # and with them the threads that read ahead, whatever happens
        return _steps(parts, groups, rates, smoothing)


def _steps(
    parts: Parts, groups: Iterator[list[Batch]], rates: list[float], smoothing: float
) -> tuple[list[Tried], str]:
    solver = parts.solver
    tried: list[Tried] = []
    average, lowest = 0.0, math.inf
    for step, lr in enumerate(rates):
        solver.base_lr = lr
        group = next(groups)
        try:
            with awaiting(parts.net.xp):
                accumulated(solver, group)
                solver.update()
        except DivergedError:
            return tried, f"loss or gradient were not finite in step {step}, at lr {lr:.3g}"
        loss = float(solver.loss or 0.0)
        average = smoothing * average + (1 - smoothing) * loss
        tried.append(Tried(step, lr, loss, average / (1 - smoothing ** (step + 1))))
        lowest = min(lowest, tried[-1].smoothed)
        if lowest > 0 and tried[-1].smoothed > DIVERGED * lowest:
            return tried, f"the smoothed loss was {DIVERGED:g} times its lowest in step {step}, at lr {lr:.3g}"
    return tried, ""


def _groups(parts: Parts) -> Generator[list[Batch], None, None]:
    """The batches of steps, one epoch after the other without end."""
    section, epoch = parts.config.train, 0
    feed = SameBatches(parts.train, section.overfit_batches) if section.overfit_batches else parts.train
    while True:
        parts.solver.epoch = epoch
        with uploads_to(parts.net.xp) as uploads, closing(feed.epoch(epoch, uploads=uploads)) as batches:
            yield from grouped(batches, section.accumulate_grad_batches)
        epoch += 1


def steepest(tried: list[Tried]) -> float | None:
    """The rate at which the smoothed loss falls fastest over log lr; None where it falls by no more than noise.

    The first steps, in which the average has seen little, and the last, where it may rise already, are left out. Noise
    is the usual distance of a loss from its average: 1.48 times the median, as of normal numbers, and twice that.
    """
    first, last = len(tried) * FIRST // 100, len(tried) * LAST // 100
    inner = slice(first, len(tried) - last)
    if len(tried[inner]) < 2:
        return None
    smoothed = np.array([each.smoothed for each in tried])
    noise = 1.48 * float(np.median([abs(each.loss - each.smoothed) for each in tried]))
    if smoothed[inner][0] - smoothed[inner].min() <= 2 * noise:
        return None
    slopes = np.gradient(smoothed, np.log([each.lr for each in tried]))[inner]
    return tried[inner][int(np.argmin(slopes))].lr
