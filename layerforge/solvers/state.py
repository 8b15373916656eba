"""What of a solver is stored: its history by layer and name, and what it takes for another solver's state to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import snapshot
from ..arrays.backend import Array
from ..run.parameters import Parameters
from ..schema.errors import DataError
from .rules import Rule


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
