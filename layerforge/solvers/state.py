"""What of a solver is shown and stored: its options; its history by layer and name, and when another's fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import snapshot
from ..arrays.backend import Array
from ..config.sections import LearningRate, SolverSection
from ..run.parameters import Parameters
from ..schema.errors import DataError
from ..schema.params import show
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
