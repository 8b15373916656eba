"""Golden cases of reductions, and of ArgMax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from support.golden_cases import Case

from layerforge.arrays.spec import Spec

from .builders import few_values, one

USES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "all": ({}, (2, 3, 4)),
    "all-keepdim": ({"keepdim": True}, (2, 3)),
    "number": ({}, ()),
    "one": ({"dim": 1}, (3, 5)),
    "batch": ({"dim": 0}, (4, 3)),
    "last-keepdim": ({"dim": -1, "keepdim": True}, (2, 3, 4)),
    "two": ({"dim": [0, 2]}, (2, 3, 4)),
    "two-keepdim": ({"dim": [-1, -3], "keepdim": True}, (2, 3, 2, 4)),
    "size-1": ({"dim": 2}, (2, 3, 1)),
    "no-samples": ({"dim": 1}, (0, 3)),
}
EMPTY = {"empty": ({"dim": 1}, (3, 0)), "empty-all": ({}, (0, 2)), "empty-two": ({"dim": [1, 2]}, (2, 0, 3))}


def reduction(layer: str, extra: Mapping[str, Any] | None = None, *, empty: bool = False) -> list[Case]:
    """Cases of a reduction; `extra` are hyper-parameters for all of them."""
    uses = USES | (EMPTY if empty else {})
    name = "-".join([layer, *(f"{key}-{value}" for key, value in (extra or {}).items())])
    return [one(f"{name}-{what}", {**use, **(extra or {})}, Spec(shape)) for what, (use, shape) in uses.items()]


def some_zeros(count: int) -> Any:
    """A draw of numbers with `count` zeros, spread over the array."""

    def draw(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
        x = rng.uniform(-2, 2, shape)
        x.flat[rng.choice(x.size, count, replace=False)] = 0
        return x

    return draw


def extreme(layer: str) -> list[Case]:
    """Cases of Max or Min: with ties, and with indices."""
    ties = Spec((4, 3, 5), draw=few_values)
    cases = [one(f"{layer}-ties-{i}", use, ties) for i, use in enumerate(({}, {"dim": 1}, {"dim": [0, 2]}))]
    uses = ({"dim": 1}, {"dim": -1, "keepdim": True}, {"dim": 0})
    return [*reduction(layer), *cases, *(one(f"{layer}-indices-{i}", u, ties, tops=2) for i, u in enumerate(uses))]


def arg_max(what: str, hyper: Mapping[str, Any], *shape: int, ties: bool = False) -> Case:
    """A case of ArgMax."""
    return one(f"ArgMax-{what}", hyper, Spec(shape, draw=few_values if ties else None), differentiable=False)


def top_k(what: str, hyper: Mapping[str, Any], *shape: int, ties: bool = False) -> Case:
    """A case of TopK with both tops."""
    return one(f"TopK-{what}", hyper, Spec(shape, draw=few_values if ties else None), tops=2)


WIDE = Spec((3, 5), low=-1e4, high=1e4)
CASES = [
    *reduction("Sum", empty=True),
    *reduction("Mean"),
    *reduction("SumSquare", empty=True),
    *reduction("AbsSum", empty=True),
    one("AbsSum-zeros", {"dim": 1}, Spec((3, 5), draw=few_values)),
    *reduction("Prod", empty=True),
    *(
        one(f"Prod-zeros-{n}-dim-{d}", {"dim": d}, Spec((3, 5), draw=some_zeros(n)))
        for n, d in ((1, 1), (4, 1), (4, 0), (9, None))
    ),
    *(one(f"Prod-zeros-{n}-of-two", {"dim": [0, 2]}, Spec((2, 3, 3), draw=some_zeros(n))) for n in (1, 5)),
    *(
        one(f"{layer}-{what}", {**use, "correction": c}, Spec(shape))
        for layer in ("Var", "Std")
        for what, use, shape, c in (
            ("all", {}, (2, 3, 4), 0),
            ("one", {"dim": 1}, (3, 5), 1),
            ("batch", {"dim": 0}, (4, 3), 1),
            ("last-keepdim", {"dim": -1, "keepdim": True}, (2, 3, 4), 2),
            ("two", {"dim": [0, 2]}, (2, 3, 4), 0),
        )
    ),
    *(one(f"{layer}-default", {}, Spec((3, 4))) for layer in ("Var", "Std")),
    one("Std-constant", {"dim": 1}, Spec((3, 4), draw=lambda rng, shape: np.full(shape, 0.5))),
    *reduction("Norm"),
    *(case for p in (1.0, 0.5, 1.5, 3.0, math.inf) for case in reduction("Norm", {"p": p})[3:7]),
    *(
        one(f"Norm-zeros-{p}", {"p": p, "dim": 1}, Spec((6, 3), draw=few_values))
        for p in (0.5, 1.0, 1.5, 2.0, 3.0, math.inf)
    ),
    one("Norm-zero", {"dim": 1}, Spec((2, 3), draw=lambda rng, shape: np.zeros(shape))),
    one("Norm-wide", {"p": 12.0, "dim": 1}, WIDE),
    *reduction("LogSumExp"),
    one("LogSumExp-wide", {"dim": 1}, WIDE),
    *extreme("Max"),
    *extreme("Min"),
    arg_max("all", {}, 2, 3, 4),
    arg_max("all-keepdim", {"keepdim": True}, 2, 3),
    arg_max("all-top-3", {"top_k": 3}, 2, 3),
    arg_max("one", {"dim": 1}, 3, 5),
    arg_max("last-keepdim", {"dim": -1, "keepdim": True}, 2, 3, 4),
    arg_max("top-3", {"dim": 1, "top_k": 3}, 2, 5, 2),
    arg_max("ties", {"dim": 1}, 8, 5, ties=True),
    arg_max("ties-caffe", {"dim": 1, "ties": "caffe"}, 8, 5, ties=True),
    arg_max("ties-top-3", {"dim": 1, "top_k": 3}, 8, 5, ties=True),
    arg_max("ties-top-3-caffe", {"dim": 1, "top_k": 3, "ties": "caffe"}, 8, 5, ties=True),
    one("TopK-values", {"k": 2}, Spec((3, 5))),
    top_k("indices", {"k": 2}, 3, 5),
    top_k("smallest", {"k": 3, "largest": False}, 3, 5),
    top_k("dim", {"k": 2, "dim": 1}, 2, 4, 3),
    top_k("samples", {"k": 2, "dim": 0}, 4, 3),
    top_k("all", {"k": 4}, 2, 4),
    top_k("ties", {"k": 3}, 8, 5, ties=True),
    top_k("ties-smallest", {"k": 3, "largest": False}, 8, 5, ties=True),
]
