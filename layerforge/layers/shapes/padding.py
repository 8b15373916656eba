"""Pad: a blob with a border."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import part_along, sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register
from .linear_map import LinearMap

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge"}


@register
class Pad(LinearMap):
    """Pad: a border around a blob

        constant     v v | a b c d | v v      v is `value`
        reflect      c b | a b c d | c b      mirrored at the outermost elements
        replicate    a a | a b c d | d d      the outermost elements go on

    where a, b, c, d are the elements of x along an axis.

    padding begins with the last axis: [left, right] of it, then [top, bottom] of the one before, and so on; axes that
    it does not reach stay as they are.

    Shapes    x of any shape, real or index; y longer by the two widths on each axis that is padded
    Backward  The inner part of dy is what x became itself. An element that is in the border as well gets the
              gradient from there too:
                  constant     dx = the inner part of dy: the border is no function of x
                  reflect      dx = the inner part + the border, folded back at the outermost elements
                  replicate    dx = the inner part; the outermost elements + the sum of the border next to them
              Along several axes the border of the border is folded twice, one axis after the other.
    Keeps     the shape of x
    Cost      one copy forward, one backward
    Errors    LayerError when there are more pairs than axes, when reflect is as wide as an axis, when an empty axis
              has nothing to replicate, and when value is no integer for an index
    Source    compare torch.nn.functional.pad
    """

    grad_aliases = True

    padding: list[int] = param(help="widths [left, right, top, bottom, ...], from the last axis to the first", ge=0)
    mode: str = param("constant", help="what the border holds", choices=("constant", "reflect", "replicate"))
    value: float = param(0.0, help="the value in a constant border")

    examples = [
        Example({"padding": [1, 2]}, [Spec((2, 3))]),
        Example({"padding": [1, 0, 0, 2], "value": -1.5}, [Spec((2, 2, 3, 1))]),
        Example({"padding": [2, 3], "mode": "reflect"}, [Spec((2, 4))], "the widest that reflects"),
        Example({"padding": [1, 2, 2, 0], "mode": "reflect"}, [Spec((2, 3, 3))]),
        Example({"padding": [3, 1], "mode": "replicate"}, [Spec((2, 1))]),
        Example({"padding": [1, 2, 2, 1], "mode": "replicate"}, [Spec((2, 1, 2, 3))]),
        Example({"padding": [0, 0, 1, 2]}, [Spec((3, 2))], "more samples"),
        Example({"padding": [0, 0]}, [Spec((2, 3))], "no border"),
        Example({"padding": [1, 1]}, [Spec((2, 0))], "nothing but border"),
        Example({"padding": [0, 2], "value": 6}, [index((2, 3), 6)], "a sequence, filled up"),
    ]
    bad_examples = [
        Bad({"padding": [1]}, "padding has 1 widths, expected two for each axis"),
        Bad({"padding": [1, -1]}, "must be >= 0"),
        Bad({"padding": [1, 1], "mode": "circular"}, "must be one of constant, reflect, replicate"),
        Bad({"padding": [1, 1], "mode": "reflect", "value": 1.0}, "value belongs to mode constant"),
        Bad({"padding": [0, 0, 1, 1]}, "padding is for 2 axes, the bottom has 1", [Spec((3,))]),
        Bad({"padding": [3, 0], "mode": "reflect"}, "axis 1 of size 3 cannot be reflected 3 wide", [Spec((2, 3))]),
        Bad({"padding": [1, 0], "mode": "replicate"}, "axis 1 is empty", [Spec((2, 0))]),
        Bad({"padding": [1, 1], "value": 0.5}, "value 0.5 is no integer", [index((2, 3), 6)]),
    ]

    def validate(self) -> None:
        if len(self.padding) % 2:
            raise ConfigError(f"padding has {len(self.padding)} widths, expected two for each axis")
        if self.mode != "constant" and self.value:
            raise ConfigError(f"value belongs to mode constant, not to {self.mode}", hint="leave value out")

    def setup(self, x: Spec) -> Spec:
        if not x.is_real and not self.value.is_integer():
            raise LayerError(f"the bottom is {x}: value {self.value} is no integer")
        return super().setup(x)

    def widths(self, ndim: int) -> list[tuple[int, int]]:
        """The widths before and after each axis, the first axis first."""
        pairs = [(a, b) for a, b in zip(self.padding[::2], self.padding[1::2], strict=True)][::-1]
        if len(pairs) > ndim:
            raise LayerError(f"padding is for {len(pairs)} axes, the bottom has {ndim}")
        return [(0, 0)] * (ndim - len(pairs)) + pairs

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        widths = self.widths(len(shape))
        for axis, (size, pair) in enumerate(zip(shape, widths, strict=True)):
            if self.mode == "reflect" and max(pair) >= max(size, 1):
                message = f"axis {axis} of size {size} cannot be reflected {max(pair)} wide"
                raise LayerError(message, hint="the border must be narrower than the axis")
            if self.mode == "replicate" and max(pair) and not size:
                raise LayerError(f"axis {axis} is empty: there is nothing to replicate")
        return tuple(before + size + after for size, (before, after) in zip(shape, widths, strict=True))

    def per_sample_for(self, x: Spec) -> bool:
        return not x.ndim or self.widths(x.ndim)[0] == (0, 0)

    def apply(self, x: Any) -> Any:
        return self.padded(x, self.value)

    def jvp(self, dx: Any) -> Any:
        return None if dx is None else self.padded(dx, 0.0)

    def padded(self, x: Any, value: float) -> Any:
        """x with its border; value fills a constant one."""
        widths = self.widths(x.ndim)
        if self.mode != "constant":
            return self.xp.pad(x, widths, mode=NUMPY_MODES[self.mode])
        y = self.xp.full(self.top_shape(x.shape), value, dtype=x.dtype)
        inside = tuple(slice(before, before + size) for size, (before, _) in zip(x.shape, widths, strict=True))
        y[inside] = x
        return y

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        for axis, (before, after) in enumerate(self.widths(len(shape))):
            if before or after:
                dy = self.without_border(dy, axis, before, after)
        return dy

    def without_border(self, dy: Any, axis: int, before: int, after: int) -> Any:
        """The gradient of what was padded along one axis."""
        stop = dy.shape[axis] - after
        dx, low, high = (part_along(dy, axis, a, b) for a, b in ((before, stop), (0, before), (stop, dy.shape[axis])))
        if self.mode == "constant":
            return dx
        dx = dx.copy()
        if self.mode == "reflect":
            low, high, size = self.xp.flip(low, axis=axis), self.xp.flip(high, axis=axis), stop - before
            ends = part_along(dx, axis, 1, 1 + before), part_along(dx, axis, size - 1 - after, size - 1)
        else:
            low, high = sum_of(low, axis, keepdims=True), sum_of(high, axis, keepdims=True)
            ends = part_along(dx, axis, 0, 1), part_along(dx, axis, stop - before - 1, stop - before)
        for end, folded in zip(ends, (low, high), strict=True):
            end += folded
        return dx
