"""SoftmaxCrossEntropy: the loss of classification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.formula import formula
from ...arrays.functional import log_softmax, one_hot, shape_mismatch, sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .class_loss import BAD_EXAMPLES, EXAMPLES, ClassLoss


@formula
def cross_entropy(xp: Any, log_p: Any, a: Any) -> Any:
    """-Σ a log p, sums along the classes. Where a is 0 a probability of 0 costs nothing."""
    return -sum_of(a * xp.where(a == 0, 0, log_p), 1)


@formula
def cross_entropy_slope(xp: Any, log_p: Any, a: Any) -> Any:
    """The derivative of -Σ a log softmax(x) by x, sums along the classes: p Σ a - a = (p - 1) a + p (Σ a - a).

    The second form loses no digits where p is nearly 1 and a nearly all of Σ a: a prediction that is sure and right.
    """
    dx = xp.exp(log_p)
    dx *= sum_of(a, 1, keepdims=True) - a
    dx += a * xp.expm1(log_p)
    return dx


class SoftmaxLoss(ClassLoss):
    """Base of the losses that take log p of a softmax, of which they may limit p as Caffe does."""

    min_probability: float = param(
        0.0, help="least p in the loss, not in its gradient; Caffe: 1.17549435e-38, of infogain 1e-20", ge=0, lt=1
    )

    def validate(self) -> None:
        super().validate()
        self.exact_gradient = self.min_probability == 0

    def limited(self, log_p: Any) -> Any:
        """log p, not below that of min_probability."""
        return self.xp.maximum(log_p, math.log(self.min_probability)) if self.min_probability else log_p


@register
class SoftmaxCrossEntropy(SoftmaxLoss):
    """SoftmaxCrossEntropy: cross entropy of targets and the softmax of scores (Caffe: SoftmaxWithLoss)

        p = softmax(x) over the classes
        q = onehot(label), or the probabilities t;  with ε = label_smoothing, (1 - ε) times that plus ε/K
        ℓ = -Σₖ aₖ log pₖ,  aₖ = wₖ qₖ      at each position, 0 where the label is ignore_index; w = weight or 1
        y = Σ ℓ / m                         or Σ ℓ, or all ℓ: see reduction and normalization

    With labels, without weights and smoothing, ℓ = -log p[label]. log p = x - max x - log Σ exp(x - max x) stays finite
    where p would round to zero. m is the sum of the weights w[label] of the positions that count, their number for
    probabilities, unless normalization says otherwise. Where no position counts y is 0 (torch: NaN). With
    min_probability ℓ has log max(p, min_probability), and ends there as Caffe's does; the gradient of x stays as it is.

    Shapes    x (N, K) or (N, K, d1, ...) real; t (N) or (N, d1, ...) index: labels, or real and as x: probabilities;
              ω (N) or (N, d1, ...) real; y a single number, or a loss per position (N, d1, ...)
    Backward  At one position ℓ = Σₖ aₖ (log Σⱼ exp xⱼ - xₖ), and
                  ∂ℓ/∂xₖ = (Σⱼ aⱼ) exp xₖ / Σⱼ exp xⱼ - aₖ = pₖ Σⱼ aⱼ - aₖ
              With dℓ = dy / m, what reaches one ℓ (reduction sum or none: dℓ = dy),
                  dxₖ = dℓ (pₖ Σⱼ aⱼ - aₖ) at the positions that count, otherwise 0
              so for a plain label the error in the probabilities is the gradient: dx = dℓ (p - onehot(label)).
              Probabilities get dtₖ = -dℓ (1 - ε) wₖ log max(pₖ, min_probability)
              A weight of each sample, a third bottom ω, makes ℓ to ω ℓ and m, where it is a sum, to Σ ω w[label]:
                  dω = dy (ℓ - y w[label]) / m      the last term only where m depends on ω (reduction none: dω = dy ℓ)
              at the positions that count, otherwise 0; for ω (N) summed over the positions of a sample; for
              probabilities w[label] is 1 here
    Keeps     log p and a
    Cost      6 operations per element forward, 4 backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is no class
    Source    Bridle 1990, Szegedy et al. 2016; compare torch.nn.CrossEntropyLoss, where ignore_index is -100
              unless said otherwise
    """

    scores = "logits"

    label_smoothing: float = param(0.0, help="share ε of the target that is spread over all classes", ge=0, le=1)

    examples = [
        *EXAMPLES,
        Example({}, [Spec((4, 5), low=-1e4, high=1e4), index((4,), 5)], "extreme"),
        Example({"min_probability": 0.2}, [Spec((4, 5)), index((4,), 5)]),
        Example({"label_smoothing": 0.1}, [Spec((4, 5)), index((4,), 5)]),
        Example(
            {"label_smoothing": 0.3, "weight": [1.0, 0.5, 2.0], "ignore_index": 1, "reduction": "none"},
            [Spec((2, 3, 4)), index((2, 4), 3)],
        ),
        Example({}, [Spec((4, 5)), Spec((4, 5), low=0, high=1)], "probabilities"),
        Example(
            {"label_smoothing": 0.2, "weight": [1.0, 0.5, 2.0]}, [Spec((2, 3, 4)), Spec((2, 3, 4), low=0, high=1)]
        ),
        Example({"reduction": "none"}, [Spec((2, 3, 4)), Spec((2, 3, 4), low=0, high=1)]),
        Example({"normalization": "batch_size"}, [Spec((2, 3, 4)), Spec((2, 3, 4), low=0, high=1)]),
        Example(
            {"label_smoothing": 0.3, "weight": [1.0, 0.5, 2.0], "ignore_index": 1, "normalization": "full"},
            [Spec((2, 3, 4)), index((2, 4), 3)],
        ),
    ]
    bad_examples = [
        *(bad for bad in BAD_EXAMPLES if "must be integers" not in bad.message),
        Bad({}, "has shape (4,), expected (4, 5)", [Spec((4, 5)), Spec((4,))]),
        Bad({"ignore_index": 1}, "probabilities have no label to ignore", [Spec((4, 5)), Spec((4, 5))]),
        Bad({"label_smoothing": 1.5}, "must be <= 1"),
        Bad({"min_probability": 1.0}, "must be < 1"),
    ]

    def setup(self, x: Spec, t: Spec, *weight: Spec) -> Spec:
        if not t.is_real:
            return super().setup(x, t, *weight)
        self.expect_scores(x)
        self.expect_weights(x)
        if t.shape != x.shape:
            raise shape_mismatch("bottom[1], the probabilities,", t.shape, f"{x.shape} as bottom[0]; labels: integers")
        if self.ignore_index is not None:
            raise LayerError("probabilities have no label to ignore", hint="leave ignore_index out")
        self.expect_sample_weights(weight, (x.shape[0], *x.shape[2:]))
        return self.reduced(x, (x.shape[0], *x.shape[2:]))

    def mean_over(self, x: Any, t: Any, *weight: Any) -> float | None:
        return super().mean_over(x, t[:, 0] if t.dtype.kind == "f" and t.ndim == x.ndim else t, *weight)

    def positions(self, x: Any, t: Any) -> Any:
        return super().positions(x, t[:, 0] if t.dtype.kind == "f" and t.ndim == x.ndim else t)

    def single(self, x: Any, t: Any) -> tuple[Any, dict[str, Any]]:
        if t.dtype.kind == "f":
            a = self.mixture(t)
        else:
            classes, valid = self.targets(x, t)
            a = self.mixture(one_hot(self.xp, classes, x.shape[1]).astype(x.dtype)) * valid
        log_p = log_softmax(self.xp, x, 1)
        return cross_entropy(self.xp, self.limited(log_p), a), {"log_p": log_p, "a": a}

    def mixture(self, q: Any) -> Any:
        """a = w ((1 - ε) q + ε/K)."""
        a = (1 - self.label_smoothing) * q + self.label_smoothing / q.shape[1]
        return a * self.class_weights(q.ndim)

    def class_weights(self, ndim: int) -> Any:
        """The weights of the classes along axis 1, or 1."""
        if self.weight is None:
            return 1
        return self.constant("weight", self.weight).reshape(1, -1, *(1,) * (ndim - 2))

    def partial(self, i: int) -> Any:
        log_p = self.saved.log_p
        if i == 0:
            return cross_entropy_slope(self.xp, log_p, self.saved.a)
        return (self.label_smoothing - 1) * self.class_weights(log_p.ndim) * self.limited(log_p)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 6 * bottoms[0].size
