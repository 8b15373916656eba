"""Observers: whoever looks at the steps of an executor while it runs, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..arrays.bfloat16 import widened
from ..graph.graph import Step


class Observer:
    """Base of observers: each method is called at its moment, and does nothing unless it is overridden.

    `number` is that of the step in the plan. Arrays are live and hold their values only until the next step; of what is
    stored in bfloat16 they are copies in float32.

    as_stored   arrays of bfloat16 come as they are, in two bytes
    every_step  all steps run one by one, none is replayed with its neighbours (capture.py); otherwise only the steps
                that run by themselves are observed
    """

    as_stored = False
    every_step = True

    def before_forward(self, number: int, step: Step, bottoms: Sequence[Any], again: bool) -> None:
        """A layer's forward begins. `again`: it is recomputed for its backward."""

    def after_forward(self, number: int, step: Step, tops: Sequence[Any], again: bool) -> None:
        """A layer's forward has returned these tops."""

    def before_backward(self, number: int, step: Step, dtops: Sequence[Any]) -> None:
        """A layer's backward begins."""

    def after_backward(self, number: int, step: Step, dbottoms: Sequence[Any]) -> None:
        """A layer's backward has returned these gradients."""

    def after_sums(self, number: int, step: Step, grads: Sequence[Any]) -> None:
        """What the backward returned has been added to what others sent down: the gradients of the bottoms by now."""


def shown(observer: Observer, arrays: Iterable[Any]) -> list[Any]:
    """Arrays of a pass as an observer wants them."""
    return list(arrays) if observer.as_stored else [widened(array) for array in arrays]
