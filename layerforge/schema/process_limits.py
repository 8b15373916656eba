"""What a process that reads foreign files may use: the programs that parse them with a library begin here.

A library can loop for ever on damaged files, and takes memory as their headers say; with these limits that ends the
process that reads and not the one that trains. Standard library only, so that such a program starts quickly.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

START_SECONDS = 4  # of processor time, which a program may take to begin and to read what is small
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")  # threads take address space


class Unreadable(Exception):
    """A file that cannot be read, and why."""


def one_thread() -> None:
    """Let libraries that are loaded after this use one thread."""
    os.environ.update(dict.fromkeys(THREADS, "1"))


def limit(seconds: int, memory: int) -> None:
    """Let the system end this process when it uses more processor time, or address space beyond that of the libraries.

    On a machine that is busy, or a disk that is slow, it may take somewhat longer by the clock. Libraries are loaded
    before this is called.
    """
    _alarm(seconds - START_SECONDS)
    try:
        import resource
    except ImportError:  # Windows
        return
    _set(resource.RLIMIT_CPU, seconds)
    _set(resource.RLIMIT_AS, taken() + memory)


def more_time(seconds: int) -> None:
    """Let the system end this process when it uses so much more processor time than until now."""
    _alarm(seconds)
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)


def more_memory(count: int) -> None:
    """Let this process have so many bytes of address space."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _set(resource.RLIMIT_AS, count)


def taken() -> int:
    """The bytes of address space that this process has; 0 where that is not told, as on macOS, which limits none."""
    try:
        import resource

        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return 0


def no_alarm() -> None:
    """Nothing is being read: the next request may take its time."""
    if hasattr(signal, "SIGALRM"):
        signal.alarm(0)


def _alarm(seconds: int) -> None:
    """Unlike Python's handlers it ends loops of a library too."""
    if hasattr(signal, "SIGALRM"):
        signal.alarm(7 + 20 * seconds)


def _set(kind: int, value: int) -> None:
    """Set a limit as far as the system lets."""
    import resource

    hard = resource.getrlimit(kind)[1]
    try:
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
    except (ValueError, OSError):
        return
