"""Golden cases of activations and of Dropout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.golden_cases import Case

from layerforge.arrays.spec import Spec

from .builders import few_values, one


def elementwise(layer: str, *settings: Mapping[str, Any]) -> list[Case]:
    """Cases of an activation."""
    cases = [one(f"{layer}-{i}", hyper, Spec((4, 6))) for i, hyper in enumerate(({}, *settings))]
    cases += [one(f"{layer}-{i}-zeros", hyper, Spec((5,), draw=few_values)) for i, hyper in enumerate(({}, *settings))]
    cases += [one(f"{layer}-{x.ndim}d", {}, x) for x in (Spec((2, 3, 1, 5)), Spec((7,)), Spec(()))]
    return [*cases, one(f"{layer}-extreme", {}, Spec((4, 6), low=-1e4, high=1e4))]


def softmax(layer: str) -> list[Case]:
    """Cases of Softmax or LogSoftmax."""
    return [
        one(f"{layer}-plain", {}, Spec((4, 5))),
        one(f"{layer}-image", {}, Spec((2, 3, 2, 3))),
        one(f"{layer}-last", {"dim": -1}, Spec((2, 3, 5))),
        one(f"{layer}-batch", {"dim": 0}, Spec((4, 3))),
        one(f"{layer}-one-class", {}, Spec((3, 1))),
        one(f"{layer}-extreme", {}, Spec((3, 5), low=-1e4, high=1e4)),
    ]


CASES = [
    *elementwise("ReLU", {"negative_slope": 0.1}, {"negative_slope": 1.0}),
    *elementwise("Sigmoid"),
    *elementwise("Tanh"),
    *softmax("Softmax"),
    *softmax("LogSoftmax"),
    one("Dropout-train", {}, Spec((6, 5))),
    one("Dropout-train-p", {"p": 0.2}, Spec((3, 2, 2, 5))),
    one("Dropout-train-none", {"p": 0.0}, Spec((3, 5))),
    one("Dropout-eval", {"p": 0.2}, Spec((6, 5)), phase="eval"),
]
