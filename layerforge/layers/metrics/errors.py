"""MAE, RMSE, MAPE and R2: how far numbers are from their targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...arrays.functional import expect_role, shape_mismatch
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...contract.metric import Metric, Tally
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from ..tables import add_member
from .compared import ratio, refuse_negative, single

EPS = 2.0**-52  # the least |t| that MAPE divides by: float64's eps, as in scikit-learn


class OfOutputs(Metric):
    """Base of the metrics of numbers against targets: each place of a sample is an output, with a number of its own."""

    bottoms = (2, 3)
    higher_is_better = False
    by_class = False

    multioutput: str = param(
        "uniform_average", help="the mean over the outputs, or one number of each",
        choices=("uniform_average", "raw_values"),
    )  # fmt: skip

    def setup(self, x: Spec, t: Spec, *weight: Spec) -> Spec:
        expect_role("bottom[0]", x, "real")
        expect_role("bottom[1]", t, "real")
        if not x.ndim:
            raise LayerError("bottom[0] is a single number, expected at least a batch axis")
        if single(t.shape) != single(x.shape):
            raise shape_mismatch("bottom[1], the targets,", t.shape, f"{x.shape}")
        for spec in weight:
            expect_role("bottom[2], the weights,", spec, "real")
            if single(spec.shape) != x.shape[:1]:
                raise shape_mismatch("bottom[2], the weights,", spec.shape, f"{x.shape[:1]}, one for each sample")
        outputs = math.prod(x.shape[1:])
        return Spec((outputs,) if self.multioutput == "raw_values" else (), self.dtype)

    def samples(self, x: Any, t: Any, weight: Any = None) -> tuple[Any, Any, Any]:
        """Numbers and targets (N, D), weights (N, 1), all float64; LayerError (exit 3) for a negative weight."""
        xp, n = self.xp, len(x)
        if weight is None:
            weight = xp.ones(n)
        else:
            refuse_negative(weight)
        shape = n, math.prod(x.shape[1:])
        return (*[a.astype("float64").reshape(shape) for a in (x, t)], weight.astype("float64").reshape(n, 1))

    def over_outputs(self, each: Any) -> Any:
        """What `multioutput` says of the numbers (D) of the outputs."""
        return each if self.multioutput == "raw_values" else each.mean()

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 3 * bottoms[0].size


class MeanError(OfOutputs):
    """Base of the means of a single error. Each brings `error` of (x, t), and `after` of the mean."""

    error: Callable[[Any, Any, Any], Any]
    after: Callable[[Any, Any], Any]

    def update(self, x: Any, t: Any, weight: Any = None) -> Tally:
        x, t, weight = self.samples(x, t, weight)
        return {"sum": (weight * self.error(self.xp, x, t)).sum(axis=0), "weight": weight.sum()}

    def compute(self, tally: Tally) -> Any:
        total = self.xp.where(tally["weight"] == 0, math.nan, tally["weight"])
        return self.over_outputs(self.after(self.xp, tally["sum"] / total))


DOC = """{name}: {what}

    y[d] = {formula}

for each output d, over all samples; y is the mean of the y[d], or with multioutput raw_values all of them. With a third
bottom each sample counts by its weight. {note}NaN where there are no samples.

Shapes    x and t real, (N) or (N, D): numbers and their targets, with more axes each place is an output; (N) and (N,
          1) are the same; weights (N); y a single number, with multioutput raw_values (D)
