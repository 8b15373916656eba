"""The machine's limits as a library reaches them: the rate of a large matrix product, and of streaming memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

SIZE = 2048  # of the square matrices
ARRAYS = (2**18, 2**22, 2**26)  # bytes of each of three arrays: about the second cache, the third, main memory
REPEATS = 7
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def best_seconds(function: Callable[[], Any], clock: str, inner: int = 1) -> float:
    """The shortest time of some calls, after one that does not count."""
    now = CLOCKS[clock]
    function()
    shortest = float("inf")
    for _ in range(REPEATS):
        began = now()
        for _ in range(inner):
            function()
        shortest = min(shortest, (now() - began) / inner)
    return shortest


def limits(
    products: Iterable[Callable[[], Any]], adder: Callable[[int], Callable[[], Any]], clock: str
) -> dict[str, Any]:
    """gemm (operations per second) and bandwidth (bytes per second, by bytes of an array).

    products  ways to multiply two SIZE x SIZE matrices, of which the fastest counts
    adder     for n numbers: a function that makes c = a + b of arrays of n float32
    clock     "wall" or "cpu"
    """
    bandwidth = {}
    for size in ARRAYS:
        inner = max(1, 2**22 // size)
        bandwidth[str(size)] = 3 * size / best_seconds(adder(size // 4), clock, inner)
    return {"gemm": 2 * SIZE**3 / min(best_seconds(p, clock) for p in products), "bandwidth": bandwidth}
