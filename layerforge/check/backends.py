"""The check of backends: what one computes is what NumPy computes."""

from __future__ import annotations

from .case import Case, close, compare, computes, device_check, outputs
from .engines import states
from .harness import Probe


@device_check(computes)
def check_agrees_with_numpy(case: Case) -> None:
    """Tops, state and gradients are NumPy's, up to rounding, in float64, in both phases; random masks bit by bit."""
    name = case.backend.name
    for phase in ("train", "eval"):
        here, there = Probe(case.cls, case.example, phase=phase), case.probe(phase=phase)
        here.layer.run.keep = there.layer.run.keep = case.differentiable
        compare(outputs(there, there.forward()), outputs(here, here.forward()), close, f"differs on {name} ({phase})")
        compare(states(there), states(here), close, f"the state differs from NumPy's ({phase})")
        if case.differentiable:
            compare(there.gradients(), here.gradients(), close, f"gradient differs on {name} ({phase})")
