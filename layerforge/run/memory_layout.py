"""Memory layouts: where every buffer of a pass through a plan is stored, and from when to when it holds its values.

dry_run.py makes a layout. Buffers whose times do not meet may be stored at the same place (packing.py). All passes find
every array where it was the last time, so they allocate nothing, and engines need not look at addresses again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contract.layer import Memory

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
SUMS = ""  # the owner of the sums at forks, which are the executor's own: no layer can be called so


@dataclass
class Buffer:
    """Memory that somebody asked for by name: its form, its life, and from when to when it must hold its values."""

    owner: str
    name: Any
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...]
    first: float
    last: float
    life: str = "call"
    offset: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Bytes, up to the next boundary."""
        return -(-self.nbytes // ALIGNMENT) * ALIGNMENT

    def meets(self, other: Buffer) -> bool:
        """Whether there is a moment at which both hold values."""
        return self.first <= other.last and other.first <= self.last

    def array_in(self, memory: np.ndarray) -> np.ndarray:
        """The array that it is in this memory."""
        place = memory[self.offset : self.offset + self.nbytes] if self.nbytes else None
        return np.ndarray(self.shape, self.dtype, place, strides=self.strides)


@dataclass(frozen=True)
class MemoryLayout:
    """The buffers of a plan with their places, and how large the whole is.

    owners  all that have a Memory, whether or not anything is stored in it
    exempt  layers that make arrays of their own in every pass
    spends  a backward takes memory of the forward, so that none can follow it
    """

    owners: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    size: int
    exempt: tuple[str, ...] = ()
    spends: bool = True

    @property
    def unshared(self) -> int:
        """The bytes that the same buffers would take without sharing."""
        return sum(b.size for b in self.buffers)

    def bound_to(self, memory: np.ndarray) -> dict[str, Memory]:
        """By owner, the arrays of all buffers in this memory, which has at least `size` bytes."""
        memories = {owner: Memory() for owner in self.owners}
        for buffer in self.buffers:
            mine = memories[buffer.owner]
            mine.arrays[buffer.name] = buffer.array_in(memory)
            mine.lives[buffer.name] = buffer.life
        return memories


class Workspace:
    """The memory that all layouts of a net are bound to, one at a time, and whose turn it is."""

    def __init__(self) -> None:
        self.memory: np.ndarray | None = None
        self.owner: Any = None  # the executor whose layers work in it

    def at_least(self, size: int) -> np.ndarray:
        """The memory; a larger one where it has fewer bytes than that."""
        if self.memory is None or len(self.memory) < size:
            self.memory = allocate(size)
        return self.memory


def allocate(size: int) -> np.ndarray:
    """Bytes that begin at a boundary."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[start : start + size]
