"""SoftmaxCrossEntropy of labels: one softmax forward, and nothing but it to differentiate.

The softmax is NumPy's. oneDNN's logarithm is off by up to 4e-6, more than the whole loss of a prediction that is sure
and right: the loss came out below 0 and its gradient with the wrong sign. NumPy takes no longer.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from ...arrays.functional import check_labels, exact_sum
from ...layers.losses.softmax_cross_entropy import SoftmaxCrossEntropy
from .activation import in_order_of_memory
from .casting import order_of
from .loss import OneDnnLoss

FEW = 64  # classes


class OneDnnSoftmaxCrossEntropy(OneDnnLoss, SoftmaxCrossEntropy):
    """SoftmaxCrossEntropy without a one-hot matrix: of labels that all count alike it is -Σ log p[label] / m.

    With a factor f = w[label] of each position, 0 where it is ignored, and smoothing ε (then w is 1) over K classes

        y = -Σ f ((1 - ε) log p[label] + ε/K Σₖ log pₖ) / m
        dxₖ = dy/m f (pₖ - ε/K - (1 - ε) onehot(label)ₖ)

    Probabilities for labels, weights of samples, all losses as the top, and smoothing along with weights of classes or
    a least probability are computed as any loss is.
    """

    def forward(self, x: Any, t: Any, *weight: Any) -> Any:
        if weight or self.reduction == "none" or t.dtype.kind == "f" or not self.smooths_plainly():
            return super().forward(x, t, *weight)
        log_p, loss = self.by_classes("log_p", x, "saved"), self.buf("loss", ())
        factors, count = self.counts(x, t)
        at, numbers = self.buf("at", t.shape, "int64", life="saved"), self.view("numbers", log_p, in_order_of_memory)
        starts, apart = self.view("starts", log_p, starts_of_positions), self.view("apart", log_p, between_classes)
        self.act("at", self.find)(x, t, starts, apart, at, factors, count)
        by_class = [self.classes_first(n, a) for n, a in (("x", x), ("log_p", log_p), ("e", self.by_classes("e", x)))]
        rows = [self.buf(f"{name} of x", t.shape, dtype) for name, dtype in (("top", x.dtype), ("total", "float64"))]
        self.act("log_p", log_probabilities)(*by_class, *rows)
        self.act("loss", self.add_up)(by_class[1], numbers, at, factors, count, loss)
        self.save(log_p=log_p, numbers=numbers, at=at, factors=factors, count=count, order=order_of(x))
        return loss

    def smooths_plainly(self) -> bool:
        """Whether smoothing, if there is any, spreads its share over classes of one weight."""
        return not self.label_smoothing or (self.weight is None and not self.min_probability)

    def counts(self, x: Any, t: Any) -> tuple[Any, Any]:
        """Memory for what each position counts, and for m; None and m where all positions count alike."""
        if self.weight is None and self.ignore_index is None:
            n = self.divisor(x, t)
            return None, self.view(f"count {n}", None, lambda _: np.array(n, np.float64))
        return self.buf("factors", t.shape, life="saved"), self.buf("count", (), "float64", life="saved")

    def by_classes(self, name: str, x: Any, life: str = "call") -> Any:
        """A buffer as x (N, K, ...). Those of few classes lie class by class: NumPy is slow along a short axis."""
        if x.shape[1] > FEW:
            return self.buf(name, x.shape, life=life, like=x)
        memory = self.buf(name, (x.shape[1], x.shape[0], *x.shape[2:]), life=life)
        return self.view(f"{name} by sample", memory, lambda m: np.swapaxes(m, 0, 1))

    def classes_first(self, name: str, scores: Any) -> Any:
        """Scores (N, K, ...) as (K, N, ...)."""
        return self.view(f"{name} by class", scores, lambda a: np.swapaxes(a, 0, 1))

    def find(self, x: Any, t: Any, starts: Any, apart: Any, at: Any, factors: Any, count: Any) -> None:
        """Where in memory the right classes are; where positions count differently what each counts, and m.

        Errors   LayerError (exit 3) for a label that is no class; below 0 it is a huge one without a sign
        """
        classes, labels = x.shape[1], t
        if self.ignore_index is not None:
            labels = np.where(self.valid(t), t, t.dtype.type(0))
        if labels.size and np.maximum.reduce(labels.view(f"u{t.itemsize}"), None) >= classes:
            check_labels(np, labels, classes)
        np.multiply(labels, apart, at, casting="unsafe")
        np.add(starts, at, at)
        if factors is not None:
            factors[...] = self.weights(labels, self.valid(t))
            count[()] = self.divisor(x, t)

    def add_up(self, log_p: Any, numbers: Any, at: Any, factors: Any, count: Any, loss: Any) -> None:
        """The loss; log p (K, N, ...)."""
        each = self.limited(numbers[at]) if self.min_probability else numbers[at]
        if self.label_smoothing:
            spread = self.label_smoothing / len(log_p)
            each = (1 - self.label_smoothing) * each + spread * exact_sum(log_p, 0)
        if factors is not None:
            each = np.where(factors == 0, 0, factors * each)
        loss[()] = 0.0 - float(np.add.reduce(each, None, np.float64)) / float(count)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        kept = self.saved
        if "log_p" not in kept:
            return super().backward(dy)
        dx = self.in_order("dx", kept.log_p.shape, kept.order)
        slope = dx if dx.strides == kept.log_p.strides else self.by_classes("slope", kept.log_p)
        by_class, flat = self.classes_first("slope", slope), self.view("flat", slope, in_order_of_memory)
        log_p = self.classes_first("log_p", kept.log_p)
        self.act("slope", self.fill_slope)(dy, log_p, kept.numbers, kept.at, kept.factors, kept.count, by_class, flat)
        if slope is not dx:
            self.act("dx", np.copyto)(dx, slope)
        return dx, None

    def in_order(self, name: str, shape: tuple[int, ...], order: tuple[int, ...]) -> Any:
        """A buffer of that shape whose axes are stored in this order, outermost first."""
        memory = self.buf(name, [shape[axis] for axis in order])
        return self.view(f"{name} in order", memory, lambda m: m.transpose(np.argsort(order)))

    def fill_slope(
        self, dy: Any, log_p: Any, numbers: Any, at: Any, factors: Any, count: Any, dx: Any, flat: Any
    ) -> None:
        """dx (K, N, ...); p - 1 = expm1 log p keeps its digits where p is nearly 1."""
        scale = np.array(float(dy) / float(count), dx.dtype)
        factor, smoothing = scale if factors is None else factors * scale, self.label_smoothing
        right = np.expm1(numbers[at])
        np.exp(log_p, dx)
        if smoothing:
            dx -= dx.dtype.type(smoothing / len(log_p))
            right += dx.dtype.type(smoothing - smoothing / len(log_p))
        np.multiply(dx, factor, dx)
        flat[at] = right * factor

    def jvp(self, *tangents: Any) -> Any:
        kept = self.saved
        if "log_p" not in kept:
            return super().jvp(*tangents)
        slope, log_p = np.empty_like(kept.log_p), np.swapaxes(kept.log_p, 0, 1)
        by_class, flat = np.swapaxes(slope, 0, 1), in_order_of_memory(slope)
        self.fill_slope(1.0, log_p, kept.numbers, kept.at, kept.factors, kept.count, by_class, flat)
        return np.asarray(exact_sum(slope * tangents[0]), slope.dtype)


def starts_of_positions(log_p: Any) -> Any:
    """Where in memory each position's class 0 is, in elements."""
    axes = [axis for axis in range(log_p.ndim) if axis != 1]
    steps = (np.arange(log_p.shape[axis]) * (log_p.strides[axis] // log_p.itemsize) for axis in axes)
    return reduce(np.add.outer, steps)


def between_classes(log_p: Any) -> Any:
    """How far apart in memory the classes of a position are, in elements."""
    return np.array(log_p.strides[1] // log_p.itemsize)


def log_probabilities(x: Any, log_p: Any, terms: Any, top: Any, total: Any) -> None:
    """log softmax(x) along the first axis: `functional.log_softmax`, in memory that is there."""
    np.copyto(log_p, x)
    np.maximum.reduce(log_p, 0, None, top)
    np.subtract(log_p, top, log_p)
    np.exp(log_p, terms)
    np.add.reduce(terms, 0, np.float64, total)
    np.copyto(top, np.log(total, total), casting="same_kind")
    np.subtract(log_p, top, log_p)
