"""Layers of detection: numbers by hand, what is refused, and a small detector that learns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge import Net, Solver
from layerforge.arrays import boxes
from layerforge.arrays.spec import Spec
from layerforge.schema.errors import LayerError
from layerforge.schema.registry import LAYERS

RNG = np.random.default_rng(0)


def prior_rows(*corners: Any, variance: float = 1.0) -> np.ndarray:
    """Priors as PriorBox gives them, all of one variance."""
    flat = np.ravel(corners)
    return np.stack([flat, np.full(flat.shape, variance)])[None]


# Boxes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "shared"),
    [
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 2, 2], [0, 0, 2, 2], 1),
        ([0, 0, 4, 4], [1, 1, 3, 2], 1 / 8),
        ([0, 0, 1, 1], [1, 0, 2, 1], 0),
        ([1, 1, 0, 0], [0, 0, 2, 2], 0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),
    ],
)
def test_overlaps_by_hand(a: Any, b: Any, shared: float) -> None:
    assert boxes.overlap(np, np.array(a, float), np.array(b, float)) == pytest.approx(shared)


@pytest.mark.parametrize("code", boxes.CODES)
def test_a_code_is_read_as_it_is_written(code: str) -> None:
    low, size = RNG.random((2, 5, 2)), RNG.uniform(0.1, 1, (2, 5, 2))
    priors, there = np.concatenate([low, low + size], axis=2)
    variances = RNG.uniform(0.1, 0.3, (5, 4))
    assert_allclose(boxes.decode(np, code, priors, boxes.encode(np, code, priors, there, variances), variances), there)


def test_a_code_by_hand() -> None:
    prior, there = np.array([0.0, 0, 2, 4]), np.array([1.0, 1, 5, 3])
    assert_allclose(boxes.encode(np, "corner", prior, there, 0.5), [2, 2, 6, -2])
    assert_allclose(boxes.encode(np, "corner_size", prior, there), [0.5, 0.25, 1.5, -0.25])
    assert_allclose(boxes.encode(np, "center_size", prior, there), [1, 0, math.log(2), -math.log(2)])


# Priors ---------------------------------------------------------------------------------------------------------------


def test_priors_by_hand() -> None:
    """One square of 4 pixels and boxes of its area, around the only two positions of an image of 8 by 20 pixels."""
    x, image = np.zeros((1, 1, 1, 2)), np.zeros((1, 3, 8, 20))
    found = Alone("PriorBox", x, image, min_size=4, aspect_ratio=4, variance=[1, 2, 3, 4]).top()
    middles = np.array([[5, 4], [15, 4]])
    sizes = np.array([[4, 4], [8, 2], [2, 8]])
    wanted = [[*(m - s / 2), *(m + s / 2)] for m in middles for s in sizes]
    assert_allclose(found[0, 0].reshape(6, 4) * [20, 8, 20, 8], wanted)
    assert_array_equal(found[0, 1].reshape(6, 4), [[1, 2, 3, 4]] * 6)


# Objects --------------------------------------------------------------------------------------------------------------


def objects(scores: Any, *corners: Any, **params: Any) -> np.ndarray:
    """The rows for boxes that are their own priors, with scores of the background and one class."""
    both = np.stack([1 - np.array(scores), scores], axis=1).reshape(1, -1)
    bottoms = [np.zeros((1, 4 * len(corners))), both, prior_rows(*corners)]
    return Alone("DetectionOutput", *bottoms, num_classes=2, **params).top()[0, 0]


def test_of_two_boxes_of_an_object_the_better_one_is_kept() -> None:
    near, same, far = [0, 0, 0.4, 0.4], [0, 0, 0.4, 0.5], [0.6, 0.6, 1, 1]
    found = objects([0.5, 0.9, 0.7], near, same, far, keep_top_k=4)
    assert_allclose(found, [[0, 1, 0.9, *same], [0, 1, 0.7, *far], [-1] * 7, [-1] * 7])
    assert len(objects([0.5, 0.9, 0.7], near, same, far, keep_top_k=1)) == 1
    assert_allclose(objects([0.5, 0.9, 0.7], near, same, far, keep_top_k=3, nms_threshold=0.81)[:, 2], [0.9, 0.7, 0.5])
    assert_allclose(objects([0.5, 0.9, 0.7], near, same, far, top_k=1)[:, 2], [0.9])
    assert_allclose(objects([0.5, 0.9, 0.7], near, same, far, keep_top_k=2, confidence_threshold=0.7)[:, 2], [0.9, -1])


def test_the_threshold_shrinks_with_every_box_that_is_kept() -> None:
    """Two boxes overlap by 0.6: too much, after a first box elsewhere has made 0.7 to 0.56."""
    three = [[0.8, 0.8, 1, 1], [0, 0, 0.4, 0.3], [0, 0, 0.4, 0.5]]
    assert_allclose(objects([0.9, 0.8, 0.7], *three, keep_top_k=3, nms_threshold=0.7)[:, 2], [0.9, 0.8, 0.7])
    assert_allclose(objects([0.9, 0.8, 0.7], *three, keep_top_k=3, nms_threshold=0.7, eta=0.8)[:, 2], [0.9, 0.8, -1])


def test_a_score_that_is_not_a_number_is_seen() -> None:
    two = [[0, 0, 0.4, 0.4], [0.6, 0.6, 1, 1]]
    assert np.isnan(objects([0.5, np.nan], *two, keep_top_k=2, confidence_threshold=0.2)).any()


# Regions --------------------------------------------------------------------------------------------------------------


def test_maxima_of_a_region_by_hand() -> None:
    """Columns 1 to 3 as two parts, which share the column in between."""
    x = np.array([[[[9.0, 1, 5, 2, 9], [9, 3, 4, 0, 9]]]])
    layer = Alone("ROIPooling", x, [[0.0, 1, 0, 3, 1]], output_size=[1, 2])
    assert layer.top().tolist() == [[[[5, 5]]]]
    assert_array_equal(layer.vjp([[[[2, 3]]]])["bottom[0]"], [[[[0, 0, 5, 0, 0], [0, 0, 0, 0, 0]]]])


def test_the_first_of_equal_maxima_of_a_region_takes_the_gradient() -> None:
    layer = Alone("ROIPooling", np.ones((1, 1, 2, 2)), [[0.0, 0, 0, 1, 1]], output_size=1)
    layer.top()
    assert_array_equal(layer.vjp([[[[3]]]])["bottom[0]"], [[[[3, 0], [0, 0]]]])


@pytest.mark.parametrize("kind", ["ROIPooling", "PSROIPooling"])
def test_a_region_beyond_the_feature_map_is_zero(kind: str) -> None:
    layer = Alone(kind, np.ones((1, 4, 3, 3)), [[0.0, 7, 7, 9, 9]], output_size=2)
    assert not layer.top().any()
    assert not layer.vjp(np.ones(layer.top().shape))["bottom[0]"].any()


def test_edges_halfway_go_away_from_zero() -> None:
    x = np.arange(6.0).reshape(1, 1, 1, 6)
    assert Alone("ROIPooling", x, [[0, 0.5, 0, 2.5, 0]], output_size=1).top() == 3
    assert Alone("ROIPooling", x, [[0, 5.0, 0, 9, 0]], output_size=1, spatial_scale=0.5).top() == 5


def test_parts_begin_and_end_where_float32_has_them() -> None:
    """Caffe's loop, in float32: whatever its quotients are rounded to is where a part ends."""
    x = RNG.normal(size=(1, 1, 1, 60))
    for length in range(1, 50):
        for count in (3, 7, 13):
            part = np.float32(length) / np.float32(count)
            wanted = [
                x[0, 0, 0, int(np.floor(np.float32(p) * part)) : int(np.ceil(np.float32(p + 1) * part))].max()
                for p in range(count)
            ]
            found = Alone("ROIPooling", x, [[0.0, 0, 0, length - 1, 0]], output_size=[1, count]).top()
            assert_array_equal(found[0, 0, 0], wanted)


