"""Golden cases of CTCLoss, by itself and above the LogSoftmax that belongs below it."""

from __future__ import annotations

import numpy as np
from support.golden_cases import Case

from layerforge.arrays.spec import Spec, index

from .builders import one

T, N, K, S = 8, 4, 4, 3
LENGTHS = [index((N,), T + 1, 4), index((N,), S + 1)]


def repeated(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Labels of which every second is the one before it: they need a blank in between."""
    labels = rng.randint(1, K, shape, dtype=np.int64)
    labels[:, 1::2] = labels[:, :-1:2]
    return labels


SCORES, TARGETS = Spec((T, N, K)), index((N, S), K, 1)
LIKELY = Spec((T, N, K), low=-3, high=0)
NET = Case(
    "CTCLoss-above-LogSoftmax",
    [
        {"name": "log_p", "type": "LogSoftmax", "bottom": "x", "dim": 2},
        {"name": "loss", "type": "CTCLoss", "bottom": ["log_p", "targets", "steps", "labels"], "top": "y"},
    ],
    {"x": SCORES, "targets": TARGETS, "steps": LENGTHS[0], "labels": LENGTHS[1]},
)
CASES = [
    one("CTCLoss-plain", {}, LIKELY, TARGETS),
    one("CTCLoss-lengths", {}, LIKELY, TARGETS, *LENGTHS),
    one("CTCLoss-blank", {"blank": 2}, LIKELY, index((N, S), 2), *LENGTHS),
    one("CTCLoss-repeated", {}, LIKELY, Spec((N, S), role="index", draw=repeated)),
    one("CTCLoss-sum", {"reduction": "sum"}, LIKELY, TARGETS, *LENGTHS),
    one("CTCLoss-none", {"reduction": "none"}, LIKELY, TARGETS, *LENGTHS),
    one("CTCLoss-silent", {}, LIKELY, index((N, 0), K, 1)),
    one("CTCLoss-one-step", {}, Spec((1, 2, 3), low=-3, high=0), index((2, 1), 3, 1)),
    *(
        one(
            f"CTCLoss-too-long-{r}",
            {"zero_infinity": True, "reduction": r},
            LIKELY,
            TARGETS,
            index((N,), 4, 1),
            index((N,), 4, 2),
        )
        for r in ("mean", "none")
    ),
    NET,
]
