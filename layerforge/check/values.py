"""Checks of values: shapes, dtypes, gradients, linearity, precision."""

from __future__ import annotations

import numpy as np

from ..contract import call
from .case import (
    Case,
    CheckFailed,
    check,
    close,
    compare,
    computes,
    demand,
    differentiable,
    exact,
    layer_check,
    outputs,
    same,
)
from .diagnosis import overwritten
from .differences import Tolerance
from .gradients import Effort, equal_elements, joint_gradient, layer_gradients
from .harness import tangent


@check()
def check_shapes_and_dtypes(case: Case) -> None:
    """Tops and gradients have the shapes and dtypes that setup promised, in float32 and in float64."""
    for dtype in case.dtypes:
        probe = case.probe(dtype=dtype)
        again = call.setup(probe.layer, probe.bottom_specs)
        demand(again == probe.top_specs, f"setup is not pure: it returned {probe.top_specs}, then {again}")
        tops = probe.forward()
        demand(len(tops) == len(probe.top_specs), f"forward returned {len(tops)} tops, setup {len(probe.top_specs)}")
        for i, (top, spec) in enumerate(zip(tops, probe.top_specs, strict=True)):
            demand(isinstance(top, probe.xp.ndarray | np.generic), f"top[{i}] is a {type(top).__name__}, not an array")
            demand(top.shape == spec.shape, f"top[{i}] has shape {top.shape}, setup promised {spec.shape}")
            wanted = dtype if spec.is_real else spec.dtype
            demand(str(top.dtype) == wanted, f"top[{i}] is {top.dtype}, expected {wanted}")
        if not case.differentiable:
            continue
        for i, grad in enumerate(probe.backward(probe.draw_cotangents(tops))):
            spec = probe.bottom_specs[i]
            if grad is not None:
                demand(spec.is_real, f"bottom[{i}] is an index and must not get a gradient")
                demand(grad.shape == spec.shape, f"gradient of bottom[{i}] has shape {grad.shape}, not {spec.shape}")
                demand(str(grad.dtype) == dtype, f"gradient of bottom[{i}] is {grad.dtype}, expected {dtype}")


@layer_check(differentiable, exact)
def check_gradients(case: Case) -> None:
    """Backward agrees with finite differences: every bottom, every parameter, random upstream gradient."""
    for row in layer_gradients(case.cls, case.example, backend=case.backend, tolerance=Tolerance()):
        if not row.ok and row.failed is not None:
            raise CheckFailed(f"gradient of {row.blob}{row.failed.describe()}", hint=row.mistake or None)


def has_ties(case: Case) -> str | None:
    """Condition of the check of equal elements."""
    return None if equal_elements(case.used[0]) else "no two elements of its bottoms are equal"


@layer_check(differentiable, exact, has_ties)
def check_ties(case: Case) -> None:
    """Where elements of the bottoms are equal, backward is right for moving them together, the one way that is smooth.

    The maximum of two equal elements has no derivative by one of them alone, whatever backward says; it has one by both
    at once, which the gradients of the two must add up to.
    """
    row = joint_gradient(case.probe(), Effort(tolerance=Tolerance()))
    if row.failed is not None:
        raise CheckFailed(f"where elements are equal, the gradient of {row.blob} is wrong{row.failed.describe()}")


@check(differentiable)
def check_accumulates(case: Case) -> None:
    """Parameter gradients are added to what is there; bottom gradients are not."""
    probe = case.probe()
    tops = probe.forward()
    dys = probe.draw_cotangents(tops)
    once = probe.gradients(dys)
    twice, equal = probe.named(probe.backward(dys)), case.close
    for name, grad in once.items():
        if name.startswith("bottom"):
            demand(equal(twice[name], grad), f"{name}: its gradient changes with every backward")
        else:
            remedy = "add to self.grads with +=" + (": it is overwritten" if overwritten(grad, twice[name]) else "")
            demand(equal(twice[name], 2 * grad), f"{name}: two backwards must give twice the gradient; {remedy}")
    for name, rows in probe.layer.grad_rows.items():
        untold = probe.layer.grads[name][~rows.marks]
        demand(not bool((untold != 0).any()), f"{name}: self.grad_rows.{name} was not told of a row with a gradient")


@check(differentiable)
def check_several_backwards(case: Case) -> None:
    """One forward serves many backwards: nothing that backward needs is used up by it."""
    probe = case.probe()
    tops = probe.forward()
    first, other = (probe.draw_cotangents(tops, stream) for stream in (3, 5))
    results = []
    for dys in (first, other, first):
        probe.zero_grad()
        results.append(probe.named(probe.backward(dys)))
    compare(results[2], results[0], same, "a second backward of the same forward gives another gradient")


@check(differentiable)
def check_linear_backward(case: Case) -> None:
    """Backward is linear in the upstream gradient, as every vector-Jacobian product is, and nothing is added to that.

    The factors do not add up to 1: those of 2 a - b would, and let L(dy) + 1 pass for linear.
    """
    probe = case.probe()
    tops = probe.forward()
    first, other = (probe.draw_cotangents(tops, stream) for stream in (3, 5))
    mixed = [None if a is None else 2 * a - 3 * b for a, b in zip(first, other, strict=True)]
    a, b, m = (probe.gradients(dys) for dys in (first, other, mixed))
    want = {n: None if a[n] is None else 2 * a[n] - 3 * b[n] for n in a}
    tolerance = max(1e-9, case.tolerance)
    compare(m, want, lambda x, y: close(x, y, tolerance), "backward is not linear in the upstream gradient")


