"""Dropout: random silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..functional import expect_role
from ..layer import Bad, Example, Layer
from ..params import param
from ..registry import register
from ..spec import Spec


@register
class Dropout(Layer):
    """Dropout: sets a random part of the numbers to zero in training (Caffe: Dropout)

        train   y = x mask / (1 - p),   mask 0 with probability p, otherwise 1
        eval    y = x

    The factor 1 / (1 - p) keeps the expectation, so that eval has nothing to correct ("inverted" dropout).

    Shapes    x of any shape, real; y the same
    Backward  dx = dy mask / (1 - p) in train, dy in eval
    Keeps     the mask, one byte per number, so y may overwrite x
    Cost      a random number and two operations per number
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
        mask = self.random(x.shape) >= self.p
        self.save(mask=mask)
        self.xp.multiply(x, mask, out=y)
        y *= 1 / (1 - self.p)
        return y

    def backward(self, dy: Any) -> Any:
        if self.saved.mask is None:
            return dy.copy()
        dx = dy * self.saved.mask
        dx *= 1 / (1 - self.p)
        return dx

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size
