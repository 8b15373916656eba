"""Run the measurements that were asked for and collect them in one mapping, which is also what --json writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import driver, neighbour, problem
from .catalogue import COMPETITORS, INFERENCE_BATCHES, OURS
from .driver import Measurement, Settings
from .problem import Problem

PROBING = (OURS, "torch")  # who measures the machine's limits: they have a matrix product of their own


def empty(about: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A result with nothing measured yet."""
    kept = {key: value for key, value in asdict(settings).items() if key not in ("pythons", "overrides")}
    return {
        "machine": dict(about),
        "settings": {**kept, "set": list(settings.overrides)},
        "versions": {},
        "limits": {},
        "rows": [],
        "notes": [],
    }


@dataclass(frozen=True)
class Wanted:
    """What to measure: nets, our ways of computing them, the competitors, numbers of threads, and at what."""

    nets: Sequence[str]
    ways: Sequence[str]
    against: Sequence[str]
    threads: Sequence[int]
    training: bool = True
    inference: bool = False
    neighbour: bool = False

    def jobs(self, threads: int) -> list[tuple[str, int | None]]:
        """Modes and batches. A neighbour disturbs only those who share its core: the largest number of threads."""
        found: list[tuple[str, int | None]] = [("train", None)] if self.training else []
        found += [("infer", batch) for batch in INFERENCE_BATCHES] if self.inference else []
        return found + ([("neighbour", None)] if self.neighbour and threads == max(self.threads) else [])


def fill(result: dict[str, Any], wanted: Wanted, settings: Settings, say: Callable[[str], None]) -> None:
    """Measure nets with each number of threads, and add rows to a result.

    Errors   WorkerError, LayerForgeError, NoNeighbour
    """
    problems = [problem.load(net, settings.overrides) for net in wanted.nets]
    for count in wanted.threads:
        probing = [name for name in PROBING if name in (OURS, *wanted.against)]
        result["limits"][str(count)] = driver.probe(probing, count, settings)
        for task in problems:
            for mode, batch in wanted.jobs(count):
                say(f"{task.name}, {count} thread(s), {mode}{'' if batch is None else f', batch {batch}'}")
                add_row(result, task, wanted, count, settings, mode, batch)


def add_row(
    result: dict[str, Any],
    task: Problem,
    wanted: Wanted,
    threads: int,
    settings: Settings,
    mode: str,
    batch: int | None,
) -> None:
    """Measure one net in one mode."""
    times: dict[str, dict[str, Any]] = {}
    candidates = driver.entrants(task.name, wanted.ways, wanted.against, "infer" if mode == "infer" else "train")
    if mode == "neighbour":
        beside, notes = neighbour.measure(task, candidates, threads, settings)
        for found in beside:
            entrant: driver.Entrant = found.pop("entrant")
            result["versions"] |= found.pop("versions")
            times.setdefault(entrant.competitor, {})[entrant.variant] = found
    else:
        measured, notes = driver.measure(task, candidates, threads, settings, mode, batch)
        for m in measured:
            times.setdefault(m.entrant.competitor, {})[m.entrant.variant] = plain(m)
            result["versions"] |= m.versions
    row = {"net": task.name, "threads": threads, "mode": mode, "batch": batch, "times": times}
    if mode == "train":
        row |= {"step_flops": task.step_flops, "step_bytes": task.step_bytes}
        row["roofline"] = roofline(task, result["limits"][str(threads)])
    result["rows"].append(row)
    result["notes"] += [f"{task.name}: {note}" for note in notes if f"{task.name}: {note}" not in result["notes"]]


def plain(measurement: Measurement) -> dict[str, Any]:
    """A measurement as JSON."""
    return {"seconds": measurement.seconds, "waited": measurement.waited, "growth": measurement.growth}


def roofline(task: Problem, limits: Mapping[str, Any]) -> float:
    """Seconds of a training step at the machine's limits: counted operations at the rate of a large matrix product,
    plus estimated traffic at the bandwidth of arrays as large as the net's largest."""
    sizes = sorted(map(int, limits["bandwidth"]))
    fits = next((size for size in sizes if size >= task.largest_bytes), sizes[-1])
    return task.step_flops / limits["gemm"] + task.step_bytes / limits["bandwidth"][str(fits)]


def known_competitors() -> list[str]:
    """What --against takes."""
    return [name for name in COMPETITORS if name != OURS]
