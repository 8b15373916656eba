"""Schedules: how the learning rate changes during a run. Caffe's formulas, and the cosine, one-cycle and plateau ones.

Every schedule is a function of i, the number of completed iterations (`unit: step`: 0 during the first one) or of
completed epochs (`unit: epoch`: 0 during the first one). `step_size`, `milestones`, `warmup` and the i that gamma is
applied to all count in that unit; n is the length of the whole run in it.

Warm-up multiplies any of them: while i < warmup, lr = value(i) · (i + 1) / warmup. The schedule's own i is not
shifted, so a warm-up neither lengthens a run nor moves a milestone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from ..config.sections import Finite
from ..schema.errors import ConfigError
from ..schema.params import Declared, param
from ..schema.registry import SCHEDULES
from ..schema.synonyms import is_higher_better
from ..schema.user_modules import described


class Progress(NamedTuple):
    """How far a run is, in completed iterations and epochs, and how long it will be where that is known."""

    iteration: int = 0
    epoch: int = 0
    total_iterations: int | None = None
    total_epochs: int | None = None


# How to make the length of the run known, by unit.
LENGTH_HINTS = {
    "step": "set train.epochs or train.max_steps; in Python: solver.total_iterations = 10000",
    "epoch": "set train.epochs, or use unit: step; in Python: solver.total_epochs = 10",
}


class Schedule(Declared):
    """Base of the schedules: `lr` is for the solver, `value` is what a schedule writes. One's own is a few lines:

        from layerforge import Schedule, param, register_schedule

        @register_schedule
        class Halving(Schedule):
            \"\"\"halving: lr, half of it after `every` units, a third after twice as many, ...\"\"\"
            type_name = "halving"
            every: int = param(100, help="units between two changes", ge=1)

            def value(self, base_lr, i, n):
                return base_lr / (1 + i // self.every)

    type_name     what YAML calls it
    needs_length  whether `value` reads n, the length of the run: an error says so where that is not known
    monitor       the metric whose value after each evaluation is passed to `observe`; None where there is none. What a
                  schedule remembers of it goes into checkpoints by `state` and `load_state`
    """

    monitor: str | None = None
    needs_length: bool = False

    warmup: int = param(0, help="units during which lr rises linearly from lr / warmup", ge=0)
    unit: str = param("step", help="what is counted", choices=("step", "epoch"))

    def lr(self, base_lr: float, progress: Progress) -> float:
        """The learning rate at that point of the run.

        Errors   ConfigError when the length of the run is needed and not known, when lr is not finite, and for what
                 goes wrong in a schedule of one's own
        """
        steps = self.unit == "step"
        i = progress.iteration if steps else progress.epoch
        total = progress.total_iterations if steps else progress.total_epochs
        if total is None and self.needs_length:
            message = f"schedule {self.type_name} needs the length of the run in {self.unit}s, which is not known"
            raise ConfigError(message, place=self.place, hint=LENGTH_HINTS[self.unit])
        try:
            lr = float(self.value(base_lr, i, max(1, total or 1)))
        except OverflowError:
            lr = math.inf
        except Exception as error:
            where = f"value({base_lr:g}, {i}, {max(1, total or 1)})"
            message = f"schedule {self.type_name}: {type(error).__name__} in {where}: {described(error)}"
            raise ConfigError(message, place=self.place) from error
        if not math.isfinite(lr):
            message = f"schedule {self.type_name}: the learning rate is not finite at {self.unit} {i}"
            raise ConfigError(message, place=self.place, hint="lower gamma or power, or train for less long")
        return lr * (i + 1) / self.warmup if i < self.warmup else lr

    def value(self, base_lr: float, i: int, n: int) -> float:
        """The learning rate without warm-up after i of n units."""
        raise NotImplementedError(f"{type(self).__name__} has no value(self, base_lr, i, n)")

    def observe(self, metric: float) -> None:
        """Take note of the monitored metric after an evaluation."""

    def state(self) -> dict[str, float]:
        """What a checkpoint must hold of the schedule: nothing where lr follows from the progress alone."""
        return {}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` returned; ConfigError where that came from a schedule of another kind."""
        if set(state) != set(self.state()):
            have, want = (", ".join(names) or "nothing" for names in (state, self.state()))
            raise ConfigError(
                f"the saved state holds {have}, schedule {self.type_name} needs {want}",
                place=self.place,
                hint="resume with the schedule that the run began with, or begin anew with its weights",
            )


@SCHEDULES.add
class Fixed(Schedule):
    """fixed: always lr"""

    type_name = "fixed"

    def value(self, base_lr: float, i: int, n: int) -> float:
        return base_lr


@SCHEDULES.add
class StepDecay(Schedule):
    """step: lr · gamma ^ floor(i / step_size)"""

    type_name = "step"
    step_size: int = param(help="units between two changes", ge=1)
    gamma: Finite = param(0.1, help="factor of each change", gt=0)

    def value(self, base_lr: float, i: int, n: int) -> float:
        return base_lr * self.gamma ** (i // self.step_size)


@SCHEDULES.add
class MultiStep(Schedule):
    """multistep: lr · gamma ^ (number of milestones <= i)

    A milestone that is given twice takes effect twice, the second time one unit later: as in Caffe lr changes at most
    once per unit. (torch multiplies by gamma² at once.) A run that was begun by Caffe goes on from the number of
    changes that Caffe had made, whatever the milestones are now.
    """

    type_name = "multistep"
    milestones: list[int] = param(help="when lr changes", ge=0)
    gamma: Finite = param(0.1, help="factor of each change", gt=0)

    def validate(self) -> None:
        if not self.milestones:
            raise ConfigError("milestones must not be empty", hint="for a constant lr: schedule: fixed")
        if any(a > b for a, b in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ConfigError(f"milestones must increase, or repeat, got {list(self.milestones)}")
        self._begun: dict[str, float] = {}
        self._change_from(0, 0)

    def _change_from(self, done: int, since: int) -> None:
        """Plan the changes: `done` of them are made, the others follow from unit `since` on."""
        self._changes = [-1] * min(done, len(self.milestones))
        for milestone in self.milestones[done:]:
            self._changes.append(max([milestone, since, *(last + 1 for last in self._changes[-1:])]))

    def changes(self, i: int) -> int:
        """How often lr has changed after i units."""
        return bisect_right(self._changes, i)

    def value(self, base_lr: float, i: int, n: int) -> float:
        return base_lr * self.gamma ** self.changes(i)

    def state(self) -> dict[str, float]:
        return dict(self._begun)

    def load_state(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` returned: nothing, or the changes made (current_step) before a unit (since)."""
        if not state:
            self.validate()
        elif set(state) == {"current_step", "since"}:
            self._begun = dict(state)
            self._change_from(int(state["current_step"]), int(state["since"]))
        else:
            super().load_state(state)


@SCHEDULES.add
class Exp(Schedule):
    """exp: lr · gamma ^ i"""

    type_name = "exp"
    gamma: Finite = param(help="factor per unit", gt=0)

    def value(self, base_lr: float, i: int, n: int) -> float:
        return base_lr * self.gamma**i


@SCHEDULES.add
class Inv(Schedule):
    """inv: lr · (1 + gamma · i) ^ -power"""

    type_name = "inv"
    gamma: Finite = param(help="speed of the decay", ge=0)
    power: Finite = param(help="exponent, positive for a decay")

    def value(self, base_lr: float, i: int, n: int) -> float:
        return base_lr * (1 + self.gamma * i) ** -self.power


@SCHEDULES.add
class Poly(Schedule):
    """poly: lr · (1 - i / n) ^ power, which is 0 at the end of the run, or after n = total_iters units"""

    type_name = "poly"
    power: Finite = param(1.0, help="exponent", gt=0)
    total_iters: int | None = param(None, help="units until lr is 0; default: the length of the run", ge=1)

    def validate(self) -> None:
        self.needs_length = self.total_iters is None

    def value(self, base_lr: float, i: int, n: int) -> float:
        return base_lr * max(0.0, 1 - i / (self.total_iters or n)) ** self.power


@SCHEDULES.add
class Sigmoid(Schedule):
    """sigmoid: lr / (1 + exp(-gamma · (i - step_size))); a negative gamma makes lr fall, half of it at step_size"""

    type_name = "sigmoid"
    gamma: Finite = param(help="steepness; negative for a decay")
    step_size: int = param(help="where lr is half of its full value", ge=0)

    def value(self, base_lr: float, i: int, n: int) -> float:
        z = self.gamma * (i - self.step_size)
        e = math.exp(-abs(z))  # at most 1, so that no z overflows
        return base_lr * (1 if z >= 0 else e) / (1 + e)


@SCHEDULES.add
class Cosine(Schedule):
    """cosine: min_lr + (lr - min_lr) · (1 + cos(π i / n)) / 2, which is min_lr at the end (torch: CosineAnnealingLR)

    Source    Loshchilov & Hutter 2017, one period
    """

    type_name = "cosine"
    needs_length = True
    min_lr: Finite = param(0.0, help="lr at the end", ge=0)

    def value(self, base_lr: float, i: int, n: int) -> float:
        return half_cosine(base_lr, self.min_lr, i / n)


@SCHEDULES.add
class OneCycle(Schedule):
    """onecycle: from lr / div_factor up to lr and down to far below where it began (torch: OneCycleLR, cos)

        peak = pct_start · n - 1
        i <= peak   half a cosine from lr / div_factor at 0 to lr at peak
        i >= peak   half a cosine from lr at peak to lr / div_factor / final_div_factor at n - 1

    The solver's lr is the peak, torch's max_lr. torch also moves momentum against lr by default; this does not.

    Source    Smith & Topin 2018
    """

    type_name = "onecycle"
    needs_length = True
    pct_start: float = param(0.3, help="part of the run in which lr rises", ge=0, le=1)
    div_factor: Finite = param(25.0, help="lr over the first lr", ge=1)
    final_div_factor: Finite = param(1e4, help="first lr over the last lr", gt=0)

    def value(self, base_lr: float, i: int, n: int) -> float:
        first = base_lr / self.div_factor
        peak, last = self.pct_start * n - 1, n - 1
        if i < peak:
            return half_cosine(first, base_lr, i / peak)
        if peak == last:
            return base_lr
        return half_cosine(base_lr, first / self.final_div_factor, (i - peak) / (last - peak))


def half_cosine(start: float, end: float, part: float) -> float:
    """From start (part 0) to end (part 1 and beyond) along half a cosine, which is level at both."""
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, part))) / 2


@SCHEDULES.add
class Plateau(Schedule):
    """plateau: lr · factor ^ (how often the monitored metric stopped improving) (torch: ReduceLROnPlateau)

    A value is an improvement when it is better than the best so far by more than min_delta. After more than
    `patience` evaluations in a row without one, lr is multiplied by factor, down to min_lr, and the count begins
    anew. A value that is not a number is no improvement. What torch calls threshold is min_delta, here absolute and 0.
    """

    type_name = "plateau"
    factor: float = param(0.1, help="factor of each change", gt=0, lt=1)
    patience: int = param(10, help="evaluations without improvement that are borne", ge=0)
    monitor: str = param("val/loss", help="metric that is watched")
    mode: str | None = param(
        None, help="whether small or large is good; follows the metric: an accuracy max, a loss min",
        choices=("min", "max"),
    )
    min_delta: Finite = param(0.0, help="improvements up to this count as none", ge=0)
    min_lr: Finite = param(0.0, help="lr is not reduced below this", ge=0)

    def validate(self) -> None:
        self._scale, self._bad = 1.0, 0
        self._higher = self.mode == "max" if self.mode is not None else is_higher_better(self.monitor)
        self._best = -math.inf if self._higher else math.inf

    def value(self, base_lr: float, i: int, n: int) -> float:
        return max(base_lr * self._scale, min(base_lr, self.min_lr))

    def observe(self, metric: float) -> None:
        gain = metric - self._best if self._higher else self._best - metric
        if gain > self.min_delta:
            self._best, self._bad = metric, 0
            return
        self._bad += 1
        if self._bad > self.patience:
            self._scale, self._bad = self._scale * self.factor, 0

    def state(self) -> dict[str, float]:
        return {"scale": self._scale, "best": self._best, "bad": self._bad}

    def load_state(self, state: Mapping[str, float]) -> None:
        super().load_state(state)
        self._scale, self._best, self._bad = float(state["scale"]), float(state["best"]), int(state["bad"])
