"""Milliseconds of a training step on the device, beside torch's where torch with CUDA is there.

A step begins with a batch on the host, as in a training, and ends when the device has done everything. The first step,
in which kernels are compiled, stands apart. Torch has the same nets and updates in a process of its own, in float32
without TF32: eager, and as one captured CUDA graph. On the stand-in the figures mean nothing.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from layerforge.config.document import Config

from .device import synchronize
from .examples import EXAMPLES, Example, classes, random_batches, trainer
from .stages import Check

CHILD = Path(__file__).with_name("torch_times.py")
WARM_UP, COUNTED, BATCHES = 5, 30, 4
QUICK = 0, 1, 2  # the same, where figures mean nothing
QUICK_BATCH = 4
PATIENCE = 120  # seconds that torch may take


def times(check: Check) -> None:
    """Every example configuration's step is timed; torch's, where it can be."""
    quick = check.options.quick or check.strict
    rows: dict[str, dict[str, Any]] = {}
    problems: dict[str, dict[str, Any]] = {}
    for name in EXAMPLES:
        config = Example(name, QUICK_BATCH if quick else None).config("backend=cupy")
        problems[name] = problem(config, QUICK[:2] if quick else (WARM_UP, COUNTED))
        with check.guarded(name):
            rows[name] = measure(check, config, *(QUICK if quick else (WARM_UP, COUNTED, BATCHES)))
        check.fact("times", rows)
        check.reached(name)
    check.fact("meaningless", check.strict)
    check.reached("our steps")
    theirs = torch_times(check.options.torch_python, problems)
    check.fact("torch", theirs)
    for name, row in theirs.get("nets", {}).items():
        ours = rows.get(name, {}).get("parameters")
        equal = row["parameters"] == ours
        check.demand(equal, f"{name}: torch's net has {row['parameters']} parameters, ours {ours}: not the same net")
    check.finished("all steps" if theirs.get("nets") else f"our steps; {theirs['missing']}")


def measure(check: Check, config: Config, warm_up: int, counted: int, batches: int) -> dict[str, Any]:
    """The first step in seconds; median, quartiles and least of the others in milliseconds."""
    net, solver = trainer(config, check.backend)
    given = random_batches(config, batches)
    seconds = []
    for number in range(1 + warm_up + counted):
        synchronize(check.backend)
        began = time.perf_counter()
        solver.step(**given[number % batches])
        synchronize(check.backend)
        seconds.append(time.perf_counter() - began)
        check.reached(config.path)
    first, later = seconds[0], [1e3 * s for s in seconds[1 + warm_up :]]
    low, median, high = np.percentile(later, [25, 50, 75]).tolist()
    return {
        "first_s": first, "ms": median, "quartiles": [low, high], "least": min(later), "steps": counted,
        "parameters": net.parameters.count, "batch": len(next(iter(given[0].values()))),
    }  # fmt: skip


def problem(config: Config, steps: tuple[int, int]) -> dict[str, Any]:
    """What torch is to do: inputs by shape, and the update."""
    net, solver = trainer(config, "numpy")
    options = {name: value for name, value in solver.section.plain().items() if name != "schedule"}
    return {
        "inputs": {name: [list(spec.shape), spec.dtype, classes(net)] for name, spec in net.graph.inputs.items()},
        "solver": {"type": solver.rule.type_name, **options},
        "steps": list(steps),
    }


def torch_times(python: str, problems: dict[str, Any]) -> dict[str, Any]:
    """What torch takes, as its process says; {"missing": why} where it says nothing."""
    try:
        done = subprocess.run(
            [python, str(CHILD)], input=json.dumps(problems), capture_output=True, text=True, timeout=PATIENCE
        )
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired) as problem:
        return {"missing": f"torch was not measured ({type(problem).__name__})"}
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return {"missing": f"torch was not measured ({last[0]})"}
    return found