@pytest.mark.parametrize("count", [13, 49])
def test_the_parts_of_a_region_do_not_depend_on_where_it_lies(count: int) -> None:
    """Fast R-CNN's Caffe rounds the edges of the parts first, and then adds where the region begins."""
    x, start = RNG.normal(size=(1, 1, 1, 120)), 64
    for length in range(1, 50):
        here, there = ([0.0, at, 0, at + length - 1, 0] for at in (0, start))
        moved = np.roll(x, start, axis=3)
        parts = Alone("ROIPooling", x, [here], output_size=[1, count]).top()
        assert_array_equal(Alone("ROIPooling", moved, [there], output_size=[1, count]).top(), parts)


def test_the_parts_of_a_position_sensitive_region_are_rounded_with_its_beginning() -> None:
    """R-FCN's Caffe adds the beginning, which is between positions, before it rounds."""
    x = np.arange(6.0).reshape(1, 1, 1, 6)
    found = Alone("PSROIPooling", x, [[0.0, 3, 0, 6, 0]], output_size=1, spatial_scale=0.5).top()
    assert found == np.mean([1, 2, 3])  # 1.5 to 3.5


@pytest.mark.parametrize("region", [[2, 0, 0, 1, 1], [-1, 0, 0, 1, 1], [0.5, 0, 0, 1, 1], [0, 0, np.nan, 1, 1]])
@pytest.mark.parametrize("kind", ["ROIPooling", "PSROIPooling"])
def test_a_region_that_is_nowhere_is_refused(kind: str, region: Any) -> None:
    with pytest.raises(LayerError, match=r"region 1 is \[.*\], with 2 samples") as told:
        Alone(kind, np.zeros((2, 4, 3, 3)), np.array([[0.0, 0, 0, 1, 1], region]), output_size=2).top()
    assert told.value.exit_code == 3


