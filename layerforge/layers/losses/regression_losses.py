"""Losses between two blobs of one shape, number by number. The table is at the end of the file; that of
probabilities is in probability_losses.py.

A single loss ℓ(x, t) belongs to one pair of numbers, so its derivatives are all there is to know: dx = ∂ℓ/∂x dy/n and
dt = ∂ℓ/∂t dy/n. Where ℓ depends on d = x - t alone, ∂ℓ/∂x = ℓ'(d) and ∂ℓ/∂t = -ℓ'(d).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...arrays.functional import expect_role, shape_mismatch
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ...schema.params import param
from ..tables import add_member
from .loss import Loss, reduction_param


class RegressionLoss(Loss):
    """Base of the losses of the table. An entry brings `f`, and `dfdx` and `dfdt` as methods of (x, t)."""

    bottoms = 2
    backward_reads = ("bottom",)

    f: Callable[[Any, Any], Any]
    dfdx: Callable[[Any, Any], Any]
    dfdt: Callable[[Any, Any], Any]

    reduction: str = reduction_param("mean", "batchmean", help="mean over all numbers, sum, batchmean (sum / N), none")

    def setup(self, x: Spec, t: Spec) -> Spec:
        expect_role("bottom[0]", x, "real")
        expect_role("bottom[1]", t, "real")
        if x.shape != t.shape:
            raise shape_mismatch("bottom[1]", t.shape, f"{x.shape}, that of bottom[0]")
        if x.ndim < 1:
            raise LayerError("the bottoms are single numbers, expected at least a batch axis")
        self.check(x)
        return self.reduced(x, x.shape)

    def check(self, x: Spec) -> None:
        """LayerError where the hyper-parameters do not fit the bottoms. An entry may bring its own."""

    def forward(self, x: Any, t: Any) -> Any:
        losses, n = self.f(x, t), self.divisor(x.shape)
        self.save(x=x, t=t, n=n)
        return self.reduce(losses, n)

    def partial(self, i: int) -> Any:
        return (self.dfdx, self.dfdt)[i](self.saved.x, self.saved.t)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 3 * bottoms[0].size


DOC = """{name}: {what}

    ℓ = {loss}
    y = 1/m Σ ℓ      over all m numbers; or Σ ℓ, 1/N Σ ℓ, all ℓ: see reduction

Shapes    x and t real, of the same shape with a batch axis; y a single number, or as x with reduction none
Backward  {dx}
          {dt}
