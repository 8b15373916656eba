"""The solver's update of float32 parameters on all threads: a few passes over blocks that stay in the caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import threads
from . import primitives
from .op import Op
from .script import Calls

BLOCK = 128 * 1024  # elements of each array for a thread: few enough for its cache, many enough to be worth a call


class Update:
    """A rule on flat arrays, which stay where they are: data and grad, and the rule's histories.

    rule   the solver's rule, for its hyper-parameters
    """

    bounds = False

    def __init__(self, rule: Any, data: Any, grad: Any, histories: Sequence[Any]) -> None:
        self.rule = rule
        self.data = data
        self.grad = grad
        self.histories = histories
        self.blocks: dict[tuple[int, int, float], Calls] = {}
        self.of_grad = np.zeros(1, "float32")
        self.of_data = np.zeros(1, "float32")
        self.forth = np.zeros(1, "float32")
        self.back = np.zeros(1, "float32")
        self.scratch = np.empty(0, "float32")

    def __call__(self, start: int, stop: int, lr: float, factor: float, decay: float, number: int = 1) -> None:
        """Update the slice start:stop along factor · grad + decay · data. No rule here asks for the `number` of it.

        The factors are read when the primitives run, so that a schedule costs nothing.
        """
        self.of_grad[0], self.of_data[0] = lr * factor, lr * decay
        key = start, stop, self.rule.momentum  # which the primitives have built in
        passes = self.blocks.get(key)
        if passes is None:
            block = BLOCK * threads.here()
            begins = range(start, stop, block)
            ops = [op for a in begins for op in self.passes(slice(a, min(a + block, stop)))]
            passes = self.blocks[key] = Calls(ops, [op.bound for op in ops])
        passes.run()

    def passes(self, block: slice) -> list[Op]:
        """What is to be run, one after the other, on a block."""
        raise NotImplementedError

    def bound(self, *arrays: Any, kept: float | None = None, less: Any = None) -> Op:
        """A pass that is bound to its arrays: see `primitives.blend`."""
        options = () if kept is None else (("sum", kept),)
        op = Op(primitives.blend, (options,), lambda name, size: np.empty(size, "uint8"))
        op.bind((*arrays, less))
        return op


class SGD(Update):
    """v <- momentum · v + lr · g,   w <- w - v"""

    def passes(self, block: slice) -> list[Op]:
        w, g, v = self.data[block], self.grad[block], self.histories[0][block]
        self.back[0] = -1
        return [
            self.bound(g, w, v, self.of_grad, self.of_data, kept=self.rule.momentum),
            self.bound(w, v, w, None, self.back),
        ]


class Nesterov(Update):
    """move = lr · g,   v <- momentum · v + move,   w <- w - momentum · v - move"""

    def passes(self, block: slice) -> list[Op]:
        w, g, v = self.data[block], self.grad[block], self.histories[0][block]
        if len(self.scratch) < len(w):
            self.scratch = np.empty(len(w), "float32")
        move = self.scratch[: len(w)]
        self.forth[0], self.back[0] = self.rule.momentum, -self.rule.momentum
        return [
            self.bound(g, w, move, self.of_grad, self.of_data),
            self.bound(v, move, v, self.forth, None),
            self.bound(w, v, w, None, self.back, less=move),
        ]


RULES: dict[str, type[Update]] = {"SGD": SGD, "Nesterov": Nesterov}
