"""A process that runs one competitor: `python -m benchmarks.worker MODULE`, then one JSON object per line.

    {"do": "setup", "problem": {...}, "variant": "eager", "threads": 2, "batch": null, "mode": "train",
     "overrides": [], "options": {}}    -> {"versions": {...}}
    {"do": "run", "steps": 10}          -> {"wall": 0.012, "cpu": 0.02, "waited": 0.01}   seconds of one step, after
                                           some that do not count, by the clock and of all threads' computing; share
                                           of the burst in which threads waited for a CPU
    {"do": "memory"}                    -> {"growth": 123456}   bytes above the state before the first step
    {"do": "verify", "weights": FILE, "out": FILE}
                                        -> {"loss": 2.3}        arrays go through .npz files
    {"do": "probe", "threads": 2, "clock": "wall"}
                                        -> {"gemm": 1e11, "bandwidth": {"262144": 1e10, ...}}

What fails is answered by {"error": "...", "kind": "ModuleNotFoundError"}. The process ends with its input.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

BATCHES = 8  # that the steps go round: fresh inputs in each, as in training, all of them in memory before
SETTLING = 0.1  # share of a burst's steps that is run before the clock starts: the caches belong to somebody else


class NotCovered(Exception):
    """A competitor has no code for a net."""


@dataclass(frozen=True)
class Job:
    """What a competitor is to build.

    problem    a Problem as a mapping
    overrides  for our configuration
    options    what else its module takes
    """

    problem: Mapping[str, Any]
    variant: str = "eager"
    threads: int = 1
    training: bool = True
    overrides: list[str] = field(default_factory=list)
    options: Mapping[str, Any] = field(default_factory=dict)


class Contestant(Protocol):
    """A net of one library. Parameters and gradients go by "layer.name", in the shapes of torch."""

    versions: dict[str, str]

    def take(self, batch: dict[str, np.ndarray]) -> Any:
        """The batch as the library likes it; not timed."""

    def step(self, batch: Any) -> None:
        """One training step: forward, loss, backward, update."""

    def infer(self, batch: Any) -> None:
        """The scores of a batch in eval."""

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take over these parameters."""

    def gradients(self, batch: Any) -> tuple[float, dict[str, np.ndarray]]:
        """The loss and the gradients of all parameters, without an update."""

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of all parameters."""


def batches(problem: Mapping[str, Any], count: int, size: int | None, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Random batches, the same for everybody: normal numbers, integers below their bound."""
    rng = np.random.default_rng(seed)

    def draw(shape: list[int], dtype: str, bound: int) -> np.ndarray:
        shape = shape if size is None else [size, *shape[1:]]
        values = rng.integers(bound, size=shape) if bound else rng.standard_normal(shape, np.float32)
        return values.astype(dtype)

    return [{name: draw(*spec) for name, spec in problem["inputs"].items()} for _ in range(count)]


class Worker:
    """The answers to the driver's messages."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.run_one: Callable[[Any], None] | None = None
        self.before = 0

    def setup(
        self,
        problem: Mapping[str, Any],
        variant: str,
        threads: int,
        batch: int | None,
        mode: str,
        overrides: list[str],
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Build the net and its batches, and remember how much memory that took."""
        build = importlib.import_module(f"benchmarks.competitors.{self.module}").build
        self.problem = problem
        self.net: Contestant = build(Job(problem, variant, threads, mode == "train", overrides, options))
        self.batches = [self.net.take(b) for b in batches(problem, BATCHES, batch)]
        self.run_one = self.net.step if mode == "train" else self.net.infer
        self.before = start_of_memory()
        return {"versions": self.net.versions}

    def run(self, steps: int) -> dict[str, Any]:
        """What a step takes, over so many steps, and how much others disturbed it."""
        assert self.run_one is not None
        run_one, given = self.run_one, self.batches
        for i in range(max(1, int(SETTLING * steps))):
            run_one(given[i % len(given)])
        chosen = [given[i % len(given)] for i in range(steps)]
        waited, computed, began = seconds_waited(), time.process_time(), time.perf_counter()
        for batch in chosen:
            run_one(batch)
        wall, cpu = time.perf_counter() - began, time.process_time() - computed
        return {"wall": wall / steps, "cpu": cpu / steps, "waited": (seconds_waited() - waited) / wall}

    def memory(self) -> dict[str, Any]:
        """How far resident memory has grown at most since `setup`."""
        return {"growth": max(0, peak_memory() - self.before)}

    def verify(self, weights: str, out: str) -> dict[str, Any]:
        """Gradients of one batch from given weights, and the weights after two updates, into a file."""
        with np.load(weights) as arrays:
            self.net.load(dict(arrays))
        loss, gradients = self.net.gradients(self.batches[0])
        for batch in self.batches[:2]:
            self.net.step(batch)
        arrays = {f"gradient/{k}": v for k, v in gradients.items()}
        np.savez(out, **arrays, **{f"weight/{k}": v for k, v in self.net.weights().items()})
        return {"loss": loss}

    def probe(self, threads: int, clock: str) -> dict[str, Any]:
        """How fast this library multiplies matrices and streams memory."""
        return importlib.import_module(f"benchmarks.competitors.{self.module}").probe(threads, clock)


def seconds_waited() -> float:
    """How long this process's threads were ready to run and had no CPU; 0 where the system does not say."""
    lines = []
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread may have ended meanwhile
            lines.append(path.read_text())
    return sum(int(line.split()[1]) for line in lines) / 1e9


def start_of_memory() -> int:
    """Resident bytes now; from here on the peak counts, where the system lets us reset it.

    What was freed before is given back first, or the steps would find their memory there and seem to need none.
    """
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return status_bytes("VmRSS")
    except OSError:
        return peak_memory()


def peak_memory() -> int:
    """The largest resident memory, in bytes."""
    try:
        return status_bytes("VmHWM")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def status_bytes(key: str) -> int:
    """A line of /proc/self/status. OSError where there is none."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def answers() -> TextIO:
    """The channel to the driver. What libraries print goes to stderr instead."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


def main(module: str) -> None:
    """Answer line by line until the input ends."""
    worker, channel = Worker(module), answers()
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = getattr(worker, message.pop("do"))(**message)
        except Exception as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


if __name__ == "__main__":
    main(sys.argv[1])
