"""Optional packages enter here, so that a missing one is always the same clear error with the line that installs it."""

from __future__ import annotations

import importlib
import importlib.util
from importlib.machinery import ModuleSpec
from types import ModuleType

from .errors import ConfigError, LayerForgeError
from .texts import first_line


def require(module: str, *, extra: str, why: str, error: type[LayerForgeError] = ConfigError) -> ModuleType:
    """Import an optional module; `error` (BackendError for a backend or engine) names the extra to install."""
    try:
        found = importlib.import_module(module)
        if folder := mere_folder(getattr(found, "__spec__", None)):
            raise ModuleNotFoundError(f"{folder} is only a folder of that name")
        return found
    except Exception as problem:  # a package whose parts do not fit together raises anything
        raise error(
            f"{why} needs the package '{module.split('.')[0]}', which cannot be imported here ({reason(problem)})",
            hint=f"pip install 'layerforge[{extra}]'",
        ) from None


def require_soon(module: str, *, extra: str, why: str) -> None:
    """Refuse a module that is missing, as `require` does, and do not import yet what is there: that may take long."""
    if not is_there(module):
        require(module, extra=extra, why=why)


def is_there(module: str) -> bool:
    """Whether a module can be found; whether it can be imported shows when it is."""
    spec = importlib.util.find_spec(module)
    return spec is not None and mere_folder(spec) is None


def mere_folder(spec: ModuleSpec | None) -> str | None:
    """The folder that an import found in the place of a package, with no code in it; None for a module.

    Where onnx is not installed, Python imports a folder `onnx` from where it is started as an empty package.
    """
    if spec is None or spec.origin is not None:
        return None
    return next(iter(spec.submodule_search_locations or ()), None)


def reason(problem: BaseException) -> str:
    """Why something cannot be imported, in a line: the first that says something, of the cause where one is named."""
    said = problem.__cause__ or problem
    text = first_line(str(said))
    return text if type(said) in (ImportError, ModuleNotFoundError) else f"{type(said).__name__}: {text}"
