"""Random boxes for the tests of detection layers."""

from __future__ import annotations

import numpy as np

CLASSES, COUNT = 4, 12  # of objects, with the background; of priors


def priors(rng: np.random.Generator) -> np.ndarray:
    """Boxes that lie about the middle of an image, and their variances, as PriorBox gives them: (1, 2, 4 COUNT)."""
    middle, size = rng.uniform(0.2, 0.8, (COUNT, 2)), rng.uniform(0.2, 0.5, (COUNT, 2))
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    return np.stack([boxes, rng.uniform(0.1, 0.2, (COUNT, 4))]).reshape(1, 2, 4 * COUNT)
