"""EuclideanLoss: half of the squared distance, for each sample."""

from __future__ import annotations

from .loss import reduction_param
from .regression_loss import of_difference

EuclideanLoss = of_difference(
    "EuclideanLoss", "half the squared distance, per sample (Caffe: EuclideanLoss)",
    loss="(x - t)²/2",                         f=lambda self, u: u * u / 2,
    dx="dx = dℓ (x - t)",                      df=lambda self, u: u,
    params={"reduction": (str, reduction_param("batchmean", "batchmean", help="batchmean (sum / N), mean, sum, none"))},
    divisors="N (reduction batchmean, the default), the number of elements (mean) or 1 (sum)",
    tried=({"reduction": "mean"},),
    source="Gauss 1809; compare Caffe's EuclideanLoss layer",
)  # fmt: skip
