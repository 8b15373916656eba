"""A layer alone, as the checks see it: set up for an example, with random parameters, inputs and upstream gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays.backend import NUMPY, Backend
from ..arrays.sparse import CSR, places, stored
from ..arrays.spec import Spec
from ..contract import call
from ..contract.layer import Example, Layer, Run
from ..engines.protocol import is_engine_layer
from ..layers.plumbing.input import Input
from ..run.parameters import allocate

SEED = 20_000


def reference_of(cls: type[Layer]) -> type[Layer]:
    """The layer that an engine's layer stands in for; any other layer itself."""
    return next(c for c in cls.__mro__ if not is_engine_layer(c))


class Probe:
    """A layer set up and allocated for an example. Values depend on the seed only, not on dtype or backend.

    An engine's layer takes the place of its reference, as in a net.
    """

    def __init__(
        self,
        cls: type[Layer],
        example: Example,
        *,
        dtype: str = "float64",
        backend: Backend = NUMPY,
        phase: str = "train",
        seed: int = SEED,
    ) -> None:
        self.example, self.backend, self.xp, self.dtype, self.seed = example, backend, backend.xp, dtype, seed
        reference = reference_of(cls)
        self.layer = reference.from_config(example.params)
        self.layer.xp, self.layer.dtype, self.layer.run = backend.xp, dtype, Run(phase=phase, seed=7)
        self.layer.tops_wanted = example.tops
        self.bottom_specs = tuple(s.with_dtype(dtype) for s in example.bottoms)
        self.top_specs = call.setup(self.layer, self.bottom_specs)
        skip = self.layer.no_grad_bottoms
        self.layer.needs_grad = tuple(s.is_real and i not in skip for i, s in enumerate(self.bottom_specs))
        self.layer.tops_wanted = len(self.top_specs)
        self.parameters = allocate([self.layer], backend, dtype, seed)
        self._disturb()
        if cls is not reference:
            self.layer = cls.instead_of(self.layer)
        self.bottoms = self.draw_bottoms()

    def _disturb(self) -> None:
        """Move parameters and statistics off their start values: a zero bias would hide its own gradient's errors."""
        rng = np.random.default_rng([self.seed, 1])
        for _, array in self.layer.params.items():
            array += self.device(0.1 * rng.normal(size=array.shape))
        for _, array in self.layer.state.items():
            if array.dtype.kind == "f":
                array += self.device(0.1 * rng.random(array.shape))

    def device(self, array: Any) -> Any:
        """A host array of reals on the probe's backend and in its dtype."""
        return self.backend.from_host(np.asarray(array).astype(self.dtype))

    def draw_bottoms(self, stream: int = 2) -> list[Any]:
        """Random bottoms that respect the bounds of the example."""
        rng = np.random.default_rng([self.seed, stream])
        return [self.backend.from_host(draw(spec, rng)) for spec in self.bottom_specs]

    def draw_cotangents(self, tops: Sequence[Any], stream: int = 3) -> list[Any]:
        """A random upstream gradient for each real top, None for index tops. Never ones: ones are blind."""
        rng = np.random.default_rng([self.seed, stream])
        return [
            self.device(rng.normal(size=t.shape)) if s.is_real else None
            for t, s in zip(tops, self.top_specs, strict=True)
        ]

    def forward(self, bottoms: Sequence[Any] | None = None, *, goes_on: bool = False) -> tuple[Any, ...]:
        """The tops; where the layer carries, those of a first batch unless it goes on from the forward before.

        An Input has no forward: its top is an array that a caller could give.
        """
        if isinstance(self.layer, Input):
            return tuple(self.backend.from_host(draw(s, np.random.default_rng(SEED))) for s in self.top_specs)
        given = self.bottoms if bottoms is None else bottoms
        if not goes_on:
            self.layer.carried.clear()
        # Checks change values in place, and a CSR remembers them in another order.
        return call.forward(self.layer, [b.fresh() if isinstance(b, CSR) else b for b in given])

    def backward(self, cotangents: Sequence[Any]) -> tuple[Any, ...]:
        return call.backward(self.layer, cotangents)

    def zero_grad(self) -> None:
        for _, grad in self.layer.grads.items():
            grad[...] = 0

    def host(self, array: Any) -> Any:
        """A copy of an array on the host, of a sparse one the numbers that it stores; None stays None."""
        return None if array is None else np.array(self.backend.to_host(stored(array)))

    def gradients(self, cotangents: Sequence[Any] | None = None) -> dict[str, np.ndarray]:
        """Forward and backward from zero gradients; every gradient by name ("bottom[0]", "weight"), on the host."""
        self.zero_grad()
        tops = self.forward()
        grads = self.backward(self.draw_cotangents(tops) if cotangents is None else cotangents)
        return self.named(grads)

    def named(self, bottom_grads: Sequence[Any]) -> dict[str, np.ndarray]:
        """What backward returned and what it added to the parameters' gradients, by name, on the host."""
        named = {f"bottom[{i}]": self.host(g) for i, g in enumerate(bottom_grads) if self.layer.needs_grad[i]}
        named |= {name: self.host(g) for name, g in self.layer.grads.items()}
        return named

    def arrays(self) -> dict[str, Any]:
        """The live arrays that have a gradient, under the same names; of sparse ones what they store."""
        live = {f"bottom[{i}]": stored(x) for i, x in enumerate(self.bottoms) if self.layer.needs_grad[i]}
        return live | dict(self.layer.params.items())

    def places(self, name: str) -> Any:
        """Row and column of each number of the array under a name, where it is what a sparse bottom stores."""
        sparse = {f"bottom[{i}]": x for i, x in enumerate(self.bottoms) if isinstance(x, CSR)}
        return self.host(places(sparse[name])) if name in sparse else None


