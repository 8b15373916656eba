"""The GPU that CuPy computes on, asked through CuPy."""

from __future__ import annotations

import os
from typing import Any

from ..schema.texts import bytes_in_words
from .cuda_packages import in_words

VARIABLES = ("CUPY_TF32", "CUPY_ACCELERATORS")  # they change the last bits of numbers


def describe(xp: Any) -> str:
    """The present device, driver and CUDA, and the variables that change numbers where they are set."""
    runtime = xp.cuda.runtime
    facts = properties(xp, runtime.getDevice())
    words = [
        f"{facts['name']} ({bytes_in_words(facts['memory'])}, compute capability {facts['capability']})",
        f"driver for CUDA {in_words(runtime.driverGetVersion())}",
        f"CUDA {in_words(runtime.runtimeGetVersion())}",
        *(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ),
    ]
    return ", ".join(words)


def properties(xp: Any, number: int) -> dict[str, Any]:
    """Name, bytes of memory and compute capability of a device."""
    found = xp.cuda.runtime.getDeviceProperties(number)
    name = found["name"]
    return {
        "name": name.decode(errors="replace") if isinstance(name, bytes) else str(name),
        "memory": int(found["totalGlobalMem"]),
        "capability": f"{found['major']}.{found['minor']}",
    }


def memory(xp: Any) -> dict[str, int]:
    """Bytes: total, free (the driver's count, which has CuPy's pool as used), and pooled, which CuPy holds."""
    free, total = xp.cuda.runtime.memGetInfo()
    return {"total": int(total), "free": int(free), "pooled": int(xp.get_default_memory_pool().total_bytes())}
