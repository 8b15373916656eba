"""Dropout: random silence, of single elements or of whole channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class Dropout(Layer):
    """Dropout: sets a random part of the elements to zero in training (Caffe: Dropout)

        train   y = x mask / (1 - p),   mask 0 with probability p, otherwise 1
        eval    y = x

    The factor 1 / (1 - p) keeps the expectation, so that eval has nothing to correct ("inverted" dropout).

    Shapes    x of any shape, real; y the same
    Backward  dx = dy mask / (1 - p) in train, dy in eval
    Keeps     the mask, one byte per element, so y may overwrite x
    Cost      a random number and two operations per element
    Source    Srivastava et al. 2014; compare torch.nn.Dropout
    """

    inplace = True

    p: float = param(0.5, help="probability of a zero", ge=0, lt=1)

    examples = [
        Example({}, [Spec((6, 5))]),
        Example({"p": 0.2}, [Spec((3, 2, 1, 5))]),
        Example({"p": 0.0}, [Spec((3, 4))]),
        Example({"p": 0.9}, [Spec((1, 1))]),
        Example({}, [Spec((4,))]),
    ]
    bad_examples = [
        Bad({"p": -0.1}, "must be >= 0"),
        Bad({"p": 1}, "must be < 1"),
        Bad({"dropout_ratio": 0.5}, "did you mean 'p'?"),
        Bad({}, "must be real numbers", [Spec((3,), role="index")]),
    ]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        return x

    def forward(self, x: Any) -> Any:
        y = self.buf("y", x.shape, over=x)
        if self.phase != "train":
            self.save(mask=None)
            y[...] = x
            return y
        mask = self.random(self.mask_shape(x.shape)) >= self.p
        self.save(mask=mask)
        self.xp.multiply(x, mask, out=y)
        y *= 1 / (1 - self.p)
        return y

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the mask for a bottom of this shape: one that broadcasts against it."""
        return shape

    def backward(self, dy: Any) -> Any:
        return self.dropped(dy)

    def jvp(self, dx: Any) -> Any:
        return self.dropped(dx)

    def dropped(self, v: Any) -> Any:
        """v mask / (1 - p), or v: the map that forward was, which is its own transpose."""
        if self.saved.mask is None:
            return v.copy()
        dropped = v * self.saved.mask
        dropped *= 1 / (1 - self.p)
        return dropped

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size


@register
class Dropout2d(Dropout):
    """Dropout2d: sets whole channels at random to zero in training

        train   y[n, c, ...] = x[n, c, ...] mask[n, c] / (1 - p),   mask 0 with probability p, otherwise 1
        eval    y = x

    Neighbouring pixels of a feature map say nearly the same, so that dropping them one by one takes little away: whole
    maps are dropped.

    Shapes    x (N, C, d1, ...), real, with any number of axes after the channels; y the same
    Backward  dx[n, c, ...] = dy[n, c, ...] mask[n, c] / (1 - p) in train, dy in eval
    Keeps     the mask, one byte per channel, so y may overwrite x
    Cost      a random number per channel and two operations per element
    Errors    LayerError for a bottom without channels
    Source    Tompson et al. 2015; compare torch.nn.Dropout2d
    """

    examples = [
        Example({}, [Spec((4, 5, 2, 3))]),
        Example({"p": 0.2}, [Spec((8, 3, 1, 1))]),
        Example({"p": 0.8}, [Spec((3, 6))], "no axes behind the channels"),
        Example({"p": 0.0}, [Spec((2, 3, 2))], "sequences"),
        Example({}, [Spec((2, 2, 3, 0, 1))], "no elements"),
    ]
    bad_examples = [
        *Dropout.bad_examples,
        Bad({}, "no channels", [Spec((4,))]),
    ]

    def setup(self, x: Spec) -> Spec:
        top = super().setup(x)
        if x.ndim < 2:
            raise LayerError("the bottom has no channels", hint="(N, C, ...) is expected; Dropout takes any shape")
        return top

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:2], *(1,) * (len(shape) - 2))
