"""Packing: where buffers are stored that must hold their values for some time, so that the whole is small.

The largest are placed first, each at the lowest place that is free while it lives. To find that place, what is taken is
kept in a binary tree over time, each node of which knows two sets of addresses: those taken by somebody at any moment
of its span, and those taken throughout. A span of time is a few nodes; what is taken during it is what somebody takes
in these, and what is taken throughout the nodes above them. Neighbouring addresses are one interval, so the sets stay
small where little is wasted, and a placement costs about the logarithm of the number of moments.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Protocol


class Lasting(Protocol):
    """What is placed: so many bytes, from the first moment to the last, both included; `offset` is its place."""

    size: int
    first: float
    last: float
    offset: int


class Addresses:
    """A set of addresses, as intervals that neither overlap nor touch, in order."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """Take start:stop in."""
        starts, stops = self.starts, self.stops
        i = bisect_left(stops, start)
        if i < len(stops) and starts[i] <= start and stop <= stops[i]:
            return  # as most often where nothing is wasted
        j = bisect_right(starts, stop, i)  # it touches those from i to j
        if i < j:
            start, stop = min(start, starts[i]), max(stop, stops[j - 1])
        starts[i:j], stops[i:j] = [start], [stop]

    def behind(self, start: int, size: int) -> int:
        """Where to look on for `size` free addresses from `start`: `start` itself, if these are free."""
        i = bisect_right(self.stops, start)
        return self.stops[i] if i < len(self.starts) and self.starts[i] < start + size else start


class Taken:
    """What is taken at which moments, which are numbered from 0."""

    def __init__(self, moments: int) -> None:
        self.leaves = 1 << max(moments - 1, 0).bit_length()
        self.sometime: dict[int, Addresses] = {}  # by node: 1 is the root, 2n and 2n + 1 are below n
        self.throughout: dict[int, Addresses] = {}

    def span(self, first: int, last: int) -> Iterator[int]:
        """The fewest nodes whose leaves are the moments from first to last."""
        low, high = first + self.leaves, last + self.leaves + 1
        while low < high:
            if low & 1:
                yield low
                low += 1
            if high & 1:
                high -= 1
                yield high
            low, high = low >> 1, high >> 1

    def add(self, first: int, last: int, start: int, stop: int) -> None:
        """Addresses are taken from first to last."""
        nodes = list(self.span(first, last))
        for node in nodes:
            of(self.throughout, node).add(start, stop)
        for node in {*nodes, *above(nodes)}:
            of(self.sometime, node).add(start, stop)

    def lowest(self, first: int, last: int, size: int) -> int:
        """The lowest place for `size` addresses that nobody takes from first to last."""
        nodes = list(self.span(first, last))
        taken = [self.sometime[node] for node in nodes if node in self.sometime]
        taken += [self.throughout[node] for node in above(nodes) if node in self.throughout]
        place, agreed = 0, 0
        while agreed < len(taken):  # until all have said of the same place that it is free
            for addresses in taken:
                found = addresses.behind(place, size)
                place, agreed = (place, agreed + 1) if found == place else (found, 0)
                if agreed == len(taken):
                    break
        return place


def of(sets: dict[int, Addresses], node: int) -> Addresses:
    """The set of a node, which is empty at first."""
    found = sets.get(node)
    if found is None:
        found = sets[node] = Addresses()
    return found


def above(nodes: list[int]) -> set[int]:
    """All nodes above these."""
    found: set[int] = set()
    for node in nodes:
        while (node := node >> 1) and node not in found:
            found.add(node)
    return found


def place(buffers: list[Lasting]) -> int:
    """Give every buffer its offset; the size of the whole."""
    moments = sorted({moment for b in buffers for moment in (b.first, b.last)})
    number = {moment: i for i, moment in enumerate(moments)}
    taken, whole = Taken(len(moments)), 0
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.first)):
        size, first, last = buffer.size, number[buffer.first], number[buffer.last]
        buffer.offset = taken.lowest(first, last, size)
        whole = max(whole, buffer.offset + size)
        if size:
            taken.add(first, last, buffer.offset, buffer.offset + size)
    return whole
