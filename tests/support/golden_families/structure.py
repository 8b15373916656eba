"""Golden cases of layers that combine blobs or move numbers about."""

from __future__ import annotations

from support.golden_cases import Case

from layerforge.arrays.spec import Spec, index

from .builders import one


def broadcasting(layer: str) -> list[Case]:
    """Cases of Add or Mul."""
    shapes = {
        "two": [(3, 4), (3, 4)],
        "three": [(2, 3, 4), (2, 3, 4), (2, 3, 4)],
        "row": [(2, 3, 5), (5,)],
        "column-and-number": [(2, 3, 5), (3, 1), ()],
        "both-ways": [(3, 1, 4), (3, 5, 1)],
        "smaller-first": [(5,), (2, 3, 5)],
        "numbers": [(), ()],
    }
    return [one(f"{layer}-{what}", {}, *map(Spec, bottoms)) for what, bottoms in shapes.items()]


CASES = [
    *broadcasting("Add"),
    *broadcasting("Mul"),
    one("Concat-channels", {}, Spec((2, 1, 3, 3)), Spec((2, 3, 3, 3)), Spec((2, 2, 3, 3))),
    one("Concat-last", {"dim": -1}, Spec((2, 3, 1)), Spec((2, 3, 4))),
    one("Concat-batch", {"dim": 0}, Spec((2, 3)), Spec((4, 3))),
    one("Concat-single", {}, Spec((2, 3))),
    one("Concat-labels", {}, index((3, 2), 5), index((3, 1), 5), differentiable=False),
    one("Slice-points", {"points": [1, 3]}, Spec((2, 6, 3)), tops=3),
    one("Slice-equal", {}, Spec((2, 6)), tops=3),
    one("Slice-last", {"dim": -1, "points": [3]}, Spec((2, 3, 4)), tops=2),
    one("Slice-batch", {"dim": 0}, Spec((4, 3)), tops=2),
    one("Slice-single", {}, Spec((2, 3))),
    one("Slice-labels", {}, index((3, 4), 5), tops=2, differentiable=False),
    one("Flatten-plain", {}, Spec((2, 3, 4, 5))),
    one("Flatten-all", {"start_dim": 0}, Spec((2, 3, 4))),
    one("Flatten-last-two", {"start_dim": -2}, Spec((2, 3, 4, 5))),
    one("Flatten-middle", {"end_dim": 2}, Spec((2, 3, 4, 5))),
    one("Flatten-nothing", {}, Spec((3, 5))),
    one("Flatten-labels", {}, index((2, 3, 2), 7), differentiable=False),
]
