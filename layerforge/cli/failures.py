"""How a command ends: every failure becomes a message on stderr and an exit code, never a traceback unasked for."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from ..schema.errors import BackendError, LayerForgeError, exit_code, flatten, report
from ..schema.locations import Place
from ..schema.user_modules import ProcessExit, described, line_of_user, staying
from .arguments import UsageError
from .terminal import flush_output, settle_output, tell


def guarded(command: Callable[[], int], debug: bool = False) -> int:
    """Run a command and return its exit code, whatever happens. `debug` shows tracebacks."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        code = _ended(command, debug)
        settle_output()  # what it fails at was told already, and must not be tried again at exit
        return code


def _ended(command: Callable[[], int], debug: bool) -> int:
    try:
        try:
            with staying():
                code = command()
        except SystemExit as stop:  # argparse after --help
            place = line_of_user(stop)
            if place is not None or isinstance(stop, ProcessExit):
                return _ended_by_user(stop, place, debug)
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        flush_output()
        return code
    except BaseException as problem:
        shown = as_told(problem)
        _tell_failure(shown, debug)
        return exit_code(shown)


def as_told(problem: BaseException) -> BaseException:
    """A problem; where a GPU or its libraries lack something, the error that says so."""
    from ..arrays.device_errors import told  # with the list of installed packages: only where something fails

    error = told(problem)
    if not isinstance(error, BackendError):
        return problem
    error.__cause__ = problem
    return error


def _tell_failure(problem: BaseException, debug: bool) -> None:
    """Say what ended a command."""
    if isinstance(problem, KeyboardInterrupt):
        tell("interrupted")
    elif isinstance(problem, BrokenPipeError):  # the reader of our output has seen enough
        return
    elif isinstance(problem, LayerForgeError):
        tell_refusal(problem, debug)
    elif isinstance(problem, MemoryError):
        _failed(problem, f"error: out of memory{f': {text}' if (text := described(problem)) else ''}", debug)
        tell("     = a smaller batch_size needs less")
    elif isinstance(problem, OSError):  # a full disk, a closed terminal, missing rights: the machine's, not ours
        where = f"{problem.filename}: " if problem.filename is not None else ""
        _failed(problem, f"error: {where}{problem.strerror or problem}", debug)
    else:
        what = f"{type(problem).__name__}: {described(problem)}"
        _failed(problem, f"internal error: {what}; please report it, with the traceback in {_traceback_file()}", debug)


def _ended_by_user(stop: SystemExit, place: Place | None, debug: bool) -> int:
    """A user's file wants to end the process, where nothing could say in whose name: a source, for example."""
    error = LayerForgeError(described(stop), place=place)
    _failed(stop, f"error: {error}", debug)
    return 1


def tell_refusal(error: LayerForgeError, debug: bool = False) -> None:
    """Tell an error that has been thought of, in the words of `errors.report`."""
    if isinstance(error, UsageError):
        tell(error.usage.rstrip("\n"))
    _failed(error, report(error, "nothing was run"), debug)
    causes = [e.__cause__ for e in (error, *flatten(error))]
    if not debug and any(c is not None and not isinstance(c, LayerForgeError) for c in causes):
        tell("     = --debug shows where in the code")


def _failed(problem: BaseException, text: str, debug: bool) -> None:
    if debug:
        tell("".join(traceback.format_exception(problem)).rstrip("\n"))
    tell(text)


def _traceback_file() -> str:
    """The path of a new file with the traceback of what is being handled; words where none can be written."""
    try:
        handle, path = tempfile.mkstemp(prefix="layerforge-", suffix=".txt", text=True)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{sys.argv}\n{traceback.format_exc()}")
    except OSError as problem:
        return f"no file ({problem.strerror}); run again with --debug"
    return path


def _show_warning(message: Warning | str, category: Any, filename: str, lineno: int, *rest: Any) -> None:
    tell(f"warning: {message}")