Keeps     nothing: a metric has no gradient
Cost      one pass over the numbers, two numbers for each output in an evaluation
Errors    LayerError when shapes do not fit; LayerError (exit 3) for a negative weight
Source    {source}
"""

WEIGHT = Spec((6,), low=0.1, high=2)
EXAMPLES = [
    Example({}, [Spec((6, 3)), Spec((6, 3))]),
    Example({"multioutput": "raw_values"}, [Spec((6, 3)), Spec((6, 3)), WEIGHT], "weighted samples"),
    Example({}, [Spec((6, 1)), Spec((6,))], "one output"),
    Example({}, [Spec((2, 2, 1, 3)), Spec((2, 2, 1, 3))], "each place of an image"),
    Example({}, [Spec((6, 2), low=-1e4, high=1e4), Spec((6, 2), low=-1e4, high=1e4)], "extreme"),
]
BAD = [
    Bad({}, "bottom[1], the targets, has shape (4, 2), expected (4, 3)", [Spec((4, 3)), Spec((4, 2))]),
    Bad({}, "bottom[1] must be real numbers", [Spec((4, 3)), index((4, 3), 2)]),
    Bad({}, "at least a batch axis", [Spec(()), Spec(())]),
    Bad({}, "bottom[2], the weights, has shape (3,), expected (4,)", [Spec((4, 3)), Spec((4, 3)), Spec((3,))]),
    Bad({"multioutput": "mean"}, "must be one of uniform_average, raw_values"),
]


def mean_error(
    name: str,
    what: str,
    *,
    formula: str,
    error: Callable[..., Any],
    source: str,
    after: Callable[..., Any] = lambda xp, mean: mean,
    note: str = "",
) -> Any:
    """Make a mean of an error: the layer `name`. `formula` is what the documentation shows of `error` and `after`."""
    text = DOC.format(name=name, what=what, formula=formula, note=note, source=source)
    own: dict[str, Any] = {"error": staticmethod(error), "after": staticmethod(after)}
    return add_member(MeanError, name, text, examples=EXAMPLES, bad_examples=BAD, **own)


MAE = mean_error(
    "MAE", "the mean absolute error",
    formula="(1/N) Σₙ |x[n, d] - t[n, d]|", error=lambda xp, x, t: abs(x - t),
    source="compare sklearn.metrics.mean_absolute_error",
)  # fmt: skip
RMSE = mean_error(
    "RMSE", "the root of the mean squared error",
    formula="√((1/N) Σₙ (x[n, d] - t[n, d])²)", error=lambda xp, x, t: (x - t) ** 2,
    after=lambda xp, mean: xp.sqrt(mean),
    note="Of several outputs y is the mean of their roots, as in scikit-learn, and not the root of their mean. ",
    source="compare sklearn.metrics.root_mean_squared_error",
)  # fmt: skip
MAPE = mean_error(
    "MAPE", "the mean absolute percentage error, as a share: 0.1 is 10 %",
    formula="(1/N) Σₙ |x[n, d] - t[n, d]| / max(|t[n, d]|, 2⁻⁵²)",
    error=lambda xp, x, t: abs(x - t) / xp.maximum(abs(t), EPS),
    note="A target of 0 makes it huge: MAE is for those. ",
    source="compare sklearn.metrics.mean_absolute_percentage_error",
)  # fmt: skip


@register
class R2(OfOutputs):
    """R2: the coefficient of determination, the share of the targets' variance that is explained

        y[d] = 1 - Σₙ (x[n, d] - t[n, d])² / Σₙ (t[n, d] - μ)²      μ is the mean of t[n, d] over all samples

    for each output d; y is the mean of the y[d], or with multioutput raw_values all of them. 1 is perfect, 0 as good as
    always saying μ. Where the targets are constant y[d] is 1 if all are met, and else 0. With a third bottom each
    sample counts by its weight. NaN where there are fewer than two samples.

    The means and sums of squares of batches are put together exactly (Chan, Golub & LeVeque 1983): targets far from 0
    lose nothing.

    Shapes    x and t real, (N) or (N, D): numbers and their targets, with more axes each place is an output; (N) and
              (N, 1) are the same; weights (N); y a single number, with multioutput raw_values (D)
    Keeps     nothing: a metric has no gradient
    Cost      one pass over the numbers, four numbers for each output in an evaluation
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a negative weight
    Source    compare sklearn.metrics.r2_score
    """

    higher_is_better = True

    examples = EXAMPLES
    bad_examples = BAD

    def update(self, x: Any, t: Any, weight: Any = None) -> Tally:
        xp = self.xp
        x, t, weight = self.samples(x, t, weight)
        total = weight.sum()
        origin = t[0] if len(t) else xp.zeros(t.shape[1])
        apart = t - origin
        mean = ratio(xp, (weight * apart).sum(axis=0), total)
        return {
            "samples": self.number(len(x)),
            "weight": total,
            "origin": origin,
            "mean": mean,
            "spread": (weight * (apart - mean) ** 2).sum(axis=0),
            "error": (weight * (x - t) ** 2).sum(axis=0),
        }

    def merge(self, first: Tally, second: Tally) -> Tally:
        """Means are kept as their distance from one of the targets, the origin, so that none of it is rounded away."""
        xp, total = self.xp, first["weight"] + second["weight"]
        share = ratio(xp, second["weight"], total)
        moved = (second["origin"] - first["origin"]) + second["mean"]
        apart, empty = moved - first["mean"], first["weight"] == 0
        added = {name: first[name] + second[name] for name in ("samples", "weight", "error")}
        return {
            **added,
            "origin": xp.where(empty, second["origin"], first["origin"]),
            "mean": xp.where(empty, second["mean"], first["mean"] + apart * share),
            "spread": first["spread"] + second["spread"] + apart**2 * first["weight"] * share,
        }

    def compute(self, tally: Tally) -> Any:
        xp, error, spread = self.xp, tally["error"], tally["spread"]
        constant = xp.where(error == 0, 1.0, xp.where(error == error, 0.0, error))
        each = xp.where(spread == 0, constant, 1 - ratio(xp, error, spread))
        return self.over_outputs(xp.where(tally["samples"] < 2, math.nan, each))
