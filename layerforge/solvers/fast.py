"""The update by a fast engine, where the net may use it and it knows the rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..config.sections import SolverSection
from ..schema import registry
from .trainable import Trainable


class FastUpdate(Protocol):
    """A rule on the flat arrays: it steps along factor · grad + decay · data and agrees with the rule up to rounding.

    Called with start and stop of a slice, lr, factor, decay and the number of the update, from 1 on.

    bounds   whether it takes a bound on the elements of factor · grad, too
    """

    bounds: bool

    def __call__(self, start: int, stop: int, /, *numbers: Any, **bound: Any) -> None: ...


def fast_update(net: Trainable, section: SolverSection, history: Sequence[Any]) -> FastUpdate | None:
    """The update of slices of the flat arrays, or None where the rule has to do it."""
    request = net.engine_request
    if request.engine == "reference" or request.obstacle(request.fast):
        return None
    if section.weight_decay and section.regularization != "L2":
        return None
    make = registry.engine(request.fast).updates().get(section.rule.type_name)
    return None if make is None else make(section.rule, net.parameters.data, net.parameters.grad, history)
