"""What the reductions share: many elements become one, along some axes or all.

The m elements that become one are a slice of x. Its Jacobian is a single row g = ∂y/∂x, so the chain rule is dx = dy g,
with the one dy of a slice repeated over it, and a tangent of x becomes Σ g dx. Each entry brings its y and its g.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...arrays.functional import expect_role, normalize_dims, sum_of
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ..tables import add_member


class Reduction(Layer):
    """Base of the reductions. Each brings `value` and `slope`.

    value(x, axes)      y, with the reduced axes at size 1
    slope(x, y, axes)   g, of a shape that broadcasts to x; x and y are given where `backward_reads` names them
    empty               a slice may be empty
    is_sum              a scalar y grows with the number of samples
    """

    adds_up = False

    empty: bool
    is_sum: bool
    value: Callable[[Any, tuple[int, ...]], Any]
    slope: Callable[[Any, Any, tuple[int, ...]], Any]

    dim: int | list[int] | None = param(None, help="axis or axes to reduce; negative count from the back, null is all")
    keepdim: bool = param(False, help="keep the reduced axes, at size 1")

    def validate(self) -> None:
        if self.dim == []:
            raise ConfigError("dim is empty", hint="leave it out to reduce all axes")

    def axes(self, ndim: int) -> tuple[int, ...]:
        """The reduced axes of a bottom with ndim axes, counted from the front."""
        return tuple(range(ndim)) if self.dim is None else normalize_dims(self.dim, ndim)

    def kept_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of y before the reduced axes are dropped: 1 there."""
        axes = self.axes(len(shape))
        return tuple(1 if i in axes else n for i, n in enumerate(shape))

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the top."""
        axes = self.axes(len(shape))
        return self.kept_shape(shape) if self.keepdim else tuple(n for i, n in enumerate(shape) if i not in axes)

    def least(self) -> int:
        """How many elements a slice must have."""
        return 0 if self.empty else 1

    def setup(self, x: Spec) -> Any:
        expect_role("the bottom", x, "real")
        count = size_along(x, self.axes(x.ndim))
        if count < self.least():
            raise LayerError(f"{self.type_name} of {count} number(s) is not defined", hint=f"at least {self.least()}")
        return x.with_shape(self.top_shape(x.shape))

    def per_sample_for(self, x: Spec) -> bool:
        return 0 not in self.axes(x.ndim)

    def forward(self, x: Any) -> Any:
        y = self.value(x, self.axes(x.ndim))
        reads = self.backward_reads
        self.save(shape=x.shape, x=x if "bottom" in reads else None, y=y if "top" in reads else None)
        return y.reshape(self.top_shape(x.shape))

    def backward(self, dy: Any) -> Any:
        saved = self.saved
        slope = self.slope(saved.x, saved.y, self.axes(len(saved.shape)))
        return self.xp.broadcast_to(dy.reshape(self.kept_shape(saved.shape)) * slope, saved.shape)

    def jvp(self, dx: Any) -> Any:
        axes = self.axes(dx.ndim)
        return sum_of(self.slope(self.saved.x, self.saved.y, axes) * dx, axes).reshape(self.top_shape(dx.shape))

    def mean_over(self, *bottoms: Any) -> int | None:
        by_sample = bool(bottoms[0].shape) and 0 not in self.axes(len(bottoms[0].shape))
        return None if self.is_sum or by_sample else super().mean_over(*bottoms)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size


def size_along(x: Any, axes: tuple[int, ...]) -> int:
    """m: how many elements a slice of an array, or of a Spec, has."""
    return math.prod(x.shape[a] for a in axes)


def evenly(mask: Any, axes: tuple[int, ...], dtype: Any) -> Any:
    """1/k where a mask is true, k being how often it is in a slice."""
    return (mask / mask.sum(axis=axes, keepdims=True)).astype(dtype)


DOC = """{name}: {what}

    y = {y}      over the axes dim, for each slice of m elements

Shapes    x of any shape, real; y without the axes dim, or with 1 there (keepdim)
Backward  {dx};
          dy is repeated over the slice that it comes from
Keeps     {keeps}
Cost      {cost}
Errors    LayerError when an axis dim is not there or named twice{errors}; ConfigError for dim []
Source    {source}
"""

KEEPS = {(): "the shape of x", ("bottom",): "x", ("bottom", "top"): "x and y"}
Use = tuple[dict[str, Any], tuple[int, ...]]
USES: list[Use] = [
    ({"dim": 1}, (3, 4)),
    ({}, (2, 3, 4)),
    ({"dim": -1, "keepdim": True}, (2, 3, 4)),
    ({"dim": [0, 2]}, (2, 3, 4)),
    ({"dim": [-1, -3], "keepdim": True}, (2, 3, 1, 4)),
    ({"dim": 0}, (4, 3)),
    ({"keepdim": True}, (5,)),
    ({"dim": 1}, (0, 3)),
]
ONE_NUMBER: list[Use] = [({"dim": 1}, (3, 1)), ({}, ()), ({"dim": [1, 2]}, (2, 1, 1))]
NO_NUMBER: list[Use] = [({"dim": 1}, (3, 0)), ({}, (0, 2)), ({"dim": [1, 2]}, (2, 0, 3))]


def reduction(
    name: str,
    what: str,
    *,
    y: str,
    value: Callable[..., Any],
    dx: str,
    slope: Callable[..., Any],
    source: str,
    reads: tuple[str, ...] = (),
    empty: bool = False,
    is_sum: bool = False,
    base: type[Reduction] = Reduction,
    params: Mapping[str, Any] | None = None,
    one: Mapping[str, Any] | None = None,
    tried: Sequence[Example] = (),
    bad: Sequence[Bad] = (),
    errors: str = ", when a slice is empty",
    cost: str = "a pass or two forward, one backward",
    **own: Any,
) -> Any:
    """Make a reduction: the layer `name`.

    y and dx are the formulas that the documentation shows, value and slope the same in code. reads is what slope
    needs, empty says that the reduction of no elements has a value, is_sum that a mean over batches makes no sense.
    params are its hyper-parameters, one the settings that allow slices of a single element, tried and bad more uses.
    """
    examples = [Example({**use}, [Spec(shape)]) for use, shape in USES]
    examples += [Example({**(one or {}), **use}, [Spec(shape)], "slices of one number") for use, shape in ONE_NUMBER]
    examples += [Example({**use}, [Spec(shape)], "empty slices") for use, shape in NO_NUMBER if empty]
    refused = [] if empty else [Bad({"dim": 1}, f"{name} of 0 number(s) is not defined", [Spec((3, 0))])]
    return add_member(
        base,
        name,
        DOC.format(
            name=name, what=what, y=y, dx=dx, keeps=KEEPS[reads], cost=cost,
            errors="" if empty else errors, source=source,
        ),
        params=params,
        value=value,
        slope=slope,
        backward_reads=reads,
        empty=empty,
        is_sum=is_sum,
        adds_up=is_sum or name == "Mean",
        examples=[*examples, *tried],
        bad_examples=[
            Bad({"dim": 2}, "dim 2 is out of range for a blob with 2 axes", [Spec((3, 5))]),
            Bad({"dim": [0, -2]}, "dim [0, -2] names axis 0 twice", [Spec((3, 5))]),
            Bad({"dim": []}, "dim is empty"),
            Bad({"axis": 1}, "did you mean 'dim'?"),
            Bad({}, "must be real numbers", [Spec((3,), role="index")]),
            *refused,
            *bad,
        ],
        **own,
    )
