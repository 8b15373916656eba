"""Numbers at the edge of what a library promises: sums of nothing and of one number, NaN, ties, many to one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from layerforge import Net
from layerforge.arrays.backend import NUMPY, Backend

from .device import host, same_bits
from .stages import Check

DUPLICATES = 10_000
TIMES = 3

# Reductions that layers use, as a device library may compute them: each on its own way for whole arrays and for axes.
REDUCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sum": lambda xp, x, axis: x.sum(axis=axis),
    "sum in float64": lambda xp, x, axis: x.sum(axis=axis, dtype="float64"),
    "product": lambda xp, x, axis: x.prod(axis=axis),
    "any": lambda xp, x, axis: (x > 0).any(axis=axis),
    "all": lambda xp, x, axis: (x > 0).all(axis=axis),
}
EXTREMES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "max": lambda xp, x, axis: x.max(axis=axis),
    "min": lambda xp, x, axis: x.min(axis=axis),
    "argmax": lambda xp, x, axis: x.argmax(axis=axis),
    "mean": lambda xp, x, axis: x.mean(axis=axis, dtype="float64"),
}
SINGLE = np.float32(1.5)


def corners(check: Check) -> None:
    """0-d and empty reductions, ArgMax with NaN and ties, and scatters with many duplicates, three times."""
    reductions(check)
    check.reached("reductions")
    arg_max(check)
    check.reached("ArgMax")
    scatters(check)
    check.finished("reductions, ArgMax, scatters")


def reductions(check: Check) -> None:
    """Demand NumPy's values of reductions of 0-d arrays and of arrays without elements."""
    empty = [(np.zeros(shape, "float32"), axis) for shape in ((0,), (0, 3), (3, 0)) for axis in (None, 0)]
    empty += [(np.zeros((2, 0, 3), "float32"), axis) for axis in (1, (1, 2))]
    single: list[tuple[Any, Any]] = [(np.asarray(SINGLE), axis) for axis in (None, ())]
    for name, reduce in {**REDUCTIONS, **EXTREMES}.items():
        whole = [(array, axis) for array, axis in single if name != "argmax" or axis is None]
        for array, axis in [*whole, *(empty if name in REDUCTIONS else [])]:
            where = f"{name} of shape {array.shape} over axis {axis}"
            with check.guarded(where):
                mine = host(check.backend, reduce(check.xp, check.backend.from_host(array), axis))
                right = np.asarray(reduce(np, array, axis))
                check.demand(same_bits(mine, right), f"{where} is {mine.tolist()}, on NumPy {right.tolist()}")


def awkward() -> np.ndarray:
    """Scores with ties, NaN, infinities and signed zeros."""
    nan, inf = np.nan, np.inf
    rows = [
        [1, 3, 3, 2, 3, 0],
        [nan, 1, nan, 2, 5, inf],
        [0.0, -0.0, 0.0, -0.0, 0.0, -1],
        [-inf, -inf, -inf, -inf, -inf, -inf],
        [inf, nan, inf, 1, 2, 3],
        [7, 7, 7, 7, 7, 7],
    ]
    return np.asarray(rows, "float32")


def arg_max(check: Check) -> None:
    """Demand NumPy's indices, where several elements are the largest or some are no numbers."""
    scores, rng = awkward(), np.random.default_rng(0)
    wide = rng.integers(0, 3, (6, 3000)).astype("float32")  # ties that several blocks of threads find
    for x in (scores, wide):
        for keys in ({"dim": None}, {"dim": 1}, {"dim": 0}, {"dim": 1, "top_k": 3}):
            net = [{"name": "top", "type": "ArgMax", "bottom": "x", **keys}]
            config = {"inputs": {"x": {"shape": list(x.shape)}}, "net": net}
            where = f"ArgMax {keys} of shape {x.shape}"
            with check.guarded(where):
                mine, right = (forward(config, backend, x=x)["top"] for backend in (check.backend, NUMPY))
                check.demand(same_bits(mine, right), f"{where} is {mine.tolist()}, on NumPy {right.tolist()}"[:300])


def forward(config: Any, backend: Backend, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What a net makes of inputs in eval, on the host."""
    net = Net.from_config(config, backend=backend)
    return {name: host(backend, top) for name, top in net.forward(phase="eval", **inputs).items()}


def scatters(check: Check) -> None:
    """Demand the same bits three times of sums at places that are named again and again."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, 7, DUPLICATES)
    places[: DUPLICATES // 2] = 3
    values = (rng.normal(size=(DUPLICATES, 2)) * 10.0 ** rng.integers(-4, 5, (DUPLICATES, 1))).astype("float32")
    for name, compute in {"Embedding": embedding, "Gather": gather, "ScatterAdd": scatter_add}.items():
        with check.guarded(name):
            found = [compute(check.backend, places, values) for _ in range(TIMES)]
            alike = all(same_bits(one, found[0]) for one in found)
            check.demand(alike, f"{name}: {DUPLICATES:,} terms at few places have other bits each time")
            off = np.abs(found[0] - compute(NUMPY, places, values)).max() / np.abs(values).max()
            check.demand(off < 1e-4, f"{name}: {DUPLICATES:,} terms at few places: off by {off:.1g} of the largest")


def embedding(backend: Backend, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The gradient of an embedding's table."""
    layer = {"name": "rows", "type": "Embedding", "bottom": "i", "num_embeddings": 7, "embedding_dim": 2}
    net = Net.from_config({"inputs": {"i": {"shape": [DUPLICATES], "dtype": "int64"}}, "net": [layer]}, backend=backend)
    net.forward(i=places)
    net.backward(rows=values)
    return host(backend, net.params["rows"]["weight"].grad)


def gather(backend: Backend, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The gradient of what a Gather reads."""
    inputs = {"x": {"shape": [7, 2], "grad": True}, "i": {"shape": [DUPLICATES, 2], "dtype": "int64"}}
    layer = {"name": "read", "type": "Gather", "bottom": ["x", "i"], "dim": 0}
    net = Net.from_config({"inputs": inputs, "net": [layer]}, backend=backend)
    net.forward(x=np.ones((7, 2), "float32"), i=np.stack([places, places], axis=1))
    net.backward(read=values)
    return host(backend, net.blobs["x"].grad)


def scatter_add(backend: Backend, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What a ScatterAdd makes."""
    shape = [DUPLICATES, 2]
    inputs = {"x": {"shape": [7, 2]}, "i": {"shape": shape, "dtype": "int64"}, "v": {"shape": shape}}
    layer = {"name": "sums", "type": "ScatterAdd", "bottom": ["x", "i", "v"], "dim": 0}
    given = {"x": np.zeros((7, 2), "float32"), "i": np.stack([places, places], axis=1), "v": values}
    return forward({"inputs": inputs, "net": [layer]}, backend, **given)["sums"]
