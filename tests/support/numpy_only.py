"""Layers with mistakes that NumPy forgives and a device does not. Each is right on NumPy, unless it says otherwise, and
the strict stand-in for CuPy, together with the contract, must say what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerforge.arrays.spec import Spec, index
from layerforge.contract.layer import Example, Layer
from layerforge.layers.elementwise.rectifiers import ReLU
from layerforge.layers.indexing.gather import Gather
from layerforge.layers.indexing.index_select import BatchReindex, IndexSelect
from layerforge.layers.losses.kl_div_loss import KLDivLoss
from layerforge.layers.losses.mse_loss import MSELoss
from layerforge.schema.errors import LayerError

from .broken_layers import Noise, Pick, Softmax


@dataclass(frozen=True)
class Mistake:
    """A layer, a part of what must be said of it, and whether NumPy's contract sees it as well."""

    cls: type[Layer]
    message: str
    seen_on_numpy: bool


MISTAKES: dict[str, Mistake] = {}


def mistake(what: str, message: str, *, seen_on_numpy: bool = False) -> Callable[[type[Layer]], type[Layer]]:
    """Collect a layer under what it does wrong."""

    def add(cls: type[Layer]) -> type[Layer]:
        MISTAKES[what] = Mistake(cls, message, seen_on_numpy)
        return cls

    return add


# Host and device ------------------------------------------------------------------------------------------------------


@mistake("an array of the host as an operand", "host and device arrays do not mix")
class HostOperand(Noise):
    def forward(self, x: Any) -> Any:
        self.save(mask=self.xp.ones_like(x))
        return x * np.ones(x.shape, x.dtype)


@mistake("a sum in the order of its numbers", "in any order: scatter_add")
class SumInOrder(Gather):
    def backward(self, dy: Any) -> tuple[Any, None]:
        if not self.needs_grad[0]:
            return None, None
        xp, index = self.xp, self.saved.index
        dx = xp.zeros(self.saved.shape, dtype=dy.dtype)
        own = [xp.arange(n).reshape((-1,) + (1,) * (index.ndim - 1 - axis)) for axis, n in enumerate(index.shape)]
        own[self.axis(index.ndim)] = index
        xp.add.at(dx, tuple(xp.broadcast_to(one, index.shape) for one in own), dy)
        return dx, None


def widths(x: Any) -> Any:
    """How wide each row is: made on the host, wherever x is."""
    return np.full((len(x), 1), x.shape[1], x.dtype)


@mistake("a helper that makes an array of the host", "host and device arrays do not mix")
class HostHelper(Noise):
    def forward(self, x: Any) -> Any:
        mask = 1 / widths(x)
        self.save(mask=mask)
        return x * mask


@mistake("a list of constants that is uploaded in each pass", "uploads 1 times: make constants by self.constant")
class UploadInEveryForward(Noise):
    def forward(self, x: Any) -> Any:
        mask = self.xp.asarray(np.full(x.shape[1:], 0.5, x.dtype))
        self.save(mask=mask)
        return x * mask


# Names and keywords that CuPy lacks -----------------------------------------------------------------------------------


@mistake("a method of a ufunc that CuPy has not written", "`cupy_maximum.reduce` is not supported yet")
class MaximumReduce(Softmax):
    inplace = False

    def forward(self, x: Any) -> Any:
        return super().forward(x - self.xp.maximum.reduce(x, axis=-1, keepdims=True))


@mistake("a keyword that CuPy lacks", "unexpected keyword argument 'initial'")
class MaxInitial(Softmax):
    inplace = False

    def forward(self, x: Any) -> Any:
        return super().forward(x - x.max(axis=-1, keepdims=True, initial=-np.inf))


@mistake("a value of a keyword that CuPy does not take", "kind can only be None or 'stable'")
class Mergesort(Noise):
    """The elements in order; each has the gradient of its place."""

    def forward(self, x: Any) -> Any:
        order = self.xp.argsort(x, axis=-1, kind="mergesort")
        self.save(back=order.argsort(axis=-1))
        return self.xp.take_along_axis(x, order, axis=-1)

    def backward(self, dy: Any) -> Any:
        return self.xp.take_along_axis(dy, self.saved.back, axis=-1)


@mistake("a ufunc of NumPy's at places of a device array", "np.add.at of a device array")
class HostAddAt(Pick):
    def backward(self, dy: Any) -> Any:
        dx = self.xp.zeros(self.saved.shape, dtype=dy.dtype)
        np.add.at(dx, (self.xp.arange(len(dx)), self.saved.i), dy)
        return dx, None


# Values that are the library's own affair -----------------------------------------------------------------------------


@mistake("a constant of float64", "expected float32", seen_on_numpy=True)
class DoubleConstant(Noise):
    def forward(self, x: Any) -> Any:
        self.save(mask=self.xp.ones_like(x))
        return x * self.xp.ones(x.shape)


