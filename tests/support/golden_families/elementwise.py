"""Golden cases of signs, powers, exponentials, logarithms and trigonometry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.golden_cases import Case

from layerforge.arrays.spec import Spec

from .builders import halves, one

WIDE = {"low": -1e4, "high": 1e4}


def function(layer: str, *settings: Mapping[str, Any], low: float = -2.0, high: float = 2.0) -> list[Case]:
    """Cases of an element-wise layer between low and high, by default without hyper-parameters."""
    return [one(f"{layer}-{i}", hyper, Spec((4, 6), low=low, high=high)) for i, hyper in enumerate(settings or [{}])]


def at_halves(layer: str, *settings: Mapping[str, Any]) -> list[Case]:
    """Cases at 0, ±0.5, ±1 ... ±7: where kinks and jumps are."""
    return [one(f"{layer}-{i}-halves", hyper, Spec((29,), draw=halves)) for i, hyper in enumerate(settings or [{}])]


def extreme(layer: str) -> Case:
    """A case at numbers of all sizes up to 1e4."""
    return one(f"{layer}-extreme", {}, Spec((4, 6), low=-1e4, high=1e4))


POWERS = ({"exponent": 3}, {"exponent": 0}, {"exponent": 1}, {"exponent": 2, "scale": -1.5, "shift": 0.5})
CASES = [
    *(case for layer in ("Abs", "Neg", "Sign", "Floor", "Square") for case in function(layer)),
    *(case for layer in ("Abs", "Neg", "Sign", "Floor", "Square") for case in at_halves(layer)),
    *function("Reciprocal", low=0.2),
    one("Reciprocal-negative", {}, Spec((4, 6), low=-5.0, high=-0.2)),
    *function("Sqrt", low=0.01, high=9.0),
    *function("Rsqrt", low=0.01, high=9.0),
    *function("Pow", *POWERS),
    *at_halves("Pow", *POWERS),
    one("Pow-root", {"exponent": 0.5, "scale": 2.0, "shift": 1.0}, Spec((4, 6), low=-0.4, high=9.0)),
    one("Pow-inverse", {"exponent": -1.5}, Spec((4, 6), low=0.1, high=9.0)),
    one("Pow-constant", {"exponent": 2, "scale": 0, "shift": 3.0}, Spec((4, 6))),
    *function("Exp", {}, {"base": 2}, {"base": 0.5, "scale": 2.0, "shift": -1.0}, {"scale": -0.5}, low=-9.0, high=9.0),
    *function("Log", {}, {"base": 10}, {"base": 0.5, "scale": 2.0, "shift": 1.0}, {"scale": 3.0}, low=0.01, high=9.0),
    *(case for layer in ("Sin", "Cos", "Atan") for case in function(layer, **WIDE)),
    *(case for layer in ("Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Erf") for case in at_halves(layer)),
    *(case for layer in ("Asin", "Acos") for case in function(layer, low=-0.99, high=0.99)),
    *function("Erf", low=-3.0, high=3.0),
    extreme("Erf"),
]
