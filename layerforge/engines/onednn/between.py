"""What a net computes itself, on all threads: sums of gradients at forks, copies of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.bfloat16 import BFLOAT16
from . import primitives
from .op import Op
from .primitives import ADD
from .script import Calls
from .strides import describable

LARGE = 256 * 1024  # bytes: below that a copy is done before the other threads have begun


class Sum:
    """out = a + b, for one shape. Returns what it can be repeated by, as a layer's script is, or None."""

    def __init__(self) -> None:
        self.op = Op(primitives.binary, (ADD,), lambda name, size: np.empty(size, "uint8"))
        self.calls: Calls | None = None

    def __call__(self, a: Any, b: Any, out: Any) -> Sum | None:
        alike = a.shape and a.size and a.strides == b.strides == out.strides and describable(a)
        if not alike and a.dtype != BFLOAT16:
            np.add(a, b, out=out)  # oneDNN is slow where the orders in memory differ
            return None
        self.op(a, b, out)
        if self.calls is not None and self.calls.fits():
            return self
        self.calls = Calls([self.op], [self.op.bound])
        return None


class Carry:
    """target = x, of one shape, whatever the strides of the two; x may be a view of target."""

    def __init__(self) -> None:
        self.op = Op(primitives.copy, (), lambda name, size: np.empty(size, "uint8"))

    def __call__(self, x: Any, target: Any) -> None:
        castable = x.dtype == np.float32 and describable(x) and not np.may_share_memory(x, target)
        if target.dtype != BFLOAT16 and (x.nbytes < LARGE or not castable):
            np.copyto(target, x)
        else:
            self.op(x, target)
