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

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        x, t = bottoms
        plain = reference.weight is None and reference.ignore_index is None and not reference.label_smoothing
        if t.is_real or x.ndim != 2 or not plain or reference.reduction == "none":
            return "only labels, one per sample, without weights, smoothing and ignored ones"
        return super().refuses(reference, bottoms, tops)

    def forward(self, x: Any, t: Any) -> Any:
        if t.size and self.view("unsigned", t, unsigned).max() >= x.shape[1]:  # a label below 0 is a huge one
            check_labels(np, t, x.shape[1], True)
        rows = self.matrix("x", x)
        log_p = self.buf("log_p", rows.shape, life="saved")
        self.op("log_p", primitives.softmax, 1, LOG_SOFTMAX)(rows, log_p)
        starts, numbers = self.view("numbers", log_p, lambda a: (np.arange(0, a.size, a.shape[1]), a.reshape(-1)))
        at = np.add(starts, t, out=self.buf("at", t.shape, "int64", life="saved"), dtype="int64", casting="unsafe")
        n = self.divisor(x, t)
        self.save(log_p=log_p, at=at, n=n)
        loss = self.buf("loss", ())
        loss[()] = numbers[at].sum(dtype=np.float64) / -n
        return loss

    def backward(self, dy: Any) -> tuple[Any, ...]:
        log_p, factor = self.saved.log_p, float(dy) / self.saved.n
        dx = np.exp(log_p, out=self.buf("dx", log_p.shape))
        dx *= factor
        self.view("flat", dx, np.ravel)[self.saved.at] -= factor
        return dx, None

    def jvp(self, dx: Any, dt: Any = None) -> Any:
        p = np.exp(self.saved.log_p)
        p.reshape(-1)[self.saved.at] -= 1
        return np.asarray((p * dx).sum() / self.saved.n, p.dtype)


def unsigned(labels: Any) -> Any:
    """Labels as they lie in memory, read as numbers without a sign."""
    return labels.view(f"u{labels.itemsize}")
