"""LayerForge: the configuration with the changes of a way of computing, through Net and Solver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import layerforge
from layerforge import Net, Solver
from layerforge.cli import net_table
from layerforge.engines import onednn
from layerforge.engines.onednn import primitives
from layerforge.engines.onednn.op import Op

from .. import probing
from ..worker import Job


class Ours:
    """A net of the benchmark and its solver."""

    def __init__(self, job: Job) -> None:
        self.net = Net.from_yaml(job.problem["config"], job.overrides, keep=job.options.get("keep", "none"))
        self.solver = Solver.from_config(self.net, self.net.config.solver)
        if job.training:  # planned before the first step, as `layerforge train` does for its table
            net_table.planned(self.net)
        self.scores = job.problem["scores"]
        self.wanted = next(iter(job.problem["inputs"]))
        self.versions = {"layerforge": layerforge.__version__, "numpy": np.__version__}

    def take(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Images with channels last in memory, as torch's fastest variant has them."""
        return {name: channels_last(array) if array.ndim == 4 else array for name, array in batch.items()}

    def step(self, batch: dict[str, np.ndarray]) -> None:
        self.solver.step(**batch)

    def infer(self, batch: dict[str, np.ndarray]) -> None:
        self.net.forward(phase="eval", outputs=self.scores, copy=False, **{self.wanted: batch[self.wanted]})

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        for name, array in self.parameters().items():
            array[...] = weights[name]

    def gradients(self, batch: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        self.net.zero_grad()
        self.net.forward(**batch)
        self.net.backward()
        return self.net.total_loss(), {name: a.copy() for name, a in self.views(self.net.parameters.grad).items()}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: array.copy() for name, array in self.parameters().items()}

    def parameters(self) -> dict[str, Any]:
        return self.views(self.net.parameters.data)

    def views(self, flat: Any) -> dict[str, Any]:
        """A flat array's parts by parameter."""
        return {f"{slot.layer}.{slot.name}": slot.view(flat) for slot in self.net.parameters.slots.values()}


def channels_last(images: np.ndarray) -> np.ndarray:
    """The same values (N, C, H, W), stored as (N, H, W, C)."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(images, 1, -1)), -1, 1)


def build(job: Job) -> Ours:
    """Our net. Errors   LayerForgeError"""
    return Ours(job)


def probe(threads: int, clock: str) -> dict[str, Any]:
    """NumPy's matrix product and the engine's, and NumPy's addition with a part of the arrays for each thread."""
    with ThreadPoolExecutor(threads) as pool:

        def adder(n: int) -> Any:
            x, y, z = (np.ones(n, np.float32) for _ in range(3))
            parts = [slice(i * n // threads, (i + 1) * n // threads) for i in range(threads)]
            if threads == 1:
                return lambda: np.add(x, y, out=z)
            return lambda: list(pool.map(lambda part: np.add(x[part], y[part], out=z[part]), parts))

        return probing.limits(products(), adder, clock)


def products() -> Iterator[Callable[[], Any]]:
    """NumPy's product of two matrices, then the engine's: once that is loaded, NumPy has a single thread."""
    a, b, c = (np.ones((probing.SIZE, probing.SIZE), np.float32) for _ in range(3))
    yield lambda: np.matmul(a, b, out=c)
    if onednn.missing() is None:
        product = Op(primitives.matmul, (), lambda name, size: np.empty(size, "uint8"))
        yield lambda: product(a, b, None, c)
