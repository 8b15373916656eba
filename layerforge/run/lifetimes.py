"""Lifetimes: the recorder of a dry run learns which buffers each layer asks for, and when they must hold their values.

    forward of step i at time i, its backward at time 2n - 1 - i, for n steps

    a buffer that a layer asks for              the moments at which it asks
    ... with life "saved"                       until its layer's backward
    a top                                       until its last reader, and their backward where `backward_reads` says so
    a gradient                                  until the backward of the layer that made the blob
    outputs, losses, what was asked to be kept  to the end

Where a plan keeps all blobs, these, their gradients and what forward saved have memory to themselves, so that several
backwards may follow, and nobody writes there between two passes. Only what serves within single calls is shared.

What is recomputed runs forward once more just before its backward, in memory of its own; of its first forward only
the tops for others stay. Where all blobs are kept it writes over what its first forward left, as if at that time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.sparse import CSR
from ..contract.layer import Memory, reads
from ..graph.graph import Step
from ..plan.plan import Plan
from .memory_layout import Buffer, MemoryLayout
from .observer import Observer
from .packing import place
from .recompute import AGAIN

SMALL = 4096  # bytes: arrays up to this size are not worth planning


@dataclass
class Lifetime:
    """A buffer whose life is still watched; `array` comes after its layer has asked for it."""

    owner: str
    name: Any
    first: float
    last: float
    array: Any = None

    def buffer(self, life: str) -> Buffer:
        """The buffer that it has become."""
        array = self.array
        return Buffer(self.owner, self.name, array.shape, array.dtype, array.strides, self.first, self.last, life)


class Watched(dict[Any, Any]):
    """The arrays of a Memory, telling a recorder of each time that one is asked for."""

    def __init__(self, asked: Callable[[Any], None]) -> None:
        super().__init__()
        self.asked = asked

    def get(self, name: Any, default: Any = None) -> Any:
        """As of any mapping."""
        self.asked(name)
        return super().get(name, default)


class Recorder(Observer):
    """Observes one pass through a plan, whose memories it makes; `inputs` are the arrays that the pass is given."""

    as_stored = True

    def __init__(self, plan: Plan, inputs: Sequence[Any]) -> None:
        self.plan = plan
        self.inputs = inputs
        self.end = 2 * len(plan.steps)
        self.now: float = 0
        self.lifetimes: dict[tuple[str, Any], Lifetime] = {}
        self.memories: dict[str, Memory] = {}
        self.times = {step.node.name: i for i, step in enumerate(plan.steps)}
        self.makers, self.readers = _makers_and_readers(plan)
        self.unmade: dict[tuple[str, Any], Lifetime] = {}  # those whose arrays are still to come
        self.by_array: dict[int, Lifetime] = {}
        self.exempt: list[str] = []
        self.segment = plan.segment_of if plan.backward else {}

    def memory(self, owner: str) -> Memory:
        """A Memory whose use is recorded."""
        memory = self.memories[owner] = Memory()
        memory.arrays = Watched(lambda name: self._ask(owner, name))
        return memory

    def layout(self) -> MemoryLayout:
        """The places of all buffers."""
        made = [each for each in self.lifetimes.values() if each.array is not None]
        if self.plan.keeps_all:
            for each in (each for each in made if each.last == self.end):
                each.first = 0
        buffers = [each.buffer(self.memories[each.owner].lives.get(each.name, "call")) for each in made]
        size = place(buffers)
        exempt = tuple(dict.fromkeys(self.exempt))
        return MemoryLayout(tuple(self.memories), tuple(buffers), size, exempt, spends=not self.plan.keeps_all)

    # What is observed ---------------------------------------------------------------------------------------------

    def before_forward(self, number: int, step: Step, bottoms: Sequence[Any], again: bool) -> None:
        apart = again and not self.plan.keeps_all
        self.now = self._again_of(number, self.segment[number]) if apart else number

    def after_forward(self, number: int, step: Step, tops: Sequence[Any], again: bool) -> None:
        self._collect()
        for index, top in zip(step.tops, tops, strict=False):
            if not again and index in self.plan.staying:
                until: float = self.end
            else:
                until = max(self._uses(index, again), default=self.now)
            self._is_stored(step, top, until)

    def before_backward(self, number: int, step: Step, dtops: Sequence[Any]) -> None:
        self.now = self._backward_of(number)

    def after_backward(self, number: int, step: Step, dbottoms: Sequence[Any]) -> None:
        self._collect()
        for index, needed, grad in zip(step.bottoms, step.needs_grad, dbottoms, strict=False):
            if needed and grad is not None:
                self._extend(grad, self._until_made(index))

    def after_sums(self, number: int, step: Step, grads: Sequence[Any]) -> None:
        self._collect()
        for index, grad in zip(step.bottoms, grads, strict=True):
            if grad is not None:
                self._is_stored(step, grad, self._until_made(index))

    # Times --------------------------------------------------------------------------------------------------------

    def _backward_of(self, step: int) -> int:
        """When a step's backward runs."""
        return self.end - 1 - step

    def _again_of(self, step: int, last: int) -> float:
        """When a step of the segment that ends with step `last` runs forward once more."""
        return self._backward_of(last) - 1 + (step + 1) / (last + 2)

    def _until_made(self, index: int) -> int:
        """Until when the gradient of a blob is needed."""
        makers = self.makers.get(index)
        return self._backward_of(makers[0]) if makers and index not in self.plan.staying else self.end

    def _uses(self, index: int, again: bool) -> Iterator[float]:
        """The moments at which somebody reads a blob as its first forward, or its second, made it."""
        makers, readers = self.makers.get(index, []), self.readers.get(index, [])
        home = self.segment.get(makers[0]) if makers else None
        for i in dict.fromkeys([*makers, *readers]):
            step, mine = self.plan.steps[i], self.segment.get(i)
            inside = mine is not None and mine == home
            back = self.plan.backward and step.runs_backward and inside == again
            if back and any(t == index and reads(step.node.layer, "top", j) for j, t in enumerate(step.tops)):
                yield self._backward_of(i)
            for j in (j for j, b in enumerate(step.bottoms) if b == index):
                if not again:
                    yield i
                if mine is not None and inside == again:
                    yield self._again_of(i, mine)
                if back and reads(step.node.layer, "bottom", j):
                    yield self._backward_of(i)

    # Buffers ------------------------------------------------------------------------------------------------------

    def _ask(self, owner: str, name: Any) -> None:
        known = self.lifetimes.get((owner, name))
        if known is None:
            self.lifetimes[owner, name] = self.unmade[owner, name] = Lifetime(owner, name, self.now, self.now)
        else:
            known.last = max(known.last, self.now)

    def _collect(self) -> None:
        """Take over the arrays that were made, and let saved ones live until their layer's backward."""
        for (owner, name), each in list(self.unmade.items()):
            memory = self.memories[owner]
            each.array = dict.get(memory.arrays, name)
            step = self.times.get(owner.removesuffix(AGAIN))
            forgotten = step in self.segment and not owner.endswith(AGAIN) and not self.plan.keeps_all
            if memory.lives.get(name) == "saved" and step is not None and self.plan.backward and not forgotten:
                each.last = max(each.last, self.end if self.plan.keeps_all else self._backward_of(step))
            if each.array is not None:
                self.by_array[id(each.array)] = each
                del self.unmade[owner, name]

    def _is_stored(self, step: Step, array: Any, until: float) -> None:
        """A blob or its gradient is stored in this array; where that is nobody's buffer, its layer made it anew."""
        stored = self._extend(array, until)
        if isinstance(array, CSR):  # its pattern is another in every pass: nothing to plan
            return
        if not stored and array.nbytes > SMALL and not any(np.may_share_memory(array, x) for x in self.inputs):
            self.exempt.append(step.node.name)

    def _extend(self, array: Any, until: float) -> bool:
        """Let the buffer that an array is part of live until then; False where it is part of none."""
        owner = array
        while isinstance(getattr(owner, "base", None), np.ndarray):
            owner = owner.base
        lifetime = self.by_array.get(id(owner))
        if lifetime is None:
            return False
        lifetime.last = max(lifetime.last, until)
        return True


def _makers_and_readers(plan: Plan) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """By blob, the steps that make it and those that read it."""
    makers: dict[int, list[int]] = {}
    readers: dict[int, list[int]] = {}
    for i, step in enumerate(plan.steps):
        for blobs, known in ((step.tops, makers), (step.bottoms, readers)):
            for index in dict.fromkeys(blobs):
                known.setdefault(index, []).append(i)
    return makers, readers
