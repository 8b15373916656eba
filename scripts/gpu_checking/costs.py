"""What a training step asks of the device beside arithmetic: waits, uploads, memory from the driver.

The stand-in counts all of it. On a real device calls are counted at the module's functions, waits and uploads among
them: operators and methods of arrays, such as `float(x)`, are CuPy's own and stay unseen; memory is counted by a hook
of CuPy's pool. What must hold on both: a step waits for the device at most once, uploads its inputs and nothing else,
costs what the step before it did, and asks the driver for no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from layerforge.arrays.backend import Backend

from .examples import EXAMPLES, Example, random_batches, trainer
from .stages import Check

SET_UP, COUNTED = 2, 2  # steps; in the second the pool still grows on a device
QUICK_BATCH = 4
WAITS = 1  # of a step
DOWN, UP = ("asnumpy",), ("asarray", "array", "asanyarray", "ascontiguousarray")
Counts = dict[str, int]


class Counted:
    """A namespace whose functions are counted when they are called; everything else is the namespace's."""

    def __init__(self, xp: Any, counts: Counts) -> None:
        self._xp, self._counts = xp, counts

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        if not callable(found) or isinstance(found, type):
            return found
        return CountedFunction(self._xp, found, self._counts, name)


class CountedFunction:
    """A function whose calls are counted; what else it has, as a ufunc has `at`, is its own, and is not counted."""

    def __init__(self, xp: Any, function: Any, counts: Counts, name: str) -> None:
        self._xp, self._function, self._counts, self._name = xp, function, counts, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        counts, name = self._counts, self._name
        counts["calls"] += 1
        counts["waits"] += name in DOWN
        counts["uploads"] += name in UP and bool(args) and not isinstance(args[0], self._xp.ndarray)
        return self._function(*args, **kwargs)


def counting_backend(backend: Backend) -> tuple[Backend, Counts]:
    """The backend with a namespace that counts, and the counts."""
    counts = dict.fromkeys(("calls", "waits", "uploads", "pool", "driver"), 0)
    return Backend(backend.name, Counted(backend.xp, counts), backend.sparse), counts


@contextmanager
def pool_counted(cupy: Any, counts: Counts) -> Iterator[None]:
    """Count, within the block, what the pool is asked for, and what the pool asks the driver for."""

    class Hook(cupy.cuda.MemoryHook):
        name = "LayerForgeCounts"

        def malloc_preprocess(self, **about: Any) -> None:
            counts["pool"] += 1

        def alloc_preprocess(self, **about: Any) -> None:
            counts["driver"] += 1

    with Hook():
        yield


def costs(check: Check) -> None:
    """A step of each example configuration waits once, uploads its inputs alone, and takes no memory that is new."""
    found: dict[str, Counts] = {}
    for name in EXAMPLES:
        check.reached(name)
        example = Example(name, QUICK_BATCH if check.options.quick or check.strict else None)
        with check.guarded(name):
            found[name] = hold(check, example)
        check.fact("costs", found)
    check.finished(f"{len(found)} configurations")


def hold(check: Check, example: Example) -> Counts:
    """Demand the limits of an example's step; its counts."""
    config = example.config("backend=cupy")
    batches = random_batches(config, COUNTED + (1 if check.strict else SET_UP))
    *_, one, other = counts_of_steps(check, config, batches)
    name, inputs = example.name, len(batches[0])
    check.demand(one["waits"] <= WAITS, f"{name}: a step waits {one['waits']} times for the device, not {WAITS}")
    check.demand(one["uploads"] <= inputs, f"{name}: a step uploads {one['uploads']} times, and has {inputs} inputs")
    check.demand(not one.get("driver"), f"{name}: a step asks the driver for memory {one.get('driver')} times")
    same = {key: count for key, count in one.items() if key != "driver"}
    check.demand(same == {key: other[key] for key in same}, f"{name}: a step costs {one}, the next one {other}")
    return one


def counts_of_steps(check: Check, config: Any, batches: list[dict[str, np.ndarray]]) -> list[Counts]:
    """The counts of each of some steps."""
    found: list[Counts] = []
    if check.strict:
        _, solver = trainer(config, check.backend)
        for batch in batches:
            with check.xp.counting() as counts:
                solver.step(**batch)
            found.append(dict(counts))
        return found
    backend, counts = counting_backend(check.backend)
    _, solver = trainer(config, backend)
    with pool_counted(check.xp, counts):
        for batch in batches:
            before = counts.copy()
            solver.step(**batch)
            found.append({key: count - before[key] for key, count in counts.items()})
    return found
