"""MultiBoxLoss: a detector's boxes and scores against the objects of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.awaited import number_of
from ...arrays.boxes import CODES, decode, encode, overlap
from ...arrays.functional import exact_sum, log_softmax, shape_mismatch, sigmoid, softplus
from ...arrays.spec import Spec
from ...contract.layer import Layer
from ...schema.errors import ConfigError
from ...schema.params import param
from ...schema.registry import register
from ..detection.predictions import expect_predictions, split_offsets, split_priors
from .huber_loss import huber
from .loss import divisor_of
from .multi_box_examples import BAD_EXAMPLES, EXAMPLES
from .multi_box_targets import NONE, Objects, hardest, matches, objects_of

NORMALIZATIONS = ("valid", "full", "batch_size", "none")


@register
class MultiBoxLoss(Layer):
    """MultiBoxLoss: where a detector's boxes should be, and what they should be called (Caffe's SSD: MultiBoxLoss)

        y = (loc_weight Σ f(u) + Σ ℓ) / m

    The first sum is over the four offsets of each prior that is matched with an object, the second over the priors that
    count: those, and with mining_type max_negative the hardest of the others.

    Matching: of all priors and objects of a sample the two that overlap most are matched (intersection over union,
    above 10⁻⁶), then of the rest, until each object has its prior. With match_type: per_prediction every other prior is
    matched with the object that it overlaps most, if that is overlap_threshold or more. Without use_prior_for_matching
    it is the predicted boxes that are matched. With ignore_cross_boundary_bbox a box that reaches beyond the image is
    neither matched nor mined. Without share_location an object is matched with the box of its own class.

    Offsets: v is the prior's variance, and code is what DetectionOutput would decode to the object's box.

        u = offset - code      or (offset - code) / v with encode_variance_in_target
        f(u) = u²/2 where |u| < 1, otherwise |u| - 1/2; with l2 it is u²/2

    Scores: q is 1 for the object's class, or for the background of a prior without object, and 0 otherwise (logistic
    without mining: 0 for the background, too).

        ℓ = -Σ q log p      with p the softmax of the prior's scores; or, with logistic,
        ℓ = Σ (log(1 + eˣ) - q x)

    Without share_location and use_prior_for_matching a prior may be matched in several classes: q of logistic is then 1
    in each of them, that of the softmax in the one of the largest number alone.

    Mining: of a sample's priors without object that overlap each less than neg_overlap, those with the largest ℓ count,
    neg_pos_ratio of them for each matched one, rounded down. With mining_type: none all priors count.

    m is, by normalization, the number of matches (valid), N K (full), N (batch_size) or 1; and never less than 1.

    Shapes    offsets (N, 4 K) real, with K priors, or (N, 4 K num_classes) without share_location; x, the scores,
              (N, K num_classes) real; priors (1, 2, 4 K), PriorBox's top; objects (..., 8) real, a row for each: sample
              (-1: none), class, anything, left, top, right, bottom, difficult; y a single number
    Backward  What is matched with what and what is mined is constant: it jumps or stands still. With dℓ = dy / m,
                  doffset = dℓ loc_weight f'(u), over v with encode_variance_in_target; f'(u) is u, limited to ±1 or not
                  dx = dℓ (p - q), or dℓ (1/(1 + e⁻ˣ) - q), for each class of a prior that counts
              and 0 for the other priors. Neither priors nor objects get a gradient.
    Keeps     u, and p - q (logistic: 1/(1 + e⁻ˣ) - q) of the priors that count
    Cost      15 operations per prior and object of a sample, and as many again for each match that is looked for
    Errors    LayerError when shapes do not fit; LayerError (exit 3) for an object of a sample or a class that is not
              there, or of the background
    Source    Liu et al. 2016, SSD; the layer of its fork of Caffe
    """

    bottoms = 4
    no_grad_bottoms = (2, 3)
    per_sample = False
    loss = True

    num_classes: int = param(help="classes that the scores are of, background included", ge=1)
    loc_loss_type: str = param("smooth_l1", help="the loss of offsets", choices=("smooth_l1", "l2"))
    conf_loss_type: str = param("softmax", help="the loss of scores", choices=("softmax", "logistic"))
    loc_weight: float = param(1.0, help="weight of the loss of offsets", ge=0)
    share_location: bool = param(True, help="a prior has one box for all classes")
    match_type: str = param(
        "per_prediction", help="an object has any number of priors, or one", choices=("per_prediction", "bipartite")
    )
    overlap_threshold: float = param(0.5, help="overlap from which on per_prediction matches a prior", ge=0, le=1)
    use_prior_for_matching: bool = param(True, help="match the priors, not the boxes that are predicted from them")
    background_label_id: int = param(0, help="the class that is no object; -1: there is none", ge=-1)
    use_difficult_gt: bool = param(True, help="objects that are marked as difficult count")
    mining_type: str = param(
        "max_negative", help="which priors without object count: the hardest, or all", choices=("max_negative", "none")
    )
    neg_pos_ratio: float = param(3.0, help="hard priors for each matched one", gt=0)
    neg_overlap: float = param(0.5, help="a prior that overlaps an object as much is not mined")
    normalization: str = param("valid", help="what the sum is divided by", choices=NORMALIZATIONS)
    code_type: str = param("corner", help="what the offsets of a box are", choices=CODES)
    encode_variance_in_target: bool = param(False, help="the offsets are not over the variances")
    ignore_cross_boundary_bbox: bool = param(False, help="boxes beyond the image's edge are neither matched nor mined")

    examples = EXAMPLES
    bad_examples = BAD_EXAMPLES

    def validate(self) -> None:
        background, classes = self.background_label_id, self.num_classes
        if background >= classes:
            raise ConfigError(f"background_label_id {background} of {classes} classes", hint="counted from 0; -1: none")
        if background < 0 and self.conf_loss_type == "softmax":
            hint = "with conf_loss_type logistic there need not be one"
            raise ConfigError("a softmax needs a background, the class of a prior without object", hint=hint)
        if not self.share_location and self.mining_type != "none":
            hint = "with a box for each class choose mining_type none"
            raise ConfigError("hard priors are mined where share_location is true", hint=hint)

    def setup(self, offsets: Spec, scores: Spec, priors: Spec, objects: Spec) -> Spec:
        expect_predictions(offsets, scores, priors, self.num_classes, self.share_location)
        if not objects.is_real or objects.shape[-1:] != (8,):
            raise shape_mismatch("bottom[3], the objects,", objects.shape, "(..., 8), real: a row for each object")
        return offsets.with_shape(())

    # Targets ----------------------------------------------------------------------------------------------------------

    def targets(self, offsets: Any, priors: Any, rows: Any) -> tuple[Objects, Any, Any]:
        """The objects; which of them each prior is to find (N, classes or 1, K); how much of any it overlaps."""
        xp, samples, (boxes, variances) = self.xp, len(offsets), split_priors(priors)
        told = objects_of(xp, rows, samples, self.num_classes, self.background_label_id, self.use_difficult_gt)
        there = told.there[:, None]  # (N, classes or 1, G)
        boxes = boxes[None, None]
        if not self.use_prior_for_matching:
            own = split_offsets(offsets, len(variances), self.location_classes)
            boxes = decode(xp, self.code_type, boxes, own, 1 if self.encode_variance_in_target else variances)
            if not self.share_location:
                there = there & (told.labels[:, None] == xp.arange(self.num_classes)[:, None])
        ignored = self.beyond(boxes)
        found = overlap(xp, boxes[:, :, :, None], told.boxes[:, None, None])
        found = xp.where(there[:, :, None] & ~ignored[..., None], found, 0)
        flat = (found.shape[0] * found.shape[1], *found.shape[2:])
        ignored = xp.broadcast_to(ignored, found.shape[:3]).reshape(flat[:2])
        threshold = self.overlap_threshold if self.match_type == "per_prediction" else None
        matched = matches(xp, found.reshape(flat), ignored, threshold).reshape(found.shape[:3])
        if self.use_prior_for_matching and not self.share_location:
            matched = self.by_class(matched, told.labels)
        return told, matched, found.max(axis=3)

    @property
    def location_classes(self) -> int:
        """How many boxes a prior has."""
        return 1 if self.share_location else self.num_classes

    def beyond(self, boxes: Any) -> Any:
        """Which boxes are ignored, as they reach beyond the image."""
        if not self.ignore_cross_boundary_bbox:
            return self.xp.zeros(boxes.shape[:-1], dtype=bool)
        return ((boxes < 0) | (boxes > 1)).any(axis=-1)

    def by_class(self, matched: Any, labels: Any) -> Any:
        """Matches (N, 1, K) of priors, each for the box of the object's class: (N, num_classes, K)."""
        xp = self.xp
        label = xp.take_along_axis(labels[:, None], xp.maximum(matched, 0), axis=2)
        is_own = (matched >= 0) & (label == xp.arange(self.num_classes)[:, None])
        return xp.where(is_own, matched, NONE)

    # Losses -----------------------------------------------------------------------------------------------------------

    def forward(self, offsets: Any, scores: Any, priors: Any, rows: Any) -> Any:
        xp = self.xp
        told, matched, most = self.targets(offsets, priors, rows)
        u, scale = self.differences(offsets, priors, told, matched)
        size = xp.abs(u)
        by_offset = size * size / 2 if self.loc_loss_type == "l2" else huber(xp, u, 1.0)
        by_prior, slope = self.of_scores(scores, told, matched)
        counting = self.counting(by_prior, matched, most)
        m = self.divisor(matched, offsets.dtype)
        self.save(u=u, scale=scale, slope=slope * counting[..., None], m=m, shapes=(offsets.shape, scores.shape))
        total = self.loc_weight * exact_sum(by_offset) + exact_sum(xp.where(counting, by_prior, 0))
        return (total / m).astype(offsets.dtype)

    def differences(self, offsets: Any, priors: Any, told: Objects, matched: Any) -> tuple[Any, Any]:
        """u (N, classes or 1, K, 4), 0 where nothing is matched, and what an offset moves it by."""
        xp, (boxes, variances) = self.xp, split_priors(priors)
        own, is_matched = split_offsets(offsets, len(boxes), self.location_classes), (matched >= 0)[..., None]
        each = xp.arange(len(offsets))[:, None, None]
        wanted = xp.where(is_matched, told.boxes[each, xp.maximum(matched, 0)], boxes)
        within = variances if self.encode_variance_in_target else 1
        code = encode(xp, self.code_type, boxes, wanted, 1 if self.encode_variance_in_target else variances)
        return xp.where(is_matched, (own - code) / within, own * 0), 1 / within  # one that is NaN is seen anywhere

    def of_scores(self, scores: Any, told: Objects, matched: Any) -> tuple[Any, Any]:
        """ℓ of each prior (N, K), and its slope by each score (N, K, num_classes)."""
        xp, classes = self.xp, self.xp.arange(self.num_classes)
        x = scores.reshape(len(scores), matched.shape[2], self.num_classes)
        if self.share_location:
            label = xp.take_along_axis(told.labels[:, None], xp.maximum(matched, 0), axis=2)
            is_class = (matched >= 0)[:, 0, :, None] & (label[:, 0, :, None] == classes)
        else:
            is_class = (matched >= 0).transpose(0, 2, 1)
        if self.conf_loss_type == "softmax":
            label = xp.where(is_class, classes, NONE).max(axis=2, keepdims=True)
            label = xp.where(label == NONE, self.background_label_id, label)
            log_p = log_softmax(xp, x, 2)
            return -xp.take_along_axis(log_p, label, axis=2)[..., 0], xp.exp(log_p) - (classes == label)
        if self.mining_type != "none":
            is_class = is_class | (~is_class.any(axis=2, keepdims=True) & (classes == self.background_label_id))
        q = is_class.astype(x.dtype)
        return exact_sum(softplus(xp, x) - q * x, 2).astype(x.dtype), sigmoid(xp, x) - q

    def counting(self, by_prior: Any, matched: Any, most: Any) -> Any:
        """Which priors the loss of scores is of: (N, K)."""
        xp = self.xp
        if self.mining_type == "none":
            return xp.ones(by_prior.shape, dtype=bool)
        is_matched = matched[:, 0] >= 0
        counts = xp.floor(xp.count_nonzero(is_matched, axis=1) * self.neg_pos_ratio)
        candidates = (matched[:, 0] == NONE) & (most[:, 0] < self.neg_overlap)
        return is_matched | hardest(xp, by_prior, candidates, counts)

    def divisor(self, matched: Any, dtype: Any) -> Any:
        """m."""
        samples, _, priors = matched.shape
        if self.normalization == "valid":
            return divisor_of(self.xp, number_of(self.xp.count_nonzero(matched >= 0)), dtype)
        return max(1, {"full": samples * priors, "batch_size": samples, "none": 1}[self.normalization])

    def mean_over(self, offsets: Any, scores: Any, priors: Any, rows: Any) -> float | None:
        """What `normalization` counts; None where the top is a sum."""
        if self.normalization != "valid":
            counts = {"full": len(offsets) * (priors.shape[2] // 4), "batch_size": len(offsets)}
            return counts.get(self.normalization)
        return number_of(self.xp.count_nonzero(self.targets(offsets, priors, rows)[1] >= 0))

    # Derivatives ------------------------------------------------------------------------------------------------------

    def slopes(self) -> tuple[Any, Any]:
        """∂y/∂offset and ∂y/∂x."""
        xp, kept = self.xp, self.saved
        of_u = kept.u if self.loc_loss_type == "l2" else xp.clip(kept.u, -1, 1)
        offsets = (of_u * kept.scale).transpose(0, 2, 1, 3).reshape(kept.shapes[0])
        return self.loc_weight / kept.m * offsets, kept.slope.reshape(kept.shapes[1]) / kept.m

    def backward(self, dy: Any) -> tuple[Any, ...]:
        slopes = zip(self.slopes(), self.needs_grad, strict=False)
        return (*(dy * slope if needed else None for slope, needed in slopes), None, None)

    def jvp(self, *tangents: Any) -> Any:
        moved = [exact_sum(s * v) for s, v in zip(self.slopes(), tangents, strict=False) if v is not None]
        return sum(moved[1:], moved[0]).astype(self.dtype)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 15 * bottoms[1].size


