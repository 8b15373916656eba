"""The update of a net's flat arrays, after the gradient is averaged and measured: clip, decay, and the rule.

It goes over the groups of parameters that have the same multipliers: by a fast engine in one call where it knows the
rule, otherwise block by block, so that each element is fetched from memory once for all three.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..arrays.backend import Array
from ..config.sections import SolverSection
from ..run.parameters import Group, Slot, extended
from .fast import fast_update
from .rows import update_rows
from .rules import RuleStep
from .trainable import Trainable

BLOCK_BYTES = 256 * 1024  # of each array: small enough for the caches, large enough to hide the cost of a NumPy call


class Updater:
    """What a solver changes parameters with: the options, the rule's histories, memory for one block.

    history   the rule's arrays, in the layout of net.parameters.grad
    """

    def __init__(self, net: Trainable, section: SolverSection, history: Iterable[Array] | None = None) -> None:
        self.net = net
        self.section = section
        nothing = net.parameters.grad[:0]
        self._lay_out([nothing] * section.rule.histories if history is None else history)

    def _lay_out(self, history: Iterable[Array]) -> None:
        """Give the histories the size of the net's flat gradient, with zeros where they end, and plan the updates."""
        net, xp, grad = self.net, self.net.backend.xp, self.net.parameters.grad
        self._grad = grad
        self.history = tuple(extended(xp, array, len(grad)) for array in history)
        self._fast = fast_update(net, self.section, self.history)
        # On a device a pass costs a launch, not a trip through a cache: there everything is one block.
        self._block = BLOCK_BYTES // grad.itemsize if xp is np else max(1, grad.size)
        self._scratch = xp.empty(0, dtype=grad.dtype)

    def follow(self) -> None:
        """Follow the net where parameters that were frozen from the start learn now: their histories begin at zero."""
        if self._grad is not self.net.parameters.grad:
            self._lay_out(self.history)

    def use(self, section: SolverSection) -> None:
        """Take other options; the history goes on."""
        self.section = section
        self._fast = fast_update(self.net, section, self.history)

    def clipping(self, norm: float, average: float, loss_scale: float = 1.0) -> tuple[float, float | None]:
        """What the summed gradient is multiplied by, and the bound on its elements after that (None: no bound).

        norm        of the averaged gradient, without the scale of the losses
        average     the factor that averages the sum
        loss_scale  what the losses were multiplied by (loss_scale.py)
        """
        section, factor, bound = self.section, average / loss_scale, None
        # A limit on the sum is `average` times that limit on the mean.
        scale = average if section.clip_order == "caffe" else 1.0
        if section.clip_grad_norm is not None and norm > section.clip_grad_norm * scale:
            factor *= section.clip_grad_norm * scale / norm
        if section.clip_grad_value is not None:
            bound = section.clip_grad_value * scale
        return factor, bound

    def update(self, lr: float, factor: float, bound: float | None, number: int) -> None:
        """Update all groups: the gradient times `factor`, within ±bound, is what the rule gets. `number` counts."""
        self.follow()
        fast, decay = self._fast, self.section.weight_decay
        if fast is not None and (bound is None or fast.bounds):
            more = {} if bound is None else {"bound": bound}
            for group in self.net.parameters.groups:
                fast(group.start, group.stop, lr * group.lr_mult, factor, decay * group.decay_mult, number, **more)
            groups: list[Group] = []
        else:
            groups = self.net.parameters.groups
        by_rows = self.net.parameters.by_rows()
        if not groups and not by_rows:
            return
        for group in groups:
            self._update_group(group, lr * group.lr_mult, factor, bound, number)
        for slot in by_rows:
            self._update_rows(slot, lr * slot.lr_mult, factor, bound, number)

    def _update_rows(self, slot: Slot, lr: float, factor: float, bound: float | None, number: int) -> None:
        rule, flat, step = self.section.rule, self.net.parameters, RuleStep(lr, number, slot.decay_mult)
        update_rows(self.net.backend.xp, flat, slot, rule, self.history, step, factor, bound)

    def _update_group(self, group: Group, lr: float, factor: float, bound: float | None, number: int) -> None:
        section, flat, xp = self.section, self.net.parameters, self.net.backend.xp
        rule, decay = section.rule, section.weight_decay * group.decay_mult
        for piece in self._pieces(group):
            data, grad, pull = flat.data[piece], flat.grad[piece], None
            if len(self._scratch) < piece.stop - piece.start:
                self._scratch = xp.empty(piece.stop - piece.start, dtype=grad.dtype)
            out = self._scratch[: piece.stop - piece.start]
            if factor != 1:
                grad = xp.multiply(grad, factor, out=out)
            if bound is not None:
                grad = xp.clip(grad, -bound, bound, out=out)
            if decay:
                pull = decay * (data if section.regularization == "L2" else xp.sign(data))
            if decay and not rule.decay_apart:
                grad, pull = xp.add(grad, pull, out=out), None
            rule.update(xp, data, grad, [h[piece] for h in self.history], RuleStep(lr, number, group.decay_mult, pull))

    def _pieces(self, group: Group) -> Iterator[slice]:
        """The slices of a group that the rule is called on: whole parameters if it asks for them, otherwise blocks."""
        if not self.section.rule.whole_parameters:
            return blocks(group.start, group.stop, self._block)
        slots = self.net.parameters.slots.values()
        return (slice(s.offset, s.offset + s.size) for s in slots if group.start <= s.offset < group.stop)


def blocks(start: int, stop: int, size: int) -> Iterator[slice]:
    """The slices of at most `size` elements that make up start:stop."""
    for begin in range(start, stop, size):
        yield slice(begin, min(begin + size, stop))
