"""Training steps beside a program that keeps one core busy: what they take with it, and without.

The neighbour is bound to the last core; those that are measured are not, and the system may move their threads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .driver import PAUSE, Contest, Entrant, Settings, burst_length, contest
from .problem import Problem

SPIN = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print("ready", flush=True)
while True:
    pass
"""


class NoNeighbour(Exception):
    """This machine cannot be measured beside a neighbour."""


def last_core() -> int:
    """The core of the neighbour: the last one that this process may use. NoNeighbour where there is but one."""
    if not hasattr(os, "sched_getaffinity"):
        raise NoNeighbour("--neighbour: this system binds no process to a core; measure on Linux")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise NoNeighbour("--neighbour: one core is all that this process may use; a neighbour needs another one")
    return cores[-1]


class Neighbour:
    """A process that keeps a core busy while it is let. It begins stopped."""

    def __init__(self, core: int) -> None:
        command = [sys.executable, "-c", SPIN, str(core)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        self.process.send_signal(signal.SIGSTOP)
        self.shares: list[float] = []

    def __enter__(self) -> Neighbour:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()  # ends a stopped process, too
        self.process.wait()
        self.process.stdout.close()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """It runs within this context. `shares` gets the part of a core that it had."""
        self.process.send_signal(signal.SIGCONT)
        time.sleep(PAUSE)
        began, computed = time.perf_counter(), self.seconds()
        try:
            yield
        finally:
            self.shares.append((self.seconds() - computed) / (time.perf_counter() - began))
            self.process.send_signal(signal.SIGSTOP)

    def seconds(self) -> float:
        """Of computing, until now."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def measure(
    problem: Problem, candidates: Sequence[Entrant], threads: int, settings: Settings
) -> tuple[list[dict[str, Any]], list[str]]:
    """Seconds of a training step of each entrant, alone and beside the neighbour, in turns; and notes.

    Each answer has: entrant; versions; and for each round seconds (quiet), busy, and shares, what the neighbour had of
    its core. By the wall's clock, as a thread that waits for another one may be computing.

    Errors   as `contest`; NoNeighbour
    """
    found: dict[Entrant, dict[str, Any]] = {}
    with Neighbour(last_core()) as neighbour, contest(problem, candidates, threads, settings) as running:
        busy_steps = {}
        for entrant in list(running.results):
            with neighbour.busy():
                busy_steps[entrant] = burst_length(running.workers[entrant], settings)
            versions = running.results[entrant].versions
            found[entrant] = {"entrant": entrant, "versions": versions, "seconds": [], "busy": [], "shares": []}
        for number in range(-1, settings.bursts):
            one_round(number, running, busy_steps, neighbour, found)
    return list(found.values()), running.notes


def one_round(
    number: int,
    running: Contest,
    busy_steps: dict[Entrant, int],
    neighbour: Neighbour,
    found: dict[Entrant, dict[str, Any]],
) -> None:
    """A quiet burst and a busy one of each; every other round the busy one first. A negative number does not count."""
    for entrant in running.order(number):
        worker, times = running.workers[entrant], {}
        for kind in ("seconds", "busy") if number % 2 else ("busy", "seconds"):
            time.sleep(PAUSE)
            if kind == "busy":
                with neighbour.busy():
                    times[kind] = worker.ask("run", steps=busy_steps[entrant])["wall"]
            else:
                times[kind] = worker.ask("run", steps=running.steps[entrant])["wall"]
        if number >= 0:
            for kind, seconds in times.items():
                found[entrant][kind].append(seconds)
            found[entrant]["shares"].append(neighbour.shares[-1])
