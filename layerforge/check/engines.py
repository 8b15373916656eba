"""Checks of engines: an engine's layer gives what its reference gives, whatever memory it is handed, as often as asked.

The reference computes on the same backend. The checks of layers that need no float64 run on the engine's, too
(`ENGINE_CHECKS` has them all); finite differences, which float32 is too coarse for, are replaced by `agrees`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays.backend import NUMPY, Backend
from ..config.other_backend import belongs
from ..contract import call
from ..contract.layer import Layer
from ..plan.engines import FAST, SPARSE
from ..schema import registry
from .case import Case, compare, demand, differentiable, engine_check, outputs, same
from .harness import Probe, reference_of
from .phases import grow

FLOOR = 8 * float(np.finfo("float32").eps)  # what is left of values that cancel, relative to the largest of them


def obstacle(kind: str, backend: Backend) -> str | None:
    """Why an engine computes no layer on a backend here; None where it can."""
    if not belongs(kind, backend.name):
        return f"the backend is {backend.name}"
    if has_kernels(kind) and not hasattr(backend.xp, "ElementwiseKernel"):
        return "the stand-in for CuPy finds no C++ compiler to make kernels with"
    why: str | None = registry.engine(kind).missing()
    return why


def has_kernels(kind: str) -> bool:
    """Whether an engine computes by kernels, which stand in for functions that layers call, and not by layers."""
    return bool(registry.engine(kind).kernels())


def stand_in_of(cls: type[Layer], kind: str) -> Any:
    """The engine's layer that stands in for this one, and not for a user's of that name; None where there is none."""
    theirs = registry.engine(kind).layers().get(cls.type_name)
    return theirs if theirs is not None and reference_of(theirs) is cls else None


def engine_cases(cls: type[Layer], kind: str = FAST, backend: Backend = NUMPY) -> Iterator[tuple[str, Case]]:
    """(id, case) for every example of a layer that the engine does not refuse; none where it can compute nothing."""
    theirs = None if obstacle(kind, backend) else stand_in_of(cls, kind)
    if theirs is None:
        return
    for i, example in enumerate(cls.examples):
        if refusal(theirs, Probe(cls, example, dtype="float32", backend=backend)) is None:
            yield f"{cls.type_name}-{i}-{kind}", Case(theirs, example, backend)


def refused_examples(cls: type[Layer], kind: str, backend: Backend) -> Iterator[tuple[str, str]]:
    """(id, why) for every example of a layer that the engine leaves to the reference."""
    theirs, why = stand_in_of(cls, kind), "it has no such layer"
    for i, example in enumerate(cls.examples):
        refused = why if theirs is None else refusal(theirs, Probe(cls, example, dtype="float32", backend=backend))
        if refused is not None:
            yield f"{cls.type_name}-{i}", refused


def refusal(theirs: Any, probe: Probe) -> str | None:
    """Why an engine does not compute the reference layer of a probe; None where it does."""
    if any(spec.sparse for spec in probe.bottom_specs):
        return SPARSE
    return theirs.refuses(probe.layer, probe.bottom_specs, probe.top_specs)


# What it computes -----------------------------------------------------------------------------------------------------


@engine_check()
def check_agrees(case: Case) -> None:
    """Tops, state and gradients are the reference's, in both phases: see `rounding` for what may be lost."""
    for phase in ("train", "eval"):
        mine = case.probe(phase=phase)
        theirs = Probe(reference_of(case.cls), case.example, dtype="float32", backend=case.backend, phase=phase)
        mine.layer.run.keep = theirs.layer.run.keep = case.differentiable
        tops = theirs.forward()
        near = nearness(case.tolerance, ())
        compare(outputs(mine, mine.forward()), outputs(theirs, tops), near, f"differs from the reference ({phase})")
        compare(states(mine), states(theirs), near, f"the state differs from the reference's ({phase})")
        if case.differentiable:
            dys = theirs.draw_cotangents(tops)
            message = f"the gradient differs from the reference's ({phase})"
            near = nearness(case.tolerance, [theirs.host(dy) for dy in dys])
            compare(mine.gradients(dys), theirs.gradients(dys), near, message)


