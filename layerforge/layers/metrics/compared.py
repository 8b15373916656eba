"""What the metrics share that hold scores or predictions against labels: which form these have, and which count."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...arrays.awaited import refuse_where
from ...arrays.functional import check_index, check_labels, expect_role, shape_mismatch, softmax
from ...arrays.scattering import placed_sums
from ...arrays.spec import Spec
from ...contract.metric import Metric
from ...schema.errors import LayerError
from ...schema.params import param
from ..losses.labels import Labelled

CLASSES = "classes"  # scores (N, K, d1, ...) of K classes, one of which is right
ONE = "one score"  # scores (N) or (N, 1, d1, ...): class 1 or class 0
SEVERAL = "several labels"  # scores (N, L, d1, ...) and labels of that shape: each is 0 or 1 by itself
PREDICTED = "predictions"  # classes, not scores

EPS = 1e-4  # how far the sum of probabilities may be from 1
ENOUGH = 8  # rows that tell probabilities from scores: so many do not sum up to 1 by chance


class Positions(NamedTuple):
    """What counts of a batch, flat: scores (P, K), or (P) of ONE and PREDICTED; labels (P), of SEVERAL (P, L).

    Of SEVERAL a label that does not count is -1; in the other forms such positions are left out.
    weight is (P) in float64, or None where everything weighs 1.
    """

    x: Any
    labels: Any
    weight: Any


class Compared(Metric):
    """Base of the metrics of scores or predictions against labels; a third bottom holds weights."""

    bottoms = (2, 3)
    forms: tuple[str, ...] = (CLASSES, ONE, SEVERAL)

    ignore_index: int | None = param(None, help="label of the positions that do not count")

    def setup(self, x: Spec, labels: Spec, *weight: Spec) -> Any:
        self.form = self.form_of(x, labels)
        if self.form not in self.forms:
            raise LayerError(f"{self.type_name} takes {', '.join(self.forms)}, got {self.form}: {x} and {labels}")
        self.classes = self.classes_of(x)
        self.check_form()
        for spec in weight:
            expect_role("bottom[2], the weights,", spec, "real")
            if single(spec.shape) not in (x.shape[:1], self.places(x)):
                raise shape_mismatch("bottom[2], the weights,", spec.shape, f"{x.shape[:1]}, one for each sample")
        return self.tops_of(Spec((), self.dtype))

    def tops_of(self, number: Spec) -> Spec | tuple[Spec, ...]:
        """The Specs of the tops, made from that of a single number."""
        return number

    def check_form(self) -> None:
        """LayerError where hyper-parameters do not fit `self.form` and `self.classes`."""

    def form_of(self, x: Spec, labels: Spec) -> str:
        """Which form the bottoms have, by their shapes; LayerError where it is none."""
        if not x.ndim:
            raise LayerError("bottom[0] is a single number, expected at least a batch axis")
        if not x.is_real and PREDICTED in self.forms:
            expect_role("bottom[1]", labels, "index")
            if labels.shape != x.shape:
                raise shape_mismatch("bottom[1], the labels,", labels.shape, f"{x.shape}")
            return PREDICTED
        expect_role("bottom[0]", x, "real")
        if x.ndim == 1 or single(x.shape) != x.shape:
            if single(labels.shape) != single(x.shape):
                raise shape_mismatch("bottom[1], the labels,", labels.shape, f"{single(x.shape)} or {x.shape}")
            return ONE
        if labels.shape == x.shape and SEVERAL in self.forms:
            return SEVERAL
        Labelled.expect_scores(x)
        expect_role("bottom[1]", labels, "index")
        if labels.shape != (x.shape[0], *x.shape[2:]):
            raise shape_mismatch("bottom[1], the labels,", labels.shape, f"{(x.shape[0], *x.shape[2:])}")
        return CLASSES

    def classes_of(self, x: Spec) -> int:
        """How many classes, or of SEVERAL labels, there are."""
        return 2 if self.form == ONE else x.shape[1]

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """Classes; 0 and 1 of one score and of several labels."""
        if not bottoms[0].is_real or self.form_of(*bottoms[:2]) == CLASSES:
            return range(self.classes_of_bottom(bottoms[0]))
        return range(2)

    def classes_of_bottom(self, x: Spec) -> int:
        """How many classes scores of that shape, or predictions, stand for."""
        return x.shape[1]

    def places(self, x: Any) -> tuple[int, ...]:
        """The shape of the positions."""
        return (x.shape[0], *x.shape[2:]) if self.form in (CLASSES, SEVERAL) else single(x.shape)

    # A batch ------------------------------------------------------------------------------------------------------

    def positions(self, x: Any, labels: Any, weight: Any = None) -> Positions:
        """The positions that count, flat.

        Errors   LayerError (exit 3) for labels and predictions that are no class, and negative weights
        """
        xp = self.xp
        places = self.places(x)
        valid = self.valid(labels)
        labels = self.checked(labels, valid)
        if self.form == PREDICTED:
            x = x * valid
            check_index(xp, x, self.classes, f"{self.classes} classes")
        x = rows_of_classes(xp, x) if self.form in (CLASSES, SEVERAL) else x.reshape(-1)
        flat = None if weight is None else self.spread(weight, places)
        if self.form == SEVERAL:
            return Positions(x, rows_of_classes(xp, xp.where(valid, labels, -1)), flat)
        labels, valid = labels.reshape(-1), valid.reshape(-1)
        if self.ignore_index is None:
            return Positions(x, labels, flat)
        return Positions(x[valid], labels[valid], None if flat is None else flat[valid])

    def valid(self, labels: Any) -> Any:
        """Whether each label counts."""
        if self.ignore_index is None:
            return self.xp.ones(labels.shape, dtype=bool)
        return labels != self.ignore_index

    def checked(self, labels: Any, valid: Any) -> Any:
        """Labels as integers, 0 where they do not count; LayerError for what is no class."""
        if labels.dtype.kind == "f":
            odd = (labels != 0) & (labels != 1) & valid
            refuse_where(odd.any(), partial(odd_label, labels, odd))
        labels = (self.xp.where(valid, labels, 0)).astype("int64")
        check_labels(self.xp, labels, 2 if self.form in (ONE, SEVERAL) else self.classes, valid)
        return labels

    def spread(self, weight: Any, places: tuple[int, ...]) -> Any:
        """Weights of samples or of positions as one for each position, flat."""
        refuse_negative(weight)
        shape = single(weight.shape)
        weight = weight.astype("float64").reshape((*shape, *(1,) * (len(places) - len(shape))))
        return self.xp.broadcast_to(weight, places).reshape(-1)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 2 * bottoms[0].size


def odd_label(labels: Any, odd: Any) -> LayerError:
    """The error for the first label that is odd."""
    found = float(labels.reshape(-1)[int(odd.argmax())])
    return LayerError(f"label {found:g} is neither 0 nor 1", hint="check the data", exit_code=3)


def refuse_negative(weight: Any) -> None:
    """LayerError (exit 3) for a weight below 0."""
    message, hint = "a weight is negative", "check the data"
    refuse_where((weight < 0).any(), lambda: LayerError(message, hint=hint, exit_code=3))


def single(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without an axis of one class."""
    return (shape[0], *shape[2:]) if len(shape) > 1 and shape[1] == 1 else shape


