"""The check of backends: what one computes is what NumPy computes."""

from __future__ import annotations

from .case import Case, close, compare, computes, device_check, outputs
from .harness import Probe


@device_check(computes)
def check_agrees_with_numpy(case: Case) -> None:
    """Tops and gradients are NumPy's, up to rounding, in float64, in both phases; random masks are the same bits."""
    name = case.backend.name
    for phase in ("train", "eval"):
        here, there = Probe(case.cls, case.example, phase=phase), case.probe(phase=phase)
        here.layer.run.keep = there.layer.run.keep = case.differentiable
        compare(outputs(there, there.forward()), outputs(here, here.forward()), close, f"differs on {name} ({phase})")
        if case.differentiable:
            compare(there.gradients(), here.gradients(), close, f"gradient differs on {name} ({phase})")
