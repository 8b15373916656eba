"""Twins of the layers of detection, of which torch has no like: written out box by box, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .call import Call


def many(value: Any) -> list[float]:
    """One number, several or none, as a list."""
    return [] if value is None else [float(v) for v in (value if isinstance(value, list) else [value])]


def prior_sizes(c: Call) -> Iterator[tuple[float, float]]:
    """Width and height of the boxes of a position."""
    ratios: list[float] = []
    for ratio in many(c.hyper.get("aspect_ratio")):
        if ratio != 1 and ratio not in ratios:
            ratios += [ratio, 1 / ratio] if c.hyper.get("flip", True) else [ratio]
    larger = many(c.hyper.get("max_size"))
    for number, side in enumerate(many(c.hyper["min_size"])):
        yield side, side
        if larger:
            mean = math.exp((math.log(side) + math.log(larger[number])) / 2)
            yield mean, mean
        for ratio in ratios:  # of the area of the square
            height = math.sqrt(side * side / ratio)
            yield ratio * height, height


def prior_box(c: Call) -> Tensor:
    """Liu et al. 2016, one box after the other."""
    height, width = c.x[0].shape[2:]
    size = c.hyper.get("img_size") or list(c.x[1].shape[2:])
    rows, columns = size if isinstance(size, list) else (size, size)
    step = c.hyper.get("step")
    down, across = (rows / height, columns / width) if step is None else step
    offset, variance = c.hyper.get("offset", 0.5), many(c.hyper.get("variance", 0.1))
    boxes = []
    for i, j in product(range(height), range(width)):
        x, y = (j + offset) * across / columns, (i + offset) * down / rows
        for w, h in prior_sizes(c):
            boxes += [x - w / columns / 2, y - h / rows / 2, x + w / columns / 2, y + h / rows / 2]
    if c.hyper.get("clip", False):
        boxes = [min(1.0, max(0.0, side)) for side in boxes]
    spread = (variance if len(variance) == 4 else 4 * variance) * (len(boxes) // 4)
    return torch.tensor([boxes, spread])[None]


Corners = tuple[float, float, float, float]


def decoded(code: str, prior: list[float], offsets: list[float]) -> Corners:
    """The box that offsets from a prior, variances included, say."""
    left, top, right, bottom = prior
    width, height = right - left, bottom - top
    if code == "center_size":
        x, y = left + width / 2 + offsets[0] * width, top + height / 2 + offsets[1] * height
        w, h = width * math.exp(offsets[2]), height * math.exp(offsets[3])
        return x - w / 2, y - h / 2, x + w / 2, y + h / 2
    across, down = (width, height) if code == "corner_size" else (1.0, 1.0)
    return left + offsets[0] * across, top + offsets[1] * down, right + offsets[2] * across, bottom + offsets[3] * down


def common(a: Corners, b: Corners) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (areas - width * height)


def of_class(c: Call, boxes: list[Corners], scores: list[float]) -> list[int]:
    """The priors whose boxes of a class are kept, the best first."""
    least, limit = c.hyper.get("confidence_threshold"), c.hyper.get("nms_threshold", 0.3)
    best = sorted((k for k in range(len(scores)) if least is None or scores[k] > least), key=lambda k: -scores[k])
    top_k, kept = c.hyper.get("top_k", -1), list[int]()
    for k in best if top_k < 0 else best[:top_k]:
        if all(common(boxes[k], boxes[other]) <= limit for other in kept):
            kept.append(k)
            limit *= c.hyper.get("eta", 1.0) if limit > 0.5 else 1.0
    return kept


def detection_output(c: Call) -> Tensor:
    """Liu et al. 2016, one class of one sample after the other."""
    classes, shared = c.hyper["num_classes"], c.hyper.get("share_location", True)
    background, keep = c.hyper.get("background_label_id", 0), c.hyper.get("keep_top_k", -1)
    priors, variances = c.x[2][0].reshape(2, -1, 4).tolist()
    if c.hyper.get("variance_encoded_in_target"):
        variances = [[1.0] * 4] * len(priors)
    offsets = c.x[0].reshape(-1, len(priors), 1 if shared else classes, 4).tolist()
    scores, rows = c.x[1].reshape(-1, len(priors), classes).tolist(), []
    for n, of_sample in enumerate(offsets):
        found = []
        for label in (k for k in range(classes) if k != background):
            own = [[o * v for o, v in zip(of[0 if shared else label], v4, strict=True)]
                   for of, v4 in zip(of_sample, variances, strict=True)]  # fmt: skip
            code = c.hyper.get("code_type", "corner")
            boxes = [decoded(code, prior, four) for prior, four in zip(priors, own, strict=True)]
            mine = [of[label] for of in scores[n]]
            found += [[float(n), float(label), mine[k], *boxes[k]] for k in of_class(c, boxes, mine)]
        best = sorted(range(len(found)), key=lambda i: -found[i][2])
        rows += [found[i] for i in sorted(best if keep < 0 else best[:keep])]
    each = min(len(priors), len(priors) if c.hyper.get("top_k", -1) < 0 else c.hyper["top_k"])
    count = len(offsets) * (each * (classes - (background >= 0)) if keep < 0 else keep)
    return torch.tensor(rows + [[-1.0] * 7] * (count - len(rows))).reshape(1, 1, count, 7)


def away_from_zero(x: float) -> int:
    """C's round."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def roi_part(low: Any, high: Any, scale: float, number: int, count: int) -> tuple[int, int]:
    """Where a part of a region of ROIPooling begins and ends."""
    first, last = away_from_zero(low * scale), away_from_zero(high * scale)
    part = np.float32(max(last - first + 1, 1)) / np.float32(count)
    return first + math.floor(number * part), first + math.ceil((number + 1) * part)


