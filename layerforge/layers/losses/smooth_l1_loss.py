"""SmoothL1Loss: the absolute difference with a round bottom."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import expect_role, shape_mismatch
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.errors import ConfigError
from ...schema.params import param
from .huber_loss import huber
from .regression_loss import RegressionLoss, of_difference


class BoxLoss(RegressionLoss):
    """Base of the losses of a difference u that take two weights of each element: inside of the loss, and outside."""

    bottoms = (2, 4)

    def setup(self, x: Spec, t: Spec, *weights: Spec) -> Spec:
        if len(weights) < 2:
            return super().setup(x, t, *weights)
        for i, spec in enumerate(weights, 2):
            expect_role(f"bottom[{i}]", spec, "real")
            if spec.shape != x.shape:
                raise shape_mismatch(f"bottom[{i}]", spec.shape, f"{x.shape}, that of bottom[0]")
        return super().setup(x, t)

    def forward(self, x: Any, t: Any, *weights: Any) -> Any:
        if len(weights) < 2:
            return super().forward(x, t, *weights)
        (inside, outside), difference, n = weights, x - t, self.divisor(x.shape)
        u = inside * difference
        each, slope = self.f(u, 0), outside * self.dfdx(u, 0)
        partials = (inside * slope, -inside * slope, difference * slope, each)
        self.save(partials=partials, n=n, factor=None)
        return self.reduce(outside * each, n)

    def partial(self, i: int) -> Any:
        return self.saved.partials[i] if "partials" in self.saved else super().partial(i)

    def mean_over(self, x: Any, t: Any, *weights: Any) -> float | None:
        return super().mean_over(x, t, *(weights if len(weights) < 2 else ()))


def check_sigma(self: Any) -> None:
    """One of the two that say where the square ends."""
    if self.sigma is not None and self.beta != 1:
        raise ConfigError("beta and sigma say the same", hint="beta is 1 / sigma²: leave one of the two out")


def end_of_square(layer: Any) -> float:
    """beta, or what sigma makes it."""
    return layer.beta if layer.sigma is None else 1 / layer.sigma**2


def smooth(self: Any, u: Any) -> Any:
    """ℓ by u."""
    beta = end_of_square(self)
    return huber(self.xp, u, beta) / beta if beta else self.xp.abs(u)


def smooth_slope(self: Any, u: Any) -> Any:
    """The derivative of ℓ by u."""
    beta = end_of_square(self)
    return self.xp.clip(u / beta, -1, 1) if beta else self.xp.sign(u)


BOXES = [Spec((3, 4)), Spec((3, 4)), Spec((3, 4), low=0.2, high=2), Spec((3, 4), low=0.1, high=3)]

SmoothL1Loss = of_difference(
    "SmoothL1Loss", "absolute error with a round bottom: HuberLoss over beta",
    loss="u²/(2 beta) where |u| < beta, otherwise |u| - beta/2;   u = x - t",
    f=smooth,
    dx="dx = dℓ u/beta, with u/beta limited to ±1; for beta 0, where it is L1Loss, dℓ sign(u)",
    df=smooth_slope,
    note="A third and a fourth bottom, as x, are the inside weights a and the outside weights b of boxes. Then\n"
    "\n"
    "        u = a (x - t),   y = Σ b ℓ / m,   and with s = u/beta, limited to ±1, or sign(u) for beta 0,\n"
    "        dx = dℓ a b s,   dt = -dx,   da = dℓ b s (x - t),   db = dℓ ℓ\n"
    "\n"
    "    which is Girshick's layer with reduction batchmean and its sigma, or 1 / sigma² as beta.",
    params={
        "beta": (float, param(1.0, help="where the square ends; 0 is L1Loss", ge=0)),
        "sigma": (float | None, param(None, help="in the place of beta, which is then 1 / sigma²", gt=0)),
    },
    base=BoxLoss,
    validate=check_sigma,
    tried=({"beta": 0.3}, {"beta": 0.0}),
    more=[Example({"sigma": 1.5}, BOXES[:2]), Example({"sigma": 1.5, "reduction": "batchmean"}, BOXES, "boxes"),
          *(Example({"reduction": r}, BOXES) for r in ("mean", "none"))],
    bad=[Bad({"beta": -1}, "must be >= 0"), Bad({"delta": 1.0}, "unknown key 'delta'"),
         Bad({"sigma": 3.0, "beta": 0.5}, "say the same"), Bad({"sigma": 0}, "must be > 0"),
         Bad({}, "bottom[3] has shape (3,), expected (3, 4)", [*BOXES[:3], Spec((3,))])],
    source="Girshick 2015, the layer of Fast R-CNN; compare torch.nn.SmoothL1Loss",
)  # fmt: skip
