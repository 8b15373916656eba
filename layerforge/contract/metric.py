"""The contract of metrics: a value over a whole set, put together exactly from its batches, whatever these are.

    @register
    class MeanScore(Metric):
        \"\"\"MeanScore: the mean of all scores ... \"\"\"
        higher_is_better = True
        examples = [Example({}, [Spec((3, 4))])]

        def setup(self, x):
            return x.with_shape(())

        def update(self, x):
            return {"sum": exact_sum(x), "count": self.number(x.size)}

        def compute(self, tally):
            return tally["sum"] / tally["count"]

What `update` counts of one batch is added to what it counted of the others, by `merge`, and `compute` makes the value
of it. The mean of the values of batches would be another number: of batches of different sizes, and for nearly every
metric, such as F1, of equal ones too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from ..arrays.backend import Array
from .layer import Layer, any_arguments

Tally = dict[str, Any]  # what was counted, by name: plain arrays, which can be copied, sent and stored


class Metric(Layer):
    """Base of the metrics: layers without a gradient whose value follows from what all samples together come to.

    A metric states, beside what a layer states:

    higher_is_better  whether large is good, for whoever watches it: checkpoints, early stopping, the plateau schedule
    by_class          whether a top with an axis has a number for each class; otherwise for each output

    It writes `setup`, `update` and `compute`, and `merge` where its tallies do not simply add up. `forward` follows:
    the value of this batch alone, of the net's dtype. An evaluation asks for the tally of each batch, merges them, and
    computes once, in float64.
    """

    per_sample = False
    adds_up = False
    higher_is_better: ClassVar[bool] = True
    by_class: ClassVar[bool] = True

    tally: Tally | None  # of the last forward

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls, *args, **kwargs)
        self.tally = None
        return self

    @any_arguments
    def update(self, *bottoms: Array) -> Tally:
        """What is counted of one batch. The arrays are new ones, and sums are float64."""
        raise NotImplementedError(f"{type(self).__name__} has no update(self, x)")

    def merge(self, first: Tally, second: Tally) -> Tally:
        """The tally of two sets of samples together. It is associative: batches may be merged in any grouping."""
        return {name: first[name] + second[name] for name in first}

    def compute(self, tally: Tally) -> Any:
        """The tops, in float64, of everything that was counted: one array, or a tuple."""
        raise NotImplementedError(f"{type(self).__name__} has no compute(self, tally)")

    def forward(self, *bottoms: Array) -> Any:
        self.tally = self.update(*bottoms)
        return tuple([top.astype(self.dtype) for top in self.computed(self.tally)])

    def computed(self, tally: Tally) -> tuple[Any, ...]:
        """What `compute` makes, always a tuple of arrays."""
        tops = self.compute(tally)
        return tuple([self.xp.asarray(top) for top in (tops if isinstance(tops, tuple) else (tops,))])

    def number(self, value: float) -> Any:
        """A number as an array of float64, for a tally."""
        return self.xp.full((), float(value))


Metric.framework_names = frozenset(dir(Metric)) | Layer.framework_names | {"tally"}


class Merging:
    """The tallies of a metric's batches, merged as they come.

    Neighbours that stand for equally many batches are merged, as digits are carried in a binary counter: where a tally
    holds every sample, each is copied log n times in n batches, and not n times.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._parts: list[tuple[int, Tally]] = []  # how many batches, and their tally

    def add(self, tally: Tally) -> None:
        """The next batch."""
        batches = 1
        while self._parts and self._parts[-1][0] == batches:
            tally = self.metric.merge(self._parts.pop()[1], tally)
            batches *= 2
        self._parts.append((batches, tally))

    def value(self) -> tuple[Any, ...]:
        """The tops for all batches, of which there must have been one."""
        return self.metric.computed(merged(self.metric, [tally for _, tally in self._parts]))


def merged(metric: Metric, tallies: Sequence[Tally]) -> Tally:
    """The tally of several sets of samples, at least one."""
    total = tallies[-1]
    for tally in reversed(tallies[:-1]):
        total = metric.merge(tally, total)
    return total
