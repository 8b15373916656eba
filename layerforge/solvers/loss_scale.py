"""The loss scale of a net in float16: gradients too small for float16 are made larger, and back when they are added up.

    ∂(s L)/∂x = s ∂L/∂x       s a power of two, so that scaling rounds nothing

s begins at 2¹⁶, or at what is assigned to `solver.loss_scale`. A step in which a gradient overflows is skipped and
halves it; after 2000 steps in a row without one it is doubled. (Micikevicius et al. 2018, "Mixed precision training";
the numbers are those of torch.amp.GradScaler.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..plan.precision import scales_losses
from ..schema.errors import ConfigError, DataError
from .accumulation import Accumulation
from .trainable import Trainable

FIRST, SMALLEST, LARGEST = 2.0**16, 1.0, 2.0**127  # the last is float32's
GROWS_AFTER = 2000


class LossScale:
    """What the losses of a net are multiplied by before backward, and what becomes of it step by step.

    value      the scale of the next backward
    good       steps in a row without an overflow, since the value last changed
    overflows  steps that were skipped because a gradient overflowed
    """

    def __init__(self) -> None:
        self.value = FIRST
        self.good = 0
        self.overflows = 0

    @property
    def can_fall(self) -> bool:
        """Whether a smaller scale may be the remedy; where it is 1 already the gradients themselves are not finite."""
        return self.value > SMALLEST

    def begin_at(self, value: float) -> None:
        """Take another scale. Errors   ConfigError for one below 1, or not in float32"""
        if not SMALLEST <= value <= LARGEST:
            hint = f"a number from {SMALLEST:g} to {LARGEST:.3g}; {FIRST:g} is what a run begins with"
            raise ConfigError(f"loss_scale {value!r} is no scale of losses", hint=hint)
        self.value, self.good = float(value), 0

    def fall(self) -> None:
        """A gradient overflowed, and its step is skipped."""
        self.value, self.good = self.value / 2, 0
        self.overflows += 1

    def hold(self) -> None:
        """A step was made."""
        self.good += 1
        if self.good == GROWS_AFTER:
            self.value, self.good = min(2 * self.value, LARGEST), 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return dict(vars(self))


class Scaling:
    """The part of Solver that users and steps see of the scale; `_loss_scale` is None where nothing is float16."""

    _loss_scale: LossScale | None
    _pending: Accumulation | None
    loss: float | None
    grad_norm: float | None

    @property
    def loss_scale(self) -> float | None:
        """What the losses are multiplied by before the next backward; None where no layer computes in float16."""
        return None if self._loss_scale is None else self._loss_scale.value

    @loss_scale.setter
    def loss_scale(self, value: float) -> None:
        if self._loss_scale is None:
            hint = "set precision: 16-mixed, with backend: cupy"
            raise ConfigError("no layer computes in float16: the losses have no scale", hint=hint)
        self._loss_scale.begin_at(value)

    @property
    def overflows(self) -> int:
        """Steps that were skipped because a gradient overflowed in float16."""
        return 0 if self._loss_scale is None else self._loss_scale.overflows

    def _overflowed(self) -> bool:
        """Whether the loss is finite and a gradient is not, and a smaller scale may be the remedy."""
        scale = None if self._pending is None else self._loss_scale
        finite_loss = math.isfinite(self.loss or 0.0)
        return scale is not None and scale.can_fall and finite_loss and not math.isfinite(self.grad_norm or 0.0)


def saved_scale(state: Any, source: str) -> LossScale:
    """That which `state` was asked of; None, of a net that had none, is the scale of a beginning.

    Errors   DataError for anything else. `source` is what it calls where the state is from
    """
    made = LossScale()
    if state is None:
        return made
    kinds = {name: type(value) for name, value in made.state().items()}
    found = {name: type(value) for name, value in state.items()} if isinstance(state, Mapping) else None
    if found != kinds or not SMALLEST <= state["value"] <= LARGEST or min(state["good"], state["overflows"]) < 0:
        raise DataError(f"{source} holds no scale of losses", hint="take its weights only, and begin anew")
    vars(made).update(state)
    return made


def loss_scale_for(net: Trainable) -> LossScale | None:
    """That of a net some of whose layers compute in float16; None for any other."""
    if getattr(net, "passes", None) is None or not scales_losses(net.engine_request, net.graph.nodes):
        return None
    return LossScale()
