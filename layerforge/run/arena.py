"""One piece of memory for all that a pass through a net makes: activations, gradients, what layers keep.

A pass is recorded once on dummy values, in which nothing that an engine does is computed: which buffers each layer asks
for, and which of them are tops and gradients. From that follows when each must hold its numbers:

    forward of step i at time i, its backward at time 2n - 1 - i, for n steps

    a buffer that a layer asks for              the moments at which it asks
    ... with life "saved"                       until its layer's backward
    a top                                       until its last reader, and their backward where `backward_reads` says so
    a gradient                                  until the backward of the layer that made the blob
    outputs, losses, what was asked to be kept  to the end

What is recomputed runs forward once more just before its backward, in memory of its own; of its first forward only
the tops for others stay.

Buffers whose times do not meet may lie at the same place (packing.py). Later passes find every array where it was the
last time, so they allocate nothing, and engines need not look at addresses again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..contract.layer import Memory, reads
from ..plan.plan import AGAIN, Plan
from .packing import place

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


@dataclass
class Buffer:
    """Memory that somebody asked for by name: its size, and from when to when it must hold its numbers."""

    owner: str
    name: Any
    array: Any
    first: float
    last: float
    offset: int = 0

    @property
    def size(self) -> int:
        """Bytes, up to the next boundary."""
        return -(-self.array.nbytes // ALIGNMENT) * ALIGNMENT

    def meets(self, other: Buffer) -> bool:
        """Whether there is a moment at which both hold numbers."""
        return self.first <= other.last and other.first <= self.last


class Watched(dict[Any, Any]):
    """The arrays of a Memory, telling a recorder of each time that one is asked for."""

    def __init__(self, asked: Callable[[Any], None]) -> None:
        super().__init__()
        self.asked = asked

    def get(self, name: Any, default: Any = None) -> Any:
        """As of any mapping."""
        self.asked(name)
        return super().get(name, default)


@dataclass
class Arena:
    """The buffers of a plan with their places, and how large the whole is."""

    buffers: list[Buffer]
    size: int
    exempt: tuple[str, ...] = ()  # layers that make arrays of their own in every pass
    memories: dict[str, Memory] = field(default_factory=dict)
    bound_to: Any = None

    @property
    def unshared(self) -> int:
        """The bytes that the same buffers would take without sharing."""
        return sum(b.size for b in self.buffers)

    def bind(self, memory: np.ndarray) -> None:
        """Put all buffers into this memory, which has at least `size` bytes."""
        if self.bound_to is memory:
            return
        self.bound_to = memory
        self.memories = {owner: Memory(dict(m.arrays), m.lives) for owner, m in self.memories.items()}
        for buffer in self.buffers:
            old = buffer.array
            place = memory[buffer.offset : buffer.offset + old.nbytes]
            array = np.ndarray(old.shape, old.dtype, place, strides=old.strides) if old.size else old
            self.memories[buffer.owner].arrays[buffer.name] = buffer.array = array


def allocate(size: int) -> np.ndarray:
    """Bytes that begin at a boundary."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[start : start + size]


