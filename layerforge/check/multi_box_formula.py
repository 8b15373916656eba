"""MultiBoxLoss once more, prior by prior and object by object, with lists and numbers where the layer has arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Box = list[float]
Matches = dict[tuple[int, int], int]  # the row of objects by (class of the box, prior)


def common(a: Box, b: Box) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - width * height)


def code_of(layer: Any, prior: Box, box: Box, v: Box) -> Box:
    """The offsets that say where a box is beside a prior."""
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    if layer.code_type == "center_size":
        offsets = [
            (sum(box[0::2]) - sum(prior[0::2])) / 2 / width,
            (sum(box[1::2]) - sum(prior[1::2])) / 2 / height,
            math.log((box[2] - box[0]) / width),
            math.log((box[3] - box[1]) / height),
        ]
    else:
        unit = [width, height] * 2 if layer.code_type == "corner_size" else [1.0] * 4
        offsets = [(b - p) / u for b, p, u in zip(box, prior, unit, strict=True)]
    return offsets if layer.encode_variance_in_target else [o / w for o, w in zip(offsets, v, strict=True)]


def box_of(layer: Any, prior: Box, offsets: Box, v: Box) -> Box:
    """The box that offsets from a prior say."""
    o = offsets if layer.encode_variance_in_target else [a * b for a, b in zip(offsets, v, strict=True)]
    width, height = prior[2] - prior[0], prior[3] - prior[1]
    if layer.code_type == "center_size":
        x, y = (prior[0] + prior[2]) / 2 + o[0] * width, (prior[1] + prior[3]) / 2 + o[1] * height
        w, h = width * math.exp(o[2]), height * math.exp(o[3])
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    unit = [width, height] * 2 if layer.code_type == "corner_size" else [1.0] * 4
    return [p + a * u for p, a, u in zip(prior, o, unit, strict=True)]


def matched(layer: Any, boxes: list[Box], objects: dict[int, Box]) -> tuple[dict[int, int], set[int], list[float]]:
    """Which of the objects each box is to find; the boxes that are ignored; the most that each box overlaps one."""
    beyond = {k for k, box in enumerate(boxes) if not 0 <= min(box) <= max(box) <= 1}
    ignored = beyond if layer.ignore_cross_boundary_bbox else set()
    pairs = {(k, g): common(box, own) for k, box in enumerate(boxes) for g, own in objects.items() if k not in ignored}
    pairs = {pair: share for pair, share in pairs.items() if share > 1e-6}
    most = [max((share for (k, _), share in pairs.items() if k == at), default=0.0) for at in range(len(boxes))]
    found: dict[int, int] = {}
    for k, g in sorted(pairs, key=lambda pair: -pairs[pair]):
        if k not in found and g not in found.values():
            found[k] = g
    if layer.match_type == "per_prediction":
        for k, g in sorted(pairs, key=lambda pair: -pairs[pair]):
            if k not in found and pairs[k, g] >= layer.overlap_threshold:
                found[k] = g
    return found, ignored, most


def of_sample(
    layer: Any, offsets: Any, priors: list[Box], v: list[Box], rows: dict[int, Any]
) -> tuple[Matches, list[int]]:
    """The matches of a sample, and the priors that may be mined."""
    classes, found = 1 if layer.share_location else layer.num_classes, Matches()
    objects = {g: [float(side) for side in row[3:7]] for g, row in rows.items()}
    label = {g: int(row[1]) for g, row in rows.items()}
    if layer.use_prior_for_matching:
        by_prior, ignored, most = matched(layer, priors, objects)
        found = {(0 if layer.share_location else label[g], k): g for k, g in by_prior.items()}
    else:
        for own in range(classes):
            boxes = [box_of(layer, p, list(map(float, offsets[k][own])), v[k]) for k, p in enumerate(priors)]
            wanted = {g: box for g, box in objects.items() if layer.share_location or label[g] == own}
            by_box, ignored, most = matched(layer, boxes, wanted)
            found |= {(own, k): g for k, g in by_box.items()}
    taken = {k for _, k in found}
    return found, [k for k in range(len(priors)) if k not in taken | ignored and most[k] < layer.neg_overlap]


def targets(layer: Any, offsets: Any, priors: Any, objects: Any) -> list[tuple[dict[int, Any], Matches, list[int]]]:
    """For each sample its objects by number, its matches and the priors that may be mined."""
    boxes, v = priors[0].reshape(2, -1, 4).tolist()
    rows = [row for row in objects.reshape(-1, 8) if row[0] != -1 and (layer.use_difficult_gt or not row[7])]
    found = []
    for n, own in enumerate(offsets.reshape(len(offsets), len(boxes), -1, 4)):
        mine = {g: row for g, row in enumerate(rows) if row[0] == n}
        found.append((mine, *of_sample(layer, own, boxes, v, mine)))
    return found


def scores_loss(layer: Any, x: Box, labels: list[int]) -> float:
    """ℓ of a prior that is matched with objects of these classes, of which a softmax knows one."""
    if layer.conf_loss_type == "softmax":
        label = max(labels, default=layer.background_label_id)
        return math.log(math.fsum(math.exp(s - max(x)) for s in x)) + max(x) - x[label]
    if not labels and layer.mining_type != "none":
        labels = [layer.background_label_id]
    return math.fsum(max(s, 0) + math.log1p(math.exp(-abs(s))) - s * (k in labels) for k, s in enumerate(x))


def multi_box(layer: Any, offsets: Any, scores: Any, priors: Any, objects: Any) -> Any:
    """(loc_weight Σ f(u) + Σ ℓ) / m, with what counts found as SSD finds it."""
    boxes, v = priors[0].reshape(2, -1, 4).tolist()
    own = offsets.reshape(len(offsets), len(boxes), -1, 4)
    x = scores.reshape(len(scores), len(boxes), layer.num_classes)
    terms, count = [], 0
    for n, (rows, found, candidates) in enumerate(targets(layer, offsets, priors, objects)):
        count += len(found)
        for (c, k), g in found.items():
            code = code_of(layer, boxes[k], rows[g][3:7].tolist(), v[k])
            for o, wanted, w in zip(own[n, k, c].tolist(), code, v[k], strict=True):
                u = abs(o - wanted) / (w if layer.encode_variance_in_target else 1)
                f = u - 0.5 if layer.loc_loss_type == "smooth_l1" and u > 1 else u * u / 2
                terms.append(layer.loc_weight * f)
        labels = [[int(rows[g][1]) for (_, k), g in found.items() if k == at] for at in range(len(boxes))]
        losses = [scores_loss(layer, x[n, k].tolist(), labels[k]) for k in range(len(boxes))]
        if layer.mining_type != "none":
            counting = {k for _, k in found}
            hard = sorted(candidates, key=lambda k: -losses[k])[: int(len(found) * layer.neg_pos_ratio)]
            losses = [losses[k] for k in (*counting, *hard)]
        terms += losses
    divisors = {"valid": count, "full": len(own) * len(boxes), "batch_size": len(own), "none": 1}
    return np.array(math.fsum(terms) / max(1, divisors[layer.normalization]))