def psroi_part(low: Any, high: Any, scale: float, number: int, count: int) -> tuple[int, int]:
    """Where a part of a region of PSROIPooling begins and ends."""
    first, behind = (np.float32(edge) * scale for edge in (away_from_zero(low), away_from_zero(high) + 1))
    part = max(behind - first, np.float32(0.1)) / np.float32(count)
    return math.floor(number * part + first), math.ceil((number + 1) * part + first)


def grid_of(c: Call, part_of: Any, element: Any, channels: int) -> Tensor:
    """`element(x of a sample, row of the grid, column, slices of its part)` for all parts of all regions."""
    height, width = c.x[0].shape[2:]
    size = c.hyper["output_size"]
    grid, tops = size if isinstance(size, list) else [size, size], []
    for n, left, top, right, bottom in c.x[1].detach().reshape(-1, 5).numpy().astype("float32"):
        sides, scale = ((top, bottom), (left, right)), c.hyper.get("spatial_scale", 1.0)
        for p in product(range(grid[0]), range(grid[1])):
            inside = []
            for side, number, count, end in zip(sides, p, grid, (height, width), strict=True):
                inside.append(slice(*(min(max(edge, 0), end) for edge in part_of(*side, scale, number, count))))
            tops.append(element(c.x[0][int(n)], *p, tuple(inside)))
    y = torch.stack(tops) if tops else c.x[0].new_zeros(0, channels)
    y = y + 0 * c.x[0].sum()  # x is asked for its gradient where no region is in it, too
    return y.reshape(-1, grid[0], grid[1], channels).permute(0, 3, 1, 2)


def roi_pooling(c: Call) -> Tensor:
    """Girshick 2015, one part after the other."""

    def largest(x: Tensor, row: int, column: int, inside: tuple[slice, ...]) -> Tensor:
        part = x[(slice(None), *inside)].flatten(1)
        return part.max(dim=1).values if part.shape[1] else x.new_zeros(len(x))

    return grid_of(c, roi_part, largest, c.x[0].shape[1])


def psroi_pooling(c: Call) -> Tensor:
    """Dai et al. 2016, one part after the other."""
    size = c.hyper["output_size"]
    down, across = size if isinstance(size, list) else (size, size)

    def own_mean(x: Tensor, row: int, column: int, inside: tuple[slice, ...]) -> Tensor:
        part = x[row * across + column :: down * across][(slice(None), *inside)].flatten(1)
        return part.mean(dim=1) if part.shape[1] else x.new_zeros(len(x) // (down * across))

    return grid_of(c, psroi_part, own_mean, c.hyper.get("out_channels") or c.x[0].shape[1] // (down * across))


TWINS = {
    "PSROIPooling": psroi_pooling,
    "ROIPooling": roi_pooling,
    "DetectionOutput": detection_output,
    "PriorBox": prior_box,
}