class Recorder:
    """Watches one pass through a plan, which says when it is (`now`) and in which arrays tops and gradients lie."""

    def __init__(self, plan: Plan, stay: set[int], backward: bool) -> None:
        self.plan, self.stay, self.backward = plan, stay, backward
        self.steps = len(plan.steps)
        self.end = 2 * self.steps
        self.now: float = 0
        self.buffers: dict[tuple[str, Any], Buffer] = {}
        self.memories: dict[str, Memory] = {}
        self.times = {step.node.name: i for i, step in enumerate(plan.steps)}
        self.makers, self.readers = _uses(plan)
        self.unmade: dict[tuple[str, Any], Buffer] = {}  # those of the buffers whose arrays are still to come
        self.by_array: dict[int, Buffer] = {}
        self.exempt: list[str] = []
        self.segment = plan.segment_of if backward else {}

    def memory(self, owner: str) -> Memory:
        """A Memory whose use is recorded."""
        memory = self.memories[owner] = Memory()
        memory.arrays = Watched(lambda name: self._ask(owner, name))
        return memory

    def _ask(self, owner: str, name: Any) -> None:
        known = self.buffers.get((owner, name))
        if known is None:
            self.buffers[owner, name] = self.unmade[owner, name] = Buffer(owner, name, None, self.now, self.now)
        else:
            known.last = max(known.last, self.now)

    def backward_of(self, step: int) -> int:
        """When a step's backward runs."""
        return self.end - 1 - step

    def again_of(self, step: int, last: int) -> float:
        """When a step of the segment that ends with step `last` runs forward once more."""
        return self.backward_of(last) - 1 + (step + 1) / (last + 2)

    def collect(self) -> None:
        """After a step: take over the arrays that were made, and let saved ones live until their layer's backward."""
        for (owner, name), buffer in list(self.unmade.items()):
            memory = self.memories[owner]
            buffer.array = dict.get(memory.arrays, name)
            step = self.times.get(owner.removesuffix(AGAIN))
            forgotten = step in self.segment and not owner.endswith(AGAIN)
            if memory.lives.get(name) == "saved" and step is not None and self.backward and not forgotten:
                buffer.last = max(buffer.last, self.backward_of(step))
            if buffer.array is not None:
                self.by_array[id(buffer.array)] = buffer
                del self.unmade[owner, name]

    def top(self, index: int, array: Any) -> bool:
        """A blob lies in this array. False where the array is nobody's buffer."""
        return self._extend(array, self.end if index in self.stay else self._last_use(index))

    def gradient(self, index: int, array: Any) -> bool:
        """The gradient of a blob lies in this array."""
        makers = self.makers.get(index)
        return self._extend(array, self.backward_of(makers[0]) if makers and index not in self.stay else self.end)

    def top_again(self, index: int, array: Any) -> bool:
        """As `top`, of a blob that was just recomputed."""
        return self._extend(array, max(self._uses(index, again=True), default=self.now))

    def _last_use(self, index: int) -> float:
        return max(self._uses(index, again=False), default=self.now)

    def _uses(self, index: int, again: bool) -> Iterator[float]:
        """The moments at which somebody reads a blob as its first forward, or its second, made it."""
        makers, readers = self.makers.get(index, []), self.readers.get(index, [])
        home = self.segment.get(makers[0]) if makers else None
        for i in dict.fromkeys([*makers, *readers]):
            step, mine = self.plan.steps[i], self.segment.get(i)
            inside = mine is not None and mine == home
            back = self.backward and step.runs_backward and inside == again
            if back and any(t == index and reads(step.node.layer, "top", j) for j, t in enumerate(step.tops)):
                yield self.backward_of(i)
            for j in (j for j, b in enumerate(step.bottoms) if b == index):
                if not again:
                    yield i
                if mine is not None and inside == again:
                    yield self.again_of(i, mine)
                if back and reads(step.node.layer, "bottom", j):
                    yield self.backward_of(i)

    def _extend(self, array: Any, until: float) -> bool:
        owner = array
        while isinstance(getattr(owner, "base", None), np.ndarray):
            owner = owner.base
        buffer = self.by_array.get(id(owner))
        if buffer is None:
            return False
        buffer.last = max(buffer.last, until)
        return True

    def arena(self) -> Arena:
        """The places of all buffers."""
        buffers = [b for b in self.buffers.values() if b.array is not None]
        size = place(buffers)
        memories = {owner: Memory(dict(m.arrays), m.lives) for owner, m in self.memories.items()}
        return Arena(buffers, size, tuple(dict.fromkeys(self.exempt)), memories)


def _uses(plan: Plan) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """By blob, the steps that make it and those that read it."""
    makers: dict[int, list[int]] = {}
    readers: dict[int, list[int]] = {}
    for i, step in enumerate(plan.steps):
        for blobs, known in ((step.tops, makers), (step.bottoms, readers)):
            for index in dict.fromkeys(blobs):
                known.setdefault(index, []).append(i)
    return makers, readers
