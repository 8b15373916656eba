"""A layer alone in bf16-mixed: on the reference engine one that rounds, on another one with kernels for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays.bfloat16 import narrowed, rounded, widened
from ..arrays.sparse import CSR
from ..contract.layer import Example, Layer
from ..contract.namespaces import Params
from ..engines.protocol import is_engine_layer
from ..engines.rounding import rounding
from .harness import Probe, reference_of


class HalvedProbe(Probe):
    """A Probe whose layer computes in bf16-mixed, on bottoms that bfloat16 can hold. Parameters are float32."""

    def __init__(self, cls: type[Layer], example: Example, **about: Any) -> None:
        super().__init__(cls, example, **{**about, "dtype": "float32"})
        self.reference = reference_of(cls)
        layer: Any = self.layer
        if is_engine_layer(layer):
            layer.halve()
            layer.operands = Params()
            for name, array in self.layer.params.items():
                layer.operands.bind(name, narrowed(array))
        else:
            self.layer = rounding(self.layer)
        self.bottoms = [self.seen(j, b) for j, b in enumerate(self.bottoms)]

    @property
    def in_halves(self) -> bool:
        """Whether blobs are stored in two bytes."""
        return is_engine_layer(self.layer)

    def seen(self, j: int, bottom: Any) -> Any:
        """A bottom as the layer reads it."""
        if bottom.dtype.kind != "f":
            return bottom
        if isinstance(bottom, CSR):
            return bottom.with_data(rounded(self.xp, bottom.data))
        if self.in_halves and j not in self.layer.no_grad_bottoms:
            return narrowed(bottom)
        return rounded(self.xp, bottom)

    def draw_cotangents(self, tops: Any, stream: int = 3) -> list[Any]:
        """Random upstream gradients that bfloat16 can hold, as the layer reads them."""
        hold = narrowed if self.in_halves else lambda a: rounded(self.xp, a)
        return [None if dy is None else hold(dy) for dy in super().draw_cotangents(tops, stream)]

    def host(self, array: Any) -> Any:
        found = super().host(array)
        return None if found is None else widened(found)

    def exactly(self, bottom: Any) -> Any:
        """A bottom's numbers in float64; indices as they are."""
        if isinstance(bottom, CSR):
            return bottom.with_data(self.exactly(bottom.data))
        numbers = self.host(bottom)
        return numbers.astype("float64") if numbers.dtype.kind == "f" else numbers

    def truth(self) -> Probe:
        """The reference in float64 of the very numbers that this layer computes with."""
        exact = Probe(self.reference, self.example, phase=self.layer.phase, seed=self.seed)
        exact.bottoms = [self.exactly(b) for b in self.bottoms]
        for name, array in exact.layer.params.items():
            mine = self.host(self.layer.params[name])
            array[...] = rounded(np, mine) if mine.ndim > 1 else mine
        for name, array in exact.layer.state.items():
            array[...] = self.host(self.layer.state[name])
        return exact
