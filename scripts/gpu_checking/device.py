"""The backend under test: the real CuPy, or the strict stand-in under CuPy's name; what can be counted and told of it.

On the stand-in everything runs as on a device: `backend: cupy` in a configuration, commands in child processes, errors.
It is in tests/support, so that only a clone of the repository has it.
"""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from layerforge import __version__
from layerforge.arrays.backend import Backend, get_backend
from layerforge.check.grounds import STRICT, stand_in

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("cupy", STRICT)
MODULES = CUPY, SPARSE = "cupy", "cupyx.scipy.sparse"
FAMILY = "cupy"  # distributions of CuPy begin with it: cupy-cuda12x, cupy-cuda13x, cupy


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
    return {
        "layerforge": __version__,
        "commit": commit(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "cupy": backend.xp.__version__,
        "distributions": distributions(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith("CUPY_")},
        **(_no_device() if hasattr(backend.xp, "counting") else _device(backend.xp)),
    }


def _no_device() -> dict[str, Any]:
    return {"device": "none: the strict stand-in, on the host", "driver": None, "runtime": None, "memory": None}


def _device(cupy: Any) -> dict[str, Any]:
    runtime, device = cupy.cuda.runtime, cupy.cuda.Device()
    name = runtime.getDeviceProperties(device.id)["name"]
    return {
        "device": name.decode() if isinstance(name, bytes) else str(name),
        "capability": device.compute_capability,
        "memory": device.mem_info[1],
        "driver": as_version(runtime.driverGetVersion()),
        "runtime": as_version(runtime.runtimeGetVersion()),
    }


def as_version(number: int) -> str:
    """CUDA's number of a version, such as 12040, as people write it: 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def distributions() -> dict[str, str]:
    """The installed packages that bring CuPy; two of them hide each other's files."""
    found = {}
    for package in metadata.distributions():
        name = package.metadata["Name"] or ""
        if name.lower() == FAMILY or name.lower().startswith(f"{FAMILY}-"):
            found[name] = package.version
    return found


def processor() -> str:
    """The name of the host's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine() or "unknown"


def commit() -> str | None:
    """The commit of this clone, with a + where files were changed; None outside of one."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
