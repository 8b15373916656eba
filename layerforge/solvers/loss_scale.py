"""The loss scale of a net in float16: gradients too small for float16 are made larger, and back when they are added up.

    ∂(s L)/∂x = s ∂L/∂x       s a power of two, so that scaling rounds nothing

s begins at 2¹⁶. A step in which a gradient overflows is skipped and halves s; after 2000 steps in a row without one it
is doubled. (Micikevicius et al. 2018, "Mixed precision training"; the numbers are those of torch.amp.GradScaler.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plan.precision import scales_losses
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

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned; from a checkpoint of a net that had no scale, from the beginning."""
        vars(self).update({**LossScale().state(), **state})


def loss_scale_for(net: Trainable) -> LossScale | None:
    """That of a net some of whose layers compute in float16; None for any other."""
    if getattr(net, "passes", None) is None or not scales_losses(net.engine_request, net.graph.nodes):
        return None
    return LossScale()
