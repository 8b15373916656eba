"""Checks of memory: what a layer may write, read, share and keep."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.sparse import CSR, stored
from ..contract.layer import reads
from ..schema.errors import LayerForgeError
from .case import Case, CheckFailed, check, compare, computes, contiguous_copy, demand, differentiable, outputs, same
from .harness import Probe
from .twin import twin_arrays


def reads_arrays(case: Case) -> str | None:
    """Condition of the check that what is read is not written."""
    probe, _ = case.used
    return None if probe.bottoms or dict(probe.layer.params.items()) else "it reads no array"


@check(computes, reads_arrays)
def check_inputs_untouched(case: Case) -> None:
    """Forward and backward do not write into bottoms, upstream gradients or parameters."""
    for phase in ("train", "eval"):
        probe = case.probe(phase=phase)
        bottoms, params = contiguous_copy(probe.bottoms), {n: a.copy() for n, a in probe.layer.params.items()}
        tops = probe.forward()
        unchanged(probe, probe.bottoms, bottoms, "forward wrote into bottom")
        if case.differentiable:
            dys = probe.draw_cotangents(tops)
            before = contiguous_copy(dys)
            probe.backward(dys)
            unchanged(probe, probe.bottoms, bottoms, "backward wrote into bottom")
            unchanged(probe, dys, before, "backward wrote into the gradient of top")
        for name, array in probe.layer.params.items():
            demand(same(probe.host(array), probe.host(params[name])), f"parameter {name} was changed in {phase}")


def unchanged(probe: Probe, arrays: Any, copies: Any, message: str) -> None:
    """Fail with `message` and the number of the first array that is not what its copy says."""
    for i, (now, before) in enumerate(zip(arrays, copies, strict=True)):
        demand(same(probe.host(now), probe.host(before)), f"{message}[{i}]; arrays passed in are read-only")


def has_axes(case: Case) -> str | None:
    """Condition of the check of strides."""
    probe, _ = case.used
    given = [*probe.bottom_specs, *(spec for spec in probe.top_specs if spec.is_real and case.differentiable)]
    return None if any(len(spec.shape) > 1 for spec in given) else "what it is given has no two axes"


@check(computes, has_axes)
def check_noncontiguous(case: Case) -> None:
    """Strides do not matter: transposed memory (as in channels-last) gives the same results."""
    probe, equal = case.probe(), case.close
    tops = probe.forward()
    want_tops, dys = outputs(probe, tops), probe.draw_cotangents(tops)
    want = probe.gradients(dys) if case.differentiable else {}
    probe.bottoms = [transposed_memory(probe.xp, b) for b in probe.bottoms]
    compare(outputs(probe, probe.forward()), want_tops, equal, "the result depends on the strides of the bottoms")
    if case.differentiable:
        strided = [None if d is None else transposed_memory(probe.xp, d) for d in dys]
        compare(probe.gradients(strided), want, equal, "the gradient depends on strides")


def transposed_memory(xp: Any, array: Any) -> Any:
    """The same values with the axes reversed in memory."""
    return xp.ascontiguousarray(array.T).T if array.ndim > 1 and not isinstance(array, CSR) else array


def must_not_read_all(case: Case) -> str | None:
    """Condition of the check of what backward reads."""
    closed = _undeclared(*case.used).values()
    return None if any(array.size for array in closed) else "backward_reads names all bottoms and tops"


@check(differentiable, must_not_read_all)
def check_backward_reads(case: Case) -> None:
    """Backward reads no bottom or top that `backward_reads` does not name: all others are filled with NaN before it."""
    for phase in ("train", "eval"):
        want = case.probe(phase=phase).gradients()
        if not _unharmed(case, phase, want):
            raise _reads_too_much(case, phase, want)


def _reads_too_much(case: Case, phase: str, want: dict[str, Any]) -> CheckFailed:
    """What to say of a backward that reads what it must not."""
    probe = case.probe(phase=phase)
    named = tuple(probe.layer.backward_reads)
    guilty = [name for name in _undeclared(probe, probe.forward()) if not _unharmed(case, phase, want, name)]
    kinds = dict.fromkeys(name.partition("[")[0] for name in guilty)
    remedy = f"backward_reads = {(*named, *kinds)!r}, or save a copy of it".replace("'", '"')
    which = (", ".join(guilty) or "an array") + (" in eval" if phase == "eval" else "")
    return CheckFailed(f"backward reads {which}, which backward_reads={named!r} does not name", hint=remedy)


def _undeclared(probe: Probe, tops: Any) -> dict[str, Any]:
    """The bottoms and tops by name that backward must not read; none that shares memory with one that it may."""
    layer = probe.layer
    named = (("bottom", probe.bottoms), ("top", tops))
    arrays = {(kind, i): stored(a) for kind, many in named for i, a in enumerate(many)}
    declared = [array for (kind, i), array in arrays.items() if reads(layer, kind, i)]
    return {
        f"{kind}[{i}]": array
        for (kind, i), array in arrays.items()
        if not reads(layer, kind, i) and not any(probe.xp.shares_memory(array, d) for d in declared)
    }


def _unharmed(case: Case, phase: str, want: dict[str, Any], name: str | None = None) -> bool:
    """Whether backward gives these gradients although what it must not read, or one array of that, is useless."""
    probe = case.probe(phase=phase)
    tops = probe.forward()
    dys = probe.draw_cotangents(tops)
    for undeclared, array in _undeclared(probe, tops).items():
        if name in (None, undeclared):
            poison(array)
    try:
        got = probe.named(probe.backward(dys))
    except LayerForgeError:  # a useless index may end in any exception
        return False
    return all(same(got[key], value) for key, value in want.items())


def poison(array: Any) -> None:
    """Make an array useless: NaN, or the largest integer."""
    if array.size and getattr(getattr(array, "flags", None), "writeable", True):
        array[...] = float("nan") if array.dtype.kind == "f" else np.iinfo(str(array.dtype)).max


def says_inplace(case: Case) -> str | None:
    """Condition of the check of in-place use."""
    return None if case.cls.inplace and case.used[0].layer.inplace else "it does not say inplace"


@check(says_inplace)
def check_in_place(case: Case) -> None:
    """A layer that says `inplace` gives the same results when its top overwrites its first bottom."""
    for phase in ("train", "eval"):
        clean = case.probe(phase=phase)
        clean.layer.run.keep = case.differentiable
        demand(clean.top_specs[0].shape == clean.bottom_specs[0].shape, "inplace needs a top of the bottom's shape")
        tops = clean.forward()
        dys = clean.draw_cotangents(tops)
        want_tops = outputs(clean, tops)
        want = clean.gradients(dys) if case.differentiable else {}
        probe = case.probe(phase=phase)
        probe.layer.run.keep = case.differentiable
        got_tops, got = _run_in_place(probe, dys if case.differentiable else None)
        compare(got_tops, want_tops, same, f"in place, forward gives another result ({phase})")
        compare(got, want, same, f"in place, backward gives another gradient ({phase})")


def _run_in_place(probe: Probe, dys: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Forward and backward with the top written over the first bottom, hidden from whoever detects overlaps."""
    bottom, top = twins(probe)
    probe.bottoms[0] = bottom
    probe.layer.runs_in_place = True
    buf = probe.layer.buf

    def over_twin(name: str, shape: Any, dtype: Any = None, *, over: Any = None, **options: Any) -> Any:
        return top if over is bottom else buf(name, shape, dtype, **options)

    vars(probe.layer)["buf"] = over_twin
    tops = probe.forward()
    written = not top.size or probe.xp.shares_memory(tops[0], top)
    demand(written, "it says inplace, but its top is not `self.buf(..., over=x)`")
    result = outputs(probe, tops)
    return result, probe.named(probe.backward(dys)) if dys is not None else {}


