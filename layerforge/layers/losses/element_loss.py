"""What a loss between elements needs to leave some of them out: which ones count, and what their mean divides by."""

from __future__ import annotations

from typing import Any

from ...arrays.awaited import number_of
from ...arrays.functional import exact_sum
from ...schema.params import param
from .class_loss import expect_mean, normalization_param
from .loss import divisor_of
from .regression_loss import RegressionLoss


class CountedLoss(RegressionLoss):
    """Base of the losses between elements that may ignore some: those whose target says so have no loss, whatever x is.

    mean divides the sum by m, which `normalization` counts in Caffe's words:

        valid        the elements that count
        full         all elements, ignored ones too
        batch_size   the samples
        none         1
    """

    ignore_index: int | None = param(None, help="target, cut to an integer, of the elements that do not count")
    normalization: str = normalization_param()

    def validate(self) -> None:
        expect_mean(self.reduction, self.normalization)

    def valid(self, t: Any) -> Any:
        """Whether each element counts; None where all do."""
        return None if self.ignore_index is None else self.xp.trunc(t) != self.ignore_index

    def single(self, x: Any, t: Any) -> tuple[Any, dict[str, Any]]:
        losses, kept = super().single(x, t)
        valid = self.valid(t)
        return losses if valid is None else self.xp.where(valid, losses, 0), {**kept, "valid": valid}

    def partial(self, i: int) -> Any:
        slope, valid = super().partial(i), self.saved.valid
        return slope if valid is None else self.xp.where(valid, slope, 0)

    def total(self, x: Any, t: Any) -> Any:
        """m; 1 where no element counts."""
        if self.reduction != "mean" or (self.normalization == "valid" and self.ignore_index is None):
            return super().total(x, t)
        counts = {"full": t.size, "batch_size": len(t), "none": 1}
        if self.normalization in counts:
            return counts[self.normalization]
        return divisor_of(self.xp, number_of(self.xp.count_nonzero(self.valid(t))), x.dtype)

    def share(self, x: Any, t: Any) -> Any:
        if self.reduction != "mean" or self.normalization != "valid":
            return 0
        valid = self.valid(t)
        return self.xp.ones_like(x) if valid is None else valid.astype(x.dtype)

    def mean_over(self, x: Any, t: Any, *weight: Any) -> float | None:
        """What `normalization` counts, by the weights of samples where there are any; None where the top is no mean."""
        if self.reduction == "mean" and self.normalization != "valid":
            return None if self.normalization == "none" else super().mean_over(x, t)
        if self.reduction != "mean" or self.ignore_index is None:
            return super().mean_over(x, t, *weight)
        share = self.share(x, t)
        return number_of(exact_sum(self.spread_weight(weight[0], share) * share if weight else share))
