"""Parameters with a sparse gradient: updated in the rows that have one, and nowhere else.

A row that does not occur in a step keeps its weights and its history. For rules in which an element whose gradient is 0
stays as it is, that is the rule itself: SGD without momentum, AdaGrad. Momentum, which would move it on, waits until
the row occurs again. Rules that could not be meant so are refused, and so is weight decay, which acts on every row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..arrays.awaited import Later, asked
from ..config.sections import SolverSection
from ..run.net_parts import NetParts
from ..run.parameters import Parameters, Slot, sum_of_squares, unguarded_l2_norm
from ..schema.errors import ConfigError, raise_all
from ..schema.registry import SOLVERS
from .rules import Rule, RuleStep


def refuse_rows(net: NetParts, section: SolverSection) -> None:
    """ConfigError where a solver cannot update the parameters of a net that have a sparse gradient: all such places."""
    if net.parameters.rows:  # looked at in every step
        raise_all(refusals(net, section))


def refusals(net: NetParts, section: SolverSection) -> Iterator[ConfigError]:
    """The errors for those parameters, each with its remedy."""
    for slot in net.parameters.by_rows():
        who = f"the gradient of '{slot.layer}.{slot.name}' is sparse"
        if not section.rule.by_rows:
            able = ", ".join(name for name in SOLVERS.names() if SOLVERS.get(name).by_rows)
            message = f"{who}, and solver {section.rule.type_name} does not update single rows"
            yield ConfigError(message, place=section.place, hint=f"{able} do; or give the layer `sparse: false`")
        if section.weight_decay and slot.decay_mult:
            message = f"{who}, and weight_decay would act on its other rows, too"
            hint = f"give layer '{slot.layer}' `decay_mult: 0`, or `sparse: false`"
            yield ConfigError(message, place=net.layers[slot.layer].place, hint=hint)


def asked_squares(xp: Any, flat: Parameters) -> Later | None:
    """The sum of the squares of all gradients, on its way; None where some are sparse, whose norm is made of parts."""
    return None if flat.rows else asked(sum_of_squares(xp, flat.grad))


def gradient_norm(xp: Any, flat: Parameters, squares: Later | None = None) -> float:
    """The Euclidean norm of all gradients together. Of sparse ones only the rows that have one are read.

    squares   their sum, where somebody asked for it before

    Called where np.errstate lets an overflow pass.
    """
    if not flat.rows:
        return unguarded_l2_norm(xp, flat.grad, squares)
    sparse = (slot.view(flat.grad)[flat.rows[slot.key].numbers].reshape(-1) for slot in flat.by_rows())
    return math.hypot(*(unguarded_l2_norm(xp, part) for part in (*flat.dense_parts(), *sparse)))


def update_rows(
    xp: Any,
    flat: Parameters,
    slot: Slot,
    rule: Rule,
    history: tuple[Any, ...],
    step: RuleStep,
    factor: float,
    bound: float | None,
) -> None:
    """One step of the rule on the rows of a parameter that have a gradient, which is multiplied and bounded before."""
    rows = flat.rows[slot.key].numbers
    views = [slot.view(flat.data), *(slot.view(array) for array in history)]
    grad = slot.view(flat.grad)[rows].reshape(-1)
    if factor != 1:
        grad *= factor
    if bound is not None:
        grad = xp.clip(grad, -bound, bound)
    data, *histories = (view[rows].reshape(-1) for view in views)
    rule.update(xp, data, grad, histories, step)
    for view, new in zip(views, (data, *histories), strict=True):
        view[rows] = new.reshape(-1, *slot.shape[1:])