@mistake("memory that is taken for zeros", "bottom[0]: the gradient", seen_on_numpy=True)
class EmptyForZeros(Pick):
    def backward(self, dy: Any) -> Any:
        dx = self.xp.empty(self.saved.shape, dtype=dy.dtype)
        dx[self.xp.arange(len(dx)), self.saved.i] = dy
        return dx, None


@mistake("an assignment to a place that is named twice", "duplicate indices", seen_on_numpy=True)
class DuplicatePlaces(Pick):
    """y[n] = x[i[n]], rows that may occur several times."""

    examples = [Example({}, [Spec((4, 3)), index((9,), 4)])]

    def setup(self, x: Spec, i: Spec) -> Spec:
        return x.with_shape((i.shape[0], *x.shape[1:]))

    def forward(self, x: Any, i: Any) -> Any:
        self.save(i=i.copy(), shape=x.shape)
        return x[i]

    def backward(self, dy: Any) -> Any:
        dx = self.xp.zeros(self.saved.shape, dtype=dy.dtype)
        dx[self.saved.i] = dy
        return dx, None


@mistake("a division of integers by zero", "integers are divided by 0", seen_on_numpy=True)
class IntegerDivision(Pick):
    def forward(self, x: Any, i: Any) -> Any:
        return super().forward(x, i + i // (i - i))


@mistake("a copy of an array onto a part of itself", "copied onto a part of itself")
class OverlappingCopy(Noise):
    """Each sample in the place of the one behind it; the first stays."""

    per_sample = False

    def forward(self, x: Any) -> Any:
        y = x.copy()
        y[1:] = y[:-1]
        self.save()
        return y

    def backward(self, dy: Any) -> Any:
        dx = self.xp.zeros_like(dy)
        dx[:-1] = dy[1:]
        dx[0] += dy[0]
        return dx


# Exceptions that no device raises -------------------------------------------------------------------------------------


class CatchesIndexError:
    """Picks first, and takes the exception for a check."""

    def forward(self: Any, x: Any, index: Any) -> Any:
        try:
            y = self.pick(x, index)
        except IndexError:
            raise LayerError("an index is out of range", exit_code=3) from None
        if bool((index < 0).any()):
            raise LayerError("an index is negative", exit_code=3)
        self.save(shape=x.shape, index=index)
        return y


@mistake("an IndexError that Gather waits for", "check it before it is used")
class GatherCatches(CatchesIndexError, Gather):
    pass


@mistake("an IndexError that IndexSelect waits for", "check it before it is used")
class IndexSelectCatches(CatchesIndexError, IndexSelect):
    pass


@mistake("an IndexError that BatchReindex waits for", "check it before it is used")
class BatchReindexCatches(CatchesIndexError, BatchReindex):
    pass


def with_a_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers far from 0, and a 0."""
    x = rng.uniform(1, 2, shape)
    x[0, 0] = 0
    return x


@mistake("an np.errstate that is to raise", "differs on strict")
class ErrstateReliedOn(Layer):
    """The inverse of each number; where there is a 0 among them, of all that are not."""

    examples = [Example({}, [Spec((3, 4), draw=with_a_zero)])]

    def setup(self, x: Spec) -> Spec:
        return x

    def per_sample_for(self, x: Spec) -> bool:
        return True

    def forward(self, x: Any) -> Any:
        try:
            with np.errstate(divide="raise"):
                return 1 / x
        except FloatingPointError:
            return (x != 0) / (x + (x == 0))


# Waits ----------------------------------------------------------------------------------------------------------------


@mistake("a float() for each number", "may 0 times")
class FloatForEach(MSELoss):
    def forward(self, *bottoms: Any) -> Any:
        y = super().forward(*bottoms)
        weights = [float(v) for v in bottoms[0].reshape(-1)]
        return y if weights else -y


@mistake("an array in an if", "waits 1 times for the device, and may 0 times")
class TruthOfAny(ReLU):
    def forward(self, x: Any) -> Any:
        return super().forward(x if bool((x < 0).any()) else +x)


@mistake("a launch for each sample", "with a sample more launches go from")
class LaunchForEach(Noise):
    def forward(self, x: Any) -> Any:
        y = self.xp.empty_like(x)
        for row, source in zip(y, x, strict=True):
            row[...] = source
        self.save(mask=self.xp.ones_like(x))
        return y


@mistake("a launch more than is recorded", "are recorded; if it must")
class LaunchMore(Softmax):
    type_name = "Softmax"
    inplace = False

    def forward(self, x: Any) -> Any:
        for _ in range(10):
            x = x.copy()
        return super().forward(x)


@mistake("an array of booleans as an index", "may 0 times")
class MaskedAssignment(KLDivLoss):
    def forward(self, x: Any, q: Any, *more: Any) -> Any:
        own, positive = q.copy(), q > 0
        own[positive] = own[positive]
        return super().forward(x, own, *more)
