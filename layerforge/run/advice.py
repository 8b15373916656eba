"""A word for those who use a net in phase train without having asked for it: `net.forward(...)` in a serving loop."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ..plan.plan import Plan
from ..schema.user_modules import level_of_user

if TYPE_CHECKING:
    from ..net import Net

UNANSWERED = 3  # forwards in train, without a backward between, after which it is said


class Advice:
    """Counts the forwards in train that no backward follows, and says once what they do to the net.

    Said only where it matters: where running statistics have moved, or layers such as Dropout draw random numbers for
    what they are given. A net that is told its phase is never spoken of.
    """

    def __init__(self) -> None:
        self.count, self.said = 0, False
        self._statistics: Any = None

    def answered(self) -> None:
        """A backward came."""
        self.count = 0

    def before(self, net: Net) -> None:
        """A forward begins whose phase nobody has named."""
        if self.count == UNANSWERED - 1 and not self.said:
            self._statistics = net.snapshot_state()

    def after(self, net: Net, plan: Plan) -> None:
        """It is done. The warning is for whoever called net.forward."""
        self.count += 1
        if self.count != UNANSWERED or self.said:
            return
        before, self._statistics = self._statistics, None
        moved = {layer for (layer, name), old in before.items() if (net.layers[layer].state[name] != old).any()}
        drawn = {step.node.name for step in plan.steps if step.bottoms and step.node.layer.draws}
        if not moved and not drawn:
            return
        self.said = True
        moves = f"the running statistics of {', '.join(sorted(moved))} move with each" if moved else ""
        draws = f"{', '.join(sorted(drawn))} act at random" if drawn else ""
        warnings.warn(
            f"net.forward() has run in phase train {UNANSWERED} times without a backward:"
            f" {' and '.join(filter(None, (moves, draws)))}; to use a net and not train it:"
            ' net.forward(phase="eval", ...)',
            UserWarning,
            stacklevel=level_of_user(),
        )
