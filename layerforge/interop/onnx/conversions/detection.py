"""Detection: boxes around objects, and the regions of an image that they name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ....layers.detection.psroi_pooling import SHORTEST
from ..exporting import Export, Extent, Value, exports
from .loops import scan
from .reductions import reduced


@exports("PriorBox")
def prior_box(w: Export, x: Value, *image: Value) -> Value:
    """A Constant: the boxes depend on no number of the bottoms."""
    shapes = [[1, 1, *one.shape[2:]] for one in (x, *image)]
    if any(isinstance(length, Extent) for shape in shapes for length in shape):
        w.refuse("boxes for as many positions as there are samples")
    layer = w.layer
    return w.constant(w.building.host(layer.forward(*[layer.xp.zeros(shape, dtype=layer.dtype) for shape in shapes])))


# Regions ------------------------------------------------------------------------------------------------------------


@exports("ROIPooling")
def roi_pooling(w: Export, x: Value, regions: Value) -> Value:
    """MaxRoiPool."""
    if regions.ndim > 2:
        regions = w.op("Flatten", regions, axis=1)
    return w.op("MaxRoiPool", x, regions, pooled_shape=list(w.layer.output_size), spatial_scale=w.layer.spatial_scale)


@exports("PSROIPooling")
def psroi_pooling(w: Export, x: Value, regions: Value) -> Value:
    """Sums over all rectangles from a corner, by CumSum in float64, of which GatherND takes four for each part."""
    channels, height, width = (w.demand_fixed(length, "channels or positions") for length in x.shape[1:])
    down, across = w.layer.output_size
    outputs = channels // (down * across)
    if regions.ndim > 2:
        regions = w.op("Flatten", regions, axis=1)
    sums = _sums(w, x, (outputs, down, across, height, width))
    sample, *sides = w.op("Split", regions, axis=1, outputs=5)
    left, top, right, bottom = sides
    first_down, behind_down = _parts(w, top, bottom, down, height)
    first_across, behind_across = _parts(w, left, right, across, width)
    sample = w.cast(sample, "int64")

    def corner(row: Value, column: Value) -> Value:
        """The sums (R, P₁, P₂, outputs) of rectangles that end in front of these positions (R, P)."""
        parts = [w.op("Unsqueeze", sample, [2]), w.constant(np.arange(down)[:, None]), w.constant(np.arange(across))]
        parts += [w.op("Unsqueeze", row, [2]), w.op("Unsqueeze", column, [1])]
        zeros = w.op("Mul", w.op("Add", parts[3], parts[4]), 0)  # of the shape that all of them broadcast to
        places = [w.op("Unsqueeze", w.op("Add", zeros, part), [3]) for part in parts]
        return w.op("GatherND", sums, w.op("Concat", *places, axis=3))

    total = w.op(
        "Sub",
        w.op("Add", corner(behind_down, behind_across), corner(first_down, first_across)),
        w.op("Add", corner(first_down, behind_across), corner(behind_down, first_across)),
    )
    counts = w.op(
        "Mul",
        w.op("Unsqueeze", w.op("Sub", behind_down, first_down), [2]),
        w.op("Unsqueeze", w.op("Sub", behind_across, first_across), [1]),
    )
    counts = w.cast(w.op("Unsqueeze", w.op("Max", counts, 1), [3]), "float64")
    mean = w.cast(w.op("Div", total, counts), "float32")
    return w.op("Transpose", mean, perm=[0, 3, 1, 2])


def _sums(w: Export, x: Value, shape: tuple[int, ...]) -> Value:
    """Sums over all positions above and left of one, (N, P₁, P₂, H + 1, W + 1, outputs)."""
    parts = w.cast(w.reshape(x, [x.shape[0], *shape]), "float64")
    parts = w.op("CumSum", w.op("CumSum", parts, 4), 5)
    parts = w.op("Pad", parts, [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0])
    return w.op("Transpose", parts, perm=[0, 2, 3, 4, 5, 1])


def _parts(w: Export, low: Value, high: Value, count: int, size: int) -> tuple[Value, Value]:
    """The positions that the parts (R, P) take in along an axis: the first, and that behind the last."""
    scale = float(w.layer.spatial_scale)
    start = w.op("Mul", _rounded(w, low), scale)
    behind = w.op("Mul", w.op("Add", _rounded(w, high), 1.0), scale)
    length = w.op("Max", w.op("Sub", behind, start), SHORTEST)
    part, numbers = w.op("Div", length, float(count)), np.arange(count, dtype=np.float32)
    edges = []
    for kind, number in (("Floor", numbers), ("Ceil", numbers + 1)):
        edge = w.op(kind, w.op("Add", w.op("Mul", part, number), start))
        edges.append(w.cast(w.op("Clip", edge, 0.0, float(size)), "int64"))
    return edges[0], w.op("Max", edges[0], edges[1])


def _rounded(w: Export, x: Value) -> Value:
    """The nearest whole numbers; halfway, the one farther from 0."""
    whole = w.op("Mul", w.op("Sign", x), w.op("Floor", w.op("Abs", x)))
    far = w.op("Not", w.op("Less", w.op("Abs", w.op("Sub", x, whole)), 0.5, dtype="bool"))
    return w.op("Add", whole, w.op("Where", far, w.op("Sign", x), 0.0, dtype="float32"))


# Objects ------------------------------------------------------------------------------------------------------------


@exports("DetectionOutput")
def detection_output(w: Export, offsets: Value, scores: Value, priors: Value) -> Value:
    """Boxes by arithmetic; TopK; NonMaxSuppression, or a Scan where eta makes its threshold smaller; NonZero."""
    layer, count = w.layer, w.demand_fixed(priors.shape[2], "boxes") // 4
    most, objects, samples = layer.most(count), layer.objects, offsets.shape[0]
    classes = [k for k in range(layer.num_classes) if k != layer.background_label_id]
    of_classes = w.reshape(scores, [samples, count, layer.num_classes])
    of_classes = w.op("Transpose", of_classes, perm=[0, 2, 1])
    if objects < layer.num_classes:
        of_classes = w.op("Gather", of_classes, classes, axis=1)
    best, order = w.op("TopK", of_classes, [most], axis=2, outputs=2)  # (N, objects, most)
    boxes = _boxes(w, offsets, priors, count, classes)  # (N, 1 or objects, priors, 4)
    if layer.share_location:
        boxes = w.op("Expand", boxes, [1, objects, 1, 1])
    places = w.op("Expand", w.op("Unsqueeze", Value(order.name, "int64"), [3]), [1, 1, 1, 4])
    found = w.op("GatherElements", boxes, places, axis=2)
    kept = _once(w, found, best, most) if layer.eta == 1 else _once_by_scan(w, found, best, most)
    kept = _best_of_sample(w, kept, best, objects * most)
    return _rows(w, kept, best, found, classes)


def _boxes(w: Export, offsets: Value, priors: Value, count: int, classes: Sequence[int]) -> Value:
    """Left, top, right and bottom of each prior's boxes."""
    layer, samples = w.layer, offsets.shape[0]
    own = 1 if layer.share_location else layer.num_classes
    split = w.op("Transpose", w.reshape(offsets, [samples, count, own, 4]), perm=[0, 2, 1, 3])
    if own > len(classes):
        split = w.op("Gather", split, classes, axis=1)
    prior, variance = (w.op("Reshape", one, [-1, 4]) for one in w.op("Split", priors, axis=1, outputs=2))
    if not layer.variance_encoded_in_target:
        split = w.op("Mul", split, variance)
    if layer.code_type == "corner":
        return w.op("Add", prior, split)
    low, high = w.op("Split", prior, axis=1, outputs=2)
    sizes = w.op("Sub", high, low)
    if layer.code_type == "corner_size":
        return w.op("Add", prior, w.op("Mul", split, w.op("Concat", sizes, sizes, axis=-1)))
    moved, grown = w.op("Split", split, axis=3, outputs=2)
    middle = w.op("Add", w.op("Div", w.op("Add", high, low), 2.0), w.op("Mul", moved, sizes))
    half = w.op("Div", w.op("Mul", w.op("Exp", grown), sizes), 2.0)
    return w.op("Concat", w.op("Sub", middle, half), w.op("Add", middle, half), axis=-1)


