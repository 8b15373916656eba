"""DiceLoss: how much of two masks does not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import mean_of, one_hot, shape_mismatch, sigmoid, softmax, sum_of
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .labels import BAD_EXAMPLES, EXAMPLES, Labelled
from .loss import Reduction, reduction_param
from .regression_loss import refuse_outside

MASKS = [Spec((2, 3, 2, 3), low=0.05, high=0.95), Spec((2, 3, 2, 3), low=0, high=1)]


@register
class DiceLoss(Reduction, Labelled):
    """DiceLoss: one minus the Dice coefficient of predicted and true masks, for segmentation

        p = softmax(x) over the classes, or 1 / (1 + e⁻ˣ), or x itself: see activation
        q = onehot(label), or the masks t;   i runs over the positions of a sample that count
        ℓ[n] = 1 - (1/K) Σₖ (2 Σᵢ p[n, k, i] q[n, k, i] + smooth) / U[n, k]
               with U[n, k] = Σᵢ p[n, k, i] + Σᵢ q[n, k, i] + smooth;   squares: Σᵢ p² + Σᵢ q² + smooth
        y = Σ ℓ / m, m = N        or Σ ℓ, or all ℓ: see reduction

    The coefficient is 1 where p and q are the same zeros and ones, and 0 where they never meet; every class counts
    alike, however few its positions are. The sums are over one sample, so y is a mean over samples, and a batch
    computed in parts gives the same y. `squares` is V-Net's denominator. Where U is 0, which takes smooth 0 and an
    empty class, the coefficient is 1. Computed is what is missing from 1, which keeps its digits where that is little:

        v[n, k] = Σᵢ (p (1 - q) + q (1 - p)) / U[n, k]        squares: Σᵢ (p - q)² / U[n, k];   ℓ[n] = (1/K) Σₖ v[n, k]

    Shapes    x (N, K) or (N, K, d1, ...) real; t (N) or (N, d1, ...) index: labels, or real and as x: masks of 0 to 1,
              which may overlap; y a single number, or (N)
    Backward  By the quotient rule, with dℓ = dy / m, what reaches one ℓ (reduction sum or none: dℓ = dy),
                  dp = dℓ (1 - 2 q - v) / (U K)       squares: 2 dℓ (p - q - v p) / (U K)
                  dq = dℓ (1 - 2 p - v) / (U K)       squares: 2 dℓ (q - p - v q) / (U K)
              at the positions that count, otherwise 0; dt = dq for masks. Through the activation
                  dx = p (dp - Σₖ pₖ dpₖ)      softmax
                  dx = dp p (1 - p)            sigmoid
                  dx = dp                      none
    Keeps     x, p, q, and v and U of every sample and class
    Cost      about 8 operations per element forward, 10 backward
    Errors    LayerError when shapes do not fit, for probabilities or masks outside of 0 to 1; LayerError (exit 3) for a
              label that is no class
    Source    Milletari, Navab & Ahmadi 2016, V-Net; the coefficient: Dice 1945
    """

    loss = True
    backward_reads = ("bottom",)

    activation: str = param(
        "softmax", help="what makes probabilities of x; none: they are", choices=("softmax", "sigmoid", "none")
    )
    smooth: float = param(1.0, help="added to numerator and denominator", ge=0)
    squares: bool = param(False, help="sums of squares in the denominator")
    reduction: str = reduction_param(help="of the losses of the samples: their mean, their sum, or none: all of them")

    examples = [
        *(e for e in EXAMPLES if e.bottoms[0].shape != (1, 1)),
        Example({"activation": "sigmoid"}, [Spec((2, 3, 2, 3)), index((2, 2, 3), 3)]),
        Example({"activation": "none", "smooth": 0.1}, [MASKS[0], index((2, 2, 3), 3)], "probabilities"),
        Example({"activation": "none"}, MASKS, "masks that overlap"),
        Example(
            {"activation": "sigmoid", "smooth": 0, "reduction": "none"},
            [Spec((3, 1, 4)), Spec((3, 1, 4), low=0.05, high=0.95)],
        ),
        Example({"squares": True, "reduction": "sum"}, [Spec((2, 3, 4)), index((2, 4), 3)]),
        Example({"squares": True, "activation": "none", "smooth": 0.5}, MASKS),
        Example({"smooth": 0.0, "reduction": "none", "ignore_index": 1}, [Spec((2, 3, 4)), index((2, 4), 3)]),
        Example({"smooth": 0.0, "activation": "none", "ignore_index": 0}, [MASKS[0], index((2, 2, 3), 1)], "nothing"),
        Example({}, [Spec((4, 5), low=-1e4, high=1e4), index((4,), 5)], "extreme"),
        Example({"activation": "sigmoid"}, [Spec((4, 5), low=-1e4, high=1e4), index((4,), 5)], "extreme"),
    ]
    bad_examples = [
        *(bad for bad in BAD_EXAMPLES if "must be integers" not in bad.message),
        Bad({"activation": "tanh"}, "must be one of softmax, sigmoid, none"),
        Bad({"smooth": -1}, "must be >= 0"),
        Bad({"reduction": "batchmean"}, "must be one of mean, sum, none"),
        Bad({}, "has shape (4,), expected (4, 5)", [Spec((4, 5)), Spec((4,))]),
        Bad({"ignore_index": 1}, "masks have no label to ignore", [Spec((4, 5)), Spec((4, 5))]),
    ]

    @property
    def scores(self) -> str:
        """As the activation says."""
        return {"softmax": "logits", "sigmoid": "binary_logits"}.get(self.activation, "probabilities")

    def setup(self, x: Spec, t: Spec) -> Spec:
        if not t.is_real:
            super().setup(x, t)
            return self.reduced(x, x.shape[:1])
        self.expect_scores(x)
        if t.shape != x.shape:
            raise shape_mismatch("bottom[1], the masks,", t.shape, f"{x.shape} as bottom[0]; labels: integers")
        if self.ignore_index is not None:
            raise LayerError("masks have no label to ignore", hint="leave ignore_index out")
        return self.reduced(x, x.shape[:1])

    def mean_over(self, x: Any, t: Any) -> float | None:
        """The samples, where the top is a mean."""
        return len(x) if self.reduction == "mean" else None

    def forward(self, x: Any, t: Any) -> Any:
        xp, n = self.xp, self.mean_over(x, t) or 1
        counts: Any = xp.ones(1, dtype=bool)
        if t.dtype.kind == "f":
            self.expect_probabilities("the masks", t)
        else:
            classes, counts = self.targets(x, t)
            t = (one_hot(xp, classes, x.shape[1]) & counts).astype(x.dtype)
        p = self.probabilities(x)
        seen = p * counts
        apart = (seen - t) ** 2 if self.squares else seen * (1 - t) + t * (1 - seen)
        size = self.sums(seen * seen + t * t if self.squares else seen + t) + self.smooth
        missing = self.sums(apart) / (size + (size == 0))
        self.save(x=x, p=p, t=t, counts=counts, missing=missing, size=size, n=n)
        return self.reduce(mean_of(missing, tuple(range(1, x.ndim))), n)

    def probabilities(self, x: Any) -> Any:
        """p, by the activation."""
        if self.activation == "none":
            self.expect_probabilities("x", x)
            return x
        return softmax(self.xp, x, 1) if self.activation == "softmax" else sigmoid(self.xp, x)

    @staticmethod
    def expect_probabilities(what: str, x: Any) -> None:
        """LayerError for a number outside of 0 to 1. NaN is for the solver to name, and passes."""
        refuse_outside(x, f"{what} is outside of 0 to 1", "for scores, activation: softmax or sigmoid")

    def sums(self, terms: Any) -> Any:
        """Over the positions of each sample and class: (N, K, 1, ...)."""
        return sum_of(terms, tuple(range(2, terms.ndim)), keepdims=True)

    def partial(self, i: int) -> Any:
        kept = self.saved
        own, other = (kept.t, kept.p) if i else (kept.p, kept.t)
        slope = 2 * (own - other - kept.missing * own) if self.squares else 1 - 2 * other - kept.missing
        whole = (kept.size + (kept.size == 0)) * own.shape[1]
        g = slope * (kept.counts & (kept.size > 0)) / whole
        return g if i else self.through_activation(g)

    def through_activation(self, g: Any) -> Any:
        """The gradient by x from that by p."""
        p = self.saved.p
        if self.activation == "softmax":
            return p * (g - sum_of(p * g, 1, keepdims=True))
        return g * p * sigmoid(self.xp, -self.saved.x) if self.activation == "sigmoid" else g

    def spread(self, up: Any) -> Any:
        return up.reshape(-1, *(1,) * (self.saved.x.ndim - 1))

    def gather(self, terms: Any) -> Any:
        return sum_of(terms, tuple(range(1, terms.ndim)))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 8 * bottoms[0].size
