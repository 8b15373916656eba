"""What of a solver is shown and stored: its options; its history by layer and name, and when another's fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import snapshot
from ..arrays.backend import Array
from ..config.sections import LearningRate, SolverSection
from ..run import tuning
from ..run.parameters import Parameters
from ..run.turns import Turns, in_turn, reading_in_turn
from ..schema.errors import DataError, LayerForgeError
from ..schema.params import show
from .loss_scale import LossScale, saved_scale
from .rules import Rule


def in_words(section: SolverSection, schedule: LearningRate, lr: str, iteration: int, counts: Mapping[str, int]) -> str:
    """Lines for `print(solver)`. Options that are off are left out.

    lr       of the next update
    counts   what became of the iterations, where that differs from all being updates
    """
    options = {k: v for k, v in section.plain().items() if k not in ("type", "schedule") and v is not None}
    told = f"{iteration}"
    if counts["updates"] != iteration or counts["not finite"]:
        told += f" ({', '.join(f'{name} {count}' for name, count in counts.items())})"
    told_of = {name: value for name, value in schedule.plain().items() if value is not None}
    rows = [
        ("solver", section.rule.type_name),
        ("options", ", ".join(f"{name} {show(value)}" for name, value in options.items())),
        ("schedule", ", ".join(f"{name} {show(value)}" for name, value in told_of.items())),
        ("lr now", lr),
        ("iteration", told),
    ]
    return "\n".join(f"{name:<9}  {value}" for name, value in rows)


class Saved:
    """The part of Solver that checkpoints ask, and that takes up what they hold."""

    net: Any
    rule: Rule
    schedule: Any
    iteration: int
    updates: int
    nonfinite: int
    _updater: Any
    _turns: Turns
    _loss_scale: LossScale | None

    @reading_in_turn
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds besides arrays, as JSON writes it: the type, the counts, the schedule's state, the
        multipliers of parameters that were changed since the net was built, and the scale of the losses.
        """
        counts = {"iteration": self.iteration, "updates": self.updates, "nonfinite": self.nonfinite}
        changed = tuning.as_plain(self.net.parameters.changed)
        tuned: dict[str, Any] = {"multipliers": changed} if changed else {}
        if self._loss_scale is not None:
            tuned["loss_scale"] = self._loss_scale.state()
        return {"type": self.rule.type_name, **counts, "schedule": self.schedule.state(), **tuned}

    @reading_in_turn
    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of the history on the host, by path: history/<number>/<layer>/<parameter>."""
        self._updater.follow()
        flat = [self.net.backend.to_host(array) for array in self._updater.history]  # each once, and not by parameters
        return {path: np.array(view) for path, view in history_views(self.net.parameters, flat).items()}

    @in_turn
    def load_state(
        self, state: Mapping[str, Any], arrays: Mapping[str, Array], source: str = "the saved state"
    ) -> None:
        """Go on from what `state` and `arrays` returned. `source` is what errors call it.

        The history is found by layer and name, so the configuration's multipliers may have changed; those that were
        changed in the run hold again. Other arrays than history/ are left alone. Nothing is changed unless everything
        fits.

        Errors   DataError for another type of solver and for a missing, unexpected or mis-shaped history;
                 ConfigError for another kind of schedule
        """
        demand_type(state, self.rule, source)
        scale = saved_scale(state.get("loss_scale"), source)
        saved = {k: v for k, v in arrays.items() if k.startswith("history/")}
        before, tuned = self.net.parameters.changed, tuning.from_plain(self.net, state.get("multipliers", ()), source)
        if tuned != before:
            tuning.apply(self.net, tuned)
        try:
            views = self._history_views()
            demand_fit(views, saved, source)
            self.schedule.load_state(state["schedule"])
        except LayerForgeError:
            if tuned != before:
                tuning.apply(self.net, before)
            raise
        self._abandon()
        for path, view in views.items():
            view[...] = self.net.backend.from_host(saved[path], view.dtype)
        self.iteration = self.net.iteration = int(state["iteration"])
        self.updates = int(state.get("updates", self.iteration))
        self.nonfinite = int(state.get("nonfinite", 0))
        if self._loss_scale is not None:
            self._loss_scale = scale

    def _history_views(self) -> dict[str, Array]:
        self._updater.follow()
        return history_views(self.net.parameters, self._updater.history)

    def _abandon(self) -> None:
        raise NotImplementedError


def history_views(parameters: Parameters, history: Sequence[Array]) -> dict[str, Array]:
    """The parts of the history by path: live arrays in their parameters' shapes, of all that learn or once did."""
    return {
        f"history/{number}/{snapshot.escape(slot.layer)}/{slot.name}": slot.view(array)
        for number, array in enumerate(history)
        for slot in parameters.slots.values()
        if slot.offset < len(array) and (not slot.frozen or slot.key in parameters.changed)
    }


def demand_type(state: Mapping[str, Any], rule: Rule, source: str) -> None:
    """DataError unless a state is one of a solver with this rule."""
    if not {"type", "iteration", "schedule"} <= set(state):
        raise DataError(f"{source} holds no state of a solver", hint="take its weights only, and begin anew")
    if state["type"] != rule.type_name:
        raise DataError(
            f"{source} is from a solver of type {state['type']}, this one is {rule.type_name}",
            hint=f"set solver.type: {state['type']}, or begin anew with its weights",
        )


def demand_fit(mine: Mapping[str, Array], theirs: Mapping[str, Array], source: str) -> None:
    """DataError, saying all that is wrong, unless arrays by path can take the place of `mine`."""
    problems = [f"missing {k}" for k in mine if k not in theirs]
    problems += [f"unexpected {k}" for k in theirs if k not in mine]
    shapes = {k: (tuple(theirs[k].shape), tuple(mine[k].shape)) for k in mine if k in theirs}
    problems += [f"{k} has shape {a}, not {b}" for k, (a, b) in shapes.items() if a != b]
    if problems:
        raise DataError(f"{source} does not fit this solver", hint="; ".join(map(snapshot.unescape, problems)))