def has_jvp(case: Case) -> str | None:
    """Condition of the check of jvp."""
    return None if case.cls.has_jvp() else "it has no jvp of its own"


@check(has_jvp)
def check_jvp(case: Case) -> None:
    """Forward accumulation is the transpose of backward: <dy, J v> = <Jᵀ dy, v> for random dy and v."""
    for phase in ("train", "eval"):
        probe = case.probe(phase=phase)
        probe.layer.run.keep = True
        tops = probe.forward()
        dys = probe.draw_cotangents(tops)
        rng = np.random.default_rng(9)
        needed = probe.layer.needs_grad
        pairs = zip(probe.bottoms, needed, strict=True)
        tangent_of = [tangent(b, rng, probe.backend, probe.dtype) if needs else None for b, needs in pairs]
        moves, tangents = [probe.host(v) for v in tangent_of], call.jvp(probe.layer, tangent_of)
        demand(len(tangents) == len(tops), f"jvp returned {len(tangents)} tangents for {len(tops)} tops")
        moved = zip(dys, tangents, strict=True)
        forward = sum(float((probe.host(d) * probe.host(t)).sum()) for d, t in moved if d is not None and t is not None)
        grads = zip(probe.backward(dys), moves, strict=True)
        backward = sum(float((probe.host(g) * m).sum()) for g, m in grads if m is not None)
        scale = sum(float(np.abs(probe.host(d)).sum()) for d in dys if d is not None)
        message = f"<dy, J v> is {forward:.12g}, <Jᵀ dy, v> is {backward:.12g} ({phase})"
        demand(abs(forward - backward) <= max(1e-9, case.tolerance) * (abs(backward) + scale), message)


def has_jvp_params(case: Case) -> str | None:
    """Condition of the check of jvp_params: parameters along which the layer knows its tangents."""
    layer = case.used[0].layer
    if not (case.differentiable and len(layer.params)):
        return "it has no parameters"
    return None if layer.has_jvp_params() else "it has no jvp of its own along parameters"


@check(has_jvp_params)
def check_jvp_params(case: Case) -> None:
    """Forward accumulation along each parameter is the transpose of backward: <dy, J v> = <dw, v>."""
    for phase in ("train", "eval"):
        probe = case.probe(phase=phase)
        layer = probe.layer
        layer.run.keep = True
        tops = probe.forward()
        dys = probe.draw_cotangents(tops)
        scale = sum(float(np.abs(probe.host(d)).sum()) for d in dys if d is not None)
        rng = np.random.default_rng(9)
        grads = {}
        for name, array in layer.params.items():
            v = rng.normal(size=array.shape)
            tangents = call.jvp_params(layer, {name: probe.device(v)})
            pairs = [(d, t) for d, t in zip(dys, tangents, strict=True) if d is not None]
            demand(all(t.shape == d.shape for d, t in pairs), f"the tangent along {name} has not the shape of the top")
            grads[name] = v, sum(float((probe.host(d) * probe.host(t)).sum()) for d, t in pairs)
        probe.zero_grad()
        probe.backward(dys)
        for name, (v, forward) in grads.items():
            backward = float((probe.host(layer.grads[name]) * v).sum())
            message = f"along {name} <dy, J v> is {forward:.12g}, <dw, v> is {backward:.12g} ({phase})"
            demand(abs(forward - backward) <= max(1e-9, case.tolerance) * (abs(backward) + scale), message)


@check(differentiable)
def check_needs_grad(case: Case) -> None:
    """Gradients do not depend on which others are wanted, and none is missing that is."""
    whole, equal = case.probe(), case.close
    want = whole.gradients()
    real = [i for i, needed in enumerate(whole.layer.needs_grad) if needed]
    for i in real:
        demand(want[f"bottom[{i}]"] is not None, f"backward returns no gradient for bottom[{i}], which needs one")
    for chosen in [{i} for i in real] + [set()]:
        probe = case.probe()
        probe.layer.needs_grad = tuple(i in chosen for i in range(len(probe.bottoms)))
        got = probe.gradients()
        expected = {n: g for n, g in want.items() if not n.startswith("bottom") or n in got}
        compare(got, expected, equal, "the gradient changes with which bottoms need one")
    for frozen in dict(whole.layer.params.items()):
        probe = case.probe()
        probe.layer.needs_param_grad.bind(frozen, False)
        got = probe.gradients()
        expected = {n: g for n, g in want.items() if n != frozen}
        compare(got, expected, equal, f"the gradient changes when {frozen} is frozen")


@layer_check(computes)
def check_float32(case: Case) -> None:
    """float32 stays close to float64, forward and backward."""
    single, double = case.probe(dtype="float32"), case.probe(dtype="float64")
    double.bottoms = [
        b.astype("float64" if s.is_real else b.dtype)
        for b, s in zip(single.bottoms, single.bottom_specs, strict=True)
    ]
    for (_, mine), (_, other) in zip(double.layer.params.items(), single.layer.params.items(), strict=True):
        mine[...] = other.astype("float64")
    for (_, mine), (_, other) in zip(double.layer.state.items(), single.layer.state.items(), strict=True):
        mine[...] = other
    got, want = outputs(single, single.forward()), outputs(double, double.forward())
    compare(got, want, lambda a, b: close(a, b, 1e-4), "float32 is far from float64")
    if case.differentiable:
        compare(single.gradients(), double.gradients(), lambda a, b: close(a, b, 1e-3), "float32 is far from float64")
