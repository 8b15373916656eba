"""What families of golden cases are made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from support.golden_cases import Case, Shapes

from layerforge.arrays.spec import Spec, index


def one(
    name: str,
    hyper: Mapping[str, Any],
    *bottoms: Spec,
    params: Shapes | None = None,
    state: Shapes | None = None,
    tops: int = 1,
    phase: str = "train",
    differentiable: bool = True,
) -> Case:
    """The case of a layer by itself, called "layer", with bottoms x0, x1 ... and tops y or y0, y1 ...

    name   "Type" or "Type-what": what the case is about
    """
    inputs = {f"x{i}": spec for i, spec in enumerate(bottoms)}
    outputs = ("y",) if tops == 1 else tuple(f"y{i}" for i in range(tops))
    wiring = {"name": "layer", "type": name.partition("-")[0], "bottom": list(inputs), "top": list(outputs)}
    owned, kept = ({f"layer.{key}": shape for key, shape in (shapes or {}).items()} for shapes in (params, state))
    return Case(name, [{**wiring, **hyper}], inputs, owned, kept, outputs, phase, differentiable)


def moved(layer: str, cases: Mapping[str, tuple[Mapping[str, Any], tuple[int, ...]]]) -> list[Case]:
    """Cases of a layer with one bottom: what each is about, its hyper-parameters, the bottom's shape; and of labels."""
    hyper, shape = next(iter(cases.values()))
    labels = one(f"{layer}-labels", hyper, index(shape, 9), differentiable=False)
    return [*(one(f"{layer}-{what}", h, Spec(s)) for what, (h, s) in cases.items()), labels]


def learned(name: str, hyper: Mapping[str, Any], x: tuple[int, ...], **params: tuple[int, ...]) -> Case:
    """A case of a layer with one bottom, of shape x, and parameters of these shapes."""
    return one(name, hyper, Spec(x), params=params)


def few_values(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers from -1 to 1: full of zeros and ties."""
    return rng.randint(-1, 2, shape, dtype=np.int64).astype(np.float64)


def labels(shape: tuple[int, ...], classes: int, ignored: int) -> Spec:
    """Labels of which about a third is the ignored one."""

    def some_ignored(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
        kept = rng.random_sample(shape) > 1 / 3
        return np.where(kept, rng.randint(0, classes, shape, dtype=np.int64), ignored)

    return Spec(shape, role="index", draw=some_ignored)


def halves(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """The multiples of 0.5 from 0 outwards: 0, 0.5, -0.5, 1, -1 ... Most kinks are among them."""
    numbers = np.arange(int(np.prod(shape)))
    return (np.where(numbers % 2, 1, -1) * ((numbers + 1) // 2) / 2).reshape(shape)
