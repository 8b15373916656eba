"""The executor of a plan: forward through its steps, and back. It owns everything that changes while a plan is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..arrays.awaited import Later, awaiting
from ..arrays.bfloat16 import is_bfloat16, narrowed
from ..arrays.sparse import CSR
from ..contract import call
from ..contract.layer import Memory
from ..engines.protocol import is_engine_layer
from ..engines.rounding import NEAREST
from ..graph.graph import Step
from ..plan.plan import Plan
from ..schema import registry
from ..schema.errors import LayerError
from .capture import Capture, Entry
from .gradient_sums import GradientSums, fixed
from .memory_layout import SUMS, MemoryLayout, Workspace
from .observer import Observer, shown
from .recompute import AGAIN, Start
from .staging import may_be_theirs, staged_inputs


class Executor:
    """Runs a plan. Holds every blob's data and gradient of the present pass by number.

    layout     where every buffer is stored; without it layers make their own memory, and blobs are stored anywhere
    workspace  the memory of the net's executors, one of which is run at a time; where all blobs are kept each executor
               has its own, and what somebody still looks at lasts until its next pass
    observers  look at its steps
    prepare    what a forward begins with, where something computes in bfloat16 (halves.py)

    values, grads  the arrays of the present pass by blob, None where there is none or none any more
    loss_seeds     the last scale that backward from the losses was asked for, and the upstream gradients for it
    loss_values    the values of the losses of the present pass, by number, once somebody asked (counting.py)
    loss_counts    what the losses of the present pass are means over, once that was counted (counting.py)
    spent          a backward has reused the memory of the forward
    unusable       why no backward can follow; "" where one can
    """

    def __init__(
        self,
        plan: Plan,
        xp: Any,
        dtype: str,
        *,
        layout: MemoryLayout | None = None,
        workspace: Workspace | None = None,
        observers: Sequence[Observer] = (),
        prepare: Callable[[], None] | None = None,
    ) -> None:
        engine = registry.engine(plan.engine) if plan.engine else None
        self.plan = plan
        self.xp = xp
        self.dtype = dtype
        self.layout = layout
        self.workspace = workspace or Workspace()
        self.observers = observers
        self.prepare = prepare
        self.memory: np.ndarray | None = None  # what the layout is bound to
        self.memories: dict[str, Memory] = {}
        self.again: dict[str, Memory] = {}  # of layers that are recomputed; where there is none they use their own
        self.sums = GradientSums(xp, dtype, engine.adder() if engine is not None else None, plan.rounded)
        self.captures: dict[str, Capture] = {}
        self.staged: dict[str, np.ndarray] = {}
        self.carriers: dict[str, Any] = {}
        self.lent = [step.node.layer for step in plan.steps if not is_engine_layer(step.node.layer)]  # by other plans
        if layout is not None and engine is not None:
            self.staged = staged_inputs(plan)
            self.carriers = {name: engine.carrier()() for name in self.staged}
        self.sparse_memory: dict[str, dict[str, Any]] = {}  # of copies of sparse inputs, by name
        self.seeds: dict[int, tuple[float, Any]] = {}
        self.loss_seeds: tuple[float | Sequence[float], Mapping[int, Any]] | None = None
        self.cotangents: dict[int, Any] = {}  # memory for those that a caller gives
        self.values: list[Any] = [None] * len(plan.specs)
        self.grads: list[Any] = []
        self.loss_counts: tuple[Any, ...] | None = None
        self.loss_values: dict[int, Later] = {}
        self.starts: dict[int, Start] = {}  # by the last step of a segment
        self.overwrite_grad = False
        self.spent = False
        self.unusable = "it did not come to its end"

    # Memory -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A pass begins: nothing is left of the one before, and the layers have their memory."""
        self.let_go()
        layout = self.layout
        if layout is None:
            return
        memory = self.workspace.at_least(layout.size)
        if self.workspace.owner is self and self.memory is memory:
            for layer in self.lent:
                layer.memory = self.memories[layer.name]
            return
        if self.memory is not memory:
            self.memory = memory
            self.memories = layout.bound_to(memory)
            self.again = {n.removesuffix(AGAIN): m for n, m in self.memories.items() if n.endswith(AGAIN)}
            self.sums.memory = self.memories[SUMS]
            self.sums.planned = layout.spends
        self.captures.clear()
        for step in self.plan.steps:
            step.node.layer.memory = self.memories[step.node.name]
        self.workspace.owner = self

    def let_go(self) -> None:
        """Hold on to no array of a pass: the next may be another plan's."""
        self.values = [None] * len(self.plan.specs)
        self.grads = []
        self.loss_counts = None
        self.loss_values = {}
        self.starts = {}
        self.spent = False
        self.unusable = "it did not come to its end"

    def give_up(self) -> None:
        """A pass found no memory: let go of all that it made, so that a smaller one finds some."""
        self.let_go()
        for step in self.plan.steps:
            step.node.layer.kept = None
            if self.layout is None or not self.layout.spends:
                step.node.layer.memory = Memory()

    def stage(self, arrays: Mapping[str, Any], given: Mapping[str, Any], keep: bool) -> Mapping[str, Any]:
        """The inputs where nobody changes them before the backward, or before they are read as blobs.

        With a layout every pass finds arrays at the same place. Otherwise, and of those that are sparse, only what may
        be the caller's memory, as it was `given`, is copied.
        """
        staged: dict[str, Any] = {}
        if self.layout is not None:
            for name in self.staged:
                self.carriers[name](arrays[name], self.staged[name])
            staged = self.staged
            if len(staged) == len(arrays):
                return staged
        later = {name for i, name in self.plan.inputs if keep or i in self.plan.kept}
        rest = {name: array for name, array in arrays.items() if name not in staged}
        rest |= {name: self._as_stored(i, rest[name]) for i, name in self.plan.inputs if name in rest}
        copied = {name for name, array in rest.items() if name in later and may_be_theirs(array, given[name])}
        return {**staged, **{name: self._copy(name, a) if name in copied else a for name, a in rest.items()}}

    def _copy(self, name: str, array: Any) -> Any:
        return array.copy(self.sparse_memory.setdefault(name, {})) if isinstance(array, CSR) else self.xp.array(array)

    def seed(self, index: int, value: float) -> Any:
        """An upstream gradient that is everywhere `value`; the same array as long as the value is."""
        known = self.seeds.get(index)
        if known is None or known[0] != value:
            array = self._as_stored(index, self.xp.full(self.plan.specs[index].shape, value, dtype=self.dtype))
            known = self.seeds[index] = value, fixed(array)
        return known[1]

    def seed_losses(self, scale: float | Sequence[float]) -> tuple[float | Sequence[float], Mapping[int, Any]]:
        """Set `loss_seeds`: loss_weight times scale, which may be one for each loss; none for a loss with 0."""
        losses = self.plan.losses
        scales = tuple(scale) if isinstance(scale, Sequence) else (scale,) * len(losses)
        pairs = zip(losses, scales, strict=True)
        seeds = {index: self.seed(index, weight * factor) for (index, weight), factor in pairs if factor}
        self.loss_seeds = made = scales if isinstance(scale, Sequence) else scale, seeds
        return made

    def cotangent(self, index: int, array: Any) -> Any:
        """An upstream gradient in memory of the executor's: gradients may go on as that array, and be read later."""
        array = self._as_stored(index, array)
        own = self.cotangents.get(index)
        if own is None:
            own = self.cotangents[index] = self.xp.empty_like(array)
        own[...] = array
        return own

    def _as_stored(self, index: int, array: Any) -> Any:
        """Numbers of a blob in the type that it is stored in, or rounded as if it were."""
        if index in self.plan.rounded:
            return NEAREST[self.plan.rounded[index]](self.xp, array)
        return narrowed(array) if index in self.plan.halved and not is_bfloat16(array) else array

    def _capture(self, doing: str) -> Capture | None:
        """That of a pass that begins; None where arrays may be elsewhere in every pass, or each step is observed."""
        if self.layout is None or (self.plan.backward and self.plan.segments):
            return None
        if self.observers and any(observer.every_step for observer in self.observers):
            return None
        capture = self.captures.get(doing)
        if capture is None:
            capture = self.captures[doing] = Capture()
        return capture.begun()

    # Forward ------------------------------------------------------------------------------------------------------

    def forward(self, inputs: Mapping[str, Any], *, keep: bool = True) -> None:
        """Run every step. `inputs` are arrays by name; keep says whether a backward follows."""
        if self.xp is np:
            self._forward(inputs, keep)
            return
        with awaiting(self.xp):
            self._forward(inputs, keep)

    def _forward(self, inputs: Mapping[str, Any], keep: bool) -> None:
        plan, values, capture = self.plan, self.values, self._capture("forward")
        if self.prepare is not None:
            self.prepare()
        firsts = {first: last for last, first in plan.segments.items()} if keep else {}
        for index, name in plan.inputs:
            values[index] = inputs[name]
        number, count = 0, len(plan.steps)
        while number < count:
            if capture is not None and (stop := capture.replayed(number, values)) > number:
                number = stop
                continue
            if number in firsts:
                last = firsts[number]
                self.starts[last] = Start.of(plan.steps[number : last + 1], values)
            self._forward_at(number, capture)
            if keep and number in plan.segments:
                for step in plan.steps[plan.segments[number] : number + 1]:
                    step.node.layer.kept = None
            number += 1
        if capture is not None:
            capture.end()
        self.unusable = ""

    def _forward_at(self, number: int, capture: Capture | None) -> None:
        step, values = self.plan.steps[number], self.values
        reads = tuple([(i, values[i]) for i in step.bottoms]) if capture is not None else ()
        self._forward_step(number)
        released = self.plan.released[step.node.name]
        if capture is not None:
            writes = (*[(i, values[i]) for i in step.tops], *[(i, None) for i in released])
            capture.note(number, Entry(step.node.layer, (step.node.layer.script,), None, reads, writes))
        for index in released:
            values[index] = None

    def _forward_step(self, number: int, again: bool = False) -> None:
        step = self.plan.steps[number]
        values, specs, layer = self.values, self.plan.specs, step.node.layer
        layer.needs_grad, layer.runs_in_place = step.needs_grad, step.in_place
        if step.node.name in self.plan.overwriting:
            layer.overwrites_grad = False
        bottoms = [values[i] for i in step.bottoms]
        for observer in self.observers:
            observer.before_forward(number, step, shown(observer, bottoms), again)
        tops = call.forward(layer, bottoms)
        if len(tops) < len(step.tops):
            raise call.failure(layer, "forward", (), LayerError(f"forward returned {len(tops)} tops"))
        for index, top in zip(step.tops, tops, strict=False):
            if isinstance(top, np.generic):  # NumPy's reductions return scalars where CuPy returns 0-d arrays
                top = np.asarray(top)
            if top.shape != specs[index].shape:
                message = f"forward returned shape {top.shape}, setup promised {specs[index].shape}"
                raise call.failure(layer, "forward", (), LayerError(message))
            values[index] = top
        for observer in self.observers:
            observer.after_forward(number, step, shown(observer, [values[i] for i in step.tops]), again)

    # Backward -----------------------------------------------------------------------------------------------------

    def backward(self, seeds: Mapping[int, Any], overwrite_grad: bool = False) -> None:
        """Run backward below the blobs that have a seed; their numbers are the keys.

        overwrite_grad  the plan's `overwriting` layers are to forget what the gradients of their parameters hold
        """
        self.spent = self.layout is not None and self.layout.spends
        self.overwrite_grad = overwrite_grad
        plan, capture = self.plan, self._capture("overwriting backward" if overwrite_grad else "backward")
        grads = self.grads = [None] * len(plan.specs)
        self.sums.apart = self.spent and not seeds.keys() <= plan.begins_backward
        waiting = dict(plan.segment_of)
        for index, seed in seeds.items():
            grads[index] = seed
        position, last = 0, len(plan.steps) - 1
        while position <= last:
            if capture is not None and (stop := capture.replayed(position, grads)) > position:
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
            self._backward_at(number, capture)
        if capture is not None:
            capture.end()

    def _leave_out(self, step: Step) -> None:
        """Nothing comes down to a step: the gradients of its parameters are not touched, or zero where they are new."""
        if self.overwrite_grad and step.node.name in self.plan.overwriting:
            for _, grad in step.node.layer.grads.items():
                grad[...] = 0

    def _backward_at(self, number: int, capture: Capture | None) -> None:
        step, grads = self.plan.steps[number], self.grads
        layer, touched = step.node.layer, (*step.tops, *step.bottoms)
        kept, reads = layer.kept, tuple([(i, grads[i]) for i in touched]) if capture is not None else ()
        self.sums.scripts.clear()
        self._backward_step(number)
        for index in step.tops:
            if index not in self.plan.kept:
                grads[index] = None
        if capture is not None:
            writes, scripts = tuple([(i, grads[i]) for i in touched]), (layer.script, *self.sums.scripts)
            capture.note(len(self.plan.steps) - 1 - number, Entry(layer, scripts, kept, reads, writes))

    def _backward_step(self, number: int) -> None:
        step, grads = self.plan.steps[number], self.grads
        layer = step.node.layer
        layer.needs_grad = step.needs_grad
        if step.node.name in self.plan.overwriting:
            layer.overwrites_grad = self.overwrite_grad
        dtops = [self._top_grad(i) for i in step.tops]
        for observer in self.observers:
            observer.before_backward(number, step, shown(observer, dtops))
        dbottoms = call.backward(layer, dtops)
        for observer in self.observers:
            observer.after_backward(number, step, shown(observer, dbottoms))
        for i, index in enumerate(step.bottoms):
            if not step.needs_grad[i]:
                continue
            if i >= len(dbottoms) or dbottoms[i] is None:
                raise call.failure(layer, "backward", (), LayerError(f"backward gave bottom {i} no gradient"))
            self._add_grad((number, i), index, dbottoms[i])
        for observer in self.observers:
            observer.after_sums(number, step, shown(observer, [grads[i] for i in step.bottoms]))

    def _top_grad(self, index: int) -> Any:
        """The gradient of a top: zeros for a real one that nobody differentiated, None for an index."""
        grad, spec = self.grads[index], self.plan.specs[index]
        if grad is not None:
            self.grads[index] = grad = self.sums.where_planned(index, grad)
            return grad
        return self.sums.zeros_for(index, spec, self.values[index]) if spec.is_real else None

    def _add_grad(self, place: tuple[int, int], index: int, grad: Any) -> None:
        """Add to the gradient of a blob. `place` is the step and which of its bottoms."""
        before = self.grads[index]
        # The first gradient may be a layer's memory, or alias another blob's: the sum gets memory of its own.
        self.grads[index] = grad if before is None else self.sums.add(place, index, before, grad)

    # Recomputing --------------------------------------------------------------------------------------------------

    def recompute(self, last: int, apart: bool = False) -> None:
        """Run the forward of the segment that ends with step `last` again, from what it started from.

        apart  not in the memory that the layout has for it just before its backward, but in memory of its own
        """
        first, start, values = self.plan.segments[last], self.starts[last], list(self.values)
        for index, array in start.blobs.items():
            self.values[index] = array
        layers = [step.node.layer for step in self.plan.steps[first : last + 1]]
        with start.restored(layers, layers[0].run):
            for number in range(first, last + 1):
                with self._in_second_memory(self.plan.steps[number], apart and self.layout is not None):
                    self._forward_step(number, again=True)
        self.values[:] = values

    @contextmanager
    def _in_second_memory(self, step: Step, apart: bool) -> Iterator[None]:
        layer = step.node.layer
        own, layer.memory = layer.memory, Memory() if apart else self.again.get(step.node.name, layer.memory)
        try:
            yield
        finally:
            layer.memory = own
