"""The check of a device's kernels: what stands in for a formula gives what its text gives (arrays/formula.py)."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

from ..arrays.formula import as_text, watched
from .case import Case, close, compare, computes, device_check, outputs, rounding
from .engines import states


def by_kernels(case: Case) -> set[str]:
    """The functions that kernels compute when the layer runs, in either phase."""
    with watched() as used:
        for phase in ("train", "eval"):
            _pass(case, phase, case.dtypes[0])
    return used


def uses_kernels(case: Case) -> str | None:
    """Condition of the check of kernels."""
    return None if by_kernels(case) else "no kernel computes for it"


@device_check(computes, uses_kernels)
def check_kernels_agree(case: Case) -> None:
    """Tops, state and gradients are those of the text, in float32, in both phases.

    In float64 `agrees_with_numpy` says so: NumPy runs the text.
    """
    dtype = case.dtypes[0]
    probe = case.probe(dtype=dtype)
    tolerance = rounding([probe.host(b) for b in probe.bottoms])
    for phase in ("train", "eval"):
        got, want = (_pass(case, phase, dtype, text=text) for text in (False, True))
        compare(got, want, partial(close, tolerance=tolerance), f"with kernels it is another ({phase}, {dtype})")


def _pass(case: Case, phase: str, dtype: str, *, text: bool = False) -> dict[str, Any]:
    """What comes of a pass, by name, on the host: by the functions' text, or by kernels where there are any."""
    with as_text() if text else nullcontext():
        probe = case.probe(phase=phase, dtype=dtype)
        probe.layer.run.keep = case.differentiable
        found = outputs(probe, probe.forward()) | {f"state {name}": a for name, a in states(probe).items()}
        gradients = probe.gradients() if case.differentiable else {}
    return found | {f"gradient of {name}": a for name, a in gradients.items()}
