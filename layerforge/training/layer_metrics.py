"""Metrics of single layers: `train.log_layers`. How large their gradients are, and how far a step moves them.

    grad_norm/<layer>      norm of the averaged gradient of the layer's parameters, before clipping
    update_ratio/<layer>   ‖w_new - w_old‖ / ‖w_old‖ over the layer's parameters; about 1e-3 is usual
"""

from __future__ import annotations

import math

from ..run.parameters import Slot, l2_norm
from ..solvers.solver import Solver


class LayerMetrics:
    """Measures the layers of a net in those steps that are logged: `begin` before the step, `end` after it."""

    def __init__(self, solver: Solver) -> None:
        self.solver, self.parameters = solver, solver.net.parameters
        self.layers: dict[str, list[Slot]] = {}
        for slot in self.parameters.slots.values():
            if not slot.frozen:
                self.layers.setdefault(slot.layer, []).append(slot)

    @property
    def columns(self) -> list[str]:
        """The names of the metrics."""
        return [f"{kind}/{layer}" for kind in ("grad_norm", "update_ratio") for layer in self.layers]

    def begin(self) -> None:
        """Remember the weights as they are."""
        self._before = self.parameters.data[: self.parameters.frozen_start].copy()

    def end(self) -> dict[str, float]:
        """The metrics of the step just made. A layer whose parameters were all zero has no ratio."""
        values = {}
        for layer, slots in self.layers.items():
            values[f"grad_norm/{layer}"] = self.solver.average * self._norm(slots, self.parameters.grad)
            old = self._norm(slots, self._before)
            if old:
                values[f"update_ratio/{layer}"] = self._norm(slots, self.parameters.data, self._before) / old
        return values

    def _norm(self, slots: list[Slot], flat: object, minus: object = None) -> float:
        """The norm of a layer's parts of a flat array, or of the difference of two."""
        xp, total = self.solver.net.backend.xp, 0.0
        for slot in slots:
            part = slot.view(flat).reshape(-1)
            total += l2_norm(xp, part if minus is None else part - slot.view(minus).reshape(-1)) ** 2
        return math.sqrt(total)
