"""One pass through a plan: forward through its steps, and back. Holds every blob's data and gradient by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import runner
from .arena import Recorder
from .errors import LayerError
from .graph import Step
from .layer import Memory
from .plan import Plan

SMALL = 4096  # bytes: arrays up to this size are not worth planning


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
        self.starts: dict[int, dict[int, Any]] = {}  # by last step of a segment: the blobs from outside that it reads
        self.plan, self.xp, self.dtype, self.memory, self.recorder = plan, xp, dtype, memory, recorder
        self.values: list[Any] = [None] * len(plan.specs)
        self.grads: list[Any] = []
        self.spent = False  # a backward has reused the memory of the forward

    # Forward ------------------------------------------------------------------------------------------------------

    def forward(self, inputs: Mapping[str, Any], keep: bool = True) -> None:
        """Run every step. `inputs` are arrays by name; keep says whether a backward follows."""
        plan, values, recorder = self.plan, self.values, self.recorder
        firsts = {first: last for last, first in plan.segments.items()} if keep else {}
        for index, name in plan.inputs:
            values[index] = inputs[name]
        for number, step in enumerate(plan.steps):
            if recorder is not None:
                recorder.now = number
            if number in firsts:
                self._begin_segment(number, firsts[number])
            self._forward_step(step)
            if recorder is not None:
                self._record(step, [(i, values[i]) for i in step.tops], recorder.top)
            if keep and number in plan.segments:
                self._forget(plan.segments[number], number)
            for index in plan.released[step.node.name]:
                values[index] = None

    def _forward_step(self, step: Step) -> None:
        values, specs, layer = self.values, self.plan.specs, step.node.layer
        layer.needs_grad, layer.runs_in_place = step.needs_grad, step.in_place
        tops = runner.forward(layer, [values[i] for i in step.bottoms])
        if len(tops) < len(step.tops):
            raise runner.failure(layer, "forward", (), LayerError(f"forward returned {len(tops)} tops"))
        for index, top in zip(step.tops, tops, strict=False):
            if isinstance(top, np.generic):  # NumPy's reductions return scalars where CuPy returns 0-d arrays
                top = np.asarray(top)
            if top.shape != specs[index].shape:
                message = f"forward returned shape {top.shape}, setup promised {specs[index].shape}"
                raise runner.failure(layer, "forward", (), LayerError(message))
            values[index] = top

    # Backward -----------------------------------------------------------------------------------------------------

    def backward(self, seeds: Mapping[int, Any]) -> None:
        """Run backward below the blobs that have a seed; their numbers are the keys."""
        plan, recorder = self.plan, self.recorder
        grads = self.grads = [None] * len(plan.specs)
        waiting = plan.segment_of
        own: dict[int, Any] = {}  # sums at forks: memory of the net, never a layer's
        for index, seed in seeds.items():
            grads[index] = seed
        for number in range(len(plan.steps) - 1, -1, -1):
            step = plan.steps[number]
            if not step.runs_backward or all(grads[i] is None for i in step.tops):
                continue
            if number in waiting:
                last, first = waiting[number], plan.segments[waiting[number]]
                self._recompute(first, last)
                waiting = {i: end for i, end in waiting.items() if end != last}
            if recorder is not None:
                recorder.now = recorder.backward_of(number)
            self._backward_step(step, own)
            if recorder is not None:
                self._record(step, [(i, grads[i]) for i in step.bottoms if grads[i] is not None], recorder.gradient)
            for index in step.tops:
                if index not in plan.kept:
                    grads[index] = None

    def _backward_step(self, step: Step, own: dict[int, Any]) -> None:
        layer, grads = step.node.layer, self.grads
        layer.needs_grad = step.needs_grad
        bottom_grads = runner.backward(layer, [self._top_grad(i) for i in step.tops])
        for i, index in enumerate(step.bottoms):
            if not step.needs_grad[i]:
                continue
            if i >= len(bottom_grads) or bottom_grads[i] is None:
                raise runner.failure(layer, "backward", (), LayerError(f"backward gave bottom {i} no gradient"))
            if self.recorder is not None:
                self.recorder.collect()
                self.recorder.gradient(index, bottom_grads[i])
            self._add_grad(grads, own, index, bottom_grads[i])

    def _top_grad(self, index: int) -> Any:
        """The gradient of a top: zeros for a real one that nobody differentiated, None for an index."""
        grad, spec = self.grads[index], self.plan.specs[index]
        if grad is not None or not spec.is_real:
            return grad
        zeros = self.plan.zeros.get(index)  # a layer does not write into what it is given, so they stay zeros
        if zeros is None:
            zeros = self.plan.zeros[index] = self.xp.zeros(spec.shape, dtype=self.dtype)
        return zeros

    def _add_grad(self, grads: list[Any], own: dict[int, Any], index: int, grad: Any) -> None:
        if grads[index] is None:
            grads[index] = grad
        elif index in own:
            own[index] += grad
        else:  # the first gradient may be a layer's memory, or alias another blob's: the sum gets memory of its own
            grads[index] = own[index] = self.xp.add(grads[index], grad, out=self._sum(index, grad))

    def _sum(self, index: int, like: Any) -> Any:
        """Memory for the sum of the gradients of a blob."""
        total = self.memory.arrays.get(index)
        if total is None or total.shape != like.shape:
            total = self.memory.arrays[index] = self.xp.empty_like(like)
        return total

    # Recomputing --------------------------------------------------------------------------------------------------

    def _begin_segment(self, first: int, last: int) -> None:
        """Hold on to what steps read from outside: their forward will need it once more."""
        steps = self.plan.steps[first : last + 1]
        inside = {i for step in steps for i in step.tops}
        self.starts[last] = {i: self.values[i] for step in steps for i in step.bottoms if i not in inside}

    def _forget(self, first: int, last: int) -> None:
        for step in self.plan.steps[first : last + 1]:
            step.node.layer.kept = None

    def _recompute(self, first: int, last: int) -> None:
        """Run the forward of some steps again, just before their backward; running statistics stay as they are."""
        steps, recorder, values = self.plan.steps[first : last + 1], self.recorder, list(self.values)
        for index, array in self.starts[last].items():
            self.values[index] = array
        for number, step in enumerate(steps, first):
            layer = step.node.layer
            own, layer.memory = layer.memory, self.again.get(step.node.name, layer.memory)
            statistics = [(array, array.copy()) for _, array in layer.state.items()]
            if recorder is not None:
                recorder.now = recorder.again_of(number, last)
            self._forward_step(step)
            if recorder is not None:
                self._record(step, [(i, self.values[i]) for i in step.tops], recorder.top_again)
            for array, copy in statistics:
                array[...] = copy
            layer.memory = own
        self.values[:] = values

    # Recording ----------------------------------------------------------------------------------------------------

    def _record(self, step: Step, arrays: Sequence[tuple[int, Any]], lies: Any) -> None:
        recorder = self.recorder
        assert recorder is not None
        recorder.collect()
        for index, array in arrays:
            mine = any(np.may_share_memory(array, self.values[i]) for i, _ in self.plan.inputs)
            if not lies(index, array) and not mine and array.nbytes > SMALL:
                recorder.exempt.append(step.node.name)
