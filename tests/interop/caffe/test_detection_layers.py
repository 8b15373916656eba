"""Layers of detectors of Caffe's forks, imported: by a formula of each, and by OpenCV, which reads them, too."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.boxes import CLASSES, COUNT, priors
from support.caffe_forks import Layer, opencv

from layerforge.check.multi_box_formula import multi_box
from layerforge.schema.errors import LayerForgeError
from layerforge.schema.registry import LAYERS

RNG = np.random.default_rng(0)


def close(found: Any, wanted: Any) -> None:
    assert np.shape(found) == np.shape(wanted)
    assert abs(np.asarray(found, dtype=np.float64) - wanted).max() <= 1e-5 * max(abs(np.asarray(wanted)).max(), 1)


def theirs(layer: Layer, path: Path) -> np.ndarray:
    """What OpenCV makes of the bottoms."""
    return opencv(layer.model, layer.model.net(), path, **layer.given)


# Regions --------------------------------------------------------------------------------------------------------------


def regions(samples: int, size: float, count: int = 6) -> np.ndarray:
    edges = np.sort(RNG.uniform(0, size, (count, 2, 2)), axis=1).reshape(count, 4)
    return np.concatenate([RNG.integers(0, samples, (count, 1)), edges], axis=1)


def test_roi_pooling(tmp_path: Path) -> None:
    more = "roi_pooling_param { pooled_h: 3 pooled_w: 4 spatial_scale: 0.25 }"
    layer = Layer(tmp_path, "ROIPooling", RNG.normal(size=(2, 3, 9, 11)), regions(2, 32), more=more)
    close(layer.top(), theirs(layer, tmp_path))
    layer.assert_gradients(0)


def test_psroi_pooling(tmp_path: Path) -> None:
    more = "psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 0.25 }"
    layer = Layer(tmp_path, "PSROIPooling", RNG.normal(size=(2, 18, 9, 11)), regions(2, 32), more=more)
    close(layer.top(), theirs(layer, tmp_path))
    layer.assert_gradients(0)


@pytest.mark.parametrize(
    ("kind", "more", "told"),
    [
        ("ROIPooling", "roi_pooling_param { pooled_h: 3 }", "pooled_h and pooled_w"),
        ("PSROIPooling", "psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 1 }", "has 18 channels"),
    ],
)
def test_regions_that_do_not_fit(kind: str, more: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError, match=told) as caught:
        Layer(tmp_path, kind, np.zeros((2, 18, 9, 11)), np.zeros((3, 5)), more=more)
    assert "net.prototxt:3:" in str(caught.value)


# SmoothL1Loss ---------------------------------------------------------------------------------------------------------


def smooth(u: np.ndarray, sigma: float) -> np.ndarray:
    return np.where(abs(u) < 1 / sigma**2, 0.5 * (sigma * u) ** 2, abs(u) - 0.5 / sigma**2)


@pytest.mark.parametrize("sigma", [1.0, 3.0])
@pytest.mark.parametrize("weights", [0, 1, 2])
def test_smooth_l1_loss(weights: int, sigma: float, tmp_path: Path) -> None:
    """Two bottoms; with a weight as SSD's layer takes it; with the two of Fast R-CNN."""
    x, t = RNG.normal(size=(2, 4, 8))
    inside, outside = RNG.integers(0, 2, x.shape).astype(float), RNG.uniform(0.1, 2, x.shape)
    also = [inside, outside][:weights]
    more = f"smooth_l1_loss_param {{ sigma: {sigma} }}"
    layer = Layer(tmp_path, "SmoothL1Loss", x, t, *also, more=more, phase="train")
    u = (x - t) * (inside if weights else 1)
    close(layer.top(), (smooth(u, sigma) * (outside if weights == 2 else 1)).sum() / 4)
    layer.assert_gradients(0, 1)
    assert not any(gradient is not None and gradient.any() for gradient in layer.gradients()[2:])


# PriorBox -------------------------------------------------------------------------------------------------------------


def priors_by_hand(least: list[float], most: list[float], ratios: list[float], image: tuple[int, int]) -> np.ndarray:
    """The boxes of a map of 2 x 3, their variances 0.1: SSD's loop, with sides cut to whole pixels."""
    (high, wide), found = image, []
    for i in range(2):
        for j in range(3):
            x, y = (j + 0.5) * wide / 3, (i + 0.5) * high / 2
            for k, side in enumerate(int(one) for one in least):
                sizes = [(side, side)] + ([(math.sqrt(side * int(most[k])),) * 2] if most else [])
                sizes += [(side * math.sqrt(r), side / math.sqrt(r)) for one in ratios for r in (one, 1 / one)]
                for w, h in sizes:
                    found.append([(x - w / 2) / wide, (y - h / 2) / high, (x + w / 2) / wide, (y + h / 2) / high])
    boxes = np.array(found).reshape(-1)
    return np.stack([boxes, np.full_like(boxes, 0.1)])[None]


