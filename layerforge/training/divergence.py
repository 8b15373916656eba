"""What a run does with a step whose loss or gradient is not finite: `train.on_nonfinite`.

    stop     end with exit code 4; weights, statistics and history stay as before the step
    skip     leave them as before the step and go on with the next batch
    ignore   update all the same: the loop does not even ask

A stop, and the first skip, leave a capsule of the step for `layerforge replay`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..schema.errors import DivergedError, LayerForgeError
from .capsule import write_capsule

if TYPE_CHECKING:
    from .loop import Trainer


def refused(trainer: Trainer, batches: Sequence[Any], error: DivergedError) -> None:
    """After the solver has refused a step: write a capsule and raise, or skip the step.

    Errors   DivergedError with the path of the capsule
    """
    solver = trainer.solver
    skips = trainer.config.train.on_nonfinite == "skip"
    capsule = None if skips and solver.nonfinite else _capsule(trainer, batches)
    if not skips:
        hint = f"`layerforge replay {capsule}` names what went wrong first" if capsule else error.hint
        raise DivergedError(error.message, hint=hint) from None
    at = solver.iteration
    solver.skip()
    if _is_power_of_ten(solver.nonfinite):
        counted = f"; {solver.nonfinite} steps so far" if solver.nonfinite > 1 else f"; capsule: {capsule}"
        trainer.console.note(f"iteration {at}: {_figures(solver)}: skipped{counted}")


def _capsule(trainer: Trainer, batches: Sequence[Any]) -> str | None:
    """The path of the capsule; None where it could not be written, which is said and must not hide the divergence."""
    try:
        path = write_capsule(
            trainer.folder.place, trainer.net, trainer.solver, batches, trainer.resolved, trainer.data.fallback_used
        )
    except LayerForgeError as problem:
        trainer.console.note(f"no capsule: {problem}")
        return None
    return str(trainer.folder.path / path.relative_to(trainer.folder.place))


def _figures(solver: Any) -> str:
    return f"loss {solver.loss:g}, gradient norm {solver.grad_norm:g}"


def _is_power_of_ten(count: int) -> bool:
    return str(count).strip("0") == "1"


def warn(trainer: Trainer) -> None:
    """At the end of a run: say so, if it went on although not every step was finite."""
    count = trainer.solver.nonfinite
    if count:
        did = "skipped" if trainer.config.train.on_nonfinite == "skip" else "not finite and made all the same"
        trainer.console.warn(f"{count} of {trainer.solver.iteration} steps were {did} (train.on_nonfinite)")
