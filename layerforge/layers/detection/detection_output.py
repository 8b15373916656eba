"""DetectionOutput: the objects that a detector has found, each once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...arrays.boxes import CODES, decode, overlap
from ...arrays.functional import order_along
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError
from ...schema.params import param
from ...schema.registry import register
from .predictions import expect_predictions, split_offsets, split_priors, spread_boxes

EMPTY = -1  # what a row holds that names no object


@register
class DetectionOutput(Layer):
    """DetectionOutput: of a detector's boxes those that show an object, each object once (Caffe's SSD: DetectionOutput)

    For each sample and each class but the background, the boxes b with a score above confidence_threshold, the best
    top_k of them, are gone through from the best score on. A box is kept unless it shows what a better one has:

        b is kept where overlap(b, a) <= nms_threshold for every kept a
        overlap(a, b) = area of what both cover / area of what at least one covers

    With eta < 1 each box that is kept makes the threshold eta times as large, as long as it is above 0.5. Of what is
    kept of all classes, a sample gives the keep_top_k best. Each is a row of y:

        y[0, 0, row] = [sample, class, score, left, top, right, bottom]

    by samples, in a sample by classes, in a class the best score first; equal scores stay in the order of the priors.
    Caffe's top has as many rows as there are objects. Here shapes do not depend on data: the rows after the last object
    are full of -1, so that their class is -1. A box is decoded from its prior by code_type:

        corner: side = prior's side + v offset
        corner_size: side = prior's side + v offset (prior's width or height)
        center_size: middle = prior's middle + v offset (width, height);   size = (width, height) exp(v offset)

    with v the prior's variance, or 1 with variance_encoded_in_target. A score that is NaN counts as the best, so that
    it is seen. A box may reach beyond the image.

    Shapes    offsets (N, 4 K) real, with K priors, or (N, 4 K num_classes) without share_location, by priors, then by
              classes; scores (N, K num_classes) real, by priors, then by classes; priors (1, 2, 4 K), PriorBox's top;
              y (1, 1, N keep_top_k, 7), with keep_top_k -1 as many rows as there may be objects
    Backward  none, by choice: scores and sides of the kept boxes have a derivative, which boxes are kept has none
    Keeps     nothing
    Cost      a sort of the scores; 15 operations for each pair of boxes of a class that are looked at, of all top_k
              where every score is above confidence_threshold
    Errors    LayerError when shapes do not fit
    Source    Liu et al. 2016, SSD; the layer of its fork of Caffe
    """

    bottoms = 3
    per_sample = False

    num_classes: int = param(help="classes that the scores are of, background included", ge=1)
    share_location: bool = param(True, help="a prior has one box for all classes")
    background_label_id: int = param(0, help="the class that is no object; -1: there is none", ge=-1)
    nms_threshold: float = param(0.3, help="overlap above which two boxes show the same object", ge=0)
    eta: float = param(1.0, help="factor of the threshold after each box that is kept", gt=0, le=1)
    top_k: int = param(-1, help="boxes of a class that are looked at, the best; -1: all", ge=-1)
    code_type: str = param("corner", help="what the offsets of a box are", choices=CODES)
    variance_encoded_in_target: bool = param(False, help="the offsets are not over the variances")
    keep_top_k: int = param(-1, help="objects of a sample that are kept, the best; -1: all", ge=-1)
    confidence_threshold: float | None = param(None, help="score that an object is above; null: any score will do")

    examples = [
        Example(
            {"num_classes": 3, "keep_top_k": 4, "confidence_threshold": 0.4, "code_type": "center_size"},
            [Spec((2, 24)), Spec((2, 18), low=0, high=1), Spec((1, 2, 24), draw=spread_boxes)],
        ),
        Example(
            {"num_classes": 2, "share_location": False, "background_label_id": 1, "nms_threshold": 0.6, "eta": 0.9},
            [Spec((2, 48)), Spec((2, 12)), Spec((1, 2, 24), draw=spread_boxes)],
        ),
        Example(
            {"num_classes": 3, "top_k": 2, "variance_encoded_in_target": True, "background_label_id": -1,
             "code_type": "corner_size", "share_location": False},
            [Spec((2, 60), low=-0.2, high=0.2), Spec((2, 15)), Spec((1, 2, 20), draw=spread_boxes)],
        ),
        Example(
            {"num_classes": 4, "keep_top_k": 30, "confidence_threshold": 0.7, "nms_threshold": 0.1},
            [Spec((3, 16)), Spec((3, 16), low=0, high=1), Spec((1, 2, 16), draw=spread_boxes)],
            "more rows than objects",
        ),
        Example(
            {"num_classes": 2, "keep_top_k": 2, "confidence_threshold": 2},
            [Spec((2, 8)), Spec((2, 4), low=0, high=1), Spec((1, 2, 8), draw=spread_boxes)],
            "no object",
        ),
        Example({"num_classes": 2}, [Spec((0, 8)), Spec((0, 4)), Spec((1, 2, 8), draw=spread_boxes)], "no sample"),
    ]  # fmt: skip
    bad_examples = [
        Bad({}, "num_classes is required"),
        Bad({"num_classes": 3, "background_label_id": 3}, "background_label_id 3 of 3 classes"),
        Bad({"num_classes": 1}, "no class is left", [Spec((2, 8)), Spec((2, 2)), Spec((1, 2, 8))]),
        Bad({"num_classes": 3, "code_type": "CENTER_SIZE"}, "must be one of corner, center_size, corner_size"),
        Bad({"num_classes": 3}, "the priors, has shape (2, 8), expected (1, 2, 4 K)",
            [Spec((2, 8)), Spec((2, 6)), Spec((2, 8))]),
        Bad({"num_classes": 3}, "the offsets, has shape (2, 12), expected (2, 8), 4 of each of 2 priors",
            [Spec((2, 12)), Spec((2, 6)), Spec((1, 2, 8))]),
        Bad({"num_classes": 3, "share_location": False}, "expected (2, 24), 4 of each of 2 priors and 3 classes",
            [Spec((2, 8)), Spec((2, 6)), Spec((1, 2, 8))]),
        Bad({"num_classes": 3}, "the scores, has shape (2, 8), expected (2, 6), one of each of 2 priors and 3 classes",
            [Spec((2, 8)), Spec((2, 8)), Spec((1, 2, 8))]),
        Bad({"num_classes": 3}, "bottom[1] must be real", [Spec((2, 8)), Spec((2, 6), "int64"), Spec((1, 2, 8))]),
    ]  # fmt: skip

    def validate(self) -> None:
        if self.background_label_id >= self.num_classes:
            hint = "classes are counted from 0; -1 says that there is no background"
            told = f"background_label_id {self.background_label_id} of {self.num_classes} classes"
            raise ConfigError(told, hint=hint)
        if not self.objects:
            raise ConfigError("no class is left beside the background", hint="num_classes counts the background, too")

    @property
    def objects(self) -> int:
        """How many classes there are beside the background."""
        return self.num_classes - (self.background_label_id >= 0)

    def setup(self, offsets: Spec, scores: Spec, priors: Spec) -> Spec:
        samples, count = expect_predictions(offsets, scores, priors, self.num_classes, self.share_location)
        return offsets.with_shape((1, 1, self.row_count(samples, count), 7))

    def row_count(self, samples: int, priors: int) -> int:
        """How many rows the top has: one for each object that there may be."""
        return samples * (self.most(priors) * self.objects if self.keep_top_k < 0 else self.keep_top_k)

    def most(self, priors: int) -> int:
        """How many boxes of a class are looked at, at most."""
        return priors if self.top_k < 0 else min(self.top_k, priors)

    def forward(self, offsets: Any, scores: Any, priors: Any) -> Any:
        xp, samples = self.xp, len(offsets)
        boxes, variances = split_priors(priors)
        split = split_offsets(offsets, len(boxes), 1 if self.share_location else self.num_classes)
        decoded = decode(xp, self.code_type, boxes, split, 1 if self.variance_encoded_in_target else variances)
        decoded = decoded if self.share_location else self.of_objects(decoded)
        scores = self.of_objects(scores.reshape(samples, len(boxes), self.num_classes).transpose(0, 2, 1))
        order, scores, candidates = self.best(scores)
        found = xp.take_along_axis(decoded, order[..., None], axis=2)
        kept = self.best_of_sample(self.once(found, candidates), scores)
        return self.rows(kept, scores, found, self.row_count(samples, len(boxes)))

    def of_objects(self, x: Any) -> Any:
        """x (N, num_classes, ...) without the background."""
        k = self.background_label_id
        return x if k < 0 else self.xp.concatenate([x[:, :k], x[:, k + 1 :]], axis=1)

    def best(self, scores: Any) -> tuple[Any, Any, Any]:
        """For each class the priors from the best score on, their scores, and which of them are above the threshold.

        The axis of priors is as long as the longest list that is looked at.
        """
        xp = self.xp
        threshold = -math.inf if self.confidence_threshold is None else self.confidence_threshold
        order = order_along(xp, scores, 2)
        scores = xp.take_along_axis(scores, order, axis=2)
        candidates = ~(scores <= threshold)
        looked_at = int(xp.count_nonzero(candidates, axis=2).max()) if candidates.size else 0
        looked_at = min(looked_at, self.top_k) if self.top_k >= 0 else looked_at
        return order[:, :, :looked_at], scores[:, :, :looked_at], candidates[:, :, :looked_at]

    def once(self, boxes: Any, candidates: Any) -> Any:
        """Which of the boxes (samples, classes, best first) are kept: those that overlap no better one that is."""
        xp = self.xp
        kept, most = xp.zeros_like(candidates), xp.zeros(candidates.shape, dtype=boxes.dtype)
        threshold = xp.full(candidates.shape[:2], self.nms_threshold, dtype=boxes.dtype)
        for i in range(candidates.shape[2]):
            now = candidates[:, :, i] & ~(most[:, :, i] > threshold)
            kept[:, :, i] = now
            later = most[:, :, i + 1 :]
            with_later = overlap(xp, boxes[:, :, i : i + 1], boxes[:, :, i + 1 :])
            later[...] = xp.where(now[..., None], xp.maximum(later, with_later), later)
            if self.eta < 1:
                threshold = xp.where(now & (threshold > 0.5), threshold * self.eta, threshold)
        return kept

    def best_of_sample(self, kept: Any, scores: Any) -> Any:
        """Of what is kept in a sample the keep_top_k best, whatever their class."""
        if self.keep_top_k < 0:
            return kept
        xp, flat = self.xp, (len(kept), kept.shape[1] * kept.shape[2])
        order = order_along(xp, xp.where(kept, scores, -math.inf).reshape(flat), 1)
        place = xp.argsort(order, axis=1)
        return kept & (place < self.keep_top_k).reshape(kept.shape)

    def rows(self, kept: Any, scores: Any, boxes: Any, count: int) -> Any:
        """The top: a row for each box that is kept, then rows without an object."""
        xp, flat = self.xp, kept.reshape(-1)
        table = xp.empty((*kept.shape, 7), dtype=boxes.dtype)
        table[..., 0] = xp.arange(len(kept))[:, None, None]
        classes = xp.arange(self.objects)
        table[..., 1] = (classes + ((self.background_label_id >= 0) & (classes >= self.background_label_id)))[:, None]
        table[..., 2], table[..., 3:] = scores, boxes
        order = xp.argsort(~flat, kind="stable")[:count]
        y = xp.full((1, 1, count, 7), EMPTY, dtype=boxes.dtype)
        y[0, 0, : len(order)] = xp.where(flat[order][:, None], table.reshape(-1, 7)[order], EMPTY)
        return y

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        most = self.most(bottoms[2].shape[2] // 4)
        return 15 * bottoms[0].shape[0] * self.objects * (most * (most - 1) // 2)
