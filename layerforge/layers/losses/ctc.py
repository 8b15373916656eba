"""CTCLoss: sequences of labels without knowing which step says which label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.functional import (
    check_labels,
    exact_sum,
    expect_role,
    refuse_labels,
    shape_mismatch,
    sum_of,
)
from ...arrays.scattering import scatter_add
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register
from .loss import Loss

NEVER = -1e30  # log 0 as a number that can be subtracted: no chance of a real path comes near it


def log_sum(xp: Any, a: Any, axis: int) -> Any:
    """log Σ exp a along an axis, shifted by the maximum, so that exp never overflows."""
    top = a.max(axis=axis, keepdims=True)
    return xp.squeeze(top, axis) + xp.log(exact_sum(xp.exp(a - top), axis)).astype(a.dtype)


def moved(xp: Any, a: Any, places: int) -> Any:
    """a (N, S) with column s at s + places. NEVER enters after it, and what leaves at the end is lost."""
    out = xp.full_like(a, NEVER)
    if places > 0:
        out[:, places:] = a[:, :-places]
    else:
        out[:, :places] = a[:, -places:]
    return out


@register
class CTCLoss(Loss):
    """CTCLoss: negative log-likelihood of a sequence of labels, summed over all ways to align it with the steps

    At each of the T steps a net says one of K classes, of which one is the blank: nothing. A path π, a class for each
    step, reads as the sequence that is left when repeated classes are joined and blanks then removed:  a a _ a b  reads
    a a b. The bottom x holds the logarithms of probabilities, pₜ(k) = exp xₜ(k) for class k in step t. The loss sums
    over all paths that read as the target l, of which there are too many to list:

        p(l) = Σ_π Πₜ pₜ(πₜ),    ℓ = -log p(l)
        y = Σ ℓ / max(1, length of l) / N           or Σ ℓ, or all ℓ: see reduction

    Put blanks around and between the labels, l' = _ l₁ _ l₂ _ ... _, of length S' = 2S + 1. A path walks through l'
    from left to right: at each step it stays, goes on by one place, or by two where that leaves out a blank between two
    different labels. Let αₜ(s) be the probability of all beginnings that are at place s in step t. The places from
    which s is reached give a recursion over time, dynamic programming with T S' terms:

        α₁(s) = p₁(l'ₛ) for the first two places, otherwise 0
        αₜ(s) = (αₜ₋₁(s) + αₜ₋₁(s - 1) + [l'ₛ is a label other than l'ₛ₋₂] αₜ₋₁(s - 2)) pₜ(l'ₛ)
        p(l) = α_T(S') + α_T(S' - 1)                a path ends on the last label or on the blank after it

    Products of hundreds of probabilities round to zero, so all of it is computed as logarithms.

    A sample's input length says how many of the T steps it has, its target length how many of the S labels; without
    these two bottoms it is all of them. Labels after the length are not read. Bring (N, T, K), as an LSTM gives it,
    into this order by Permute with dims [1, 0, 2].

    A target that fits into no path has ℓ = ∞, 0 with zero_infinity, and no gradient (torch: NaN without it).

    Shapes    x (T, N, K) real: log-probabilities, the top of LogSoftmax with dim 2; targets (N, S) index; input lengths
              (N) index, 1 to T, and target lengths (N) index, 0 to S, or neither; y a single number, or (N)
    Backward  Let βₜ(s) be the probability of all ends of paths that were at place s in step t:
                  β_T(s) = 1 for the last two places, otherwise 0
                  βₜ(s) = βₜ₊₁(s) pₜ₊₁(l'ₛ) + βₜ₊₁(s + 1) pₜ₊₁(l'ₛ₊₁)
                          + [l'ₛ₊₂ is a label other than l'ₛ] βₜ₊₁(s + 2) pₜ₊₁(l'ₛ₊₂)
              Then αₜ(s) βₜ(s) is the probability of all paths through s in step t, and every path is somewhere:
              p(l) = Σₛ αₜ(s) βₜ(s) in every step. pₜ(k) is a factor of αₜ(s) where l'ₛ = k, so
                  pₜ(k) ∂p(l)/∂pₜ(k) = Σₛ αₜ(s) βₜ(s) over the s with l'ₛ = k
              and as xₜ(k) = log pₜ(k), this is ∂p(l)/∂xₜ(k). For ℓ = -log p(l) the slope is minus a share: the
              probability that a path says k in step t, given that it reads as l. With dℓ = dy / (N max(1, length of
              l)), what reaches one ℓ (reduction sum or none: dℓ = dy),
                  dxₜ(k) = -dℓ Σₛ αₜ(s) βₜ(s) / p(l) over the s with l'ₛ = k
              torch returns exp x minus this share instead: what arrives at the scores below a LogSoftmax. With a
              LogSoftmax below, both give the same gradient there.
    Keeps     log α and log p of the places in l', each (T, N, S')
    Cost      10 operations per step, sample and place forward, 14 backward
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for a label that is the blank or no class, and for
              a length outside its range
    Source    Graves, Fernández, Gomez & Schmidhuber 2006; compare torch.nn.CTCLoss
    """

    bottoms = (2, 4)

    blank: int = param(0, help="the class that says nothing", ge=0)
    zero_infinity: bool = param(False, help="a target that fits into no path costs 0 instead of infinity")

    examples = [
        Example({}, [Spec((5, 2, 4)), index((2, 2), 4, 1)]),
        Example({"blank": 2}, [Spec((6, 3, 3)), index((3, 3), 2)], "repeated labels"),
        Example({"reduction": "sum"}, [Spec((4, 3, 3)), index((3, 2), 3, 1), index((3,), 5, 4), index((3,), 3)]),
        Example({"reduction": "none"}, [Spec((7, 2, 4)), index((2, 3), 4, 1), index((2,), 8, 6), index((2,), 4)]),
        Example({}, [Spec((5, 4, 3)), index((4, 2), 3, 1), index((4,), 6, 4), index((4,), 3)], "of various lengths"),
        Example(
            {"zero_infinity": True},
            [Spec((3, 4, 3)), index((4, 3), 3, 1), index((4,), 4, 1), index((4,), 4)],
            "some too long",
        ),
        Example({}, [Spec((3, 2, 2)), index((2, 0), 2, 1)], "nothing to say"),
        Example({}, [Spec((1, 2, 3)), index((2, 1), 3, 1)], "one step"),
        Example({}, [Spec((2, 0, 3)), index((0, 1), 3, 1)], "no sample"),
        Example(
            {}, [Spec((4, 2, 3), low=-1e3, high=0), index((2, 2), 3, 1), index((2,), 5, 4), index((2,), 3)], "extreme"
        ),
    ]
    bad_examples = [
        Bad({}, "bottom[0] has shape (5, 4), expected (T, N, K)", [Spec((5, 4)), index((5, 2), 4, 1)]),
        Bad({}, "bottom[0] has shape (0, 2, 4), expected (T, N, K)", [Spec((0, 2, 4)), index((2, 2), 4, 1)]),
        Bad({}, "bottom[1], the targets, has shape (5, 2), expected (2, any)", [Spec((5, 2, 4)), index((5, 2), 4, 1)]),
        Bad({}, "bottom[1] must be integers", [Spec((5, 2, 4)), Spec((2, 2))]),
        Bad({}, "one of the two lengths", [Spec((5, 2, 4)), index((2, 2), 4, 1), index((2,), 5)]),
        Bad(
            {},
            "bottom[2], the lengths, has shape (2, 1)",
            [Spec((5, 2, 4)), index((2, 2), 4, 1), *[index((2, 1), 3)] * 2],
        ),
        Bad({"blank": 4}, "blank 4 of 4 classes", [Spec((5, 2, 4)), index((2, 2), 4)]),
        Bad({"blank": -1}, "must be >= 0"),
        Bad({"reduction": "batchmean"}, "must be one of mean, sum, none"),
    ]

    def setup(self, x: Spec, targets: Spec, *lengths: Spec) -> Spec:
        expect_role("bottom[0]", x, "real")
        if x.ndim != 3 or not x.shape[0]:
            raise LayerError(f"bottom[0] has shape {x.shape}, expected (T, N, K): steps, samples, classes")
        samples = x.shape[1]
        if self.blank >= x.shape[2]:
            raise LayerError(f"blank {self.blank} of {x.shape[2]} classes", hint="classes are counted from 0")
        expect_role("bottom[1]", targets, "index")
        if targets.ndim != 2 or targets.shape[0] != samples:
            raise shape_mismatch("bottom[1], the targets,", targets.shape, f"({samples}, any): a row for each sample")
        if len(lengths) == 1:
            raise LayerError("there is one of the two lengths", hint="give those of inputs and of targets, or neither")
        for i, spec in enumerate(lengths, start=2):
            expect_role(f"bottom[{i}]", spec, "index")
            if spec.shape != (samples,):
                raise shape_mismatch(f"bottom[{i}], the lengths,", spec.shape, f"({samples},)")
        return self.reduced(x, (samples,))

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """Classes on one side of the blank, and lengths."""
        (steps, _, classes), labels = bottoms[0].shape, bottoms[1].shape[1]
        if i == 1:
            return range(self.blank) if 2 * self.blank >= classes else range(self.blank + 1, classes)
        return range(1, steps + 1) if i == 2 else range(labels + 1)

    def mean_over(self, x: Any, *others: Any) -> float | None:
        """The samples, where the top is a mean."""
        return x.shape[1] if self.reduction == "mean" else None

    def forward(self, x: Any, targets: Any, *lengths: Any) -> Any:
        xp, (steps, samples, classes) = self.xp, x.shape
        steps_of, labels_of = self.lengths(lengths, samples, (steps, targets.shape[1]))
        places = self.with_blanks(targets, labels_of, classes)
        log_x = xp.maximum(x, NEVER)[:, xp.arange(samples)[:, None], places]
        skips = self.skips(places)
        alpha = self.beginnings(log_x, skips)
        ends = self.ends(places, labels_of)
        last = (xp.arange(steps)[:, None] == steps_of - 1)[:, :, None]
        log_p = log_sum(xp, sum_of(xp.where(last, alpha, 0), 0) + ends, 1)
        possible = ~(log_p < NEVER / 2)
        scale = 1 / xp.maximum(labels_of, 1).astype(x.dtype) if self.reduction == "mean" else xp.ones_like(log_p)
        n = self.divisor((samples,))
        self.save(log_x=log_x, alpha=alpha, places=places, skips=skips, ends=ends, last=last,
                  log_p=xp.where(possible, log_p, 0), scale=scale * possible, classes=classes, n=n)  # fmt: skip
        return self.reduce(xp.where(possible, -log_p * scale, 0.0 if self.zero_infinity else math.inf), n)

    def lengths(self, given: Sequence[Any], samples: int, whole: tuple[int, int]) -> list[Any]:
        """The lengths of inputs and targets, whole where none are given; LayerError (exit 3) for one that cannot be."""
        if not given:
            return [self.xp.full(samples, size) for size in whole]
        for word, length, low, high in zip(("input", "target"), given, (1, 0), whole, strict=True):
            hint = "check the data"
            refuse_labels(length, (length < low) | (length > high), f"outside {low} to {high}", hint, f"{word} length")
        return [length.astype("int64") for length in given]

    def with_blanks(self, targets: Any, labels_of: Any, classes: int) -> Any:
        """l' (N, S') of each target, blanks after its length; LayerError (exit 3) for a label that cannot be."""
        inside = self.xp.arange(targets.shape[1]) < labels_of[:, None]
        check_labels(self.xp, targets, classes, inside)
        refuse_labels(targets, (targets == self.blank) & inside, "the blank", "a target holds what is said")
        places = self.xp.full((len(targets), 2 * targets.shape[1] + 1), self.blank, dtype="int64")
        places[:, 1::2] = self.xp.where(inside, targets.astype("int64"), self.blank)
        return places

    def skips(self, places: Any) -> Any:
        """log 1 where a path may come from two places before, otherwise NEVER: (N, S')."""
        allowed = self.xp.zeros(places.shape, dtype=bool)
        allowed[:, 2:] = places[:, 2:] != places[:, :-2]  # a blank has a blank two places before
        return self.where_log(allowed)

    def ends(self, places: Any, labels_of: Any) -> Any:
        """log 1 at the last label and at the blank after it, otherwise NEVER: (N, S')."""
        left = 2 * labels_of[:, None] - self.xp.arange(places.shape[1])
        return self.where_log((left == 0) | (left == 1))

    def where_log(self, condition: Any) -> Any:
        """log 1 where the condition holds, otherwise log 0."""
        return self.xp.where(condition, 0.0, NEVER).astype(self.dtype)

    def beginnings(self, log_x: Any, skips: Any) -> Any:
        """log α (T, N, S')."""
        xp = self.xp
        alpha = [log_x[0] + self.where_log(xp.arange(log_x.shape[2]) < 2)]
        for now in log_x[1:]:
            before = alpha[-1]
            ways = xp.stack([before, moved(xp, before, 1), moved(xp, before, 2) + skips])
            alpha.append(log_sum(xp, ways, 0) + now)
        return xp.stack(alpha)

    def endings(self) -> Any:
        """log β (T, N, S'), NEVER after the input length of a sample."""
        xp, saved = self.xp, self.saved
        after = xp.full_like(saved.ends, NEVER)  # β times p of the step after
        beta = []
        for now, last in zip(saved.log_x[::-1], saved.last[::-1], strict=True):
            ways = xp.stack([after, moved(xp, after, -1), moved(xp, after + saved.skips, -2)])
            beta.append(xp.where(last, saved.ends, log_sum(xp, ways, 0)))
            after = beta[-1] + now
        return xp.stack(beta[::-1])

    def partial(self, i: int) -> Any:
        saved = self.saved
        shares = self.xp.exp(saved.alpha + self.endings() - saved.log_p[:, None]) * saved.scale[:, None]
        slope = self.xp.zeros((*shares.shape[:2], saved.classes), dtype=shares.dtype)
        scatter_add(self.xp, slope, saved.places[None], 2, -shares)
        return slope

    def spread(self, up: Any) -> Any:
        return up[:, None]

    def gather(self, terms: Any) -> Any:
        return sum_of(terms, (0, 2))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        steps, samples, _ = bottoms[0].shape
        return 10 * steps * samples * (2 * bottoms[1].shape[1] + 1)
