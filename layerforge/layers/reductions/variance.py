"""Var and Std: how far elements are from their mean."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import mean_of, sum_of
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import param
from .reduction import Reduction, reduction, size_along


class Spread(Reduction):
    """Base of Var and Std."""

    def least(self) -> int:
        return self.correction + 1

    def variance(self, x: Any, axes: tuple[int, ...]) -> Any:
        """Σ (x - mean x)² / (m - correction). In two passes: the mean of squares less the squared mean would cancel."""
        d = self.deviation(x, axes)
        return sum_of(d * d, axes, keepdims=True) / self.degrees(x, axes)

    def deviation(self, x: Any, axes: tuple[int, ...]) -> Any:
        """x - mean x."""
        return x - mean_of(x, axes, keepdims=True)

    def degrees(self, x: Any, axes: tuple[int, ...]) -> int:
        """m - correction, the degrees of freedom."""
        return size_along(x, axes) - self.correction


SPREAD: dict[str, Any] = {
    "base": Spread,
    "params": {"correction": (int, param(1, help="how much less than m the sum is divided by", ge=0))},
    "one": {"correction": 0},
    "tried": [Example({"correction": c, "dim": [0, 1]}, [Spec((3, 2, 2))]) for c in (0, 3)],
    "bad": [
        Bad({"dim": 1}, "of 1 number(s) is not defined", [Spec((3, 1))]),
        Bad({"unbiased": False}, "did you mean 'correction'?"),
    ],
    "errors": ",\n          when a slice has no more than correction elements",
    "cost": "three passes forward, two backward, which takes the mean again",
}

Var = reduction(
    "Var", "variance",
    y="Σ (x - mean x)² / (m - correction)",   value=Spread.variance,
    dx="dx = 2 dy (x - mean x) / (m - correction). Through mean x, y does not move: ∂y/∂mean is a multiple of\n"
    "          Σ (x - mean x) = 0",
    slope=lambda self, x, y, axes: self.deviation(x, axes) * (2 / self.degrees(x, axes)),  reads=("bottom",),
    source="Gauss 1823; compare torch.var",  **SPREAD,
)  # fmt: skip

Std = reduction(
    "Std", "standard deviation",
    y="√(Σ (x - mean x)² / (m - correction))",
    value=lambda self, x, axes: self.xp.sqrt(self.variance(x, axes)),
    dx="dx = dy (x - mean x) / ((m - correction) y), 0 where y is: y² is Var's y, so 2 y ∂y/∂xᵢ is Var's slope",
    slope=lambda self, x, y, axes: self.deviation(x, axes) / (self.degrees(x, axes) * (y + (y == 0))),
    reads=("bottom", "top"),    source="compare torch.std",  **SPREAD,
)  # fmt: skip
