"""What the checks of MultiBoxLoss run on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ..detection.predictions import spread_boxes


def objects_in(samples: int, classes: int, background: int = 0) -> Any:
    """A draw of rows of objects, one of them of no sample and one marked as difficult."""

    def draw(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape[:-1]))
        middle, size = rng.uniform(0.3, 0.7, (count, 2)), rng.uniform(0.2, 0.6, (count, 2))
        labels = [k for k in range(classes) if k != background]
        rows = np.zeros((count, 8))
        rows[:, 0] = rng.integers(0, samples, (count,))
        rows[:, 1] = np.array(labels)[rng.integers(0, len(labels), (count,))]
        rows[:, 3:5], rows[:, 5:7] = middle - size / 2, middle + size / 2
        rows[:1, 0] = -1
        rows[-1:, 7] = 1
        return rows.reshape(shape)

    return draw


def bottoms(
    samples: int, priors: int, classes: int, *, boxes: int = 1, objects: int = 4, background: int = 0
) -> list[Spec]:
    """The bottoms of an example."""
    return [
        Spec((samples, 4 * priors * boxes)),
        Spec((samples, priors * classes)),
        Spec((1, 2, 4 * priors), draw=spread_boxes),
        Spec((1, 1, objects, 8), draw=objects_in(samples, classes, background)),
    ]


EXAMPLES = [
    Example({"num_classes": 3}, bottoms(2, 12, 3, objects=5)),
    Example(
        {"num_classes": 3, "code_type": "center_size", "overlap_threshold": 0.35, "neg_overlap": 0.4,
         "neg_pos_ratio": 1.5, "loc_weight": 2.5, "normalization": "full", "encode_variance_in_target": True},
        bottoms(3, 10, 3, objects=8),
    ),
    Example(
        {"num_classes": 3, "conf_loss_type": "logistic", "loc_loss_type": "l2", "match_type": "bipartite",
         "code_type": "corner_size", "normalization": "batch_size", "use_difficult_gt": False},
        bottoms(2, 8, 3, objects=5),
    ),
    Example(
        {"num_classes": 3, "share_location": False, "mining_type": "none", "overlap_threshold": 0.3,
         "normalization": "none", "ignore_cross_boundary_bbox": True},
        bottoms(2, 8, 3, boxes=3, objects=5),
    ),
    Example(
        {"num_classes": 2, "share_location": False, "mining_type": "none", "use_prior_for_matching": False,
         "background_label_id": -1, "conf_loss_type": "logistic"},
        bottoms(2, 6, 2, boxes=2, objects=5, background=-1),
    ),
    Example(
        {"num_classes": 3, "use_prior_for_matching": False, "background_label_id": 2, "overlap_threshold": 0.2,
         "ignore_cross_boundary_bbox": True},
        bottoms(2, 9, 3, objects=5, background=2),
    ),
    Example({"num_classes": 2}, bottoms(2, 3, 2, objects=1), "no object"),
    Example({"num_classes": 2, "mining_type": "none"}, bottoms(2, 3, 2, objects=0), "no row"),
]  # fmt: skip
BAD_EXAMPLES = [
    Bad({}, "num_classes is required"),
    Bad({"num_classes": 2, "background_label_id": 2}, "background_label_id 2 of 2 classes"),
    Bad({"num_classes": 2, "background_label_id": -1}, "a softmax needs a background"),
    Bad({"num_classes": 2, "share_location": False}, "hard priors are mined where share_location is true"),
    Bad({"num_classes": 2, "neg_pos_ratio": 0}, "must be > 0"),
    Bad({"num_classes": 2, "mining_type": "hard_example"}, "must be one of max_negative, none"),
    Bad({"num_classes": 2}, "the objects, has shape (4, 7), expected (..., 8)", [*bottoms(2, 3, 2)[:3], Spec((4, 7))]),
    Bad({"num_classes": 2}, "the scores, has shape (2, 9), expected (2, 6)",
        [Spec((2, 12)), Spec((2, 9)), *bottoms(2, 3, 2)[2:]]),
]  # fmt: skip
