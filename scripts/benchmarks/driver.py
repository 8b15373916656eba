"""Worker processes that take turns: one burst of steps each, round after round, never two at work at the same time."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .catalogue import COMPETITORS, NETS, OURS, ROOT, WAYS
from .problem import Problem
from .surroundings import environment_for

PAUSE = 0.05  # seconds between bursts: the threads of the process before stop spinning
WARM_UP = 3  # steps before the length of a burst is chosen
MOST_STEPS = 20_000
ABSENT = ("NotCovered", "ModuleNotFoundError", "ImportError")  # errors that mean: does not compete here


class WorkerError(Exception):
    """A worker could not do what it was asked to. `absent` says that it is not there, rather than wrong."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.absent = kind in ABSENT


@dataclass(frozen=True)
class Settings:
    """How to measure.

    pythons      the interpreter of our own workers, and that of foreign libraries
    bursts       rounds that count; one before them does not
    spare        further rounds: those in which somebody waited longest for a CPU are left out
    seconds      about how long a burst lasts; `steps`, if given, fixes the number of steps instead
    clock        "wall", or "cpu" for the computing time of all threads: on a busy machine, with one thread
    overrides    changes of our configurations, as on the command line
    """

    pythons: tuple[str, str]
    bursts: int = 5
    spare: int = 0
    seconds: float = 0.5
    steps: int | None = None
    clock: str = "wall"
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entrant:
    """A competitor in one variant; ours are WAYS."""

    competitor: str
    variant: str = "eager"

    @property
    def coarse(self) -> bool:
        """Whether it rounds to bfloat16."""
        return (WAYS[self.variant] if self.competitor == OURS else COMPETITORS[self.competitor]).coarse


@dataclass
class Measurement:
    """What one entrant took.

    seconds   per step, of each round
    waited    share of each burst in which its threads waited for a CPU: what other programs disturbed
    growth    bytes by which its memory grew
    """

    entrant: Entrant
    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    growth: int = 0
    versions: dict[str, str] = field(default_factory=dict)


