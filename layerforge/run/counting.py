"""What losses and metrics are means over, so that batches and parts of a batch can be put together to a whole.

A mean over n things counts n times. A sum counts as it is. What does not depend on the batch at all, such as the norm
of a weight, is the same in every part: the mean over the parts is the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..arrays.awaited import Later, asked, number_of, present
from ..arrays.backend import Array
from ..arrays.spec import Spec
from ..contract import call
from ..contract.layer import Layer
from ..graph.graph import Step
from ..plan.plan import Plan
from .executor import Executor
from .splitting import Whole, function_count, reasons
from .views import BlobError

Count = float | None  # how many things a scalar is a mean over; None: it is a sum
Counts = Count | tuple[Count, ...]  # of all losses together where they agree, otherwise of each


class LossPart(NamedTuple):
    """One loss of a forward: the name of its top, its loss_weight, its value and what that is a mean over."""

    name: str
    weight: float
    value: float
    count: Count


@dataclass
class Total:
    """A mean over, or a sum of, what several batches gave."""

    sum: Any = 0.0
    count: float = 0

    def add(self, value: Any, count: Count) -> None:
        """Take one batch's value. One that is a mean over nothing says nothing, whatever its value is."""
        if count is None:
            self.sum = self.sum + value
        elif count:
            self.sum = self.sum + value * count
            self.count += count

    @property
    def value(self) -> Any:
        """The mean over everything, or the sum; 0 where nothing counted."""
        return self.sum / self.count if self.count else self.sum


def count_of(plan: Plan, step: Step, arrays: Sequence[Any]) -> Count | Later:
    """What the top of a step is a mean over in this batch. `arrays` are all blobs by number.

    A `Later` where a device has counted: `at_hand` waits for it.

    The layer knows, from its bottoms. A function of scalars, such as a scaled loss, has the count of those scalars.
    Where the value for a whole batch does not follow from those for its parts, the count is a `Whole` (splitting.py).
    """
    fed = [i for i in step.bottoms if i in plan.fed]
    if not fed:
        return 1
    layer = step.node.layer
    if type(layer).mean_over is Layer.mean_over and all(not plan.specs[i].shape for i in fed):
        makers = plan.makers
        counts = [at_hand(count_of(plan, makers[i], arrays)) if makers.get(i, step) is not step else 1 for i in fed]
        return function_count(plan, step, fed, counts, samples_of(plan))
    count = _asked_of(layer, [arrays[i] for i in step.bottoms])
    if count is not None and not isinstance(count, (int, float)):
        count = asked(count)
    if not layer.adds_up and count is not None:
        why = f"'{step.node.name}' ({layer.type_name}) of all samples is no mean and no sum over them"
        return Whole(at_hand(count), why)
    return count


def _asked_of(layer: Layer, bottoms: Sequence[Any]) -> Any:
    """What a layer's top is a mean over, as a layer says it: a number of Python's where it is on the host."""
    try:
        return number_of(layer.mean_over(*bottoms))
    except _Unread:
        raise
    except Exception as error:
        raise call.failure(layer, "mean_over", bottoms, error) from error


def at_hand(count: Count | Later) -> Any:
    """A count, which is waited for where a device has it."""
    return count.value if isinstance(count, Later) else count


def loss_count(plan: Plan, step: Step, top: int, arrays: Sequence[Any]) -> Count | Later:
    """`count_of` for a loss. One that has a number for each sample counts as their sum, which is what is minimised."""
    if plan.specs[top].shape and type(step.node.layer).mean_over is Layer.mean_over and step.bottoms:
        layer, specs = step.node.layer, [plan.specs[i] for i in step.bottoms]
        if layer.per_sample_for(*specs) and any(i in plan.fed for i in step.bottoms):
            return None
    return count_of(plan, step, arrays)


def samples_of(plan: Plan) -> int:
    """The first axis of the first input; 1 where that is a single number, or there are no inputs."""
    shape = plan.specs[plan.inputs[0][0]].shape if plan.inputs else ()
    return shape[0] if shape else 1


def loss_counts(executor: Executor) -> tuple[Count, ...]:
    """What each loss of the last pass is a mean over: counted once, as a backward may reuse the memory looked at."""
    if executor.loss_counts is None:
        demand_made(executor, [i for i, _ in executor.plan.losses])
        executor.loss_counts = late_counts_of(executor.plan, executor.values)
    counts: tuple[Any, ...] = executor.loss_counts
    if executor.xp is not np:
        executor.loss_counts = counts = tuple([at_hand(count) for count in counts])
    return counts


def demand_made(executor: Executor, blobs: Sequence[int]) -> None:
    """BlobError where the last pass met an error before it had made some of these losses or metrics."""
    for i in blobs:
        if executor.values[i] is None:
            why = executor.unusable or "it was not kept"
            message = f"the last forward has no '{executor.plan.names[i]}': {why}"
            raise BlobError(message, hint="call net.forward(...) again")


