"""Cast: real numbers as integers, or integers as real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.awaited import refuse_where
from ...arrays.spec import ROLES, Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


def no_integer() -> LayerError:
    """The error for a number that no integer is."""
    return LayerError("a number that is to be an integer is NaN, infinite or too large", exit_code=3)


@register
class Cast(Layer):
    """Cast: real numbers as integers, or integers as real numbers

        y = x without what is behind its point      role index: 2.7 becomes 2, -2.7 becomes -2
        y = x as a real number                      role real

    For labels that come as real numbers, and for indices that are computed with. A blob that has the role already is
    passed on.

    Shapes    x of any shape, real or index; y the same shape, of the role
    Backward  of a real x as real numbers dx = dy; everything else is flat or jumps, and has no gradient
    Keeps     nothing
    Cost      one pass
    Errors    LayerError (exit 3) for a number that is no integer of 64 bits: NaN, infinite or too large
    Source    compare torch.Tensor.to
    """

    role: str = param(help="what y is: real, or index", choices=ROLES)

    examples = [
        Example({"role": "index"}, [Spec((3, 4), low=-5, high=5)]),
        Example({"role": "real"}, [index((3, 4), 7)]),
        Example({"role": "real"}, [Spec((2, 3))], "it is real already"),
        Example({"role": "index"}, [index((5,), 3)], "it is an index already"),
        Example({"role": "index"}, [Spec(())]),
        Example({"role": "real"}, [index((0, 2), 3)], "no samples"),
    ]
    bad_examples = [
        Bad({}, "role is required"),
        Bad({"role": "int64"}, "must be one of real, index"),
        Bad({"dtype": "int64"}, "role is required"),
    ]

    def validate(self) -> None:
        self.no_grad_bottoms = (0,) if self.role == "index" else ()

    def setup(self, x: Spec) -> Spec:
        if x.role == self.role:
            return x
        return Spec(x.shape, role="index") if self.role == "index" else Spec(x.shape, self.dtype)

    def forward(self, x: Any) -> Any:
        if self.role == "real":
            return x.astype(self.dtype)
        if x.dtype.kind != "f":
            return x.copy()
        fits = abs(x) < 2.0**63
        refuse_where(~fits.all(), no_integer)
        return (x if self.xp is np else self.xp.where(fits, x, 0)).astype("int64")  # a device tells of it afterwards

    def backward(self, dy: Any) -> Any:
        return dy.copy() if self.needs_grad[0] else None

    def jvp(self, dx: Any) -> Any:
        return None if dx is None else dx.copy()

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size
