"""Users' own layers and data sources: Python files named by `import:` or on the command line."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from .errors import ConfigError, LayerForgeError
from .places import Place
from .texts import printable


def import_file(path: str | Path) -> ModuleType:
    """Run a Python file once and return its module; what it registers is known from then on.

    Errors   ConfigError (exit 2) with the file's own line where it fails
    """
    path = Path(path).absolute()
    name = _name(path)
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", hint="`import:` lists Python files, relative to the config")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file", hint="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except LayerForgeError:
        del sys.modules[name]
        raise
    except Exception as problem:
        del sys.modules[name]
        message = f"{type(problem).__name__} while importing: {problem}"
        raise ConfigError(message, place=where(path, problem)) from problem
    return module


def imported(path: str | Path) -> ModuleType | None:
    """The module of a file that has been imported; None where it has not. Nothing is run."""
    return sys.modules.get(_name(Path(path).absolute()))


def _name(path: Path) -> str:
    return f"layerforge_user_{printable(path.stem)}_{hashlib.blake2b(os.fsencode(path), digest_size=4).hexdigest()}"


def where(path: Path, problem: Exception) -> Place:
    """The last line of the user's own file in a traceback, or the line of a syntax error."""
    if isinstance(problem, SyntaxError) and problem.lineno:
        return Place(str(path), problem.lineno, problem.offset or 1, problem.text or "")
    own = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename == str(path)]
    if own and own[-1].lineno:
        return Place(str(path), own[-1].lineno, 1, own[-1].line or "")
    return Place(str(path), 1, 1)


def import_all(paths: Iterable[str | Path]) -> None:
    """Import several files in order."""
    for path in paths:
        import_file(path)
