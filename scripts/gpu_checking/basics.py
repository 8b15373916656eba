"""The first stages: what is there, whether its libraries load, and whether random numbers are the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from layerforge.arrays import philox

from .device import host, same_bits, surroundings
from .stages import Check

# Of CuPy's libraries, each loaded when it is first used: what an operation needs, and the operation.
LIBRARIES: dict[str, Callable[[Any, Any], Any]] = {
    "a product (cuBLAS)": lambda xp, x: x @ x,
    "many products (cuBLAS)": lambda xp, x: xp.matmul(xp.stack([x, x]), x),
    "an elementwise kernel (NVRTC)": lambda xp, x: xp.exp(-x * x),
    "a sum (NVRTC, CUB)": lambda xp, x: x.sum(axis=1),
    "a whole sum (CUB)": lambda xp, x: x.sum(),
    "a running sum (CUB)": lambda xp, x: x.cumsum(axis=0),
    "an order (Thrust)": lambda xp, x: xp.argsort(x, axis=-1, kind="stable"),
    "an inverse (cuSOLVER)": lambda xp, x: xp.linalg.inv(x),
}
SIZE = 64
CLOSE = 1e-3  # relative to the largest: an inverse of a well-conditioned matrix in float32, however it is computed

SEED = 12_345
SHAPES: list[tuple[int, ...]] = [(3, 5), (64, 1024), (2, 3, 7, 7), (), (0, 4), (1, 1), (5,)]
WHERE = [(0, 0), (7, 0), (2**32 + 3, 0), (1, 1000), (2**33 + 1, 2**31)]  # iteration, first sample
DRAWS = ("dropout", "a name with ünicode")


def versions(check: Check) -> None:
    """Device, driver and versions; a mixture of CuPy's distributions, or products that are not in float32, are told."""
    found = surroundings(check.backend)
    check.fact("surroundings", found)
    names = ", ".join(found["distributions"])
    check.demand(len(found["distributions"]) <= 1, f"several distributions of CuPy are installed ({names}): keep one")
    tf32 = found["variables"].get("CUPY_TF32", "0")
    check.demand(tf32 in ("", "0"), f"CUPY_TF32={tf32}: products keep 11 bits of 24, so that nothing else can hold")
    check.finished(found["device"])


def smoke(check: Check) -> None:
    """One operation of each library: what is missing shows here, and not inside of a layer."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(SIZE, SIZE)) + SIZE * np.eye(SIZE)).astype("float32")
    given = check.backend.from_host(x)
    for what, operation in LIBRARIES.items():
        with check.guarded(what):
            mine, right = host(check.backend, operation(check.xp, given)), operation(np, x)
            equal = mine.shape == right.shape and mine.dtype == right.dtype
            off = np.abs(mine - right).max() / np.abs(right).max() if equal else np.inf
            check.demand(off <= CLOSE, f"{what} is off by {off:.1g} of its largest number, or of another type")
        check.reached(what)
    check.finished(f"{len(LIBRARIES)} operations")


def random_bits(check: Check) -> None:
    """Philox gives NumPy's bits, for every shape, late iterations and samples in the middle of a batch."""
    for stream in DRAWS:
        key = philox.stream_key(SEED, stream)
        for iteration, first in WHERE:
            where = {"iteration": iteration, "first_sample": first}
            for shape in SHAPES:
                mine = host(check.backend, philox.uniform(check.xp, key, shape, **where))
                right = np.asarray(philox.uniform(np, key, shape, **where))
                where_words = f"shape {shape}, iteration {iteration}, first sample {first}"
                differ = int((mine != right).sum()) if mine.shape == right.shape else -1
                check.demand(
                    same_bits(mine, right), f"uniform numbers differ from NumPy's: {where_words}, {differ} of them"
                )
                check.reached(where_words)
    check.finished(f"{check.outcome.checks} arrays")