def _once(w: Export, boxes: Value, scores: Value, most: int) -> Value:
    """Which boxes are kept: true and false (N, objects, most). To the operator each class of a sample is a batch.

    It takes the corners of a box in any order; here one whose right is left of its left covers nothing.
    """
    layer = w.layer
    low, high = w.op("Split", boxes, axis=3, outputs=2)
    upright = w.op("Concat", low, w.op("Max", low, high), axis=3)
    lists = w.op("Reshape", upright, [-1, most, 4])
    each = w.op("Reshape", scores, [-1, 1, most])
    threshold = layer.confidence_threshold
    limit = None if threshold is None else np.array([threshold], np.float32)
    overlap = np.array([min(layer.nms_threshold, 1.0)], np.float32)
    chosen = w.op("NonMaxSuppression", lists, each, [most], overlap, limit, dtype="int64")
    places = w.op("Gather", chosen, [0, 2], axis=1)
    none = w.op("Less", w.op("Squeeze", each, [1]), -math.inf, dtype="bool")
    ones = w.op("Slice", w.op("Shape", chosen, dtype="int64"), [0], [1], [0])
    ones = w.op("ConstantOfShape", ones, value=np.ones(1, bool))
    kept = w.op("ScatterND", none, places, Value(ones.name, "bool"))
    return w.op("Reshape", kept, w.op("Shape", scores, dtype="int64"))


