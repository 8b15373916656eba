"""What a run does with a step whose loss or gradient is not finite: `train.on_nonfinite`.

    stop     end with exit code 4; weights, statistics and history stay as before the step
    skip     leave them as before the step and go on with the next batch
    ignore   update all the same: the loop does not even ask

A stop, and the first skip, leave a capsule of the step for `layerforge replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..data.loader import Batch
from ..net import Net
from ..schema.errors import DivergedError, LayerForgeError
from ..solvers.solver import Solver
from .capsule import write_capsule
from .rundir import RunDir


@dataclass(frozen=True)
class RefusedStep:
    """A step that the solver has refused, and what is needed to make it again."""

    net: Net
    solver: Solver
    batches: Sequence[Batch]
    config: str
    fallback: bool


def refused(
    step: RefusedStep, error: DivergedError, folder: RunDir, *, skips: bool, note: Callable[[str], None]
) -> None:
    """After the solver has refused a step: write a capsule into the run's folder and raise, or skip the step.

    Errors   DivergedError with the path of the capsule
    """
    solver = step.solver
    capsule = None if skips and solver.nonfinite else _capsule(step, folder, note)
    if not skips:
        hint = f"`layerforge replay {capsule}` names what went wrong first" if capsule else error.hint
        raise DivergedError(error.message, hint=hint) from None
    at = solver.iteration
    solver.skip()
    if _is_power_of_ten(solver.nonfinite):
        counted = f"; {solver.nonfinite} steps so far" if solver.nonfinite > 1 else f"; capsule: {capsule}"
        note(f"iteration {at}: {_figures(solver)}: skipped{counted}")


def _capsule(step: RefusedStep, folder: RunDir, note: Callable[[str], None]) -> str | None:
    """The path of the capsule; None where it could not be written, which is said and must not hide the divergence."""
    try:
        path = write_capsule(folder.place, step.net, step.solver, step.batches, step.config, step.fallback)
    except LayerForgeError as problem:
        note(f"no capsule: {problem}")
        return None
    return str(folder.path / path.relative_to(folder.place))


def tell_overflow(solver: Solver, note: Callable[[str], None]) -> None:
    """After a step that the solver skipped: say now and then that a gradient overflowed, and the scale from now on."""
    if _is_power_of_ten(solver.overflows):
        counted = f"; {solver.overflows} steps so far" if solver.overflows > 1 else ""
        at = solver.iteration - 1
        note(f"iteration {at}: a gradient overflowed in float16: skipped, loss scale {solver.loss_scale:g}{counted}")


def _figures(solver: Solver) -> str:
    return f"loss {solver.loss:g}, gradient norm {solver.grad_norm:g}"


def _is_power_of_ten(count: int) -> bool:
    return str(count).strip("0") == "1"


def warn(solver: Solver, skips: bool, tell: Callable[[str], None]) -> None:
    """At the end of a run: say so, if it went on although not every step was finite."""
    if solver.nonfinite:
        did = "skipped" if skips else "not finite and made all the same"
        tell(f"{solver.nonfinite} of {solver.iteration} steps were {did} (train.on_nonfinite)")
