"""How threads of GNU OpenMP wait for each other: awake on a quiet machine, asleep soon on a busy one.

A waiting thread looks 300,000 times, for milliseconds, before it sleeps. That is quickest where every thread has a
core. Where it keeps a core from the thread that it waits for, a step takes up to a hundred times as long. GNU OpenMP
looks only 100 times while it manages more threads than there are cores: on a busy machine it is given a second team,
which does nothing but sleep. When the machine is quiet again, the team goes.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import threads

SAID = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # what says how threads wait, where somebody set it
LOAD = Path("/proc/loadavg")  # its fourth word counts the threads that run: 2/90
TASKS = Path("/proc/self/task")  # those of this process
PERIOD = 0.1  # seconds from one look to the next, which costs about 0.1 ms
BUSY_LOOKS, QUIET_LOOKS = 2, 10  # so many in a row until something is done: other programs come and go
FIRST_LOOKS = 5  # a millisecond apart, as a program that ends soon must not wait for the second look


class Team:
    """Threads that GNU OpenMP manages and that sleep, as long as the thread that began them does not end."""

    def __init__(self, library: Any, size: int) -> None:
        self._over, begun = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._sleep, args=(library, size, begun), daemon=True)
        self._thread.name = "openmp: a team that sleeps"
        self._thread.start()
        begun.wait()

    def _sleep(self, library: Any, size: int, begun: threading.Event) -> None:
        """Have the team do next to nothing once; between two regions its threads are kept."""
        harmless = ctypes.cast(library.omp_get_thread_num, ctypes.c_void_p)
        library.GOMP_parallel(harmless, None, ctypes.c_uint(size), ctypes.c_uint(0))
        begun.set()
        self._over.wait()

    def end(self) -> None:
        """Let the threads go."""
        self._over.set()
        self._thread.join()


class Waiting:
    """The present way to wait, which `look` decides. `team` sleeps while the machine is busy."""

    def __init__(self) -> None:
        self.team: Team | None = None
        self._next = 0.0
        self._first = True
        self._looks = 0  # in a row that found what is not acted upon yet
        self._lock = threading.Lock()

    def look(self, count: int) -> None:
        """A thread is about to compute with so many: see, from time to time, whether the machine is busy."""
        if count < 2 or time.monotonic() < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            library = next(self._libraries(), None)
            if library is not None:
                self._next = time.monotonic() + PERIOD
                self._decide(library, count)
        finally:
            self._lock.release()

    def _decide(self, library: Any, count: int) -> None:
        busy = mostly_crowded(count) if self._first else crowded(count)
        self._looks = 0 if busy == (self.team is not None) else BUSY_LOOKS if self._first else self._looks + 1
        self._first = False
        if self.team is None and self._looks >= BUSY_LOOKS:
            self.team = Team(library, max(2, threads.cores() - count + 2))
        elif self.team is not None and self._looks >= QUIET_LOOKS:
            self.team.end()
            self.team = None

    @staticmethod
    def _libraries() -> Iterator[Any]:
        """The GNU OpenMP that computes, unless the environment says how it waits."""
        if not any(name in os.environ for name in SAID):
            yield from (library for library in threads.CURRENT.openmp if "libgomp" in Path(library._name).name)


def crowded(count: int) -> bool:
    """Whether more threads want a core than there are: those of other programs that run, and as many as compute here.

    False where the system does not tell.
    """
    try:
        running = int(LOAD.read_text().split()[3].partition("/")[0])
        others = running - sum(_runs(task) for task in TASKS.iterdir())
    except (OSError, ValueError, IndexError):
        return False
    return others + count > (os.cpu_count() or 1)


def mostly_crowded(count: int) -> bool:
    """The same, of several looks one soon after the other."""
    found = []
    for _ in range(FIRST_LOOKS):
        found.append(crowded(count))
        time.sleep(0.001)
    return sorted(found)[FIRST_LOOKS // 2]


def _runs(task: Path) -> bool:
    """Whether a thread does; it may have ended meanwhile."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    except OSError:
        return False


WAITING = Waiting()
