"""A word for those who use a net in phase train without having asked for it: `net.forward(...)` in a serving loop."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ..arrays.backend import Array
from ..plan.plan import Plan
from ..schema.user_modules import level_of_user

UNANSWERED = 3  # forwards in train, without a backward between, after which it is said


class Advice:
    """Counts the forwards in train that no backward follows, and says once what they do to the net.

    Said only where it matters: where running statistics have moved, or layers such as Dropout draw random numbers for
    what they are given. A net that is told its phase is never spoken of.

    statistics   the net's: live arrays by layer and name
    """

    def __init__(self, statistics: Sequence[tuple[tuple[str, str], Array]]) -> None:
        self.count = 0
        self.said = False
        self._statistics = statistics
        self._before: list[Array] = []

    def answered(self) -> None:
        """A backward came."""
        self.count = 0

    def before(self) -> None:
        """A forward begins whose phase nobody has named."""
        if self.count == UNANSWERED - 1 and not self.said:
            self._before = [array.copy() for _, array in self._statistics]

    def after(self, plan: Plan) -> None:
        """It is done. The warning is for whoever called net.forward."""
        self.count += 1
        if self.count != UNANSWERED or self.said:
            return
        pairs = zip(self._statistics, self._before, strict=True)
        moved = {layer for ((layer, _), now), old in pairs if (now != old).any()}
        self._before = []
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
