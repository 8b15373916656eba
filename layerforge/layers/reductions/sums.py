"""Sum, Mean, SumSquare and AbsSum: sums along axes."""

from __future__ import annotations

from ...arrays.functional import mean_of, sum_of
from .reduction import reduction, size_along

Sum = reduction(
    "Sum", "sum (Caffe: Reduction, operation SUM)",
    y="Σ x",                    value=lambda self, x, axes: sum_of(x, axes, keepdims=True),
    dx="dx = dy",               slope=lambda self, x, y, axes: 1,
    empty=True,  is_sum=True,   source="compare torch.sum",
)  # fmt: skip

Mean = reduction(
    "Mean", "mean (Caffe: Reduction, operation MEAN)",
    y="Σ x / m",                value=lambda self, x, axes: mean_of(x, axes, keepdims=True),
    dx="dx = dy / m",           slope=lambda self, x, y, axes: 1 / size_along(self.saved, axes),
    source="compare torch.mean",
)  # fmt: skip

SumSquare = reduction(
    "SumSquare", "sum of squares (Caffe: Reduction, operation SUMSQ)",
    y="Σ x²",                   value=lambda self, x, axes: sum_of(x * x, axes, keepdims=True),
    dx="dx = 2 x dy",           slope=lambda self, x, y, axes: 2 * x,  reads=("bottom",),
    empty=True,  is_sum=True,   source="compare torch.sum of torch.square",
)  # fmt: skip

AbsSum = reduction(
    "AbsSum", "sum of absolute values (Caffe: Reduction, operation ASUM)",
    y="Σ |x|",                  value=lambda self, x, axes: sum_of(self.xp.abs(x), axes, keepdims=True),
    dx="dx = sign(x) dy, 0 at x = 0",  slope=lambda self, x, y, axes: self.xp.sign(x),  reads=("bottom",),
    empty=True,  is_sum=True,   source="compare torch.sum of torch.abs",
)  # fmt: skip
