"""Golden cases of scans."""

from __future__ import annotations

from support.golden_cases import Case

from layerforge.arrays.spec import Spec

from .builders import few_values, one

USES = {
    "one": (1, (3, 5)),
    "batch": (0, (4, 3)),
    "last": (-1, (2, 3, 4)),
    "middle": (-2, (2, 4, 3)),
    "single-axis": (0, (6,)),
    "size-1": (1, (3, 1)),
    "empty": (1, (3, 0)),
    "no-samples": (1, (0, 3)),
}


def scan(layer: str) -> list[Case]:
    """Cases of a scan."""
    cases = [one(f"{layer}-{what}", {"dim": dim}, Spec(shape)) for what, (dim, shape) in USES.items()]
    return [*cases, *(one(f"{layer}-zeros-{d}", {"dim": d}, Spec((5, 6), draw=few_values)) for d in (0, 1))]


CASES = [*scan("Cumsum"), *scan("Cumprod")]
