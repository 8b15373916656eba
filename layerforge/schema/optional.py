"""Optional packages enter here, so that a missing one is always the same clear error with the line that installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import ConfigError, LayerForgeError


def require(module: str, *, extra: str, why: str, error: type[LayerForgeError] = ConfigError) -> ModuleType:
    """Import an optional module; `error` (BackendError for a backend or engine) names the extra to install."""
    try:
        return importlib.import_module(module)
    except Exception as problem:  # a package whose parts do not fit together raises anything
        raise error(
            f"{why} needs the package '{module.split('.')[0]}', which cannot be imported here ({reason(problem)})",
            hint=f"pip install 'layerforge[{extra}]'",
        ) from None


def reason(problem: BaseException) -> str:
    """Why something cannot be imported, in a line: the first that says something, of the cause where one is named."""
    said = problem.__cause__ or problem
    text = next((line.strip() for line in str(said).splitlines() if line.strip(" =")), "")
    return text if type(said) in (ImportError, ModuleNotFoundError) else f"{type(said).__name__}: {text}"
