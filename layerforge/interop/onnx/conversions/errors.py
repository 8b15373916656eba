"""Metrics of numbers against their targets, of the batch that is given. Sums are in float64, as the layers' own."""

from __future__ import annotations

import math
from collections.abc import Callable

from ....layers.metrics.errors import EPS
from ..exporting import Export, Value, exports
from .formulas import Term, where
from .metrics import ratio, top

ERRORS: dict[str, Callable[[Term, Term], Term]] = {
    "MAE": lambda x, t: abs(x - t),
    "RMSE": lambda x, t: (x - t) * (x - t),
    "MAPE": lambda x, t: abs(x - t) / x.op("Max", abs(t), EPS),
}


@exports(*ERRORS)
def mean_error(w: Export, x: Value, t: Value, weight: Value | None = None) -> Value:
    """The error of each number, and its mean over the samples."""
    numbers, targets, weights = _samples(w, x, t, weight)
    error = ERRORS[w.layer.type_name](numbers, targets)
    mean = ratio((weights * error).sum(0), weights.sum(), math.nan)
    return _over_outputs(w, mean.op("Sqrt", mean) if w.layer.type_name == "RMSE" else mean)


@exports("R2")
def r2(w: Export, x: Value, t: Value, weight: Value | None = None) -> Value:
    """Weighted sums of squares: of the errors, and of the targets less their mean."""
    numbers, targets, weights = _samples(w, x, t, weight)
    mean = ratio((weights * targets).sum(0), weights.sum())
    spread, error = ((weights * apart * apart).sum(0) for apart in (targets - mean, numbers - targets))
    constant = where(error.is_nan(), math.nan, error.equals(0).cast("float64"))
    each = where(spread.equals(0), constant, 1 - ratio(error, spread))
    samples = weights.equals(weights).cast("int64").sum()
    return _over_outputs(w, where(samples < 2, math.nan, each))


def _samples(w: Export, x: Value, t: Value, weight: Value | None) -> tuple[Term, Term, Term]:
    """Numbers and targets (N, D), weights (N, 1)."""
    outputs = math.prod(length for length in x.shape[1:] if isinstance(length, int))
    numbers, targets = (Term(w, w.reshape(one, [x.shape[0], outputs])).cast("float64") for one in (x, t))
    if weight is not None:
        return numbers, targets, Term(w, w.reshape(weight, [x.shape[0], 1])).cast("float64")
    first = w.op("Slice", numbers.value, [0], [1], [1])
    return numbers, targets, Term(w, w.op("Equal", first, first, dtype="bool")).cast("float64") * 0 + 1


def _over_outputs(w: Export, each: Term) -> Value:
    if w.layer.multioutput != "raw_values":
        each = each.op("ReduceMean", each, keepdims=0)
    return top(each)
