"""Random: new random values in every iteration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class Random(Layer):
    """Random: new random values in every iteration (Caffe: DummyData with a random filler)

        uniform   y = low + (high - low) u                          u uniform in [0, 1)
        normal    y = mean + std sqrt(-2 log(1 - u)) cos(2π v)      u, v uniform in [0, 1)

    in train and in eval. The second formula (Box & Muller) takes a point in the plane, with the angle 2πv and a
    squared radius of exponential distribution: its coordinates are normal. None is further than 5.8 std from the mean,
    for u ends at 1 - 2⁻²⁴.

    Without a bottom there are no samples: in an iteration, every part of the batch sees the same values. With a
    bottom, of which only the shape matters, each of its samples gets values of its own, however the batch is split.

    Shapes    without a bottom y as `shape` says; with x (N, ...), y (N, *shape), or by default like x
    Backward  none: nothing that is below decides what y is
    Keeps     nothing
    Cost      a random number for each element of y, two for a normal one
    Errors    ConfigError for settings of the other distribution and low above high; LayerError without a bottom and a
              shape, or for a shape and a bottom without samples
    Source    Box & Muller 1958; compare torch.rand, torch.randn
    """

    bottoms = (0, 1)
    no_grad_bottoms = (0,)

    shape: list[int] | None = param(None, help="shape of y; with a bottom that of one sample, null: like x", ge=0)
    distribution: str = param("uniform", help="which values", choices=("uniform", "normal"))
    low: float = param(0.0, help="uniform: least value")
    high: float = param(1.0, help="uniform: bound that y stays below")
    mean: float = param(0.0, help="normal: mean")
    std: float = param(1.0, help="normal: standard deviation", ge=0)

    examples = [
        Example({"shape": [6, 4]}, []),
        Example({"shape": [3, 5], "low": -2, "high": 3}, []),
        Example({"shape": [2, 3, 5], "distribution": "normal"}, []),
        Example({"shape": [4, 4], "distribution": "normal", "mean": -1, "std": 0.5}, []),
        Example({"shape": []}, [], "a single number"),
        Example({"shape": [0, 3]}, [], "no elements"),
        Example({}, [Spec((6, 5))], "numbers of their own for each sample"),
        Example({"shape": [3, 2], "distribution": "normal"}, [Spec((4, 7))]),
        Example({"shape": []}, [index((16,), 3)], "one number for each label"),
        Example({"distribution": "normal"}, [Spec((1, 2, 1))]),
    ]
    bad_examples = [
        Bad({"shape": [3], "distribution": "gaussian"}, "must be one of uniform, normal"),
        Bad({"shape": [3], "low": 2}, "low 2.0 is above high 1.0"),
        Bad({"shape": [3], "distribution": "normal", "high": 2}, "high belongs to distribution: uniform"),
        Bad({"shape": [3], "std": 2}, "std belongs to distribution: normal"),
        Bad({"shape": [3], "distribution": "normal", "std": -1}, "must be >= 0"),
        Bad({"shape": [3, -1]}, "must be >= 0"),
        Bad({"shape": [3]}, "has no samples", [Spec(())]),
    ]

    def validate(self) -> None:
        other, names = ("normal", ("mean", "std")) if self.distribution == "uniform" else ("uniform", ("low", "high"))
        for name in names:
            if getattr(self, name) != self.fields[name].default:
                raise ConfigError(f"{name} belongs to distribution: {other}", hint="remove one of the two")
        if self.low > self.high:
            raise ConfigError(f"low {self.low} is above high {self.high}", hint="swap them")

    def setup(self, *bottoms: Spec) -> Spec:
        if self.shape is None and not bottoms:
            raise LayerError("without a bottom it needs a shape", hint="add `shape: [...]` or `bottom: x`")
        if self.shape is not None and bottoms and not bottoms[0].shape:
            raise LayerError("the bottom is a single number, which has no samples", hint="leave shape out")
        return Spec(self.top_shape(bottoms), self.dtype)

    def top_shape(self, bottoms: Sequence[Any]) -> tuple[int, ...]:
        """The shape of y, from the Specs or the arrays below."""
        if self.shape is None:
            return bottoms[0].shape
        return (*(bottoms[0].shape[:1] if bottoms else ()), *self.shape)

    def forward(self, *bottoms: Any) -> Any:
        xp, shape, by_sample = self.xp, self.top_shape(bottoms), bool(bottoms)
        u = self.random(shape, by_sample=by_sample).astype(self.dtype)
        if self.distribution == "uniform":
            return self.low + (self.high - self.low) * u
        v = self.random(shape, by_sample=by_sample).astype(self.dtype)
        return self.mean + self.std * xp.sqrt(-2 * xp.log(1 - u)) * xp.cos(2 * math.pi * v)
