"""What a detector says of its priors, as SSD lays it out: for each prior four offsets, for all or for each class, and a
score for each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.functional import expect_role, shape_mismatch
from ...arrays.spec import Spec


def expect_predictions(offsets: Spec, scores: Spec, priors: Spec, classes: int, shared: bool) -> tuple[int, int]:
    """How many samples and priors there are; LayerError where the shapes do not fit each other."""
    for i, spec in enumerate((offsets, scores, priors)):
        expect_role(f"bottom[{i}]", spec, "real")
    if priors.ndim != 3 or priors.shape[:2] != (1, 2) or priors.shape[2] % 4 or not priors.shape[2]:
        raise shape_mismatch("bottom[2], the priors,", priors.shape, "(1, 2, 4 K): the top of PriorBox")
    count, samples = priors.shape[2] // 4, offsets.shape[0] if offsets.ndim else 0
    own, of = (1, f"each of {count} priors") if shared else (classes, f"each of {count} priors and {classes} classes")
    if offsets.shape != (samples, 4 * count * own):
        raise shape_mismatch("bottom[0], the offsets,", offsets.shape, f"({samples}, {4 * count * own}), 4 of {of}")
    if scores.shape != (samples, count * classes):
        want = f"({samples}, {count * classes}), one of each of {count} priors and {classes} classes"
        raise shape_mismatch("bottom[1], the scores,", scores.shape, want)
    return samples, count


def split_priors(priors: Any) -> tuple[Any, Any]:
    """The boxes (K, 4) and their variances (K, 4) of PriorBox's top."""
    return priors[0, 0].reshape(-1, 4), priors[0, 1].reshape(-1, 4)


def split_offsets(offsets: Any, priors: int, classes: int) -> Any:
    """The offsets (N, classes, K, 4) of what is laid out by priors, then by classes."""
    return offsets.reshape(len(offsets), priors, classes, 4).transpose(0, 2, 1, 3)


def spread_boxes(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Priors of all sizes, as parts of the image, with variances about 0.15: what examples draw."""
    count = shape[2] // 4
    middle, size = rng.uniform(0.2, 0.8, (count, 2)), rng.uniform(0.2, 0.5, (count, 2))
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    return np.stack([boxes, rng.uniform(0.1, 0.2, (count, 4))]).reshape(shape)