def tangent(array: Any, rng: np.random.Generator, backend: Backend, dtype: str) -> Any:
    """A random direction for an array to move in: normal numbers, of a sparse array for those that it stores."""
    step = backend.from_host(rng.normal(size=stored(array).shape).astype(dtype))
    return array.with_data(step) if isinstance(array, CSR) else step


STORED = 8  # numbers in a row of a sparse matrix that is drawn, at most


def draw_sparse(spec: Spec, rng: np.random.Generator) -> CSR:
    """A random matrix with a few numbers in each row, but for a row and a column without any."""
    count, width = spec.shape
    if spec.draw is not None:
        full = np.asarray(spec.draw(rng, spec.shape), spec.dtype)
        rows, columns = np.nonzero(full)
        numbers = full[rows, columns]
    else:
        most = min(STORED, width)
        rows, columns = np.repeat(np.arange(count), most), rng.integers(0, max(1, width), count * most)
        alone = min(count, width) < 2
        empty_row, empty_column = (-1, -1) if alone else (rng.integers(count), rng.integers(width))
        kept = (rows != empty_row) & (columns != empty_column)
        rows, columns = np.divmod(np.unique(rows[kept] * width + columns[kept]), max(1, width))
        numbers = draw(replace(spec.dense, shape=rows.shape), rng)
    indptr = np.searchsorted(rows, np.arange(count + 1))
    return NUMPY.csr(numbers, columns.astype("int32"), indptr.astype("int32"), spec.shape)


def draw(spec: Spec, rng: np.random.Generator) -> Any:
    """Random values for a Spec: its own `draw`, uniform within its bounds, or normal; integers below `high`."""
    if spec.sparse:
        return draw_sparse(spec, rng)
    if spec.draw is not None:
        return np.asarray(spec.draw(rng, spec.shape)).astype(spec.dtype)
    if not spec.is_real:
        return rng.integers(int(spec.low or 0), int(spec.high or 2), spec.shape).astype(spec.dtype)
    if spec.low is not None or spec.high is not None:
        low = spec.low if spec.low is not None else (spec.high or 0.0) - 1.0
        high = spec.high if spec.high is not None else (spec.low or 0.0) + 1.0
        return rng.uniform(low, high, spec.shape).astype(spec.dtype)
    return rng.normal(size=spec.shape).astype(spec.dtype)