def nearness(tolerance: float, sources: Sequence[Any]) -> Callable[[Any, Any], bool]:
    """A comparison: equal up to `tolerance` of the largest element, or to the rounding of what they are made from.

    All are host arrays. The second counts where nearly everything cancels, as in the gradient of a softmax that is sure
    of itself.
    """
    floor = FLOOR * max((float(np.abs(s).max(initial=0.0)) for s in sources if s is not None), default=0.0)

    def near(a: Any, b: Any) -> bool:
        if a is None or b is None or a.shape != b.shape:
            return a is None and b is None
        return bool(np.all(np.abs(a - b) <= tolerance * np.abs(b).max(initial=0.0) + floor))

    return near


def states(probe: Probe) -> dict[str, Any]:
    """Its state by name, copied to the host."""
    return {name: probe.host(array) for name, array in probe.layer.state.items()}


# What it computes on --------------------------------------------------------------------------------------------------


def channels_last(xp: Any, a: Any) -> Any:
    """The axis of channels innermost."""
    return xp.moveaxis(xp.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 2 else a


def with_gaps(xp: Any, a: Any) -> Any:
    """Every other element of memory."""
    memory = xp.full((*a.shape, 2), poisonous(a))
    memory[..., 0] = a
    return memory[..., 0]


def part_of_channels(xp: Any, a: Any) -> Any:
    """Some channels of an array that has more."""
    if a.ndim < 2:
        return a
    memory = xp.full((a.shape[0], a.shape[1] + 3, *a.shape[2:]), poisonous(a))
    memory[:, 1:-2] = a
    return memory[:, 1:-2]


def backwards(xp: Any, a: Any) -> Any:
    """Negative strides."""
    return xp.flip(xp.flip(a).copy())


def unaligned(xp: Any, a: Any) -> Any:
    """An odd address, which only the host has."""
    if xp is not np:
        return a
    array = np.ndarray(a.shape, a.dtype, np.empty(a.nbytes + 1, "uint8"), 1)
    array[...] = a
    return array


def odd_strides(xp: Any, a: Any) -> Any:
    """Meaningless strides where an axis has length 1, as slices of larger arrays have them."""
    strides = [s if n != 1 else 7 * a.itemsize for n, s in zip(a.shape, a.strides, strict=True)]
    return xp.lib.stride_tricks.as_strided(a, a.shape, strides)


def zero_strides(xp: Any, a: Any) -> Any:
    """Stride 0 where an axis has length 1, as broadcasting leaves it."""
    strides = [s if n != 1 else 0 for n, s in zip(a.shape, a.strides, strict=True)]
    return xp.lib.stride_tricks.as_strided(a, a.shape, strides)


def poisonous(a: Any) -> Any:
    """What must not be read, in the array's type."""
    return a.dtype.type(np.nan if a.dtype.kind == "f" else np.iinfo(a.dtype).max)


LAYOUTS = (channels_last, with_gaps, part_of_channels, backwards, unaligned, odd_strides, zero_strides)


@engine_check()
def check_any_memory(case: Case) -> None:
    """Where the elements are stored does not matter: with gaps, backwards, unaligned, repeated by broadcasting."""
    plain, equal, xp = case.probe(), case.close, case.backend.xp
    tops = plain.forward()
    want, dys = outputs(plain, tops), plain.draw_cotangents(tops)
    gradients = plain.gradients(dys) if case.differentiable else {}
    for layout in LAYOUTS:
        probe = case.probe()
        probe.bottoms = [layout(xp, b) for b in probe.bottoms]
        message = f"is another with {layout.__name__.replace('_', ' ')}"
        compare(outputs(probe, probe.forward()), want, equal, f"the result {message}")
        if case.differentiable:
            got = probe.gradients([None if d is None else layout(xp, d) for d in dys])
            compare(got, gradients, equal, f"the gradient {message}")
    if case.differentiable:
        repeated = [None if d is None else xp.broadcast_to(d[..., :1] if d.ndim else d, d.shape) for d in dys]
        want = plain.gradients([None if d is None else d.copy() for d in repeated])
        compare(plain.gradients(repeated), want, equal, "the gradient is another where dy is broadcast")


# As often as asked ----------------------------------------------------------------------------------------------------


@engine_check()
def check_second_use(case: Case) -> None:
    """A layer that was used before gives what a new one gives, for other arrays, values, phases and batches."""
    used = case.probe()
    used.layer.run.keep = True
    _results(used, case)
    spent, used.bottoms = used.bottoms, used.draw_bottoms(stream=6)
    for array in (a for a in spent if a.dtype.kind == "f"):
        array[...] = np.nan
    _compare_with_new(case, used, "for other arrays")
    for array, other in zip(used.bottoms, used.draw_bottoms(stream=7), strict=True):
        array[...] = other
    _compare_with_new(case, used, "for other values in the same arrays")
    for _, array in used.layer.params.items():
        array *= 1.5
    _compare_with_new(case, used, "for other parameters")
    for phase, keep in (("eval", False), ("eval", True), ("train", True)):
        used.layer.run.phase, used.layer.run.keep = phase, keep
        _compare_with_new(case, used, f"in {phase}{'' if keep else ' without backward'}")
    needed = used.layer.needs_grad
    for needs in (tuple(False for _ in needed), needed):
        used.layer.needs_grad = needs
        _compare_with_new(case, used, "when other gradients are needed")
    larger = replace(case, example=replace(case.example, bottoms=[grow(case.example, s) for s in case.example.bottoms]))
    if refusal(case.cls, Probe(reference_of(case.cls), larger.example, dtype="float32")) is None:
        used.bottoms = larger.probe().bottoms
        call.setup(used.layer, larger.probe().bottom_specs)
        _compare_with_new(larger, used, "for another batch size")


def can_overwrite_grad(case: Case) -> str | None:
    """Condition of the check of gradients that are set."""
    return None if case.cls.can_overwrite_grad else "it sets no gradients of parameters"


@engine_check(differentiable, can_overwrite_grad)
def check_overwrites_grad(case: Case) -> None:
    """A layer that can set the gradients of its parameters sets all of them when it is told to, and adds otherwise."""
    probe = case.probe()
    dys = probe.draw_cotangents(probe.forward())
    once, layer = probe.gradients(dys), probe.layer
    twice = {name: grad if name.startswith("bottom") else 2 * grad for name, grad in once.items()}
    ways = (True, once, "set"), (False, twice, "added to what was set"), (True, once, "set again")
    for overwrites, want, how in ways:
        if how == "set":
            for _, grad in layer.grads.items():
                grad[...] = np.nan
        layer.overwrites_grad = overwrites
        probe.forward()
        compare(probe.named(probe.backward(dys)), want, case.close, f"the gradient is wrong where it is {how}")


def _results(probe: Probe, case: Case, dys: Sequence[Any] | None = None) -> dict[str, Any]:
    """Tops, state and gradients of one pass, for upstream gradients that are drawn where they are not given."""
    probe.zero_grad()
    tops = probe.forward()
    results = outputs(probe, tops) | states(probe)
    if not (case.differentiable and probe.layer.run.keep):
        return results
    grads = probe.named(probe.backward(probe.draw_cotangents(tops) if dys is None else dys))
    return results | {f"gradient of {name}": grad for name, grad in grads.items()}


def _compare_with_new(case: Case, used: Probe, when: str) -> None:
    """Fail unless a new layer with the same parameters, state and bottoms gives the same bits, twice."""
    new = case.probe(phase=used.layer.phase)
    new.layer.run.keep, new.layer.needs_grad = used.layer.run.keep, used.layer.needs_grad
    before = states(used)
    for name, array in new.layer.params.items():
        array[...] = used.layer.params[name]
    _set_state(new, before)
    new.bottoms = [b.copy() for b in used.bottoms]
    want, dys = _results(new, case), new.draw_cotangents(new.forward())
    for turn in ("", ", in the very same arrays"):
        _set_state(used, before)
        got = _results(used, case, dys)
        demand(list(got) == list(want), f"a layer in use returns {list(got)} {when}")
        compare(got, want, same, f"a layer that was used before gives another result {when}{turn}")


def _set_state(probe: Probe, arrays: dict[str, Any]) -> None:
    for name, array in arrays.items():
        probe.layer.state[name][...] = probe.backend.from_host(array)
