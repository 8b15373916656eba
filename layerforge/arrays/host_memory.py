"""How much memory there is: what asks for more than all of it is refused before it is taken."""

from __future__ import annotations

import math
import os


def memory_of_this_machine(unknown: float = math.inf) -> float:
    """Bytes; `unknown` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return unknown