def twins(probe: Probe) -> tuple[Any, Any]:
    """Two arrays over one memory that hold the first bottom.

    The host's memory is mapped twice, and that of a stand-in for a device, which lies on the host. Of a real device
    both are the bottom itself, as they are in a net: whatever its library makes of that is what a net gets.
    """
    if probe.xp is np:
        return twin_arrays(probe.bottoms[0])
    adopted = getattr(probe.xp, "adopted", None)  # a stand-in's: a device array over the memory of a host array
    if adopted is None:
        return probe.bottoms[0], probe.bottoms[0]
    bottom, top = map(adopted, twin_arrays(probe.host(probe.bottoms[0])))
    return bottom, top


@check(computes)
def check_views(case: Case) -> None:
    """Tops that share memory with bottoms are declared (`top_is_view`), and so are gradients that alias dy."""
    seen_view = False
    for phase in ("train", "eval"):
        probe = case.probe(phase=phase)
        probe.layer.run.keep = case.differentiable
        tops = probe.forward()
        for i, top in enumerate(tops):
            shared = top.size > 0 and any(probe.xp.shares_memory(top, stored(b)) for b in probe.bottoms)
            seen_view |= shared
            demand(probe.layer.top_is_view or not shared, f"top[{i}] shares memory with a bottom: declare top_is_view")
            kept = any(probe.xp.shares_memory(top, p) for _, p in probe.layer.params.items()) if top.size else False
            demand(not kept, f"top[{i}] is the memory of a parameter")
        if not case.differentiable:
            continue
        dys = probe.draw_cotangents(tops)
        for i, grad in enumerate(probe.backward(dys)):
            grad = None if grad is None else stored(grad)
            if grad is not None and grad.size:
                alias = any(d is not None and probe.xp.shares_memory(grad, d) for d in dys)
                demand(case.cls.grad_aliases or not alias, f"gradient of bottom[{i}] aliases dy: declare grad_aliases")
                stolen = any(probe.xp.shares_memory(grad, stored(a)) for a in (*probe.bottoms, *tops))
                demand(not stolen, f"gradient of bottom[{i}] is the memory of a bottom or top")
    if any(t.size for t in tops):
        demand(seen_view or not probe.layer.top_is_view, "it declares top_is_view, but no top is a view")