def begun_counts(executor: Executor) -> tuple[Any, ...] | None:
    """Have a device count them, as a backward may reuse the memory looked at: for `known`; None where none is late."""
    if executor.loss_counts is None:
        executor.loss_counts = late_counts_of(executor.plan, executor.values)
    return executor.loss_counts if any(isinstance(count, Later) for count in executor.loss_counts) else None


def known(counts: Sequence[Count | Later]) -> Counts:
    """Counts of losses, which are waited for where a device has them."""
    return together(tuple([at_hand(count) for count in counts]))


def counts_of(plan: Plan, arrays: Sequence[Any]) -> tuple[Count, ...]:
    """What each loss of a plan, in the order of `plan.losses`, is a mean over."""
    return tuple([at_hand(count) for count in late_counts_of(plan, arrays)])


def late_counts_of(plan: Plan, arrays: Sequence[Any]) -> tuple[Count | Later, ...]:
    """The same, of which some may be on their way."""
    return tuple([loss_count(plan, step, top, arrays) for step, top in plan.makers_of_losses])


def losses_of(executor: Executor) -> list[LossPart]:
    """The losses of the last pass: name, loss_weight, value (0 of a mean over nothing), and its count."""
    found, plan = [], executor.plan
    if present() is not None:
        ask_losses(executor)
    for (i, weight), count in zip(plan.losses, loss_counts(executor), strict=True):
        value = executor.loss_values[i].value if i in executor.loss_values else float(_sum(executor.values[i]))
        found.append(LossPart(plan.names[i], weight, 0.0 if count == 0 else value, count))
    return found


def ask_losses(executor: Executor) -> None:
    """Ask for the values of the losses of the last pass: those that are not known yet come with the next fetch."""
    demand_made(executor, [i for i, _ in executor.plan.losses])
    for i, _ in executor.plan.losses:
        if i not in executor.loss_values:
            executor.loss_values[i] = asked(_sum(executor.values[i]))


def _sum(top: Any) -> Any:
    """A loss as one number: it is one, or the sum of its elements."""
    return top.sum(dtype=np.float64) if top.shape else top


def together(counts: tuple[Count, ...]) -> Counts:
    """One count where all losses have the same."""
    if len(counts) == 1:
        return counts[0]
    same = len(set(counts)) == 1 and not reasons(counts)
    return counts[0] if same else counts


def metric_counts(plan: Plan, arrays: Sequence[Any]) -> dict[str, Count]:
    """What each metric among the outputs of a plan is a mean over: the scalars, and what is summed up in any shape."""
    names = {i: name for name, i in plan.outputs.items()}
    made = ((step, top) for step in plan.steps for top in step.tops if top in names)
    found = {names[top]: count_of(plan, s, arrays) for s, top in made if _is_metric(plan, s, plan.specs[top], arrays)}
    return {name: at_hand(count) for name, count in found.items()}


def _is_metric(plan: Plan, step: Step, spec: Spec, arrays: Sequence[Any]) -> bool:
    counts_something = spec.is_real and bool(step.bottoms) and not step.node.layer.is_differentiable()
    return not spec.shape or (counts_something and count_of(plan, step, arrays) is None)


# Before the forward ---------------------------------------------------------------------------------------------------


def expected_counts(plan: Plan) -> tuple[Count, ...]:
    """What `counts_of` will say where every label counts: before there are data, whether losses add up."""
    return counts_of(plan, [np.broadcast_to(np.zeros((), spec.dtype), spec.shape) for spec in plan.specs])


class _Unread(Exception):
    """A count depends on the values of a blob."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class _Shape:
    """Stands for a blob that has not been computed: it has a shape and a dtype, and whoever reads it is told."""

    def __init__(self, index: int, spec: Spec) -> None:
        self._index, self.shape, self.ndim, self.size = index, spec.shape, len(spec.shape), spec.size
        self.dtype = np.dtype(spec.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def _read(self, *_: Any, **__: Any) -> Any:
        raise _Unread(self._index)

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __mul__ = __rmul__ = _read
    __sub__ = __rsub__ = __getitem__ = __iter__ = __bool__ = __float__ = __int__ = __array__ = __getattr__ = _read
    __hash__ = None  # type: ignore[assignment]


def counted_ahead(
    forward: Callable[..., Mapping[str, Array]], plan: Plan, given: Mapping[str, Array]
) -> tuple[Count, ...]:
    """What `counts_of` will say of a forward with these inputs, without more of it than the counting needs.

    forward   that of the net

    Counts follow from shapes and labels, which mostly are inputs; where a blob has to be read, what lies below it is
    computed, in train, which may move running statistics.
    """
    arrays: list[Any] = [_Shape(i, spec) for i, spec in enumerate(plan.specs)]
    for index, name in plan.inputs:
        arrays[index] = given[name]
    while True:
        try:
            return counts_of(plan, arrays)
        except _Unread as blob:
            name = plan.names[blob.index]
            made = forward(phase=plan.phase, backward=False, outputs=name, **given)
            arrays[blob.index] = made[name]
