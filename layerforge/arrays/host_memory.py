"""How much memory there is: what asks for more than all of it is refused before it is taken."""

from __future__ import annotations

import math
import os
from pathlib import Path

from . import cgroups


def memory_of_this_machine(unknown: float = math.inf) -> float:
    """Bytes; `unknown` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return unknown


def memory() -> dict[str, int]:
    """Bytes: total, and free, of the machine or of the container that this process is in; without what is not told."""
    found = {} if math.isinf(total := memory_of_this_machine()) else {"total": int(total)}
    available = available_memory()
    if available is not None:
        found["free"] = available
    container = cgroups.memory()
    if container is not None and container[0] < total:
        limit, used = container
        found = {"total": limit, "free": min(found.get("free", limit), max(0, limit - used))}
    return found


def available_memory() -> int | None:
    """The bytes that the machine can still give without writing others to disk; None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
