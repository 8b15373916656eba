"""What the layers share that hold scores of classes against labels: losses, Accuracy, ConfusionMatrix."""

from __future__ import annotations

from typing import Any, ClassVar

from ...arrays.awaited import number_of
from ...arrays.functional import check_labels, expect_role, shape_mismatch
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param


class Labelled(Layer):
    """Base of the layers with scores (N, K, d1, ...) and labels (N, d1, ...): a mean over the positions that count."""

    bottoms: ClassVar[int | tuple[int, int | None]] = 2
    per_sample = False

    ignore_index: int | None = param(None, help="label of the positions that do not count")

    def setup(self, x: Spec, labels: Spec) -> Any:
        self.expect_scores(x)
        self.expect_labels(labels, (x.shape[0], *x.shape[2:]))
        return x.with_shape(())

    @staticmethod
    def expect_scores(x: Spec) -> None:
        """LayerError unless the first bottom has an axis of classes after that of samples."""
        expect_role("bottom[0]", x, "real")
        if x.ndim < 2 or x.shape[1] < 1:
            raise LayerError(f"bottom[0] has shape {x.shape}, expected (N, K) or (N, K, d1, ...): K is the classes")

    @staticmethod
    def expect_labels(labels: Spec, shape: tuple[int, ...]) -> None:
        """LayerError unless the second bottom has a label for each position."""
        expect_role("bottom[1]", labels, "index")
        if labels.shape != shape:
            raise shape_mismatch("bottom[1], the labels,", labels.shape, f"{shape}")

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """Classes."""
        return range(bottoms[0].shape[1])

    def mean_over(self, x: Any, labels: Any) -> float | None:
        """The number of positions whose label is not ignore_index."""
        return labels.size if self.ignore_index is None else number_of((labels != self.ignore_index).sum())

    def valid(self, labels: Any) -> Any:
        """Whether each position counts."""
        if self.ignore_index is None:
            return self.xp.ones(labels.shape, dtype=bool)
        return labels != self.ignore_index

    def targets(self, x: Any, labels: Any) -> tuple[Any, Any]:
        """Labels and whether they count, both (N, 1, d1, ...). Ignored labels become 0.

        Errors   LayerError (exit 3) for a label that is neither a class nor ignore_index
        """
        valid = self.valid(labels)
        check_labels(self.xp, labels, x.shape[1], valid)
        return (labels * valid)[:, None], valid[:, None]


def some_ignored(high: int, ignored: int) -> Any:
    """A draw of labels of which about a third is the ignored one."""
    return lambda rng, shape: rng.choice([*range(high), *[ignored] * (high // 2 + 1)], size=shape)


EXAMPLES = [
    Example({}, [Spec((4, 5)), index((4,), 5)]),
    Example({}, [Spec((2, 3, 2, 3)), index((2, 2, 3), 3)], "a label for each position of an image"),
    Example({}, [Spec((2, 4, 3)), index((2, 3), 4)]),
    Example({}, [Spec((1, 1)), index((1,), 1)]),
    Example({}, [Spec((0, 3)), index((0,), 3)], "no sample"),
    Example(
        {"ignore_index": -100},
        [Spec((6, 4)), Spec((6,), role="index", draw=some_ignored(4, -100))],
    ),
    Example(
        {"ignore_index": 2},
        [Spec((3, 4, 5)), index((3, 5), 4)],
        "a class itself may be ignored",
    ),
    Example({"ignore_index": 0}, [Spec((3, 2)), index((3,), 1)], "no position counts"),
]
BAD_EXAMPLES = [
    Bad({}, "bottom[1] must be integers", [Spec((4, 5)), Spec((4,))]),
    Bad({}, "bottom[0] must be real numbers", [index((4,), 5), Spec((4, 5))]),
    Bad({}, "has shape (4, 1), expected (4,)", [Spec((4, 5)), index((4, 1), 5)]),
    Bad({}, "expected (N, K)", [Spec((4,)), index((4,), 5)]),
    Bad({}, "expected (N, K)", [Spec((4, 0)), index((4,), 5)]),
    Bad({"ignore_label": 255}, "did you mean 'ignore_index'?"),
    Bad({}, "takes 2 bottom(s), got 1", [Spec((4, 5))]),
]
