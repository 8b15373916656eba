"""Optional packages enter here, so that a missing one is always the same clear error with the line that installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import ConfigError, LayerForgeError


def require(module: str, *, extra: str, why: str, error: type[LayerForgeError] = ConfigError) -> ModuleType:
    """Import an optional module; `error` (BackendError for a backend or engine) names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        raise error(
            f"{why} needs the package '{module.split('.')[0]}', which cannot be imported here ({problem})",
            hint=f"pip install 'layerforge[{extra}]'",
        ) from None


