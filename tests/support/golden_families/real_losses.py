"""Golden cases of the losses of real numbers: between two blobs of one shape, and of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from support.golden_cases import Case

from layerforge.arrays.spec import Spec, index

from .builders import one

ANY = (Spec((3, 4)), Spec((3, 4)))
SCORE = (Spec((3, 4)), Spec((3, 4), low=0, high=1))
PROBABILITY = (Spec((3, 4), low=0.05, high=0.95), Spec((3, 4), low=0, high=1))
LOGARITHM = (Spec((3, 4), low=-5, high=0), Spec((3, 4), low=0.05, high=1))


def between(layer: str, x: Spec, t: Spec, *settings: Mapping[str, Any]) -> list[Case]:
    """Cases of a loss between two blobs of one shape."""
    tried = [{}, *({"reduction": r} for r in ("mean", "sum", "batchmean", "none")), *settings]
    cases = [one(f"{layer}-{i}", hyper, x, t) for i, hyper in enumerate(tried)]
    return [*cases, *(one(f"{layer}-{len(s)}d", {}, x.with_shape(s), t.with_shape(s)) for s in ((5,), (2, 3, 1, 2)))]


def signs(*shape: int) -> Spec:
    """Labels that are 1 or -1."""

    def draw(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
        return 2 * rng.randint(0, 2, shape, dtype=np.int64) - 1

    return Spec(shape, role="index", draw=draw)


def vectors(layer: str, bottoms: list[Spec], *settings: Mapping[str, Any]) -> list[Case]:
    """Cases of a loss of vectors."""
    tried = [{}, {"reduction": "sum"}, {"reduction": "none"}, *settings]
    return [one(f"{layer}-{i}", hyper, *bottoms) for i, hyper in enumerate(tried)]


PAIR = [Spec((5, 4)), Spec((5, 4))]
CASES = [
    *between("MSELoss", *ANY),
    *between("EuclideanLoss", *ANY),
    *between("L1Loss", *ANY),
    *between("HuberLoss", *ANY, {"delta": 0.5}),
    *between("SmoothL1Loss", *ANY, {"beta": 0.5}, {"beta": 0.0}),
    *between("BCELoss", *PROBABILITY),
    *between("BCEWithLogitsLoss", *SCORE, {"pos_weight": 3.0}, {"pos_weight": [0.5, 2.0, 0.0, 1.0]}),
    *between("KLDivLoss", *LOGARITHM, {"log_target": True}),
    *vectors("MarginRankingLoss", [Spec((6,)), Spec((6,)), signs(6)], {"margin": 0.5}),
    *vectors("ContrastiveLoss", [*PAIR, index((5,), 2)], {"margin": 4.0}, {"margin": 9.0, "legacy_version": True}),
    *vectors("TripletMarginLoss", [*PAIR, Spec((5, 4))], {"margin": 2.0}, {"p": 3.0, "margin": 3.0}, {"eps": 0.1}),
    *vectors("CosineEmbeddingLoss", [*PAIR, signs(5)], {"margin": 0.5}),
]
