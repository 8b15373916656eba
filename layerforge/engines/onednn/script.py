"""Scripts: what a layer's forward or backward came to the last time, to be done again without calling the layer.

In a planned net every array is where it was in the last pass, so a layer that only runs Ops and Acts would run the
very same calls. A script is that list, with everything that it depended on; it is used where all of that is the same
object as then, and written anew where something is not. `layerforge/run/capture.py` joins the scripts of neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

from .binding import check, runtime
from .op import Work


class Act(Work):
    """A piece of NumPy among a layer's Ops: function(*arrays), which reads and writes these arrays and nothing else."""

    def __init__(self, function: Callable[..., None]) -> None:
        super().__init__()
        self.function = function

    def run(self) -> None:
        self.function(*self.bound)


class Calls:
    """The calls of some Ops, in order, and the arrays that each was bound to. `failed` is the call that did."""

    failed: Any = None

    def __init__(self, ops: Sequence[Work], bound: Sequence[tuple[Any, ...]], calls: Sequence[Any] = ()) -> None:
        self.ops = ops
        self.bound = bound
        self.runtime = runtime()
        self.looked = -1
        self.calls = [*calls] or [call for op in ops for call in op.repeats()]

    @classmethod
    def joined(cls, parts: Sequence[Calls]) -> Calls:
        """Those of several, one behind the other."""
        of_all = ([one for part in parts for one in getattr(part, of)] for of in ("ops", "bound", "calls"))
        return cls(*of_all)

    def fits(self) -> bool:
        """Whether every Op is still bound to its arrays. Most often nothing was bound anew since the last look."""
        latest = self.runtime.bindings
        if self.looked != latest:
            if not all(map(is_, self.bound, [op.bound for op in self.ops])):
                return False
            self.looked = latest
        return True

    def run(self) -> None:
        """Do it again."""
        call = None
        try:
            for call in self.calls:
                if status := call():
                    check(status, "running a primitive once more")
        except Exception:
            self.failed = call
            raise


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
    """Run a layer's method and write down what it did; no script in a dry run."""
    watch, before = runtime().watch, layer.kept
    outer, watch.trace = watch.trace, []
    try:
        result = getattr(layer, doing)(*arrays)
        trace = watch.trace
    finally:
        watch.trace = outer
    if watch.dry_run:
        return None, result
    calls = Calls([op for op, _ in trace], [bound for _, bound in trace])
    circumstances = (layer.memory, layer.run.phase, layer.run.keep, layer.needs_grad)
    return Script(tuple(arrays), calls, result, circumstances, before, layer.kept), result
