"""How a run ended: the one place that decides it, and writes it into summary.json, STATUS and the exit code alike."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from ..arrays.device_errors import told
from ..schema.errors import DivergedError, LayerForgeError, exit_code
from ..schema.regular_files import regular
from ..schema.texts import from_json
from ..schema.user_modules import described
from .rundir import RunDir
from .signals import Stop


@dataclass
class TrainResult:
    """What a run came to; also the content of summary.json."""

    run: str
    status: str
    exit_code: int
    steps: int
    epochs: float
    seconds: float
    final: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    monitor: str = ""
    test: dict[str, float] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)  # of the last evaluation and of the test: rows, and `classes`
    data: dict[str, Any] = field(default_factory=dict)
    nonfinite: int = 0  # steps whose loss or gradient was not finite and that train.on_nonfinite let pass
    reason: str = ""


def earlier_tables(folder: RunDir) -> dict[str, Any]:
    """The tables in the summary of a run that goes on: its last evaluation may have been its last."""
    try:
        with open(folder.place / "summary.json", encoding="utf-8", opener=regular) as file:
            return dict(from_json(file.read())["tables"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # it has not ended yet, or is of another version
        return {}


def outcome(ended: BaseException | None, reason: str, signalled: bool) -> tuple[str, int, str]:
    """Status, exit code and reason of a run that this ended; None: nothing but its last step, for a `reason`.

    signalled   whether a signal asked for it: then a KeyboardInterrupt is that signal, and else something that the
                run called raised it
    """
    if ended is None:
        return "finished", 0, reason
    if isinstance(ended, Stop):
        return "interrupted", ended.exit_code, ended.name
    if isinstance(ended, KeyboardInterrupt):
        return "interrupted", exit_code(ended), "SIGINT" if signalled else "KeyboardInterrupt"
    status = "diverged" if isinstance(ended, DivergedError) else "failed"
    return status, exit_code(ended), described(ended) or type(ended).__name__


def as_failure(problem: BaseException) -> BaseException:
    """What ended a run as the error that is raised: what would end another command silently is said here,
    and what the machine lacks.
    """
    if isinstance(problem, SystemExit):
        message = f"something that the run calls left the process: SystemExit({problem.code!r})"
        error = LayerForgeError(message, hint="raise an error instead of calling sys.exit")
    elif isinstance(problem, BrokenPipeError):  # none of our own streams: those do not end a run
        error = LayerForgeError(f"something that the run calls wrote to a closed pipe: {problem}")
    else:
        lacking = told(problem)
        if lacking is None:
            return problem
        error = lacking
    error.__cause__ = problem
    return error


def conclude(
    folder: RunDir,
    result: TrainResult,
    ended: BaseException | None,
    signalled: bool,
    last: Callable[[str], None],
    tell: Callable[[str], None],
) -> BaseException | None:
    """Write down how a run ended, after whatever; what there is to raise, None where it finished or was interrupted.

    signalled   whether a signal asked for it
    last        what is still to be done and may fail itself, given the status: the last event of hooks
    tell        says what else went wrong: it must not hide what ended the run

    A run that cannot do or write this has failed, whatever it was before.
    """
    reason = result.reason
    ended = None if ended is None else as_failure(ended)

    def mark() -> None:
        result.status, result.exit_code, result.reason = outcome(ended, reason, signalled)

    def summarise() -> None:
        folder.write_json("summary.json", asdict(result))

    def state() -> None:
        folder.set_status(result.status)

    mark()
    for act in (lambda: last(result.status), summarise, state):
        try:
            act()
        except BaseException as problem:
            failure = as_failure(problem)
            if ended is None or isinstance(ended, Stop):
                ended = failure
            else:
                tell(f"error: {failure}")
            mark()
            with suppress(LayerForgeError):  # as much of the truth as can be written
                summarise()
    return None if isinstance(ended, Stop) else ended
