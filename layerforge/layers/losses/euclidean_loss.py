"""EuclideanLoss: half of the squared distance, for each sample."""

from __future__ import annotations

from .loss import reduction_param
from .regression_loss import of_difference

EuclideanLoss = of_difference(
    "EuclideanLoss", "half the squared distance, per sample (Caffe: EuclideanLoss)",
    loss="(x - t)²/2,   summed and divided by N by default",
                                               f=lambda self, d: d * d / 2,
    dx="dx = (x - t) dy/N",                    df=lambda self, d: d,
    params={"reduction": (str, reduction_param("batchmean", "batchmean", help="batchmean (sum / N), mean, sum, none"))},
    tried=({"reduction": "mean"},),
    source="Gauss 1809; compare Caffe's EuclideanLoss layer",
)  # fmt: skip
