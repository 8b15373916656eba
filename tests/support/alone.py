"""A layer by itself, on arrays that a test writes down."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerforge.arrays.spec import Spec
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example
from layerforge.schema.registry import LAYERS


class Alone(Probe):
    """A layer with its start values, set up for the given bottoms: lists or arrays, integers as indices."""

    def __init__(
        self, type_name: str, *bottoms: Any, dtype: str = "float64", phase: str = "train", tops: int = 1, **params: Any
    ) -> None:
        arrays = [np.asarray(b) for b in bottoms]
        self.given = [a if a.dtype.kind in "iu" else a.astype(dtype) for a in arrays]
        specs = [Spec(a.shape, role="index" if a.dtype.kind in "iu" else "real") for a in self.given]
        super().__init__(LAYERS.get(type_name), Example(params, specs, tops=tops), dtype=dtype, phase=phase)

    def _disturb(self) -> None:
        """Parameters and statistics keep their start values."""

    def draw_bottoms(self, stream: int = 2) -> list[Any]:
        return self.given

    def top(self, *bottoms: Any) -> np.ndarray:
        """The first top of a forward."""
        return self.host(self.forward(bottoms or None)[0])

    def vjp(self, *dtops: Any) -> dict[str, np.ndarray]:
        """The gradients by name for these gradients of the tops, after a forward."""
        return self.gradients([None if d is None else np.asarray(d, dtype=self.dtype) for d in dtops])


def run(cls: Any, params: dict[str, Any], x: np.ndarray, dy: Any = None, **values: Any) -> tuple[Any, Any, Probe]:
    """The top for x, the bottom's gradient for dy (ones where not given), and the probe that holds the layer."""
    probe = Probe(cls, Example(params, [Spec(x.shape)]))
    for name, value in values.items():
        probe.layer.params[name][...] = value
    (y,) = probe.forward([x])
    (dx,) = probe.backward([np.ones_like(y) if dy is None else np.broadcast_to(np.asarray(dy, float), y.shape)])
    return y, dx, probe
