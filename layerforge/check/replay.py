"""A net run again and again from the point where one of its arrays changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays.sparse import CSR
from ..contract import call
from ..graph.graph import Step
from ..net import Net
from ..plan.plan import Plan
from .case import CheckFailed


class Replay:
    """All values of one forward in train. A difference reruns only the steps that depend on what was moved.

    What changes only by way of `no_grad_bottoms`, as Detach's top does, is held: for backward it is constant.
    Nothing runs in place here, so the values above the changed array stay what they are, and in-place use, which
    backward relied on, is judged against a forward without it. Running statistics are put back before every run.
    """

    def __init__(self, net: Net, plan: Plan) -> None:
        self.net, self.plan = net, plan
        self.state = net.snapshot_state()
        self.values: list[Any] = [None] * len(plan.specs)

    def start(self, inputs: Mapping[str, Any]) -> None:
        """Run everything on these inputs."""
        self.net.passes.run.phase, self.net.passes.run.keep = "train", False
        for index, name in self.plan.inputs:
            self.values[index] = inputs[name]
        self.run(self.plan.steps)

    def run(self, steps: Sequence[Step]) -> None:
        """Run some steps on the values as they are now."""
        self.net.restore_state(self.state)
        for step in steps:
            layer = step.node.layer
            layer.needs_grad, layer.runs_in_place = step.needs_grad, False
            bottoms = (self.values[i] for i in step.bottoms)  # a CSR remembers what may have been changed since
            tops = call.forward(layer, [b.fresh() if isinstance(b, CSR) else b for b in bottoms])
            if layer.top_is_view and layer.no_grad_bottoms:  # may be held while what it is a view of moves
                tops = tuple(top.copy() for top in tops)
            for index, top in zip(step.tops, tops, strict=False):
                self.values[index] = np.asarray(top) if isinstance(top, np.generic) else top

    def check_repeats(self) -> None:
        """Run once more; CheckFailed, naming the layer, where the same values give another result."""
        before = {i: self.host(i).copy() for step in self.plan.steps for i in step.tops}
        self.run(self.plan.steps)
        for step in self.plan.steps:
            if not all(np.array_equal(before[i], self.host(i), equal_nan=True) for i in step.tops):
                raise CheckFailed(
                    f"{call.owner(step.node.layer)}: two forwards on the same values differ, so nothing can be"
                    " compared",
                    hint="random numbers come from self.random(...), and what forward remembers is state",
                )

    def host(self, index: int) -> np.ndarray:
        return self.net.backend.to_host(self.values[index])

    def depending_on(self, *, layers: frozenset[str] = frozenset(), blob: int | None = None) -> list[Step]:
        """The steps that change for backward when a parameter of these layers, or this blob, changes."""
        touched = set() if blob is None else {blob}
        chosen = []
        for step in self.plan.steps:
            layer = step.node.layer
            read = {b for i, b in enumerate(step.bottoms) if i not in layer.no_grad_bottoms}
            if layer.name in layers or touched & read:
                chosen.append(step)
                touched |= set(step.tops)
        return chosen
