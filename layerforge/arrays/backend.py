"""Backends: the array library that the layers' maths runs on. NumPy, or CuPy with the same names.

A layer says `self.xp.exp(x)` and never asks which one it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from ..schema import optional
from ..schema.errors import BackendError, ConfigError
from ..schema.synonyms import did_you_mean

NAMES = ("numpy", "cupy")

# An array of either library. The two share their methods but no base class, and CuPy need not be installed where types
# are checked; so a checker takes an array for anything, and the name tells the reader what it is.
Array: TypeAlias = Any


@dataclass(frozen=True)
class Backend:
    """An array namespace and the two ways across: host to device and back."""

    name: str
    xp: Any

    def from_host(self, array: Any, dtype: Any = None) -> Array:
        """An array of this backend with the values of a NumPy array (or list); a copy only where one is needed."""
        if isinstance(array, self.xp.ndarray):
            return array if dtype is None or array.dtype == np.dtype(dtype) else array.astype(dtype)
        return self.xp.asarray(np.asarray(array, dtype=dtype))

    def to_host(self, array: Array) -> np.ndarray:
        """The values as a NumPy array; on NumPy the array itself."""
        return array if isinstance(array, (np.ndarray, np.generic)) else self.xp.asnumpy(array)

    def __reduce__(self) -> Any:
        return get_backend, (self.name,)

    def __deepcopy__(self, memo: Any) -> Backend:
        return self

    def describe(self) -> str:
        """Name, version and device, for the run's record."""
        return f"{self.name} {self.xp.__version__}"


NUMPY = Backend("numpy", np)


def get_backend(name: str | Backend) -> Backend:
    """The backend of that name.

    Errors   ConfigError for a name that does not exist; BackendError (exit 5) where CuPy or its GPU is missing
    """
    if isinstance(name, Backend):
        return name
    if name == "numpy":
        return NUMPY
    if name == "cupy":
        return Backend("cupy", _cupy())
    raise ConfigError(f"unknown backend '{name}'", hint=did_you_mean(name, NAMES) or f"one of {', '.join(NAMES)}")


def _cupy() -> ModuleType:
    cupy = optional.require("cupy", extra="cuda12", why="backend 'cupy'", error=BackendError)
    if not cupy.cuda.is_available():
        raise BackendError(
            f"backend 'cupy' needs an NVIDIA GPU with its driver; CuPy {cupy.__version__} is installed but finds none",
            hint="check `nvidia-smi`, install the extra that fits the driver (layerforge[cuda12] or [cuda13]),"
            " or set `backend: numpy`",
        )
    return cupy
