"""The layers of detection against OpenCV, which reads the forks of Caffe that they are from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from support.alone import Alone
from support.boxes import CLASSES, COUNT, priors
from support.tools import demand

from layerforge import Net

RNG = np.random.default_rng(0)


def message(*fields: tuple[int, bytes]) -> bytes:
    """A message of the wire format: fields of bytes, each less than 128 long, by number."""
    return b"".join(bytes([*tag(number), len(value)]) + value for number, value in fields)


def tag(number: int) -> list[int]:
    """The tag of a field of bytes."""
    whole = number << 3 | 2
    return [whole] if whole < 128 else [whole % 128 + 128, whole // 128]


def opencv(folder: Path, kind: str, params: str, *bottoms: Any, blob: Any = None) -> np.ndarray:
    """What OpenCV makes of a layer of this type with these bottoms; prototxt's text says its parameters.

    blob   what it has learned: one array of one axis
    """
    demand("cv2")
    import cv2

    text = ""
    for i, x in enumerate(bottoms):
        dims = " ".join(f"dim: {n}" for n in x.shape)
        text += f'layer {{ name: "b{i}" type: "Input" top: "b{i}" input_param {{ shape {{ {dims} }} }} }}\n'
    wires = " ".join(f'bottom: "b{i}"' for i in range(len(bottoms)))
    text += f'layer {{ name: "y" type: "{kind}" {wires} top: "y" {params} }}\n'
    path = folder / "net.prototxt"
    path.write_text(text)
    weights = folder / "net.caffemodel"
    learned = [] if blob is None else [(7, message((7, bytes([8, len(blob)])), (5, blob.astype("<f4").tobytes())))]
    weights.write_bytes(message((100, message((1, b"y"), (2, kind.encode()), *learned))))
    net = cv2.dnn.readNetFromCaffe(str(path), str(weights))
    for i, x in enumerate(bottoms):
        net.setInput(x.astype("float32"), f"b{i}")
    return net.forward()


def close(found: Any, wanted: Any) -> None:
    assert_allclose(found, wanted, rtol=0, atol=1e-5 * abs(wanted).max())


# Priors ---------------------------------------------------------------------------------------------------------------

PRIORS = {
    "min_size: 6": {"min_size": 6, "flip": False},
    "min_size: 6 max_size: 11 aspect_ratio: 2 aspect_ratio: 3 flip: true": {
        "min_size": 6, "max_size": 11, "aspect_ratio": [2, 3]
    },
    "min_size: 9 aspect_ratio: 2 clip: true flip: false step: 7 offset: 0.25": {
        "min_size": 9, "aspect_ratio": 2, "clip": True, "flip": False, "step": 7, "offset": 0.25
    },
    "min_size: 9 aspect_ratio: 1 aspect_ratio: 0.5 flip: true step_h: 8 step_w: 12": {
        "min_size": 9, "aspect_ratio": [1, 0.5], "step": [8, 12]
    },
}  # fmt: skip


@pytest.mark.parametrize("text", PRIORS)
def test_priors(tmp_path: Path, text: str) -> None:
    x, image = np.zeros((1, 2, 3, 4)), np.zeros((1, 3, 30, 44))
    variances = [0.1, 0.1, 0.2, 0.3]
    also = " ".join(f"variance: {v}" for v in variances) + ("" if "clip" in text else " clip: false")
    wanted = opencv(tmp_path, "PriorBox", f"prior_box_param {{ {text} {also} }}", x, image)
    close(Alone("PriorBox", x, image, variance=variances, **PRIORS[text]).top(), wanted)


# Objects --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "by-class"])
@pytest.mark.parametrize("in_target", [False, True], ids=["variances", "in-target"])
@pytest.mark.parametrize("keep", [5, 40])
def test_objects(tmp_path: Path, code: str, shared: bool, in_target: bool, keep: int) -> None:
    """OpenCV has the rows of a sample by their scores, SSD and this layer by classes; it takes variances or none."""
    offsets = RNG.normal(size=(2, 4 * COUNT * (1 if shared else CLASSES)))
    scores, boxes = RNG.random((2, COUNT * CLASSES)), priors(RNG)
    text = f"""detection_output_param {{
      num_classes: {CLASSES} share_location: {str(shared).lower()} background_label_id: 0 code_type: {code}
      nms_param {{ nms_threshold: 0.45 top_k: 8 }} keep_top_k: {keep} confidence_threshold: 0.3
      variance_encoded_in_target: {str(in_target).lower()} }}"""
    given = boxes[:, :1] if in_target else boxes
    found = opencv(tmp_path, "DetectionOutput", text, offsets, scores, given[..., None]).reshape(-1, 7)
    y = Alone(
        "DetectionOutput", offsets, scores, boxes, num_classes=CLASSES, share_location=shared, code_type=code.lower(),
        nms_threshold=0.45, top_k=8, keep_top_k=keep, confidence_threshold=0.3, variance_encoded_in_target=in_target,
    ).top()  # fmt: skip
    assert y.shape == (1, 1, 2 * keep, 7)
    rows = y[0, 0][y[0, 0, :, 1] >= 0]
    close(rows[np.lexsort((-rows[:, 2], rows[:, 0]))], found[found[:, 2] > 0])


# Regions --------------------------------------------------------------------------------------------------------------


def regions(samples: int, size: float, count: int = 12) -> np.ndarray:
    """Regions in an image, the right of their left: of others OpenCV makes something else."""
    edges = np.sort(RNG.uniform(0, size, (count, 2, 2)), axis=1).reshape(count, 4)
    return np.concatenate([RNG.integers(0, samples, (count, 1)), edges], axis=1)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_maxima_of_regions(tmp_path: Path, scale: float) -> None:
    x, where = RNG.normal(size=(2, 3, 9, 11)), regions(2, 8 / scale)
    text = f"roi_pooling_param {{ pooled_h: 3 pooled_w: 4 spatial_scale: {scale} }}"
    wanted = opencv(tmp_path, "ROIPooling", text, x, where)
    close(Alone("ROIPooling", x, where, output_size=[3, 4], spatial_scale=scale).top(), wanted)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_means_of_regions(tmp_path: Path, scale: float) -> None:
    x, where = RNG.normal(size=(2, 18, 9, 11)), regions(2, 8 / scale)
    text = f"psroi_pooling_param {{ output_dim: 2 group_size: 3 spatial_scale: {scale} }}"
    wanted = opencv(tmp_path, "PSROIPooling", text, x, where)
    close(Alone("PSROIPooling", x, where, output_size=3, spatial_scale=scale).top(), wanted)


# Compositions ---------------------------------------------------------------------------------------------------------


def test_permute(tmp_path: Path) -> None:
    x = RNG.normal(size=(2, 3, 4, 5))
    text = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
    close(Alone("Permute", x, dims=[0, 2, 3, 1]).top(), opencv(tmp_path, "Permute", text, x))


@pytest.mark.parametrize(("across", "shared"), [(True, True), (False, True), (False, False)])
def test_normalize(tmp_path: Path, across: bool, shared: bool) -> None:
    """OpenCV refuses a factor for each channel with across_spatial."""
    x, weight = RNG.normal(size=(2, 3, 4, 5)), RNG.uniform(1, 3, 1 if shared else 3)
    words = {name: str(value).lower() for name, value in (("across_spatial", across), ("channel_shared", shared))}
    text = f"norm_param {{ {' '.join(f'{name}: {value}' for name, value in words.items())} }}"
    net = Net.from_config({
        "dtype": "float64",
        "inputs": {"x": {"shape": [2, 3, 4, 5]}},
        "net": [
            {"name": "squares", "type": "SumSquare", "dim": [1, 2, 3] if across else 1, "keepdim": True},
            {"name": "over", "type": "Pow", "exponent": -0.5, "shift": 1e-10},
            {"name": "unit", "type": "Mul", "bottom": ["x", "over"]},
            {"name": "y", "type": "Scale", "num_axes": 0 if shared else 1},
        ],
    })  # fmt: skip
    scale = net.params["y"]["weight"].data
    scale[...] = weight.reshape(scale.shape)
    net.forward(phase="eval", x=x)
    close(net.blobs["y"].data, opencv(tmp_path, "Normalize", text, x, blob=weight))
