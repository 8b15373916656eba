"""Golden cases of layers that combine blobs number by number. Add and Mul without parameters are in structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from support.golden_cases import Case

from layerforge.arrays.spec import Spec

from .builders import few_values, one

PAIRS = {
    "two": [(3, 4), (3, 4)],
    "row": [(2, 3, 5), (5,)],
    "column": [(2, 3, 5), (3, 1)],
    "both-ways": [(3, 1, 4), (3, 5, 1)],
    "smaller-first": [(5,), (2, 3, 5)],
    "size-1-batch": [(1, 4), (3, 4)],
    "number": [(2, 3), ()],
    "numbers": [(), ()],
    "empty": [(2, 0), (2, 1)],
}
MORE = {
    "three": [(2, 3, 4), (2, 3, 4), (2, 3, 4)],
    "three-broadcast": [(2, 3, 5), (3, 1), ()],
    "four": [(3, 4), (1, 4), (3, 1), (4,)],
}
Bounds = tuple[float | None, float | None]


def binary(layer: str, first: Bounds = (None, None), second: Bounds = (None, None)) -> list[Case]:
    """Cases of a layer with two bottoms, whose numbers lie between these bounds."""
    return [
        one(
            f"{layer}-{what}",
            {},
            *(Spec(s, low=lo, high=hi) for s, (lo, hi) in zip(pair, (first, second), strict=True)),
        )
        for what, pair in PAIRS.items()
    ]


def extremum(layer: str) -> list[Case]:
    """Cases of Maximum or Minimum, with and without ties."""
    cases = [one(f"{layer}-{what}", {}, *map(Spec, shapes)) for what, shapes in (PAIRS | MORE).items()]
    for ties in ("share", "caffe"):
        for what, shapes in {"two": [(4, 6), (4, 6)], **MORE}.items():
            cases.append(
                one(f"{layer}-{what}-ties-{ties}", {"ties": ties}, *(Spec(s, draw=few_values) for s in shapes))
            )
    return cases


def weighted(what: str, coeff: Sequence[float], *shapes: tuple[int, ...]) -> Case:
    """A case of Add with factors."""
    hyper: Mapping[str, Any] = {"coeff": list(coeff)}
    return one(f"Add-{what}", hyper, *map(Spec, shapes))


def zeros_and_more(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers from 0 on, a third of them 0."""
    return rng.random_sample(shape) * rng.randint(0, 3, shape)


def exponents(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """0, 1 and 2.5: what zero can be raised to with a finite slope."""
    return np.array([0.0, 1.0, 2.5])[rng.randint(0, 3, shape)]


CASES = [
    weighted("difference", [1, -1], (3, 4), (3, 4)),
    weighted("three", [0.5, 2, -3], (2, 3, 5), (3, 1), ()),
    weighted("smaller-first", [-0.25, 0], (5,), (2, 3, 5)),
    *binary("Sub"),
    *binary("Div", second=(0.25, 2.0)),
    one("Div-negative", {}, Spec((3, 4)), Spec((3, 4), low=-2.0, high=-0.25)),
    *binary("PowBinary", first=(0.25, 2.0)),
    one("PowBinary-zeros", {}, Spec((5, 6), draw=zeros_and_more), Spec((5, 6), draw=exponents)),
    *extremum("Maximum"),
    *extremum("Minimum"),
]
