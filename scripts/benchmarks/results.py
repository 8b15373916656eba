"""Run the measurements that were asked for and collect them in one mapping, which is also what --json writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from . import driver, problem
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


def fill(
    result: dict[str, Any],
    nets: Sequence[str],
    against: Sequence[str],
    threads: Sequence[int],
    settings: Settings,
    *,
    training: bool,
    inference: bool,
    say: Callable[[str], None],
) -> None:
    """Measure nets with each number of threads, and add rows to a result.

    Errors   WorkerError, LayerForgeError
    """
    jobs: list[tuple[str, int | None]] = [("train", None)] if training else []
    jobs += [("infer", batch) for batch in INFERENCE_BATCHES] if inference else []
    problems = [problem.load(net, settings.overrides) for net in nets]
    for count in threads:
        result["limits"][str(count)] = driver.probe([n for n in PROBING if n in (OURS, *against)], count, settings)
        for task in problems:
            for mode, batch in jobs:
                say(f"{task.name}, {count} thread(s), {mode}{'' if batch is None else f', batch {batch}'}")
                add_row(result, task, against, count, settings, mode, batch)


def add_row(
    result: dict[str, Any],
    task: Problem,
    against: Sequence[str],
    threads: int,
    settings: Settings,
    mode: str,
    batch: int | None,
) -> None:
    """Measure one net in one mode."""
    candidates = driver.entrants(task.name, against)
    measured, notes = driver.measure(task, candidates, threads, settings, mode, batch)
    times: dict[str, dict[str, Any]] = {}
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
