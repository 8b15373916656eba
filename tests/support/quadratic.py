"""A hand-written quadratic, to be minimised by solvers."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerforge.arrays.backend import NUMPY, Backend
from layerforge.arrays.spec import Spec
from layerforge.contract.layer import Layer
from layerforge.graph.multipliers import Multipliers
from layerforge.plan.engines import EngineRequest
from layerforge.run.parameters import allocate

RNG = np.random.default_rng(20)


class Affine(Layer):
    """y = weight · x + bias, number by number, with a count of the samples it saw as its state."""

    def setup(self, x: Spec) -> Spec:
        self.add_param("weight", x.shape[1:], "gaussian")
        self.add_param("bias", x.shape[1:], 0.5, decay_mult=0)
        self.add_state("seen", (1,), 0)
        return x


class QuadraticNet:
    """What a Solver needs of a Net, around two Affine layers a and b; loss = ½ Σ (b(a(x)) - t)², mean or sum over n.

    A sample whose target is NaN is ignored: it counts neither in the loss nor in the mean.
    """

    def __init__(
        self,
        width: int = 3,
        dtype: str = "float64",
        backend: Backend = NUMPY,
        mean: bool = True,
        multipliers: dict[tuple[str, str], Multipliers] | None = None,
        engine: str = "reference",
    ) -> None:
        self.layers = {}
        for name in ("a", "b"):
            layer = self.layers[name] = Affine()
            layer.name = name
            layer.setup(Spec((2, width)))
        self.parameters = allocate(self.layers.values(), backend, dtype, 0, multipliers)
        self.backend, self.dtype, self.mean = backend, dtype, mean
        self.engine_request = EngineRequest(engine, backend.name, dtype, threads=1)
        self.iteration = self.first_sample = self.batch_size = 0
        self.seen_keys: list[tuple[int, int]] = []  # (iteration, first_sample) of every forward
        self.fail_in_backward: BaseException | None = None

    def zero_grad(self) -> None:
        self.parameters.grad[...] = 0

    def forward(self, *, phase: str, copy: bool, x: Any, t: Any) -> dict[str, Any]:
        assert (phase, copy) == ("train", False)
        self.seen_keys.append((self.iteration, self.first_sample))
        self.batch_size = len(x)
        valid = ~np.isnan(t).any(axis=1)
        self.n = int(valid.sum())
        put = self.backend.from_host
        self.x, t = put(x[valid], self.dtype), put(t[valid], self.dtype)
        a, b = self.layers["a"].params, self.layers["b"].params
        self.h = a.weight * self.x + a.bias
        self.r = b.weight * self.h + b.bias - t
        for layer in self.layers.values():
            layer.state.seen[...] += len(x)
        return {}

    def mean_over(self) -> int | None:
        return self.n if self.mean else None

    def _share(self) -> float:
        return 1 / max(1, self.n) if self.mean else 1.0

    def total_loss(self) -> float:
        return self._share() * 0.5 * float((self.r * self.r).sum())

    def backward_losses(self, scale: float = 1.0, *, overwrite_grad: bool = False) -> None:
        if self.fail_in_backward is not None:
            raise self.fail_in_backward
        if overwrite_grad:
            self.zero_grad()
        dy = self.r * (scale * self._share())
        a, b = self.layers["a"], self.layers["b"]
        dh = dy * b.params.weight
        b.grads.weight += (dy * self.h).sum(axis=0)
        b.grads.bias += dy.sum(axis=0)
        a.grads.weight += (dh * self.x).sum(axis=0)
        a.grads.bias += dh.sum(axis=0)

    def snapshot_state(self) -> Any:
        return {name: layer.state.seen.copy() for name, layer in self.layers.items()}

    def restore_state(self, copies: Any) -> None:
        for name, array in copies.items():
            self.layers[name].state.seen[...] = array

    # What the tests look at
    def seen(self) -> float:
        return float(self.layers["a"].state.seen[0])

    def data(self) -> np.ndarray:
        return self.backend.to_host(self.parameters.data).copy()

    def grad(self) -> np.ndarray:
        return self.backend.to_host(self.parameters.grad).copy()


def batch(n: int, width: int = 3) -> dict[str, np.ndarray]:
    return {"x": RNG.normal(size=(n, width)), "t": RNG.normal(size=(n, width))}