# The loss -------------------------------------------------------------------------------------------------------------

ONE = {"num_classes": 2, "loc_weight": 2.0}


def test_the_loss_by_hand() -> None:
    """The first prior is the object's; of the other three one is mined, the one that is surest of an object."""
    priors = prior_rows([0, 0, 0.4, 0.4], [0.6, 0, 1, 0.4], [0, 0.6, 0.4, 1], [0.6, 0.6, 1, 1], variance=0.1)
    offsets, scores = np.zeros((1, 16)), np.array([[0.0, 1, 0, -1, 0, 3, 0, 2]])
    row = [[[[0, 1, 0, 0.1, 0, 0.4, 0.4, 0]]]]
    layer = Alone("MultiBoxLoss", offsets, scores, priors, row, neg_pos_ratio=1.5, **ONE)
    softplus = np.logaddexp(0, [-1, 3])
    assert_allclose(layer.top(), 2 * 0.5 + softplus.sum())  # the left edge is off by one variance
    found = layer.vjp(1.0)
    assert_allclose(found["bottom[0]"], [[-2, *[0] * 15]])
    p = 1 / (1 + np.exp([1.0, -3.0]))
    assert_allclose(found["bottom[1]"], [[p[0], -p[0], 0, 0, -p[1], p[1], 0, 0]])


def test_a_prior_that_overlaps_an_object_is_not_mined() -> None:
    """The second prior is the surer one, but it overlaps the object by 0.4."""
    priors = prior_rows([0, 0, 0.5, 0.5], [0, 0, 0.5, 0.2], [0.5, 0.5, 1, 1])
    bottoms = [np.zeros((1, 12)), np.array([[0.0, 0, 0, 5, 0, 1]]), priors, [[[[0.0, 1, 0, 0, 0, 0.5, 0.5, 0]]]]]
    for neg_overlap, score in ((0.5, 5), (0.3, 1)):
        loss = Alone("MultiBoxLoss", *bottoms, neg_pos_ratio=1, neg_overlap=neg_overlap, **ONE).top()
        assert_allclose(loss, math.log(2) + np.logaddexp(0, score))


def test_an_image_without_objects_has_no_loss_but_where_all_priors_count() -> None:
    bottoms = [np.ones((1, 8)), np.ones((1, 4)), prior_rows([0, 0, 1, 1], [0, 0, 1, 1]), np.full((1, 1, 1, 8), -1.0)]
    assert Alone("MultiBoxLoss", *bottoms, **ONE).top() == 0
    assert_allclose(Alone("MultiBoxLoss", *bottoms, mining_type="none", **ONE).top(), 2 * math.log(2))


@pytest.mark.parametrize(
    "row",
    [[2, 1, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1, 1, 0], [0, 2, 0, 0, 0, 1, 1, 0], [0, 1, 0, 0, 0, np.nan, 1, 0]],
    ids=["sample", "background", "class", "side"],
)
def test_a_row_that_tells_of_no_object_is_refused(row: Any) -> None:
    rows = np.array([[-1.0] * 8, row])
    bottoms = [np.zeros((2, 8)), np.zeros((2, 4)), prior_rows([0, 0, 1, 1], [0, 0, 1, 1])]
    with pytest.raises(LayerError, match=r"row 1 of the objects is \[.*\]") as told:
        Alone("MultiBoxLoss", *bottoms, rows, num_classes=2).top()
    assert told.value.exit_code == 3


