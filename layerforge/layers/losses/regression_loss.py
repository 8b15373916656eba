"""Losses between two blobs of one shape, element by element.

A single loss ℓ(x, t) belongs to one pair of elements, so its derivatives are all there is to know: dx = dℓ ∂ℓ/∂x and
dt = dℓ ∂ℓ/∂t, where dℓ = dy / m reaches each ℓ. Where ℓ depends on u = x - t alone, ∂ℓ/∂x = ℓ'(u) and ∂ℓ/∂t = -ℓ'(u).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...arrays.awaited import number_of, refuse_where
from ...arrays.functional import exact_sum, expect_role, shape_mismatch
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ..tables import add_member
from .loss import Loss, reduction_param
from .sample_weights import SampleWeights


class RegressionLoss(SampleWeights, Loss):
    """Base of the losses between elements. Each brings `f`, and `dfdx` and `dfdt` as methods of (x, t)."""

    backward_reads = ("bottom",)

    f: Callable[[Any, Any], Any]
    dfdx: Callable[[Any, Any], Any]
    dfdt: Callable[[Any, Any], Any]

    reduction: str = reduction_param("mean", "batchmean", help="mean over all elements, sum, batchmean (sum / N), none")

    def setup(self, x: Spec, t: Spec, *weight: Spec) -> Spec:
        expect_role("bottom[0]", x, "real")
        expect_role("bottom[1]", t, "real")
        if x.shape != t.shape:
            raise shape_mismatch("bottom[1]", t.shape, f"{x.shape}, that of bottom[0]")
        if x.ndim < 1:
            raise LayerError("the bottoms are single numbers, expected at least a batch axis")
        self.expect_sample_weights(weight, x.shape)
        self.check(x)
        return self.reduced(x, x.shape)

    def check(self, x: Spec) -> None:
        """LayerError where the hyper-parameters do not fit the bottoms. An entry may bring its own."""

    def single(self, x: Any, t: Any) -> tuple[Any, dict[str, Any]]:
        return self.f(x, t), {"x": x, "t": t}

    def total(self, x: Any, t: Any) -> Any:
        return self.divisor(x.shape)

    def share(self, x: Any, t: Any) -> Any:
        return self.xp.ones_like(x) if self.reduction == "mean" else 0

    def mean_over(self, x: Any, t: Any, *weight: Any) -> float | None:
        """The batch size, where the top is a mean; the sum of the weights where they are what it is a mean over."""
        if weight and self.reduction == "mean":
            return number_of(exact_sum(weight[0]))
        return super().mean_over(x, t)

    def partial(self, i: int) -> Any:
        return (self.dfdx, self.dfdt)[i](self.saved.x, self.saved.t)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 3 * bottoms[0].size


def refuse_outside(x: Any, message: str, hint: str) -> None:
    """LayerError for a number that is no probability. NaN is for the solver to name, and passes."""
    refuse_where(((x < 0) | (x > 1)).any(), lambda: LayerError(message, hint=hint))


DOC = """{name}: {what}

    ℓ = {loss}
    y = Σ ℓ / m      m is {divisors}; with reduction none y is ℓ
{note}
Shapes    x and t real, of the same shape with a batch axis; ω (N) or as x, real; y a single number, or as x with
          reduction none
Backward  With dℓ = dy / m, what reaches one ℓ (reduction none: dℓ = dy),
              {dx}
              {dt}
          A weight of each sample, a third bottom ω, makes ℓ to ω ℓ and m of a mean to Σ ω over the elements:
              dω = dy (ℓ - y) / m      without y for a fixed m, the sum over the elements of a sample (none: dω = dy ℓ)
Keeps     x and t
Cost      one pass forward, one backward for each bottom
Errors    LayerError when the shapes differ: (N,) against (N, 1) would broadcast to N² losses
Source    {source}
"""

DIVISORS = "the number of elements (reduction mean), N (batchmean) or 1 (sum)"
BAD_EXAMPLES = [
    Bad({}, "bottom[1] has shape (3, 1), expected (3,)", [Spec((3,)), Spec((3, 1))]),
    Bad({}, "bottom[1] must be real numbers", [Spec((3,)), index((3,), 2)]),
    Bad({}, "at least a batch axis", [Spec(()), Spec(())]),
    Bad({"reduction": "average"}, "must be one of mean, sum, none, batchmean"),
    Bad({}, "has shape (4,), expected (3,), one for each sample, or (3, 4)", [Spec((3, 4)), Spec((3, 4)), Spec((4,))]),
]
ANY = {"low": None, "high": None}


def regression(
    name: str,
    what: str,
    *,
    loss: str,
    f: Callable[..., Any],
    dx: str,
    dfdx: Callable[..., Any],
    dt: str,
    dfdt: Callable[..., Any],
    source: str,
    divisors: str = DIVISORS,
    note: str = "",
    params: Mapping[str, Any] | None = None,
    tried: Sequence[Mapping[str, Any]] = (),
    domains: tuple[Mapping[str, Any], Mapping[str, Any]] = (ANY, ANY),
    extreme: float = 1e4,
    bad: Sequence[Bad] = (),
    base: type[RegressionLoss] = RegressionLoss,
    more: Sequence[Example] = (),
    **own: Any,
) -> Any:
    """Make a loss between elements: the layer `name`.

    loss, dx and dt are the formulas that the documentation shows, f, dfdx and dfdt the same as methods of the layer;
    divisors says what m is for each reduction, note what else there is to say.
    params are its hyper-parameters, tried the settings that the checks run, domains bounds of x and t. Where those are
    unbounded the checks go to ±extreme. more are further examples, own further methods.
    """

    def pair(*shape: int) -> list[Spec]:
        return [Spec(shape, **domain) for domain in domains]

    settings = [{}, *({"reduction": r} for r in ("sum", "none", "batchmean")), *tried]
    examples = [Example({**setting}, pair(3, 4)) for setting in settings]
    examples += [Example({}, pair(*shape)) for shape in ((2, 3, 1, 5), (1,), (0, 3))]
    weights = [({}, Spec((3,), low=0.1, high=3)), ({"reduction": "batchmean"}, Spec((3, 4), low=0, high=3))]
    examples += [Example(s, [*pair(3, 4), w], "weights of samples") for s, w in weights]
    examples += [Example({"reduction": "none"}, [*pair(3, 4), weights[0][1]])]
    if domains[0] is ANY:
        wide = Spec((3, 4), low=-extreme, high=extreme)
        examples += [Example({**s}, [wide, wide if domains[1] is ANY else pair(3, 4)[1]], "extreme") for s in settings]
    examples += more
    said = {"divisors": divisors, "note": f"\n    {note}\n" if note else ""}
    text = DOC.format(name=name, what=what, loss=loss, dx=dx, dt=dt, source=source, **said)
    own |= {"f": f, "dfdx": dfdx, "dfdt": dfdt, "examples": examples, "bad_examples": [*BAD_EXAMPLES, *bad]}
    return add_member(base, name, text, params=params, **own)


def of_difference(name: str, what: str, *, dx: str, f: Callable[..., Any], df: Callable[..., Any], **entry: Any) -> Any:
    """An entry whose loss depends on u = x - t alone, by f(u) with the derivative df(u)."""
    return regression(
        name,
        what,
        f=lambda self, x, t: f(self, x - t),
        dx=dx,
        dfdx=lambda self, x, t: df(self, x - t),
        dt="dt = -dx",
        dfdt=lambda self, x, t: -df(self, x - t),
        **entry,
    )
