"""Golden cases of BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from support.golden_cases import Case

from layerforge.arrays.spec import Spec

from .builders import one


def batch_norm(name: str, hyper: Mapping[str, Any], x: Spec, phase: str = "train") -> Case:
    """A case of BatchNorm."""
    channels = x.shape[1:2]
    learned = {"weight": channels, "bias": channels} if hyper.get("affine", True) else {}
    kept = {"running_mean": channels, "running_var": channels} if hyper.get("track_running_stats", True) else {}
    return one(name, hyper, x, params=learned, state=kept, phase=phase)


def constant_channel(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers whose first channel does not vary."""
    x = rng.random_sample(shape)
    x[:, 0] = 0.7
    return x


CASES = [
    batch_norm("BatchNorm-2d", {}, Spec((5, 3))),
    batch_norm("BatchNorm-3d", {}, Spec((3, 2, 5))),
    batch_norm("BatchNorm-4d", {}, Spec((2, 3, 4, 5))),
    batch_norm("BatchNorm-5d", {}, Spec((2, 2, 3, 1, 3))),
    batch_norm("BatchNorm-settings", {"eps": 0.25, "momentum": 0.3}, Spec((3, 3, 2, 2))),
    batch_norm("BatchNorm-momentum-0", {"momentum": 0.0}, Spec((5, 3))),
    batch_norm("BatchNorm-momentum-1", {"momentum": 1.0}, Spec((5, 3))),
    batch_norm("BatchNorm-not-affine", {"affine": False}, Spec((3, 4, 2, 2))),
    batch_norm("BatchNorm-two-values", {}, Spec((2, 3))),
    batch_norm("BatchNorm-one-sample", {}, Spec((1, 3, 2, 4))),
    batch_norm("BatchNorm-far-from-zero", {}, Spec((6, 3, 2, 2), low=1000, high=1001)),
    batch_norm("BatchNorm-no-variance", {}, Spec((4, 3, 2, 2), draw=constant_channel)),
    batch_norm("BatchNorm-eval-2d", {}, Spec((5, 3)), "eval"),
    batch_norm("BatchNorm-eval-3d", {}, Spec((3, 2, 5)), "eval"),
    batch_norm("BatchNorm-eval-4d", {"eps": 0.25}, Spec((2, 3, 4, 5)), "eval"),
    batch_norm("BatchNorm-eval-5d", {}, Spec((2, 2, 3, 1, 3)), "eval"),
    batch_norm("BatchNorm-eval-not-affine", {"affine": False}, Spec((1, 4, 2, 2)), "eval"),
    batch_norm("BatchNorm-no-statistics", {"track_running_stats": False}, Spec((3, 2, 2, 3))),
    batch_norm("BatchNorm-no-statistics-eval", {"track_running_stats": False}, Spec((3, 2, 2, 3)), "eval"),
    batch_norm("BatchNorm-frozen", {"use_running_stats": True}, Spec((3, 2, 2, 3))),
    batch_norm("BatchNorm-frozen-one-value", {"use_running_stats": True, "affine": False}, Spec((1, 4))),
    batch_norm("BatchNorm-frozen-eval", {"use_running_stats": True}, Spec((3, 2, 2, 3)), "eval"),
]