def test_nan_of_a_predicted_box_is_seen_where_these_are_matched() -> None:
    bottoms = [np.full((1, 4), np.nan), np.zeros((1, 2)), prior_rows([0, 0, 1, 1]), [[[[0.0, 1, 0, 0, 0, 1, 1, 0]]]]]
    assert np.isnan(Alone("MultiBoxLoss", *bottoms, num_classes=2, use_prior_for_matching=False).top())


# A detector -----------------------------------------------------------------------------------------------------------

DETECTOR = """
inputs: {image: {shape: [2, 1, 8, 8]}, objects: {shape: [1, 1, 2, 8]}}
net:
  - {name: features, type: Conv2d, bottom: image, out_channels: 4, kernel_size: 3, stride: 2, padding: 1}
  - {name: active, type: Tanh, bottom: features}
  - {name: priors, type: PriorBox, bottom: [active, image], min_size: 4, variance: [0.1, 0.1, 0.2, 0.2]}
  - {name: loc, type: Conv2d, bottom: active, out_channels: 4, kernel_size: 3, padding: 1}
  - {name: loc_last, type: Permute, bottom: loc, dims: [0, 2, 3, 1]}
  - {name: offsets, type: Flatten, bottom: loc_last}
  - {name: conf, type: Conv2d, bottom: active, out_channels: 2, kernel_size: 3, padding: 1}
  - {name: conf_last, type: Permute, bottom: conf, dims: [0, 2, 3, 1]}
  - {name: scores, type: Flatten, bottom: conf_last}
  - {name: loss, type: MultiBoxLoss, bottom: [offsets, scores, priors, objects], num_classes: 2,
     code_type: center_size}
  - {name: by_prior, type: Reshape, bottom: scores, shape: [2, 16, 2]}
  - {name: sure, type: Softmax, bottom: by_prior, dim: 2}
  - {name: probabilities, type: Flatten, bottom: sure}
  - {name: found, type: DetectionOutput, bottom: [offsets, probabilities, priors], num_classes: 2,
     code_type: center_size, nms_threshold: 0.45, keep_top_k: 3, confidence_threshold: 0.5}
"""


def test_a_small_detector_learns_where_its_objects_are() -> None:
    net = Net.from_config(yaml.safe_load(DETECTOR))
    solver = Solver(net, type="Adam", lr=0.02)
    image = np.zeros((2, 1, 8, 8))
    image[0, 0, 1:5, 0:4] = image[1, 0, 3:8, 4:8] = 1
    rows = [[0, 1, 0, 0, 1 / 8, 4 / 8, 5 / 8, 0], [1, 1, 0, 4 / 8, 3 / 8, 1, 1, 0]]
    feed = {"image": image, "objects": np.array(rows).reshape(1, 1, 2, 8)}
    losses = [solver.step(**feed) for _ in range(60)]
    assert losses[-1] < 0.05 * losses[0]
    net.forward(phase="eval", **feed)
    found = net.blobs["found"].data[0, 0]
    kept = found[found[:, 1] >= 0]
    assert kept[:, 0].tolist() == [0, 1]
    assert_allclose(kept[:, 3:], np.array(rows)[:, 3:7], atol=0.05)


# Cost -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shapes", "flops"),
    [
        ({"type": "ROIPooling", "output_size": 2}, [(2, 3, 5, 6), (4, 5)], 3 * 4 * 3 * 5 * 6),
        ({"type": "PSROIPooling", "output_size": 2}, [(2, 12, 5, 6), (4, 5)], 4 * 3 * 5 * 6),
        ({"type": "DetectionOutput", "num_classes": 3}, [(2, 24), (2, 18), (1, 2, 24)], 15 * 2 * 2 * 15),
        ({"type": "DetectionOutput", "num_classes": 3, "top_k": 4}, [(2, 24), (2, 18), (1, 2, 24)], 15 * 2 * 2 * 6),
    ],
)
def test_flops_are_those_of_whole_images_and_of_all_pairs(layer: dict, shapes: list[tuple], flops: int) -> None:
    """What regions cover, and which scores are above the threshold, no shape tells."""
    made = LAYERS.get(layer["type"])(**{key: value for key, value in layer.items() if key != "type"})
    bottoms = [Spec(shape) for shape in shapes]
    assert made.flops(bottoms, [made.setup(*bottoms)]) == flops