def test_prior_box_cuts_sides_to_whole_pixels(tmp_path: Path) -> None:
    more = "prior_box_param { min_size: 6.9 min_size: 9 max_size: 11.5 max_size: 14 aspect_ratio: 2 clip: false }"
    layer = Layer(tmp_path, "PriorBox", np.zeros((1, 2, 2, 3)), np.zeros((1, 3, 30, 44)), more=more)
    close(layer.top(), priors_by_hand([6.9, 9], [11.5, 14], [2], (30, 44)))
    assert any("whole pixels" in note for note in layer.model.report.entries[-1].notes)


@pytest.mark.parametrize(
    "more",
    [
        "min_size: 6 flip: false",
        "min_size: 6 max_size: 11 aspect_ratio: 2 aspect_ratio: 3" + " variance: 0.1" * 2 + " variance: 0.2" * 2,
        "min_size: 9 aspect_ratio: 2 clip: true flip: false step: 7 offset: 0.25",
        "min_size: 9 aspect_ratio: 1 aspect_ratio: 0.5 step_h: 8 step_w: 12",
    ],
)
def test_prior_box_is_opencvs(more: str, tmp_path: Path) -> None:
    """OpenCV asks for flip, clip and variance to be written."""
    for name, value in (("flip", "true"), ("clip", "false"), ("variance", "0.1")):
        more += "" if name in more else f" {name}: {value}"
    bottoms = np.zeros((1, 2, 3, 4)), np.zeros((1, 3, 30, 44))
    layer = Layer(tmp_path, "PriorBox", *bottoms, more=f"prior_box_param {{ {more} }}")
    close(layer.top(), theirs(layer, tmp_path))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", "min_size is missing"),
        ("min_size: 4 max_size: 6 max_size: 8", "2 max_size for 1 min_size"),
        ("min_size: 4 variance: 0.1 variance: 0.2", "one or four numbers"),
        ("min_size: 0.5", "below one pixel"),
        ("min_size: inf", "finite"),
        ("min_size: 4 max_size: nan", "finite"),
        ("min_size: 4 step_h: 2", "step_h and step_w together"),
        ("min_size: 4 offset_h: 0.5 offset_w: 0.25", "that differ"),
        ("min_size: 4 fixed_size: 8", "fixed_size is not supported"),
    ],
)
def test_priors_that_cannot_be(more: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError, match=told):
        bottoms = np.zeros((1, 2, 2, 3)), np.zeros((1, 3, 8, 9))
        Layer(tmp_path, "PriorBox", *bottoms, more=f"prior_box_param {{ {more} }}")


# DetectionOutput and MultiBoxLoss -------------------------------------------------------------------------------------

@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "by-class"])
def test_detection_output(code: str, shared: bool, tmp_path: Path) -> None:
    """OpenCV has the rows of a sample by their scores, Caffe by classes. It must be told to take all axes of priors."""
    offsets = RNG.normal(size=(2, 4 * COUNT * (1 if shared else CLASSES)))
    more = f"""detection_output_param {{
      num_classes: {CLASSES} share_location: {str(shared).lower()} background_label_id: 0 code_type: {code}
      nms_param {{ nms_threshold: 0.45 top_k: 8 }} keep_top_k: 40 confidence_threshold: 0.3
      save_output_param {{ output_directory: "results" resize_param {{ prob: 1 }} }} visualize: false }}"""
    bottoms = offsets, RNG.random((2, COUNT * CLASSES)), priors(RNG)
    layer = Layer(tmp_path, "DetectionOutput", *bottoms, more=more)
    assert {name for name, *_ in layer.model.report.ignored} == {"layer y: save_output_param", "layer y: visualize"}
    rows = layer.top()[0, 0]
    rows = rows[rows[:, 1] >= 0]
    asked = Layer(tmp_path, "DetectionOutput", *bottoms[:2], bottoms[2][..., None], more=more)
    found = theirs(asked, tmp_path).reshape(-1, 7)
    found = found[found[:, 2] > 0]
    assert len(found) > 8
    close(rows[np.lexsort((-rows[:, 2], rows[:, 0]))], found)
    close(asked.top(), layer.top())


OBJECTS = np.array([
    [0, 1, 0, 0.2, 0.2, 0.6, 0.7, 0], [0, 3, 0, 0.5, 0.4, 0.9, 0.8, 1], [1, 2, 0, 0.1, 0.3, 0.5, 0.6, 0],
    [-1, -1, -1, -1, -1, -1, -1, -1],
])  # fmt: skip