def rows_of_classes(xp: Any, x: Any) -> Any:
    """(N, K, d1, ...) as (P, K): a row for each position, in the order in which labels (N, d1, ...) are flat."""
    return xp.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def ones_or(xp: Any, weight: Any, count: int) -> Any:
    """Weights in float64, 1 where there are none."""
    return xp.ones(count) if weight is None else weight


def counts(xp: Any, classes: Any, weight: Any, among: int) -> Any:
    """How much each of so many classes weighs: (K) in float64."""
    if xp is not np:
        return placed_sums(xp, weight, classes, among, len(classes))
    return xp.bincount(classes, weights=weight, minlength=among).astype("float64")


def ratio(xp: Any, part: Any, whole: Any) -> Any:
    """part / whole, 0 where the whole is 0. What is not a number stays so."""
    return xp.where(whole == 0, 0.0, part / xp.where(whole == 0, 1.0, whole))


def defined_ratio(xp: Any, part: Any, whole: Any) -> Any:
    """part / whole, NaN where the whole is 0."""
    return xp.where(whole == 0, xp.nan, ratio(xp, part, whole))


def probabilities(xp: Any, x: Any, from_logits: bool) -> Any:
    """Rows of scores, or of probabilities, as probabilities in float64.

    Errors   LayerError (exit 3) for rows that are not what from_logits says
    """
    x = x.astype("float64")
    fits = (x >= 0).all(axis=1) & (x <= 1).all(axis=1) & (abs(x.sum(axis=1) - 1) <= EPS)
    if from_logits:
        if len(x) >= ENOUGH:
            refuse_where(fits.all(), are_probabilities)
        return softmax(xp, x, 1)
    refuse_where(~(fits | xp.isnan(x).any(axis=1)).all(), are_no_probabilities)
    return x


def are_probabilities() -> LayerError:
    """The error for probabilities in the place of scores."""
    hint = "from_logits: false takes them as they are; or let it read the scores below the Softmax"
    return LayerError("bottom[0] holds probabilities, not scores: each row sums up to 1", hint=hint, exit_code=3)


def are_no_probabilities() -> LayerError:
    """The error for scores in the place of probabilities."""
    hint = "put a Softmax before it, or let it take the scores: from_logits: true"
    return LayerError("bottom[0] holds no probabilities: a row does not sum up to 1", hint=hint, exit_code=3)


def some_probabilities(rng: Any, shape: tuple[int, ...]) -> Any:
    """A draw of rows that sum up to 1."""
    return rng.dirichlet([1.0] * shape[1], shape[0])
