"""Scripts: what a layer's forward or backward came to the last time, to be done again without asking the layer.

In a planned net every array lies where it was in the last pass, so a layer that only runs Ops would run the very same
calls. A script is that list, with everything that it depended on; it is used where all of that is the same object as
then, and written anew where something is not. The scripts of neighbours are joined by `layerforge/tape.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

from .binding import Op, runtime


class Calls:
    """The calls of some Ops, in order, and the arrays that each was bound to."""

    def __init__(self, ops: Sequence[Op], bound: Sequence[tuple[Any, ...]]) -> None:
        self.ops, self.bound = ops, bound
        self.plain = not any(op.copied for op in ops)  # an Op that copies its arguments does more than calls into C
        self.calls = [call for op in ops for call in op.calls]
        self.execute = runtime().lib.dnnl_primitive_execute

    @classmethod
    def joined(cls, parts: Sequence[Calls]) -> Calls:
        """Those of several, one behind the other."""
        return cls([op for part in parts for op in part.ops], [bound for part in parts for bound in part.bound])

    def fits(self) -> bool:
        """Whether every Op is still bound to its arrays."""
        return all(map(is_, self.bound, [op.bound for op in self.ops]))

    def run(self) -> None:
        """Do it again."""
        if not self.plain:
            for op in self.ops:
                op.run()
            return
        execute = self.execute
        for call in self.calls:
            if execute(*call):
                for op in self.ops:  # once more, with an error that says which
                    op.run()


@dataclass
class Script:
    """What was run, on what, and what came of it."""

    arrays: tuple[Any, ...]
    calls: Calls
    result: Any
    circumstances: tuple[Any, ...]
    before: Any  # what the layer had kept when it began: forward begins with nothing
    kept: Any  # what it keeps now

    def fits(self, layer: Any, arrays: Sequence[Any]) -> bool:
        """Whether everything that it depends on is as it was."""
        memory, *circumstances = self.circumstances
        return (
            len(arrays) == len(self.arrays)
            and all(map(is_, arrays, self.arrays))
            and layer.memory is memory
            and layer.kept is self.before
            and [layer.run.phase, layer.run.keep, layer.needs_grad] == circumstances
            and self.calls.fits()
        )

    def run(self, layer: Any) -> Any:
        """Do it again."""
        self.calls.run()
        layer.kept = self.kept
        return self.result


def written_down(layer: Any, doing: str, arrays: Sequence[Any]) -> tuple[Script | None, Any]:
    """Run a layer's method and write down what it did; no script while the planner looks on."""
    shared, before = runtime(), layer.kept
    outer, shared.trace = shared.trace, []
    try:
        result = getattr(layer, doing)(*arrays)
        trace = shared.trace
    finally:
        shared.trace = outer
    if shared.recording:
        return None, result
    calls = Calls([op for op, _ in trace], [bound for _, bound in trace])
    circumstances = (layer.memory, layer.run.phase, layer.run.keep, layer.needs_grad)
    return Script(tuple(arrays), calls, result, circumstances, before, layer.kept), result