def _once_by_scan(w: Export, boxes: Value, scores: Value, most: int) -> Value:
    """Which boxes are kept, one after the other from the best: true and false (N, objects, most)."""
    layer = w.layer
    threshold = -math.inf if layer.confidence_threshold is None else layer.confidence_threshold
    candidates = w.op("Greater", scores, float(threshold), dtype="bool")
    nothing = w.op("Where", candidates, 0.0, 0.0, dtype="float32")
    limit = w.op("Add", w.op("Slice", nothing, [0], [1], [2]), float(layer.nms_threshold))
    places = w.constant(np.arange(most))
    area = _area(w, boxes)

    def body(reached: Value, limit: Value, number: Value, candidate: Value) -> tuple[list[Value], list[Value]]:
        overlapped = w.op("Greater", w.op("Gather", reached, number, axis=2), w.op("Squeeze", limit, [2]), dtype="bool")
        now = w.op("And", candidate, w.op("Not", overlapped))
        chosen = w.op("Unsqueeze", now, [2])
        own = w.op("Unsqueeze", w.op("Gather", boxes, number, axis=2), [2])
        shared = _shared(w, own, boxes)
        union = w.op("Sub", w.op("Add", w.op("Unsqueeze", w.op("Gather", area, number, axis=2), [2]), area), shared)
        union = w.op("Where", w.op("Greater", shared, 0.0, dtype="bool"), union, 1.0, dtype="float32")
        overlap = w.op("Where", chosen, w.op("Div", shared, union), 0.0, dtype="float32")
        shrinks = w.op("And", chosen, w.op("Greater", limit, 0.5, dtype="bool"))
        smaller = w.op("Where", shrinks, w.op("Mul", limit, float(layer.eta)), limit, dtype="float32")
        return [w.op("Max", reached, overlap), smaller], [now]

    by_place = w.op("Transpose", candidates, perm=[2, 0, 1])
    kept = scan(w, body, [nothing, limit], [places, by_place])[2]
    return w.op("Transpose", kept, perm=[1, 2, 0])


def _area(w: Export, boxes: Value) -> Value:
    """Width times height, 0 of a box that is upside down."""
    return _shared(w, boxes, boxes)


def _shared(w: Export, a: Value, b: Value) -> Value:
    """The area of what both boxes cover."""
    (low, high), (other_low, other_high) = (w.op("Split", one, axis=3, outputs=2) for one in (a, b))
    sides = w.op("Max", w.op("Sub", w.op("Min", high, other_high), w.op("Max", low, other_low)), 0.0)
    return reduced(w, "ReduceProd", sides, [3], keepdims=False)


def _best_of_sample(w: Export, kept: Value, scores: Value, count: int) -> Value:
    """Of what is kept in a sample the keep_top_k best, whatever their class."""
    if not 0 <= w.layer.keep_top_k < count:
        return kept
    flat = w.op("Where", kept, scores, -math.inf, dtype="float32")
    flat = w.op("Reshape", flat, [-1, count])
    _, places = w.op("TopK", flat, [w.layer.keep_top_k], axis=1, outputs=2)
    places = Value(places.name, "int64")
    none = w.op("Less", flat, -math.inf, dtype="bool")
    best = w.op("ScatterElements", none, places, w.op("Equal", places, places, dtype="bool"), axis=1)
    return w.op("And", kept, w.op("Reshape", best, w.op("Shape", kept, dtype="int64")))


def _rows(w: Export, kept: Value, scores: Value, boxes: Value, classes: Sequence[int]) -> Value:
    """The top: a row for each box that is kept, then rows of -1."""
    places = w.op("Transpose", w.op("NonZero", kept, dtype="int64"), perm=[1, 0])  # (objects found, 3)
    sample, number, _ = w.op("Split", places, axis=1, outputs=3)
    of_class = w.op("Gather", np.array(classes), number)
    score = w.op("Unsqueeze", w.op("GatherND", scores, places), [1])
    columns = [w.cast(one, "float32") for one in (sample, of_class)]
    table = w.op("Concat", *columns, score, w.op("GatherND", boxes, places), axis=1)
    found = w.op("Slice", w.op("Shape", table, dtype="int64"), [0], [1], [0])
    missing = w.op("Concat", w.op("Sub", w.length(w.tops[0].shape[2]), found), [7], axis=0)
    empty = w.op("ConstantOfShape", missing, value=np.full(1, -1, np.float32), dtype="float32")
    return w.op("Unsqueeze", w.op("Concat", table, empty, axis=0), [0, 1])
