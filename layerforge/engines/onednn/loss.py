"""SoftmaxCrossEntropy of plain labels: one softmax forward, and nothing but it to differentiate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...functional import check_labels
from ...layer import Layer
from ...layers.softmax_cross_entropy import SoftmaxCrossEntropy
from ...spec import Spec
from . import primitives
from .base import OneDnn
from .primitives import LOG_SOFTMAX


class OneDnnSoftmaxCrossEntropy(OneDnn, SoftmaxCrossEntropy):
    """SoftmaxCrossEntropy of labels that all count, one per sample: -Σ log p[label] / n needs no one-hot matrix."""

    type_name = "SoftmaxCrossEntropy"
    replays = True

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        x, t = bottoms
        plain = reference.weight is None and reference.ignore_index is None and not reference.label_smoothing
        if t.is_real or x.ndim != 2 or not plain or reference.reduction == "none":
            return "only labels, one per sample, without weights, smoothing and ignored ones"
        return super().refuses(reference, bottoms, tops)

    def forward(self, x: Any, t: Any) -> Any:
        rows = self.matrix("x", x)
        log_p, at = self.buf("log_p", rows.shape, life="saved"), self.buf("at", t.shape, "int64", life="saved")
        loss = self.buf("loss", ())
        starts, numbers = self.view("numbers", log_p, lambda a: (np.arange(0, a.size, a.shape[1]), a.reshape(-1)))
        n = self.divisor(x, t)
        count = self.view(f"count {n}", None, lambda _: np.array(n, np.float64))
        self.act("at", positions)(t, self.view("unsigned", t, unsigned), log_p, starts, at)
        self.op("log_p", primitives.softmax, 1, LOG_SOFTMAX)(rows, log_p)
        self.act("loss", mean)(numbers, at, count, loss)
        self.save(log_p=log_p, at=at, count=count)
        return loss

    def backward(self, dy: Any) -> tuple[Any, ...]:
        log_p = self.saved.log_p
        dx = self.buf("dx", log_p.shape)
        self.act("dx", difference)(dy, log_p, self.saved.at, self.saved.count, dx, self.view("flat", dx, np.ravel))
        return dx, None

    def jvp(self, dx: Any, dt: Any = None) -> Any:
        p = np.exp(self.saved.log_p)
        p.reshape(-1)[self.saved.at] -= 1
        return np.asarray((p * dx).sum() / self.saved.count, p.dtype)


def unsigned(labels: Any) -> Any:
    """Labels as they lie in memory, read as numbers without a sign."""
    return labels.view(f"u{labels.itemsize}")


def positions(labels: Any, unsigned_labels: Any, log_p: Any, starts: Any, at: Any) -> None:
    """Where in log_p the right classes are. LayerError for a label that is none; one below 0 is a huge unsigned one."""
    if labels.size and unsigned_labels.max() >= log_p.shape[1]:
        check_labels(np, labels, log_p.shape[1])
    np.add(starts, labels, out=at, dtype="int64", casting="unsafe")


def mean(numbers: Any, at: Any, count: Any, loss: Any) -> None:
    """-Σ log p[label] / n"""
    loss[()] = numbers[at].sum(dtype=np.float64) / -count


def difference(dy: Any, log_p: Any, at: Any, count: Any, dx: Any, flat: Any) -> None:
    """dy/n (p - one-hot labels)"""
    factor = np.float32(dy / count)
    np.exp(log_p, out=dx)
    dx *= factor
    flat[at] -= factor
