"""InfogainLoss: classification where some mistakes cost more than others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import log_softmax, one_hot, shape_mismatch
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .class_loss import BAD_EXAMPLES, IMAGE
from .class_loss import EXAMPLES as CLASS_EXAMPLES
from .softmax_cross_entropy import SoftmaxLoss, cross_entropy, cross_entropy_slope

COSTS = [[1.0, 0.5, 0.0], [0.2, 2.0, -0.3], [0.0, 0.1, 1.0]]


@register
class InfogainLoss(SoftmaxLoss):
    """InfogainLoss: cross entropy with a weight for every pair of classes (Caffe: InfogainLoss)

        p = softmax(x) over the classes
        ℓ = -Σₖ aₖ log pₖ,  aₖ = w[label] H[label, k]      at each position, 0 where the label is ignore_index
        y = Σ ℓ / m                                        or Σ ℓ, or all ℓ: see reduction and normalization

    The row H[label] says how much each answer is worth where that label is right. The identity matrix gives
    SoftmaxCrossEntropy. H is a third bottom, or the hyper-parameter `matrix`; w is weight, or 1. m is the sum of the
    w[label] of the positions that count, unless normalization says otherwise. Caffe limits p in the logarithm, though
    not in the gradient, to at least 1e-20: min_probability does.

    Shapes    x (N, K) or (N, K, d1, ...) real, labels (N) or (N, d1, ...) index, H (K, K) real, y a single number or as
              the labels
    Backward  With dℓ = dy / m, what reaches one ℓ (reduction sum or none: dℓ = dy), as in SoftmaxCrossEntropy
                  dxₖ = dℓ (pₖ Σⱼ aⱼ - aₖ) at the positions that count, otherwise 0
              A row of H collects the positions of its label:
                  dH[j, k] = -Σ dℓ w[j] log max(pₖ, min_probability)      over the positions with label j
    Keeps     log p, a, the labels and their weights
    Cost      6 operations per element forward, 4 backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class
    Source    compare Caffe's InfogainLoss layer
    """

    scores = "logits"

    bottoms = (2, 3)

    matrix: list[list[float]] | None = param(None, help="H, a row for each right class; null: the third bottom")

    examples = [
        *(
            Example(e.params, [*e.bottoms, Spec((e.bottoms[0].shape[1],) * 2)], e.note)
            for e in CLASS_EXAMPLES
            if e.bottoms[0].shape != (1, 1) and len(e.bottoms) == 2  # H would look as if it had the batch axis
        ),
        Example({"matrix": COSTS, "min_probability": 0.3}, IMAGE),
        Example({"matrix": [[1.5]]}, [Spec((1, 1)), index((1,), 1)]),
        Example({"matrix": COSTS, "weight": [0.5, 2.0, 1.0]}, IMAGE),
        Example({"matrix": [[1.0, 0.5], [0.0, 1.0]]}, [Spec((3, 2), low=-1e4, high=1e4), index((3,), 2)], "extreme"),
    ]
    bad_examples = [
        *(bad for bad in BAD_EXAMPLES if not bad.bottoms),
        Bad({}, "no matrix", [Spec((4, 5)), index((4,), 5)]),
        Bad({"matrix": COSTS}, "two matrices", [*IMAGE, Spec((3, 3))]),
        Bad({"matrix": [[1.0, 0.5]]}, "has shape (1, 2), expected (3, 3)", IMAGE),
        Bad({"matrix": [[1.0], [1.0, 0.5]]}, "rows of different lengths", IMAGE),
        Bad({}, "has shape (2, 3), expected (3, 3)", [*IMAGE, Spec((2, 3))]),
        Bad({"infogain_mat": COSTS}, "unknown key 'infogain_mat'"),
    ]

    def setup(self, x: Spec, labels: Spec, *matrix: Spec) -> Spec:
        top = super().setup(x, labels)
        if self.matrix is None and not matrix:
            raise LayerError("there is no matrix", hint="give a third bottom or the hyper-parameter matrix")
        if self.matrix is not None and matrix:
            raise LayerError("there are two matrices", hint="give either a third bottom or the hyper-parameter matrix")
        shape = matrix[0].shape if matrix else self.own_shape()
        if shape != (x.shape[1],) * 2:
            raise shape_mismatch("the matrix", shape, f"{(x.shape[1],) * 2}: a row and a column for each class")
        return top

    def own_shape(self) -> tuple[int, int]:
        """The shape of the hyper-parameter."""
        rows = self.matrix or []
        if len({len(row) for row in rows}) > 1:
            raise LayerError("the matrix has rows of different lengths")
        return len(rows), len(rows[0]) if rows else 0

    def mean_over(self, x: Any, labels: Any, *matrix: Any) -> float | None:
        return super().mean_over(x, labels)

    def forward(self, x: Any, labels: Any, *matrix: Any) -> Any:
        classes, valid = self.targets(x, labels)
        h = matrix[0] if matrix else self.constant("matrix", self.matrix)
        n, weights = self.divisor(x, labels), self.weights(classes, valid)
        a = self.xp.moveaxis(h[classes[:, 0]], -1, 1) * weights
        log_p = log_softmax(self.xp, x, 1)
        self.save(log_p=log_p, a=a, classes=classes, weights=weights, n=n, factor=None)  # the third bottom is H
        return self.reduce(cross_entropy(self.xp, self.limited(log_p), a), n)

    def partial(self, i: int) -> Any:
        return cross_entropy_slope(self.xp, self.saved.log_p, self.saved.a)

    def gradient(self, i: int, up: Any) -> Any:
        if i != 2:
            return super().gradient(i, up)
        each = self.saved.weights * (self.spread(up) if self.reduction == "none" else up)
        return -self.by_class(self.mine() * each).T @ self.by_class(self.limited(self.saved.log_p))

    def tangent(self, i: int, v: Any) -> Any:
        if i != 2:
            return super().tangent(i, v)
        rows = self.xp.moveaxis(v[self.saved.classes[:, 0]], -1, 1)
        return self.gather(-rows * self.saved.weights * self.limited(self.saved.log_p))

    def mine(self) -> Any:
        """Whether each position (N, K, d1, ...) has that label."""
        return one_hot(self.xp, self.saved.classes, self.saved.log_p.shape[1])

    def by_class(self, array: Any) -> Any:
        """(N, K, d1, ...) as a matrix: a row for each position."""
        return self.xp.moveaxis(array, 1, -1).reshape(-1, array.shape[1])

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 6 * bottoms[0].size
