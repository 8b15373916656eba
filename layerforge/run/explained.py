"""What is said where memory does not suffice: what the plan needs, what there is, and what needs less.

No layer is to blame for it: parameters, gradients, histories and all blobs of a pass share the memory, and any of them
may be the one that does not fit any more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import numpy as np

from ..arrays.backend import Backend
from ..arrays.device_errors import told
from ..plan.plan import Plan
from ..schema.errors import OutOfMemory
from ..schema.texts import bytes_in_words

if TYPE_CHECKING:
    from .executor import Executor

Method = TypeVar("Method", bound=Callable[..., Any])

BUILDING = "smaller hyper-parameters (out_features, out_channels, ...) need less"


def raise_explained(problem: Exception, of: Any) -> NoReturn:
    """Raise a problem that is being handled: as what the machine lacks for a net or solver, or as it is.

    After a lack of memory the last pass of the net has let go of its arrays, so that a smaller one finds some.
    """
    error = told(problem) or problem
    if isinstance(error, OutOfMemory) and not error.explained:
        net = getattr(of, "net", of)
        last = _last(net)
        executor, error.meant = error.meant or last, None
        plan = None if executor is None else executor.plan
        error.explain(needs(net, getattr(of, "history", ()), executor), memory(net.backend), remedies(net, plan))
        if last is not None:
            net.passes.give_up()
    try:
        if error is problem:
            raise problem
        raise error from problem
    finally:
        del problem, error  # their tracebacks hold this frame: a cycle, which would keep the arrays of the pass alive


def raise_for_inputs(error: OutOfMemory, net: Any, phase: str, inputs: Mapping[str, Any], backward: bool) -> NoReturn:
    """Raise an error that is being handled: the inputs of a pass do not fit, so that it could not begin."""
    with suppress(Exception):  # of lists, and of shapes that the net does not take, no pass is known
        shapes = {name: tuple(array.shape) for name, array in inputs.items()}
        error.meant = net.passes.executor_for(phase, shapes, backward=backward)
    try:
        raise error
    finally:
        del error  # as above


@contextmanager
def explaining(backend: Backend, needed: dict[str, int]) -> Iterator[None]:
    """Explain a lack of memory while a net or solver is made. `needed` are bytes by what they are for."""
    try:
        yield
    except Exception as problem:
        error = told(problem) or problem
        if isinstance(error, OutOfMemory) and not error.explained:
            error.explain(_in_words(needed), memory(backend), BUILDING)
        if error is problem:
            raise
        raise error from problem


def explained(method: Method) -> Method:
    """A method of a net that waits for the device, and so may be told of anything that it was to do before."""

    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as problem:
            raise_explained(problem, self)

    return cast(Method, called)


# What is needed -------------------------------------------------------------------------------------------------------


def needs(net: Any, history: Any, executor: Executor | None) -> str:
    """The bytes that a net, the histories of its solver and a pass take, in words."""
    flat = net.parameters
    needed = {"parameters": flat.data.nbytes, "gradients": flat.grad.nbytes}
    needed["histories of the solver"] = sum(array.nbytes for array in history)
    text = _in_words({what: size for what, size in needed.items() if size})
    if executor is None:
        return text
    size = _batch(executor.plan)
    batch = "" if size is None else f" at batch size {size:,}"
    return f"{text}{'; ' if text else ''}in {executor.plan.phase}{batch} {_of_pass(executor)}"


def _of_pass(executor: Executor) -> str:
    if executor.layout is not None:
        return f"blobs, gradients and workspaces {bytes_in_words(executor.layout.size)}"
    plan = executor.plan
    beside = ", and beside them what layers keep and the gradients of blobs" if plan.backward else ""
    return f"blobs {bytes_in_words(blob_bytes(plan))}{beside}"


def blob_bytes(plan: Plan) -> int:
    """The most bytes that blobs have at a time in a forward. Those in one storage count once.

    Where a backward follows, none is given up: that its layer keeps it is the rule. So it is an upper bound there.
    """
    held: dict[int, int] = {i: _size(plan, i) for i, _ in plan.inputs}
    most = sum(held.values())
    for step in plan.steps:
        shares = step.in_place or step.node.layer.top_is_view
        held |= {i: 0 if shares else _size(plan, i) for i in step.tops}
        most = max(most, sum(held.values()))
        for i in () if plan.backward else plan.released.get(step.node.name, ()):
            held.pop(i, None)
    return most


def _size(plan: Plan, index: int) -> int:
    spec = plan.specs[index]
    return 0 if spec.sparse else int(np.prod(spec.shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize


def _batch(plan: Plan) -> int | None:
    shape = plan.specs[plan.inputs[0][0]].shape if plan.inputs else ()
    return shape[0] if shape else None


def _in_words(needed: dict[str, int]) -> str:
    return ", ".join(f"{what} {bytes_in_words(size)}" for what, size in needed.items())


def _last(net: Any) -> Executor | None:
    passes = getattr(net, "passes", None)
    return None if passes is None else passes.last


# What there is, and what helps ----------------------------------------------------------------------------------------


def memory(backend: Backend) -> str:
    """What memory there is, in words; "" where that cannot be told."""
    try:
        found = backend.memory()
    except Exception:  # it must not hide what it is to explain
        return ""
    words = [bytes_in_words(found["total"])] if "total" in found else []
    words += [f"{bytes_in_words(found['free'])} of it free"] if "free" in found else []
    words += [f"{bytes_in_words(found['pooled'])} in CuPy's pool"] if "pooled" in found else []
    return ", ".join(words)


def remedies(net: Any, plan: Plan | None) -> str:
    """What makes a net and its passes need less, as far as it is not done already."""
    if plan is None:
        return BUILDING
    words = ["a smaller batch_size"]
    if plan.backward and plan.phase == "train":
        words[0] += " (train.accumulate_grad_batches makes one step of several batches)"
    if plan.backward and not plan.segments:
        words.append("recompute: true")
    if net.keep is None:
        words.append('keep="none"')
    if net.dtype == "float64":
        words.append("dtype: float32")
    return f"less is needed with {' or '.join([', '.join(words[:-1]), words[-1]] if words[1:] else words)}"