@pytest.mark.parametrize(
    ("more", "options", "loss"),
    [
        ("", {"code_type": "corner"}, ""),
        ("code_type: CENTER_SIZE overlap_threshold: 0.3 loc_weight: 2 neg_pos_ratio: 2 use_difficult_gt: false",
         {"code_type": "center_size", "overlap_threshold": 0.3, "loc_weight": 2.0, "neg_pos_ratio": 2.0,
          "use_difficult_gt": False}, "loss_param { normalization: FULL }"),
        ("mining_type: NONE conf_loss_type: LOGISTIC loc_loss_type: L2 match_type: BIPARTITE do_neg_mining: false",
         {"mining_type": "none", "conf_loss_type": "logistic", "loc_loss_type": "l2", "match_type": "bipartite"},
         "loss_param { normalize: false }"),
    ],
)  # fmt: skip
def test_multi_box_loss(more: str, options: dict[str, Any], loss: str, tmp_path: Path) -> None:
    offsets, scores = RNG.normal(size=(2, 4 * COUNT)), RNG.normal(size=(2, COUNT * CLASSES))
    bottoms = offsets, scores, priors(RNG), OBJECTS.reshape(1, 1, 4, 8)
    text = f"multibox_loss_param {{ num_classes: {CLASSES} sample_size: 64 {more} }} {loss}"
    layer = Layer(tmp_path, "MultiBoxLoss", *bottoms, more=text, phase="train")
    normalization = {"": "valid", "l": "full", "z": "batch_size"}["" if not loss else "l" if "FULL" in loss else "z"]
    usual = {name: field.default for name, field in LAYERS.get("MultiBoxLoss").fields.items()}
    asked = SimpleNamespace(**{**usual, "num_classes": CLASSES, "normalization": normalization, **options})
    close(layer.top(), multi_box(asked, *bottoms))
    layer.assert_gradients(0, 1)


def test_all_options_of_multi_box_loss_reach_the_layer(tmp_path: Path) -> None:
    options = {
        **{"loc_weight": 2.0, "overlap_threshold": 0.25, "neg_pos_ratio": 2.0, "neg_overlap": 0.125},
        **{"use_prior_for_matching": False, "use_difficult_gt": False, "share_location": False},
        **{"encode_variance_in_target": True, "ignore_cross_boundary_bbox": True, "background_label_id": 2},
    }
    words = " ".join(f"{name}: {str(value).lower()}" for name, value in options.items())
    bottoms = np.zeros((2, 4 * COUNT * CLASSES)), np.zeros((2, COUNT * CLASSES)), priors(RNG), OBJECTS
    more = f"multibox_loss_param {{ num_classes: {CLASSES} mining_type: NONE code_type: CORNER_SIZE {words} }}"
    made = Layer(tmp_path, "MultiBoxLoss", *bottoms, more=more, phase="train").model.config["net"][-1]
    expected = {**options, "num_classes": CLASSES, "mining_type": "none", "code_type": "corner_size"}
    assert {name: made[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", "num_classes must be at least 1"),
        ("num_classes: 4 mining_type: HARD_EXAMPLE", "mining_type HARD_EXAMPLE"),
        ("num_classes: 4 mining_type: NONE do_neg_mining: true", "do_neg_mining"),
        ("num_classes: 4 map_object_to_agnostic: true", "map_object_to_agnostic: true"),
        ("num_classes: 4 nms_param { nms_threshold: 0.5 }", "nms_param is not supported"),
        ("num_classes: 5", "the scores"),
    ],
)
def test_losses_that_cannot_be(more: str, told: str, tmp_path: Path) -> None:
    bottoms = np.zeros((2, 4 * COUNT)), np.zeros((2, COUNT * CLASSES)), priors(RNG), OBJECTS
    with pytest.raises(LayerForgeError, match=told):
        Layer(tmp_path, "MultiBoxLoss", *bottoms, more=f"multibox_loss_param {{ {more} }}", phase="train")


# Normalize ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("across", "shared"), [(True, True), (True, False), (False, True), (False, False)])
def test_normalize(across: bool, shared: bool, tmp_path: Path) -> None:
    x, weight = RNG.normal(size=(2, 3, 4, 5)), RNG.uniform(1, 3, () if shared else 3)
    words = {name: str(value).lower() for name, value in (("across_spatial", across), ("channel_shared", shared))}
    more = f"norm_param {{ {' '.join(f'{k}: {v}' for k, v in words.items())} scale_filler {{ value: 20 }} }}"
    layer = Layer(tmp_path, "Normalize", x, more=more, blobs=[weight])
    length = np.sqrt((x**2).sum(axis=(1, 2, 3) if across else 1, keepdims=True) + 1e-10)
    close(layer.top(), weight.reshape(-1, 1, 1) * x / length if not shared else weight * x / length)
    layer.assert_gradients(0)
    (stored,) = layer.model.get_blobs("y", layer.model.net().arrays())
    assert stored.tobytes() == weight.astype("float32").tobytes()
    if not shared and not across:
        close(layer.top(), theirs(layer, tmp_path))
