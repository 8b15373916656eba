"""What the losses share that hold scores of classes against labels: class weights, reductions and normalisations."""

from __future__ import annotations

from typing import Any

from ...arrays.awaited import number_of
from ...arrays.functional import exact_sum, sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from .labels import BAD_EXAMPLES as BAD_LABELS
from .labels import EXAMPLES as LABELLED_EXAMPLES
from .labels import Labelled
from .loss import divisor_of, reduction_param
from .sample_weights import SampleWeights


def normalization_param() -> Any:
    """The hyper-parameter of that name, in Caffe's words."""
    return param("valid", help="what the mean divides by", choices=("valid", "full", "batch_size", "none"))


def expect_mean(reduction: str, normalization: str) -> None:
    """ConfigError for a normalization where there is no mean that it would be of."""
    if reduction != "mean" and normalization != "valid":
        raise ConfigError(
            f"normalization {normalization} with reduction {reduction}",
            hint="normalization says what reduction: mean divides by",
        )


class LabelLoss(SampleWeights, Labelled):
    """Base of the losses of labels: a single loss for each position, 0 where ignored.

    mean divides their sum by m, which `normalization` counts in Caffe's words:

        valid        the positions that count; of a ClassLoss their weights
        full         all positions, ignored ones too
        batch_size   the samples
        none         1
    """

    loss = True

    reduction: str = reduction_param()
    normalization: str = normalization_param()

    def validate(self) -> None:
        expect_mean(self.reduction, self.normalization)

    def setup(self, x: Spec, labels: Spec, *weight: Spec) -> Spec:
        super().setup(x, labels)
        self.expect_sample_weights(weight, labels.shape)
        return self.reduced(x, labels.shape)

    def mean_over(self, x: Any, labels: Any, *weight: Any) -> float | None:
        """What `normalization` counts, by the weights of samples where there are any; None where the top is no mean."""
        if self.reduction != "mean" or self.normalization == "none":
            return None
        if weight and self.normalization == "valid":
            share = self.share(x, labels)
            return number_of(exact_sum(self.spread_weight(weight[0], share) * share))
        if self.normalization != "valid":
            return labels.size if self.normalization == "full" else len(labels)
        return self.counted(x, labels)

    def counted(self, x: Any, labels: Any) -> float | None:
        """What normalization valid counts."""
        return super().mean_over(x, labels)

    def divisor(self, x: Any, labels: Any) -> Any:
        """What the sum of the single losses is divided by; 1 where no position counts."""
        count = self.mean_over(x, labels)
        return 1 if count is None else divisor_of(self.xp, count, x.dtype)

    def total(self, x: Any, t: Any) -> Any:
        return self.divisor(x, t)

    def share(self, x: Any, labels: Any) -> Any:
        """What normalization valid counts of each position (N, d1, ...); 0 where m is fixed."""
        if self.reduction != "mean" or self.normalization != "valid":
            return 0
        return self.positions(x, labels)

    def positions(self, x: Any, labels: Any) -> Any:
        """1 at each position that counts."""
        return self.valid(labels).astype(x.dtype)

    def spread(self, up: Any) -> Any:
        return up[:, None]

    def gather(self, terms: Any) -> Any:
        return sum_of(terms, 1)


class ClassLoss(LabelLoss):
    """Base of the losses of labels with weights: each single loss is times that of its label.

    With normalization valid they are divided by the weights of the positions that count (torch's mean): by their
    number, where there are no weights.
    """

    weight: list[float] | None = param(
        None, help="a weight for each class; null: 1; balanced: n / (K nₖ), with nₖ labels k of n in data.train", ge=0
    )

    def setup(self, x: Spec, labels: Spec, *weight: Spec) -> Spec:
        top = super().setup(x, labels, *weight)
        self.expect_weights(x)
        return top

    def expect_weights(self, x: Spec) -> None:
        """LayerError unless there is a weight for each class, or none at all."""
        if self.weight is not None and len(self.weight) != x.shape[1]:
            raise LayerError(f"{len(self.weight)} weights for {x.shape[1]} classes", hint="give one for each class")

    def weights(self, labels: Any, valid: Any) -> Any:
        """The weight of each position: that of its label, 0 where it is ignored. Labels and valid of any one shape."""
        if self.weight is None:
            return valid.astype(self.dtype)
        return self.constant("weight", self.weight)[labels * valid] * valid

    def counted(self, x: Any, labels: Any) -> float | None:
        """The weights of the positions that count. Of labels that are real only the shape does."""
        if self.weight is None or labels.dtype.kind == "f":
            return super().counted(x, labels)
        return number_of(exact_sum(self.weights(labels, self.valid(labels))))

    def positions(self, x: Any, labels: Any) -> Any:
        """The weights of the positions that count. Of labels that are real only the shape does."""
        if labels.dtype.kind == "f":
            return super().positions(x, labels)
        return self.weights(labels, self.valid(labels))


IMAGE = [Spec((2, 3, 2, 3)), index((2, 2, 3), 3)]
OF_SAMPLES, OF_POSITIONS = Spec((2,), low=0.1, high=3), Spec((2, 2, 3), low=0, high=3)  # weights
EXAMPLES = [
    *LABELLED_EXAMPLES,
    Example({"weight": [0.5, 2.0, 0.0]}, IMAGE, "weights of classes"),
    Example({"reduction": "sum", "weight": [0.5, 2.0, 1.5], "ignore_index": 1}, IMAGE),
    Example({"reduction": "none", "weight": [0.5, 2.0, 1.5], "ignore_index": 1}, IMAGE),
    Example({"reduction": "none"}, [Spec((4, 5)), index((4,), 5)]),
    Example({"normalization": "batch_size", "ignore_index": 0}, IMAGE),
    Example({"normalization": "full", "ignore_index": 0}, IMAGE),
    Example({"normalization": "none", "ignore_index": 0}, IMAGE),
    Example({}, [Spec((4, 5)), index((4,), 5), Spec((4,), low=0.1, high=3)], "weights of samples"),
    Example({"weight": [0.5, 2.0, 1.5], "ignore_index": 1}, [*IMAGE, OF_SAMPLES]),
    *(Example({"reduction": r}, [*IMAGE, OF_POSITIONS], "weights of positions") for r in ("mean", "none")),
    Example({"normalization": "full"}, [*IMAGE, OF_SAMPLES]),
]
BAD_EXAMPLES = [
    *(bad for bad in BAD_LABELS if "takes 2" not in bad.message),
    Bad({}, "takes 2 to 3 bottom(s), got 1", [Spec((4, 5))]),
    Bad({}, "bottom[2], the weights, must be real", [Spec((4, 5)), index((4,), 5), index((4,), 2)]),
    Bad({}, "has shape (4, 1), expected (4,)", [Spec((4, 5)), index((4,), 5), Spec((4, 1))]),
    Bad({"weight": [1.0, 2.0]}, "2 weights for 5 classes", [Spec((4, 5)), index((4,), 5)]),
    Bad({"weight": [1.0, -2.0]}, "must be >= 0"),
    Bad({"reduction": "average"}, "must be one of mean, sum, none"),
    Bad({"normalization": "valids"}, "must be one of valid, full, batch_size, none"),
    Bad({"reduction": "sum", "normalization": "full"}, "normalization full with reduction sum"),
]
