"""Layers without bottoms: what enters a net from the caller, as a parameter, as a constant or at random.

They have no samples, so their tops are the same whatever part of a batch the net is run on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.spec import ROLES, Spec, index
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class Input(Layer):
    """Input: a blob that the caller gives (Caffe: Input)

        y = the array given under the name of the top: net.forward(y=...)

    The same as an entry of `inputs:`: building the net turns the layer into an input, and no step is left of it. Under
    a `data:` section, which feeds the net, it may repeat the shape of one of the section's blobs, and ask for its
    gradient.

    Shapes    y as `shape` says; the batch axis, the first, may differ from call to call
    Backward  none here: with `grad: true` the gradient of y ends as net.blobs["y"].grad
    Keeps     nothing
    Errors    ConfigError for the gradient of an index, for a name that is an input already and, under a `data:`
              section, for a blob that the section does not give, or gives in another shape
    Source    Jia et al. 2014 (Caffe)
    """

    bottoms = 0

    shape: list[int] = param(help="full shape, batch axis first", ge=0)
    role: str = param("real", help="index: integers, such as labels", choices=ROLES)
    grad: bool = param(False, help="compute its gradient")

    examples = [
        Example({"shape": [4, 3]}, []),
        Example({"shape": [2, 1, 5, 5], "grad": True}, []),
        Example({"shape": [4], "role": "index"}, []),
        Example({"shape": []}, [], "a single number"),
        Example({"shape": [0, 3]}, [], "no samples"),
    ]
    bad_examples = [
        Bad({}, "shape is required"),
        Bad({"shape": [-1, 3]}, "must be >= 0"),
        Bad({"shape": [4], "role": "label"}, "must be one of real, index"),
        Bad({"shape": [4], "role": "index", "grad": True}, "an index has no gradient"),
        Bad({"shape": [4], "dtype": "int64"}, "did you mean 'role'?"),
    ]

    def validate(self) -> None:
        if self.grad and self.role == "index":
            raise ConfigError("an index has no gradient", hint="remove grad")

    def setup(self) -> Spec:
        return Spec(self.shape, self.dtype) if self.role == "real" else Spec(self.shape, role="index")


@register
class Parameter(Layer):
    """Parameter: a learned array as a blob (Caffe: Parameter)

        y = weight

    For whatever no layer learns of itself: the start of a state, a temperature, the image that a net is asked to find.

    Shapes    y and weight as `shape` says; there is no batch axis, so broadcasting layers combine it with samples
    Backward  dweight = dy
    Keeps     nothing
    Cost      a copy, so that a layer may overwrite y
    Source    Jia et al. 2014 (Caffe); compare torch.nn.Parameter
    """

    bottoms = 0

    shape: list[int] = param(help="shape of the array; [] is a single number", ge=0)
    filler: Filler = param("constant", help="start values; default: zeros")

    examples = [
        Example({"shape": [3, 4], "filler": "xavier"}, []),
        Example({"shape": [1]}, []),
        Example({"shape": []}, [], "a single number"),
        Example({"shape": [2, 0, 3]}, [], "no numbers"),
        Example({"shape": [2, 1, 3], "filler": {"type": "gaussian", "std": 0.1}}, []),
    ]
    bad_examples = [
        Bad({}, "shape is required"),
        Bad({"shape": 3}, "must be a list of integers"),
        Bad({"shape": [3, -1]}, "must be >= 0"),
        Bad({"shape": [3], "filler": "normal"}, "unknown filler type 'normal'"),
        Bad({"shape": [3], "weight_filler": "xavier"}, "did you mean 'filler'?"),
        Bad({"shape": [3]}, "takes 0 bottom(s)", [Spec((2,))]),
    ]

    def setup(self) -> Spec:
        self.add_param("weight", self.shape, self.filler)
        return Spec(self.shape, self.dtype)

    def forward(self) -> Any:
        return self.params.weight.copy()

    def backward(self, dy: Any) -> None:
        self.grads.weight += dy

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0


@register
class Constant(Layer):
    """Constant: numbers that never change (Caffe: DummyData with a constant filler)

        y = value

    Shapes    y as `shape` says; by default a single number for a number, (K,) for a list of K
    Backward  none: nothing is below
    Keeps     nothing
    Errors    ConfigError when the list does not fill the shape
    Source    Jia et al. 2014 (Caffe); compare torch.full
    """

    bottoms = 0

    value: float | list[float] = param(help="the number, or all numbers in row-major order")
    shape: list[int] | None = param(None, help="shape of y; null: that of value", ge=0)

    examples = [
        Example({"value": 2.5, "shape": [3, 4]}, []),
        Example({"value": -1}, [], "a single number"),
        Example({"value": [0.485, 0.456, 0.406]}, [], "a list"),
        Example({"value": [1, 2, 3, 4, 5, 6], "shape": [2, 1, 3]}, []),
        Example({"value": 0, "shape": [0, 3]}, [], "no numbers"),
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
        # Made anew each time: the layer above may have written its own top over y.
        if isinstance(self.value, list):
            y = self.xp.asarray(self.value, dtype=self.dtype)
            return y if self.shape is None else y.reshape(self.shape)
        return self.xp.full(self.shape or (), self.value, dtype=self.dtype)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0


@register
class Random(Layer):
    """Random: new random numbers in every iteration (Caffe: DummyData with a random filler)

        uniform   y = low + (high - low) u                          u uniform in [0, 1)
        normal    y = mean + std sqrt(-2 log(1 - u)) cos(2π v)      u, v uniform in [0, 1)

    in train and in eval. The second formula (Box & Muller) takes a point in the plane, with the angle 2πv and a
    squared radius of exponential distribution: its coordinates are normal. None is further than 5.8 std from the mean,
    for u ends at 1 - 2⁻²⁴.

    Without a bottom there are no samples: in an iteration, every part of the batch sees the same numbers. With a
    bottom, of which only the shape matters, each of its samples gets numbers of its own, however the batch is split.

    Shapes    without a bottom y as `shape` says; with x (N, ...), y (N, *shape), or by default like x
    Backward  none: nothing that is below decides what y is
    Keeps     nothing
    Cost      a random number for each of y's, two for a normal one
    Errors    ConfigError for settings of the other distribution and low above high; LayerError without a bottom and a
              shape, or for a shape and a bottom without samples
    Source    Box & Muller 1958; compare torch.rand, torch.randn
    """

    bottoms = (0, 1)
    no_grad_bottoms = (0,)

    shape: list[int] | None = param(None, help="shape of y; with a bottom that of one sample, null: like x", ge=0)
    distribution: str = param("uniform", help="which numbers", choices=("uniform", "normal"))
    low: float = param(0.0, help="uniform: least number")
    high: float = param(1.0, help="uniform: bound that y stays below")
    mean: float = param(0.0, help="normal: mean")
    std: float = param(1.0, help="normal: standard deviation", ge=0)

    examples = [
        Example({"shape": [6, 4]}, []),
        Example({"shape": [3, 5], "low": -2, "high": 3}, []),
        Example({"shape": [2, 3, 5], "distribution": "normal"}, []),
        Example({"shape": [4, 4], "distribution": "normal", "mean": -1, "std": 0.5}, []),
        Example({"shape": []}, [], "a single number"),
        Example({"shape": [0, 3]}, [], "no numbers"),
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
