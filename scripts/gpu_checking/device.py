"""The backend under test: the real CuPy, or the strict stand-in under CuPy's name; what can be counted and told of it.

On the stand-in everything runs as on a device: `backend: cupy` in a configuration, commands in child processes, errors.
It is in tests/support, so that only a clone of the repository has it.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from layerforge import __version__
from layerforge.arrays import cuda_device, cuda_packages, processor
from layerforge.arrays.backend import Backend, get_backend
from layerforge.check.grounds import STRICT, stand_in
from layerforge.training.commit import commit

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("cupy", STRICT)
MODULES = CUPY, SPARSE = "cupy", "cupyx.scipy.sparse"


@contextmanager
def opened(name: str) -> Iterator[Backend]:
    """The backend of that name; for `strict`, the stand-in is CuPy to everybody within the block.

    Errors   BackendError (exit 5) where there is no CuPy, no GPU, or no stand-in
    """
    before = {module: sys.modules.get(module) for module in MODULES} if name == STRICT else {}
    if before:
        put_in_place()
    try:
        yield get_backend("cupy")
    finally:
        for module, known in before.items():
            if known is None:
                sys.modules.pop(module, None)
            else:
                sys.modules[module] = known


def put_in_place() -> None:
    """Put the stand-in in the place of CuPy. Errors   BackendError (exit 5) where there is none"""
    strict = stand_in()
    sys.modules[CUPY] = strict.xp
    with suppress(ImportError):  # it needs SciPy, which is there where sparse matrices are used
        sys.modules[SPARSE] = importlib.import_module(strict.sparse)


def beside_the_stand_in(backend: Backend, name: str) -> Any:
    """A module of the tests that belongs to the stand-in."""
    return importlib.import_module(f"{backend.xp.__name__.rpartition('.')[0]}.{name}")


def host(backend: Backend, array: Any) -> np.ndarray:
    """A copy of an array on the host."""
    return np.array(backend.to_host(array))


def synchronize(backend: Backend) -> None:
    """Wait until the device has done everything."""
    backend.xp.cuda.Device().synchronize()


def same_bits(a: Any, b: Any) -> bool:
    """Whether two host arrays hold the same bits, NaN included."""
    one, other = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


# Who and where --------------------------------------------------------------------------------------------------------


def surroundings(backend: Backend) -> dict[str, Any]:
    """Device, driver, libraries and versions, and the commit where this is a clone."""
    runtime, git = backend.xp.cuda.runtime, commit(ROOT)
    device = cuda_device.properties(backend.xp, runtime.getDevice())
    return {
        "device": device["name"],
        "capability": device["capability"],
        "memory": device["memory"],
        "driver": cuda_packages.cuda_in_words(runtime.driverGetVersion()),
        "runtime": cuda_packages.cuda_in_words(runtime.runtimeGetVersion()),
        "cupy": backend.xp.__version__,
        "distributions": cuda_packages.installed(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith("CUPY_")},
        "layerforge": __version__,
        "commit": None if git is None else git["commit"][:12],
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": processor.name(),
        "cores": os.cpu_count(),
    }
