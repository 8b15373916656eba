"""Capture and replay: steps that did the same in two passes are joined, and from then on done by one list of calls.

In a net with a memory layout every array is stored where it was in the pass before, so a step whose layer only runs
primitives would run the very same calls. A layer of an engine says so by its `script`: what it did the last time, if
that can be repeated. Steps in a row that replayed their scripts become a stretch, which is replayed as long as all that
it depends on is the same object as then: the blobs that it reads from outside, what its layers kept, and the arrays of
its calls. Where something differs, its steps run one by one again, and are captured anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

from ..contract import call

MOST_MISSES = 20  # stretches that did not fit, after which a capture gives up: something is new in every pass

Held = tuple[tuple[int, Any], ...]  # blobs by number, with the array that each holds, or None


@dataclass(frozen=True)
class Entry:
    """What one step did.

    scripts   what its layer repeats, and the sums at forks that followed
    kept      what the layer had kept when backward began: forward begins with nothing
    """

    layer: Any
    scripts: tuple[Any, ...]
    kept: Any
    reads: Held
    writes: Held

    def repeats(self, other: Entry | None) -> bool:
        """Whether the step did the same in the pass before."""
        mine, theirs = self.scripts, () if other is None else other.scripts
        return len(mine) == len(theirs) and all(map(is_, mine, theirs))


class Stretch:
    """Neighbouring steps as one list of calls. `stop` is the position behind the last of them."""

    def __init__(self, entries: Sequence[Entry], stop: int) -> None:
        scripts = [script for entry in entries for script in entry.scripts]
        self.stop = stop
        self.calls = type(scripts[0].calls).joined([script.calls for script in scripts])
        reads: dict[int, Any] = {}
        leaves: dict[int, Any] = {}
        for entry in entries:
            reads |= {i: array for i, array in entry.reads if i not in leaves and i not in reads}
            leaves |= dict(entry.writes)
        self.reads = list(reads.items())
        self.leaves = list(leaves.items())
        self.entries = entries
        self.kept = [(entry.layer, entry.kept) for entry in entries if entry.kept is not None]

    def fits(self, blobs: Sequence[Any]) -> bool:
        """Whether everything that it depends on is as it was."""
        for i, array in self.reads:
            if blobs[i] is not array:
                return False
        for layer, kept in self.kept:
            if layer.kept is not kept:
                return False
        return self.calls.fits()

    def replay(self, blobs: list[Any]) -> None:
        """Do it again. LayerError, which names the layer, where something fails."""
        try:
            self.calls.run()
        except Exception as error:
            mine = (e for e in self.entries if any(self.calls.failed in script.calls.calls for script in e.scripts))
            entry = next(mine)
            raise call.failure(entry.layer, "a repeated pass", [array for _, array in entry.reads], error) from error
        for i, array in self.leaves:
            blobs[i] = array


class Capture:
    """The stretches of a pass by the position at which they begin, and what its other steps did."""

    def __init__(self) -> None:
        self.stretches: dict[int, Stretch] = {}
        self.steady: dict[int, Entry] = {}  # what the stretches are made of
        self.last: dict[int, Entry] = {}
        self.now: dict[int, Entry] = {}
        self.misses = 0

    def begun(self) -> Capture:
        """A pass begins. The one before may have broken off."""
        self.now = {}
        return self

    def replayed(self, position: int, blobs: list[Any]) -> int:
        """Replay the stretch that begins here, if there is one that fits; where to go on from."""
        stretch = self.stretches.get(position)
        if stretch is None:
            return position
        if not stretch.fits(blobs):
            for at in range(position, self.stretches.pop(position).stop):
                del self.steady[at]
            self.misses += 1
            return position
        stretch.replay(blobs)
        return stretch.stop

    def note(self, position: int, entry: Entry) -> None:
        """A step ran by itself."""
        if all(script is not None for script in entry.scripts):
            self.now[position] = entry

    def end(self) -> None:
        """The pass is over: join what did the same as in the pass before."""
        if self.now and self.misses < MOST_MISSES:
            new = {at: entry for at, entry in self.now.items() if entry.repeats(self.last.get(at))}
            if new:
                self.steady |= new
                self.stretches = {run[0]: self._joined(run) for run in runs(self.steady)}
        self.last, self.now = self.now, {}

    def _joined(self, positions: Sequence[int]) -> Stretch:
        return Stretch([self.steady[at] for at in positions], positions[-1] + 1)


def runs(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Numbers in order, those that follow one upon the other together."""
    run: list[int] = []
    for number in sorted(numbers):
        if run and number != run[-1] + 1:
            yield run
            run = []
        run.append(number)
    if run:
        yield run
