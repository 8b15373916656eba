"""Golden cases of rectifiers, PReLU and smooth activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.golden_cases import Case

from layerforge.arrays.spec import Spec

from .builders import halves, one


def activation(layer: str, *settings: Mapping[str, Any]) -> list[Case]:
    """Cases at random numbers, at multiples of 0.5, where kinks are, and at numbers up to 1e4."""
    draws = {"": Spec((4, 6)), "-halves": Spec((29,), draw=halves), "-extreme": Spec((4, 6), low=-1e4, high=1e4)}
    return [
        one(f"{layer}-{i}{what}", hyper, x) for i, hyper in enumerate(settings or [{}]) for what, x in draws.items()
    ]


def prelu(name: str, x: Spec, weights: int = 1, **hyper: Any) -> Case:
    """A case of PReLU."""
    return one(f"PReLU-{name}", hyper, x, params={"weight": (weights,)})


CASES = [
    *activation("LeakyReLU", {}, {"negative_slope": 0.3}, {"negative_slope": 0}),
    *activation("ReLU6"),
    *activation("ELU", {}, {"alpha": 0.3}, {"alpha": 2.5}, {"alpha": 0}),
    *activation("SELU"),
    *activation("CELU", {}, {"alpha": 0.3}, {"alpha": 2.5}),
    *activation("HardSigmoid"),
    *activation("HardSwish"),
    *activation("Hardtanh", {}, {"min_val": -0.5, "max_val": 2}),
    *activation("Clamp", {"min": -0.5, "max": 2}, {"min": 0.5}, {"max": 0.5}, {"min": 1, "max": 1}),
    *activation("Threshold", {"threshold": 0.5, "value": 20}, {"threshold": -1, "value": -1}),
    *activation("LogSigmoid"),
    *activation("Softplus", {}, {"beta": 0.5}, {"beta": 3.0, "threshold": 1.5}),
    *activation("Softsign"),
    *activation("GELU", {}, {"approximate": "tanh"}),
    *activation("SiLU", {}, {"beta": 0.5}, {"beta": -1.7}, {"beta": 0}),
    *activation("Mish"),
    prelu("one", Spec((3, 5))),
    prelu("vector", Spec((7,)), init=0.1),
    prelu("number", Spec(())),
    prelu("zeros", Spec((29,), draw=halves)),
    prelu("matrix", Spec((3, 5)), 5, num_parameters=5),
    prelu("image", Spec((2, 3, 2, 4)), 3, num_parameters=3, init=-0.5),
    prelu("one-for-image", Spec((2, 3, 2, 4))),
]
