"""Constant: values that never change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError
from ...schema.params import param
from ...schema.registry import register


@register
class Constant(Layer):
    """Constant: values that never change (Caffe: DummyData with a constant filler)

        y = value

    Shapes    y as `shape` says; by default a single number for a number, (K,) for a list of K
    Backward  none: nothing is below
    Keeps     nothing
    Errors    ConfigError when the list does not fill the shape
    Source    Jia et al. 2014 (Caffe); compare torch.full
    """

    bottoms = 0

    value: float | list[float] = param(help="the value, or all values in row-major order")
    shape: list[int] | None = param(None, help="shape of y; null: that of value", ge=0)

    examples = [
        Example({"value": 2.5, "shape": [3, 4]}, []),
        Example({"value": -1}, [], "a single number"),
        Example({"value": [0.485, 0.456, 0.406]}, [], "a list"),
        Example({"value": [1, 2, 3, 4, 5, 6], "shape": [2, 1, 3]}, []),
        Example({"value": 0, "shape": [0, 3]}, [], "no elements"),
        Example({"value": 1e30, "shape": [2]}, [], "extreme"),
    ]
    bad_examples = [
        Bad({}, "value is required"),
        Bad({"value": "one"}, "must be a number or a list of numbers"),
        Bad({"value": 1, "shape": [-2]}, "must be >= 0"),
        Bad({"value": [1, 2, 3], "shape": [2, 2]}, "3 numbers do not fill the shape [2, 2]"),
        Bad({"fill_value": 1}, "did you mean 'value'?"),
    ]

    def validate(self) -> None:
        if isinstance(self.value, list) and self.shape is not None and len(self.value) != math.prod(self.shape):
            raise ConfigError(f"{len(self.value)} numbers do not fill the shape {self.shape}")

    def setup(self) -> Spec:
        own = [len(self.value)] if isinstance(self.value, list) else []
        return Spec(own if self.shape is None else self.shape, self.dtype)

    def forward(self) -> Any:
        # A new array each time: the layer above may have written its own top over y.
        if isinstance(self.value, list):
            y = self.constant("value", self.value).copy()
            return y if self.shape is None else y.reshape(self.shape)
        return self.xp.full(self.shape or (), self.value, dtype=self.dtype)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
