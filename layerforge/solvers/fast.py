"""The update by a fast engine, where the net may use it and it knows the rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..config.sections import SolverSection
from ..schema import registry
from .trainable import Trainable

FastUpdate = Callable[[int, int, float, float, float], None]


def fast_update(net: Trainable, section: SolverSection, history: Sequence[Any]) -> FastUpdate | None:
    """update(start, stop, lr, factor, decay) of a slice of the flat arrays, or None where the rule has to do it.

    It steps along factor · grad + decay · data and agrees with the rule up to rounding.
    """
    request = net.engine_request
    if request.engine == "reference" or request.obstacle(request.fast):
        return None
    if section.weight_decay and section.regularization != "L2":
        return None
    make = registry.engine(request.fast).updates().get(section.rule.type_name)
    return None if make is None else make(section.rule, net.parameters.data, net.parameters.grad, history)
