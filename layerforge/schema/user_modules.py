"""Users' own layers and data sources: Python files named by `import:` or on the command line."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from .errors import ConfigError, LayerForgeError
from .locations import Place
from .regular_files import irregular
from .texts import printable

ONE_BY_ONE = threading.RLock()  # no other thread takes a file that is still being run for imported
PREFIX = "layerforge_user_"  # of the names of their modules


class ProcessExit(SystemExit):
    """A user's code called os._exit, which would end the process at once: unsaved, unsaid, and with any code."""


@contextmanager
def staying() -> Iterator[None]:
    """While this lasts os._exit raises in this process, as sys.exit does; in a child that was forked it ends the child.

    Where users' code runs: a file that ends the process with code 0 would pass for one without errors.
    """
    leave, own = os._exit, os.getpid()

    def refuse(code: int) -> None:
        if os.getpid() != own:
            leave(code)
        raise ProcessExit(code)

    os._exit = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        if os._exit is refuse:  # type: ignore[comparison-overlap]
            os._exit = leave


def import_file(path: str | Path) -> ModuleType:
    """Run a Python file once and return its module; what it registers is known from then on.

    Errors   ConfigError (exit 2) with the file's own line where it fails
    """
    path = Path(path).absolute()
    name = _name(path)
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        kind = irregular(path)
        what = f"{path} is {kind}, not a Python file" if kind else f"there is no file {path}"
        raise ConfigError(what, hint="`import:` lists Python files, relative to the config")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file", hint="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with staying():
            spec.loader.exec_module(module)
    except LayerForgeError:
        del sys.modules[name]
        raise
    except KeyboardInterrupt:  # the user's, not the file's
        del sys.modules[name]
        raise
    except BaseException as problem:
        del sys.modules[name]
        message = f"{type(problem).__name__} while importing: {described(problem)}"
        raise ConfigError(message, place=where(path, problem)) from problem
    return module


def imported(path: str | Path) -> ModuleType | None:
    """The module of a file that has been imported; None where it has not. Nothing is run."""
    return sys.modules.get(_name(Path(path).absolute()))


def is_file(module: str) -> bool:
    """Whether a module of that name is a file that was imported here."""
    return module.startswith(PREFIX)


def _name(path: Path) -> str:
    return f"{PREFIX}{printable(path.stem)}_{hashlib.blake2b(os.fsencode(path), digest_size=4).hexdigest()}"


def described(problem: BaseException) -> str:
    """The text of an exception in a user's code. For one that wants to end the process that says little by itself, and
    one of the user's own may have none.
    """
    if isinstance(problem, SystemExit):
        name = "os._exit" if isinstance(problem, ProcessExit) else "exit"
        code = "" if problem.code is None else repr(problem.code)
        return f"{name}({code}) is called, but this code is not the program"
    try:
        return str(problem)
    except Exception as own:
        return f"its text cannot be had, as __str__ raises {type(own).__name__}"


def where(path: Path, problem: BaseException) -> Place:
    """The last line of the user's own file in a traceback, or the line of a syntax error."""
    if isinstance(problem, SyntaxError) and problem.lineno:
        return Place(str(path), problem.lineno, problem.offset or 1, problem.text or "")
    own = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename == str(path)]
    if own and own[-1].lineno:
        return Place(str(path), own[-1].lineno, 1, own[-1].line or "")
    return Place(str(path), 1, 1)


def line_of_user(problem: BaseException) -> Place | None:
    """The last line of any imported file in a traceback; None where none of them takes part in it."""
    modules = [module for name, module in sys.modules.items() if name.startswith(PREFIX)]
    files = {getattr(module, "__file__", None) for module in modules}
    own = [frame for frame in traceback.extract_tb(problem.__traceback__) if frame.filename in files]
    return Place(own[-1].filename, own[-1].lineno or 1, 1, own[-1].line or "") if own else None


def level_of_user() -> int:
    """The stack level, for warnings.warn in the caller, of the first frame that is not this package's."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("layerforge."):
        frame, level = frame.f_back, level + 1
    return level


def import_all(paths: Iterable[str | Path]) -> None:
    """Import several files in order."""
    with ONE_BY_ONE:
        for path in paths:
            import_file(path)
