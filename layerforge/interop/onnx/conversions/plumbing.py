"""Where values come from, and where they go."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exporting import REFUSED, Export, Value, exports

REFUSED["Random"] = (
    "ONNX's random numbers are other ones than ours, which a seed, a layer and an iteration give again: give the "
    "values to the net as an input"
)
REFUSED["Silence"] = "it has no top, so no output needs it: it is left out"


@exports("Cast")
def cast(w: Export, x: Value) -> Any:
    """Cast, which cuts what is behind the point."""
    dtype = w.tops[0].dtype
    return w.op("Identity", x) if dtype == x.dtype else w.cast(x, dtype)


@exports("Constant")
def constant(w: Export) -> Any:
    """Constant."""
    shape, value = [n for n in w.tops[0].shape if isinstance(n, int)], w.layer.value
    numbers = np.asarray(value, np.float32)
    return w.constant(numbers.reshape(shape) if isinstance(value, list) else np.full(shape, numbers))


@exports("Parameter")
def parameter(w: Export) -> Any:
    """An initializer."""
    return w.param("weight")
