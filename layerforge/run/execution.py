"""One pass through a plan: forward through its steps, and back. Holds every blob's data and gradient by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..contract import call
from ..contract.layer import Memory, Run
from ..graph.graph import Step
from ..plan.plan import Plan, fixed
from ..schema.errors import LayerError
from .arena import Recorder
from .capture import Entry, Tape

SMALL = 4096  # bytes: arrays up to this size are not worth planning


@dataclass(frozen=True)
class Start:
    """How everything was when a segment that is recomputed ran for the first time.

    blobs       by number, those from outside that it reads
    statistics  (array, its numbers then): the state of its layers
    run         what keys its random numbers
    """

    blobs: dict[int, Any]
    statistics: list[tuple[Any, Any]]
    run: Run


class Pass:
    """The arrays of a forward and of the backwards that follow it.

    memory    the memory of the net itself: sums at forks
    again     the memory of layers that are recomputed, by name; none where they use their own once more
    recorder  looks on, where the pass is recorded for an arena
    """

    def __init__(
        self, plan: Plan, xp: Any, dtype: str, memory: Memory,
        again: Mapping[str, Memory] | None = None, recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        self.again = again or {}
        self.starts: dict[int, Start] = {}  # by the last step of a segment
        self.plan, self.xp, self.dtype, self.memory, self.recorder = plan, xp, dtype, memory, recorder
        self.values: list[Any] = [None] * len(plan.specs)
        self.grads: list[Any] = []
        self.fresh = False
        self.sums: list[Any] = []  # of the present step: how its sums at forks can be repeated, or None
        self.spent = False  # a backward has reused the memory of the forward
        self.unusable = "it did not come to its end"  # why no backward can follow; "" where one can

    # Forward ------------------------------------------------------------------------------------------------------

    def forward(self, inputs: Mapping[str, Any], keep: bool = True) -> None:
        """Run every step. `inputs` are arrays by name; keep says whether a backward follows."""
        plan, values, tape = self.plan, self.values, self._tape("forward")
        firsts = {first: last for last, first in plan.segments.items()} if keep else {}
        for index, name in plan.inputs:
            values[index] = inputs[name]
        number, count = 0, len(plan.steps)
        while number < count:
            if tape is not None and (stop := tape.played(number, values)) > number:
                number = stop
                continue
            if number in firsts:
                self._begin_segment(number, firsts[number])
            self._forward_at(number, tape)
            if keep and number in plan.segments:
                self._forget(plan.segments[number], number)
            number += 1
        if tape is not None:
            tape.end()
        self.unusable = ""

    def _tape(self, doing: str) -> Tape | None:
        """The tape of a pass that begins; None where arrays may lie elsewhere in every pass, or somebody looks on."""
        plan = self.plan
        if self.recorder is not None or self.again or plan.arena is None or plan.one_by_one:
            return None
        tape = plan.tapes.get(doing)
        if tape is None:
            tape = plan.tapes[doing] = Tape()
        return tape.begun()

    def _forward_at(self, number: int, tape: Tape | None) -> None:
        step, values, recorder = self.plan.steps[number], self.values, self.recorder
        reads = tuple([(i, values[i]) for i in step.bottoms]) if tape is not None else ()
        if recorder is not None:
            recorder.now = number
        self._forward_step(step)
        if recorder is not None:
            self._record(step, [(i, values[i]) for i in step.tops], recorder.top)
        tops, released = [(i, values[i]) for i in step.tops], self.plan.released[step.node.name]
        for index in released:
            values[index] = None
        if tape is not None:
            layer, writes = step.node.layer, (*tops, *[(i, None) for i in released])
            tape.note(number, Entry(layer, (layer.script,), None, reads, writes))

    def _forward_step(self, step: Step) -> None:
        values, specs, layer = self.values, self.plan.specs, step.node.layer
        layer.needs_grad, layer.runs_in_place = step.needs_grad, step.in_place
        if step.node.name in self.plan.setters:
            layer.fresh = False
        tops = call.forward(layer, [values[i] for i in step.bottoms])
        if len(tops) < len(step.tops):
            raise call.failure(layer, "forward", (), LayerError(f"forward returned {len(tops)} tops"))
        for index, top in zip(step.tops, tops, strict=False):
            if isinstance(top, np.generic):  # NumPy's reductions return scalars where CuPy returns 0-d arrays
                top = np.asarray(top)
            if top.shape != specs[index].shape:
                message = f"forward returned shape {top.shape}, setup promised {specs[index].shape}"
                raise call.failure(layer, "forward", (), LayerError(message))
            values[index] = top

    # Backward -----------------------------------------------------------------------------------------------------

    def backward(self, seeds: Mapping[int, Any], fresh: bool = False) -> None:
        """Run backward below the blobs that have a seed; their numbers are the keys.

        fresh  the plan's setters are to forget what the gradients of their parameters hold
        """
        self.fresh = fresh
        plan, tape = self.plan, self._tape("fresh backward" if fresh else "backward")
        grads = self.grads = [None] * len(plan.specs)
        waiting = plan.segment_of
        for index, seed in seeds.items():
            grads[index] = seed
        position, last = 0, len(plan.steps) - 1
        while position <= last:
            if tape is not None and (stop := tape.played(position, grads)) > position:
                position = stop
                continue
            number, position = last - position, position + 1
            step = plan.steps[number]
            if not step.runs_backward or all(grads[i] is None for i in step.tops):
                self._leave_out(step)
                continue
            if number in waiting:
                end = waiting[number]
                self.recompute(end)
                waiting = {i: e for i, e in waiting.items() if e != end}
            self._backward_at(number, tape)
        if tape is not None:
            tape.end()

    def _leave_out(self, step: Step) -> None:
        """Nothing comes down to a step: the gradients of its parameters are not touched, or zero where they are new."""
        if self.fresh and step.node.name in self.plan.setters:
            for _, grad in step.node.layer.grads.items():
                grad[...] = 0

    def _backward_at(self, number: int, tape: Tape | None) -> None:
        step, grads, recorder = self.plan.steps[number], self.grads, self.recorder
        layer, touched = step.node.layer, (*step.tops, *step.bottoms)
        kept, reads = layer.kept, tuple([(i, grads[i]) for i in touched]) if tape is not None else ()
        if recorder is not None:
            recorder.now = recorder.backward_of(number)
        self.sums.clear()
        self._backward_step(number)
        if recorder is not None:
            self._record(step, [(i, grads[i]) for i in step.bottoms if grads[i] is not None], recorder.gradient)
        for index in step.tops:
            if index not in self.plan.kept:
                grads[index] = None
        if tape is not None:
            writes, scripts = tuple([(i, grads[i]) for i in touched]), (layer.script, *self.sums)
            tape.note(len(self.plan.steps) - 1 - number, Entry(layer, scripts, kept, reads, writes))

    def _backward_step(self, number: int) -> None:
        step = self.plan.steps[number]
        layer = step.node.layer
        layer.needs_grad = step.needs_grad
        if step.node.name in self.plan.setters:
            layer.fresh = self.fresh
        bottom_grads = call.backward(layer, [self._top_grad(i) for i in step.tops])
        for i, index in enumerate(step.bottoms):
            if not step.needs_grad[i]:
                continue
            if i >= len(bottom_grads) or bottom_grads[i] is None:
                raise call.failure(layer, "backward", (), LayerError(f"backward gave bottom {i} no gradient"))
            if self.recorder is not None:
                self.recorder.collect()
                self.recorder.gradient(index, bottom_grads[i])
            self._add_grad((number, i), index, bottom_grads[i])

    def _top_grad(self, index: int) -> Any:
        """The gradient of a top: zeros for a real one that nobody differentiated, None for an index."""
        grad, spec = self.grads[index], self.plan.specs[index]
        if grad is not None:
            return self._where_planned(index, grad)
        if not spec.is_real:
            return grad
        zeros = self.plan.zeros.get(index)  # a layer does not write into what it is given, so they stay zeros
        if zeros is None:
            top = self.values[index]  # of whose order in memory they are, where it is still there
            new = self.xp.zeros(spec.shape, dtype=self.dtype) if top is None else self.xp.zeros_like(top)
            zeros = self.plan.zeros[index] = fixed(new)
        return zeros

    def _where_planned(self, index: int, grad: Any) -> Any:
        """The gradient of a blob in the memory that an arena has for its sum, also where only one of its parts came.

        A pass may begin from other blobs than the one that was recorded. From a sum on, layers may hand its memory down
        as that of their own gradients; that of its parts is given to others by then.
        """
        total = self.memory.arrays.get(index) if self.plan.arena is not None else None
        if total is None or grad is total or total.shape != grad.shape:
            return grad
        total[...] = grad
        self.grads[index] = total
        self.sums.append(None)
        return total

    def _add_grad(self, place: tuple[int, int], index: int, grad: Any) -> None:
        """Add to the gradient of a blob. `place` is the step and which of its bottoms."""
        before = self.grads[index]
        if before is None:
            self.grads[index] = grad
            return
        # The first gradient may be a layer's memory, or alias another blob's: the sum gets memory of the net's own.
        total = self.grads[index] = self._sum(index, grad)
        plan = self.plan
        if plan.adder is None:
            self.xp.add(before, grad, out=total)
            self.sums.append(None)
            return
        add = plan.adders.get(place)
        if add is None:
            add = plan.adders[place] = plan.adder()
        self.sums.append(add(before, grad, total))

    def _sum(self, index: int, like: Any) -> Any:
        """Memory for the sum of the gradients of a blob."""
        total = self.memory.arrays.get(index)
        if total is None or total.shape != like.shape:
            total = self.memory.arrays[index] = self.xp.empty_like(like)
        return total

    # Recomputing --------------------------------------------------------------------------------------------------

    def _begin_segment(self, first: int, last: int) -> None:
        """Hold on to what the forward of steps starts from: they will need it once more."""
        steps = self.plan.steps[first : last + 1]
        inside = {i for step in steps for i in step.tops}
        blobs = {i: self.values[i] for step in steps for i in step.bottoms if i not in inside}
        statistics = [(array, array.copy()) for step in steps for _, array in step.node.layer.state.items()]
        self.starts[last] = Start(blobs, statistics, replace(steps[0].node.layer.run))

    def _forget(self, first: int, last: int) -> None:
        for step in self.plan.steps[first : last + 1]:
            step.node.layer.kept = None

    def recompute(self, last: int, apart: bool = False) -> None:
        """Run the forward of the segment that ends with step `last` again, from what it started from.

        Running statistics, which it has changed already, are afterwards as they are now.

        apart  not in the memory that an arena plans for it just before its backward, but in memory of its own
        """
        first, recorder, values = self.plan.segments[last], self.recorder, list(self.values)
        for index, array in self.starts[last].blobs.items():
            self.values[index] = array
        with self._as_at_first(self.starts[last], self.plan.steps[first].node.layer.run):
            for number in range(first, last + 1):
                step = self.plan.steps[number]
                if recorder is not None:
                    recorder.now = recorder.again_of(number, last)
                with self._in_second_memory(step, apart and self.plan.arena is not None):
                    self._forward_step(step)
                if recorder is not None:
                    self._record(step, [(i, self.values[i]) for i in step.tops], recorder.top_again)
        self.values[:] = values

    @staticmethod
    @contextmanager
    def _as_at_first(start: Start, run: Run) -> Iterator[None]:
        """While this lasts, statistics and random numbers are those of the first forward of a segment."""
        now = [(array, array.copy()) for array, _ in start.statistics]
        keys = run.iteration, run.first_sample
        for array, then in start.statistics:
            array[...] = then
        run.iteration, run.first_sample = start.run.iteration, start.run.first_sample
        try:
            yield
        finally:
            run.iteration, run.first_sample = keys
            for array, numbers in now:
                array[...] = numbers

    @contextmanager
    def _in_second_memory(self, step: Step, apart: bool) -> Iterator[None]:
        layer = step.node.layer
        own, layer.memory = layer.memory, Memory() if apart else self.again.get(step.node.name, layer.memory)
        try:
            yield
        finally:
            layer.memory = own

    # Recording ----------------------------------------------------------------------------------------------------

    def _record(self, step: Step, arrays: Sequence[tuple[int, Any]], lies: Any) -> None:
        recorder = self.recorder
        assert recorder is not None
        recorder.collect()
        for index, array in arrays:
            mine = any(np.may_share_memory(array, self.values[i]) for i, _ in self.plan.inputs)
            if not lies(index, array) and not mine and array.nbytes > SMALL:
                recorder.exempt.append(step.node.name)
