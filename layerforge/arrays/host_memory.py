"""How much memory there is: what asks for more than all of it is refused before it is taken."""

from __future__ import annotations

import math
import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of cgroup 2, and of 1
USES = ("memory.current", "memory/memory.usage_in_bytes")


def memory_of_this_machine(unknown: float = math.inf) -> float:
    """Bytes; `unknown` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return unknown


def memory_of_container() -> tuple[int, int] | None:
    """The bytes that a container lets its processes have, and those that they have; None where there is no limit."""
    limits, uses = ([_number(GROUPS / name) for name in names] for names in (LIMITS, USES))
    for limit, use in zip(limits, uses, strict=True):
        if limit is not None and limit < memory_of_this_machine():  # cgroup 1 writes "no limit" as a large number
            return limit, use or 0
    return None


def memory() -> dict[str, int]:
    """Bytes: total, and free, of the machine or of the container that this process is in; without what is not told."""
    found = {} if math.isinf(total := memory_of_this_machine()) else {"total": int(total)}
    available = available_memory()
    if available is not None:
        found["free"] = available
    container = memory_of_container()
    if container is not None:
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


def _number(path: Path) -> int | None:
    """The whole number that a file has; None for "max", and where there is no file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