Keeps     x and t
Cost      one pass forward, one backward for each bottom
Errors    LayerError when the shapes differ: (N,) against (N, 1) would broadcast to N² losses
Source    {source}
"""

BAD_EXAMPLES = [
    Bad({}, "bottom[1] has shape (3, 1), expected (3,)", [Spec((3,)), Spec((3, 1))]),
    Bad({}, "bottom[1] must be real numbers", [Spec((3,)), index((3,), 2)]),
    Bad({}, "at least a batch axis", [Spec(()), Spec(())]),
    Bad({"reduction": "average"}, "must be one of mean, sum, none, batchmean"),
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
    params: Mapping[str, Any] | None = None,
    tried: Sequence[Mapping[str, Any]] = (),
    domains: tuple[Mapping[str, Any], Mapping[str, Any]] = (ANY, ANY),
    extreme: float = 1e4,
    bad: Sequence[Bad] = (),
    **own: Any,
) -> Any:
    """An entry of the table: the layer `name`.

    loss, dx and dt are the formulas that the documentation shows, f, dfdx and dfdt the same as methods of the layer.
    params are its hyper-parameters, tried the settings that the checks run, domains bounds of x and t. Where those are
    unbounded the checks go to ±extreme. own are further methods.
    """

    def pair(*shape: int) -> list[Spec]:
        return [Spec(shape, **domain) for domain in domains]

    settings = [{}, *({"reduction": r} for r in ("sum", "none", "batchmean")), *tried]
    examples = [Example({**setting}, pair(3, 4)) for setting in settings]
    examples += [Example({}, pair(*shape)) for shape in ((2, 3, 1, 5), (1,), (0, 3))]
    if domains[0] is ANY:
        wide = Spec((3, 4), low=-extreme, high=extreme)
        examples += [Example({**s}, [wide, wide if domains[1] is ANY else pair(3, 4)[1]], "extreme") for s in settings]
    text = DOC.format(name=name, what=what, loss=loss, dx=dx, dt=dt, source=source)
    own |= {"f": f, "dfdx": dfdx, "dfdt": dfdt, "examples": examples, "bad_examples": [*BAD_EXAMPLES, *bad]}
    return add_member(RegressionLoss, name, text, params=params, **own)


def of_difference(name: str, what: str, *, dx: str, f: Callable[..., Any], df: Callable[..., Any], **entry: Any) -> Any:
    """An entry whose loss depends on d = x - t alone, by f(d) with the derivative df(d)."""
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


def huber(xp: Any, d: Any, delta: float) -> Any:
    """d²/2 up to |d| = delta, from there on the tangent: a (|d| - a/2) with a the smaller of |d| and delta."""
    size = xp.abs(d)
    a = xp.minimum(size, delta)
    return a * (size - a / 2)


# The table. Each entry: name and what it is; ℓ and how to compute it; its derivatives and how to compute them. --------

MSELoss = of_difference(
    "MSELoss", "mean squared error",
    loss="(x - t)²",                           f=lambda self, d: d * d,
    dx="dx = 2 (x - t) dy/m",                  df=lambda self, d: 2 * d,
    source="Gauss 1809; compare torch.nn.MSELoss",
)  # fmt: skip

EuclideanLoss = of_difference(
    "EuclideanLoss", "half the squared distance, per sample (Caffe: EuclideanLoss)",
    loss="(x - t)²/2,   summed and divided by N by default",
                                               f=lambda self, d: d * d / 2,
    dx="dx = (x - t) dy/N",                    df=lambda self, d: d,
    params={"reduction": (str, reduction_param("batchmean", "batchmean", help="batchmean (sum / N), mean, sum, none"))},
    tried=({"reduction": "mean"},),
    source="Gauss 1809; compare Caffe's EuclideanLoss layer",
)  # fmt: skip

L1Loss = of_difference(
    "L1Loss", "mean absolute error",
    loss="|x - t|",                            f=lambda self, d: self.xp.abs(d),
    dx="dx = sign(x - t) dy/m, 0 at x = t",    df=lambda self, d: self.xp.sign(d),
    source="Laplace 1774; compare torch.nn.L1Loss",
)  # fmt: skip

HuberLoss = of_difference(
    "HuberLoss", "squared near zero, absolute farther out",
    loss="d²/2 where |d| < delta, otherwise delta (|d| - delta/2);   d = x - t",
                                               f=lambda self, d: huber(self.xp, d, self.delta),
    dx="dx = d dy/m, with d limited to ±delta",
                                               df=lambda self, d: self.xp.clip(d, -self.delta, self.delta),
    params={"delta": (float, param(1.0, help="where the square ends", gt=0))},
    tried=({"delta": 0.3},),
    bad=[Bad({"delta": 0}, "must be > 0"), Bad({"beta": 1.0}, "unknown key 'beta'")],
    source="Huber 1964; compare torch.nn.HuberLoss",
)  # fmt: skip

SmoothL1Loss = of_difference(
    "SmoothL1Loss", "absolute error with a round bottom: HuberLoss over beta",
    loss="d²/(2 beta) where |d| < beta, otherwise |d| - beta/2;   d = x - t",
    f=lambda self, d: huber(self.xp, d, self.beta) / self.beta if self.beta else self.xp.abs(d),
    dx="dx = d/beta dy/m, with d/beta limited to ±1; sign(d) dy/m for beta 0",
    df=lambda self, d: self.xp.clip(d / self.beta, -1, 1) if self.beta else self.xp.sign(d),
    params={"beta": (float, param(1.0, help="where the square ends; 0 is L1Loss", ge=0))},
    tried=({"beta": 0.3}, {"beta": 0.0}),
    bad=[Bad({"beta": -1}, "must be >= 0"), Bad({"delta": 1.0}, "unknown key 'delta'")],
    source="Girshick 2015; compare torch.nn.SmoothL1Loss",
)  # fmt: skip