class Worker:
    """A process that runs one entrant; see worker.py for what it answers."""

    def __init__(self, entrant: Entrant, threads: int, settings: Settings) -> None:
        competitor = COMPETITORS[entrant.competitor]
        command = [settings.pythons[competitor.foreign], "-m", "benchmarks.worker", competitor.module]
        self.name = entrant.competitor
        pipe, environment = subprocess.PIPE, environment_for(threads)
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, cwd=ROOT, text=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the input, and with it the process."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def tell(self, do: str, **message: Any) -> None:
        """Send a message without waiting for its answer. WorkerError if the process has ended."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **message}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.ended() from None

    def answer(self) -> dict[str, Any]:
        """The next answer. WorkerError if it is one, or if the process has ended."""
        line = self.process.stdout.readline()
        if not line:
            raise self.ended()
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['kind']}: {answer['error']}", answer["kind"])
        return answer

    def ask(self, do: str, **message: Any) -> dict[str, Any]:
        """Send a message and wait for the answer."""
        self.tell(do, **message)
        return self.answer()

    def ended(self) -> WorkerError:
        """What to say of a process that is not there any more."""
        return WorkerError(f"the process of {self.name} ended with code {self.process.wait()}", "Ended")


def entrants(net: str, ways: Sequence[str], against: Sequence[str], mode: str = "train") -> list[Entrant]:
    """Ourselves in these ways, and the competitors in their variants for a net."""
    found = [Entrant(OURS, way) for way in ways]
    for name in against:
        competitor = COMPETITORS[name]
        if mode in competitor.modes:
            found += [Entrant(name, variant) for variant in (NETS[net].variants if competitor.varies else ("eager",))]
    return found


def setup_message(
    problem: Problem, entrant: Entrant, threads: int, settings: Settings, mode: str, batch: int | None
) -> dict[str, Any]:
    """What makes a worker build its net."""
    overrides, options = list(settings.overrides), dict(COMPETITORS[entrant.competitor].options)
    if entrant.competitor == OURS:
        way = WAYS[entrant.variant]
        overrides += way.overrides
        options["keep"] = way.keep
    return {
        "problem": problem.plain(),
        "variant": entrant.variant,
        "threads": threads,
        "batch": batch,
        "mode": mode,
        "overrides": overrides,
        "options": options,
    }


@dataclass
class Contest:
    """Entrants that are ready to run on one net, and notes on those that do not compete.

    steps  of a burst
    """

    workers: dict[Entrant, Worker] = field(default_factory=dict)
    results: dict[Entrant, Measurement] = field(default_factory=dict)
    steps: dict[Entrant, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def order(self, number: int) -> list[Entrant]:
        """Whose turn it is in a round: each begins with another one, so that nobody always follows the same."""
        running = list(self.results)
        shift = number % len(running)
        return running[shift:] + running[:shift]


@contextmanager
def contest(
    problem: Problem,
    candidates: Sequence[Entrant],
    threads: int,
    settings: Settings,
    mode: str = "train",
    batch: int | None = None,
) -> Iterator[Contest]:
    """A process for each entrant, warmed up. They end with the context.

    Errors   WorkerError where ours fails, or another one after its warm-up
    """
    made = Contest()
    try:
        for entrant in candidates:  # all load their libraries at the same time; nothing is measured yet
            made.workers[entrant] = Worker(entrant, threads, settings)
            made.workers[entrant].tell("setup", **setup_message(problem, entrant, threads, settings, mode, batch))
        for entrant in candidates:
            try:
                made.results[entrant] = Measurement(entrant, versions=made.workers[entrant].answer()["versions"])
                made.steps[entrant] = burst_length(made.workers[entrant], settings)
            except WorkerError as error:
                if entrant.competitor == OURS:
                    raise
                made.results.pop(entrant, None)
                made.notes.append(str(error))
        yield made
    finally:
        for worker in made.workers.values():
            worker.close()


def measure(
    problem: Problem,
    candidates: Sequence[Entrant],
    threads: int,
    settings: Settings,
    mode: str = "train",
    batch: int | None = None,
) -> tuple[list[Measurement], list[str]]:
    """Time the entrants against each other on one net; and notes on those that do not compete.

    Errors   as `contest`
    """
    with contest(problem, candidates, threads, settings, mode, batch) as running:
        take_turns(running, settings)
    found = list(running.results.values())
    keep_calmest(found, settings.bursts)
    return found, running.notes


def take_turns(running: Contest, settings: Settings) -> None:
    """The rounds: a burst of each."""
    for number in range(-1, settings.bursts + settings.spare):
        for entrant in running.order(number):
            time.sleep(PAUSE)
            answer = running.workers[entrant].ask("run", steps=running.steps[entrant])
            if number >= 0:
                running.results[entrant].seconds.append(answer[settings.clock])
                running.results[entrant].waited.append(answer["waited"])
    for entrant, result in running.results.items():
        result.growth = running.workers[entrant].ask("memory")["growth"]


def keep_calmest(results: Sequence[Measurement], count: int) -> None:
    """Leave out whole rounds, those in which one of the entrants waited longest, until `count` are left."""
    worst = [max(waited) for waited in zip(*(m.waited for m in results), strict=True)]
    kept = sorted(sorted(range(len(worst)), key=lambda i: worst[i])[:count])
    for m in results:
        m.seconds, m.waited = [m.seconds[i] for i in kept], [m.waited[i] for i in kept]


def burst_length(worker: Worker, settings: Settings) -> int:
    """How many steps make a burst of the wanted length, after the worker has warmed up."""
    if settings.steps is not None:
        return settings.steps
    worker.ask("run", steps=1)
    taken = worker.ask("run", steps=WARM_UP)["wall"]
    return max(1, min(MOST_STEPS, round(settings.seconds / max(taken, 1e-9))))


def probe(names: Sequence[str], threads: int, settings: Settings) -> dict[str, Any]:
    """The machine's limits with so many threads: the best that any of these competitors reaches."""
    best: dict[str, Any] = {"gemm": 0.0, "bandwidth": {}}
    for name in names:
        with Worker(Entrant(name), threads, settings) as worker:
            try:
                found = worker.ask("probe", threads=threads, clock=settings.clock)
            except WorkerError as error:
                if not error.absent:
                    raise
                continue
        best["gemm"] = max(best["gemm"], found["gemm"])
        for size, rate in found["bandwidth"].items():
            best["bandwidth"][size] = max(best["bandwidth"].get(size, 0.0), rate)
    return best
