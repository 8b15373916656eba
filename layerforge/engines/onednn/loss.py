"""SoftmaxCrossEntropy of plain labels: one softmax forward, and nothing but it to differentiate.

The softmax is NumPy's. oneDNN's logarithm is off by up to 4e-6, more than the whole loss of a prediction that is sure
and right: the loss came out below 0 and its gradient with the wrong sign. NumPy takes no longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.functional import check_labels, exact_sum
from ...arrays.spec import Spec
from ...layers.losses.softmax_cross_entropy import SoftmaxCrossEntropy
from .activation import in_order_of_memory
from .base import OneDnn

FEW = 64  # classes


class OneDnnSoftmaxCrossEntropy(OneDnn, SoftmaxCrossEntropy):
    """SoftmaxCrossEntropy of labels that all count, one per sample: -Σ log p[label] / n needs no one-hot matrix."""

    replays = True

    @classmethod
    def refuses(cls, reference: Any, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        x, t, *weight = bottoms
        plain = reference.weight is None and reference.ignore_index is None and not reference.label_smoothing
        if t.is_real or x.ndim != 2 or weight or not plain or reference.reduction == "none":
            return "only labels, one per sample, without weights, smoothing and ignored ones"
        return super().refuses(reference, bottoms, tops)

    def mean_over(self, x: Any, t: Any) -> float | None:
        """All labels count, whatever normalization says."""
        return len(t) if self.reduction == "mean" and self.normalization != "none" else None

    def scores(self, name: str, shape: tuple[int, ...], life: str = "call") -> Any:
        """A buffer for (N, K). Those of few classes are stored class by class: NumPy is slow along a short axis."""
        if shape[1] > FEW:
            return self.buf(name, shape, life=life)
        return self.view(f"{name} by sample", self.buf(name, shape[::-1], life=life), np.transpose)

    def forward(self, x: Any, t: Any) -> Any:
        log_p, loss = self.scores("log_p", x.shape, "saved"), self.buf("loss", ())
        at, numbers = self.buf("at", t.shape, "int64", life="saved"), self.view("numbers", log_p, in_order_of_memory)
        starts, apart = self.view("starts", log_p, starts_of_samples), self.view("apart", log_p, between_classes)
        n = self.divisor(x, t)
        count = self.view(f"count {n}", None, lambda _: np.array(n, np.float64))
        self.act("at", positions)(t, self.view("unsigned", t, unsigned), log_p, starts, apart, at)
        by_class = [self.by_class(n, a) for n, a in (("x", x), ("log_p", log_p), ("e", self.scores("e", x.shape)))]
        rows = [self.buf(f"{name} of x", t.shape, dtype) for name, dtype in (("top", x.dtype), ("total", "float64"))]
        self.act("log_p", log_probabilities)(*by_class, *rows)
        self.act("loss", self.limited_mean if self.min_probability else mean)(numbers, at, count, loss)
        self.save(log_p=log_p, numbers=numbers, at=at, count=count)
        return loss

    def limited_mean(self, numbers: Any, at: Any, count: Any, loss: Any) -> None:
        """`mean`, with no log p below that of min_probability."""
        loss[()] = exact_sum(self.limited(numbers[at])) / -count

    def by_class(self, name: str, scores: Any) -> Any:
        """Scores (N, K) as (K, N)."""
        return self.view(f"{name} by class", scores, np.transpose)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        kept = self.saved
        dx = self.buf("dx", kept.log_p.shape)
        slope = dx if kept.log_p.flags.c_contiguous else self.scores("slope", dx.shape)
        flat = self.view("flat", slope, in_order_of_memory)
        self.act("slope", difference)(dy, kept.log_p, kept.numbers, kept.at, kept.count, slope, flat)
        if slope is not dx:
            self.act("dx", np.copyto)(dx, slope)
        return dx, None

    def jvp(self, dx: Any, dt: Any = None) -> Any:
        kept = self.saved
        slope = np.empty_like(kept.log_p)
        difference(1.0, kept.log_p, kept.numbers, kept.at, kept.count, slope, in_order_of_memory(slope))
        return np.asarray(exact_sum(slope * dx), slope.dtype)


def unsigned(labels: Any) -> Any:
    """Labels as they are stored, read as integers without a sign."""
    return labels.view(f"u{labels.itemsize}")


def starts_of_samples(log_p: Any) -> Any:
    """Where in memory each sample's class 0 is, in elements."""
    return np.arange(len(log_p)) * (log_p.strides[0] // log_p.itemsize)


def between_classes(log_p: Any) -> Any:
    """How far apart in memory the classes of a sample are, in elements."""
    return np.array(log_p.strides[1] // log_p.itemsize)


def positions(labels: Any, unsigned_labels: Any, log_p: Any, starts: Any, apart: Any, at: Any) -> None:
    """Where in memory the right classes are. LayerError for a label that is none; below 0 it is a huge unsigned one."""
    if labels.size and np.maximum.reduce(unsigned_labels) >= log_p.shape[1]:
        check_labels(np, labels, log_p.shape[1])
    np.multiply(labels, apart, at, casting="unsafe")
    np.add(starts, at, at)


def log_probabilities(x: Any, log_p: Any, terms: Any, top: Any, total: Any) -> None:
    """log softmax(x) of every column: `functional.log_softmax`, in memory that is there."""
    np.copyto(log_p, x)
    np.maximum.reduce(log_p, 0, None, top)
    np.subtract(log_p, top, log_p)
    np.exp(log_p, terms)
    np.add.reduce(terms, 0, np.float64, total)
    np.copyto(top, np.log(total, total), casting="same_kind")
    np.subtract(log_p, top, log_p)


def mean(numbers: Any, at: Any, count: Any, loss: Any) -> None:
    """-Σ log p[label] / n"""
    loss[()] = np.add.reduce(numbers[at], 0, np.float64) / -float(count)


def difference(dy: Any, log_p: Any, numbers: Any, at: Any, count: Any, dx: Any, flat: Any) -> None:
    """dy/n (p - one-hot labels); p - 1 = expm1 log p keeps its digits where p is nearly 1."""
    factor = np.array(float(dy) / float(count), dx.dtype)
    np.exp(log_p, dx)
    np.multiply(dx, factor, dx)
    flat[at] = np.expm1(numbers[at]) * factor
