"""Mean images of Caffe: subtracted where a pixel was before it was cropped or mirrored, and kept with the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate
from support.resuming import whole_and_resumed

from layerforge import load_model
from layerforge.config.data_section import DataSection
from layerforge.data import OpenData, open_data, wire
from layerforge.data.lmdb_writing import write_mean_image
from layerforge.data.mean_image import read_mean_image
from layerforge.data.transform import InputTransform
from layerforge.schema.errors import ConfigError, DataError
from layerforge.training.fingerprints import fingerprints

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (12, 3, 8, 7), dtype=np.uint8)
MEAN = PIXELS.mean(axis=0, dtype=np.float64).astype(np.float32) + RNG.normal(0, 9, (3, 8, 7)).astype(np.float32)
SCALE = 0.00390625


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = isolate(monkeypatch, tmp_path)
    write_mean_image("mean.binaryproto", MEAN)
    np.save("x.npy", PIXELS)
    np.save("label.npy", np.arange(12) % 3)
    return folder


def opened(augment: Any = None, **transform: Any) -> OpenData:
    feed = {"type": "NPY", "path": "x.npy", "label": "label.npy", "batch_size": 12}
    values = {"scale": SCALE, "mean_file": "mean.binaryproto", **transform}
    train = {**feed, "augment": augment}
    return open_data(DataSection.from_config({"train": train, "val": feed, "transform": values}), seed=4)


def as_caffe(image: np.ndarray, top: int, left: int, size: tuple[int, int], mirror: bool) -> np.ndarray:
    """What DataTransformer of Caffe makes of an image, element by element."""
    out = np.zeros((len(image), *size))
    for c, h, w in np.ndindex(*out.shape):
        there = size[1] - 1 - w if mirror else w
        out[c, h, there] = (float(image[c, top + h, left + w]) - float(MEAN[c, top + h, left + w])) * SCALE
    return out


def test_a_mean_image_is_subtracted_where_the_pixel_was() -> None:
    data = opened({"random_crop": {"size": [5, 4]}, "flip": "horizontal"})
    train, val = data.loaders["train"], data.loaders["val"]
    seen = set()
    for epoch in (0, 1):
        batch = next(train.epoch(epoch))
        top, left, mirrored = train._augmenters["x"].draw(epoch, batch.samples)
        seen |= set(zip(top.tolist(), left.tolist(), mirrored.tolist(), strict=True))
        for n, sample in enumerate(batch.samples):
            expected = as_caffe(PIXELS[sample], top[n], left[n], (5, 4), mirrored[n])
            np.testing.assert_allclose(batch.blobs["x"][n], expected, atol=1e-6)
    assert len(seen) > 12
    evaluated = next(val.epoch()).blobs["x"]
    for n in range(12):
        np.testing.assert_allclose(
            evaluated[n], as_caffe(PIXELS[n], (8 - 5) // 2, (7 - 4) // 2, (5, 4), False), atol=1e-6
        )


def test_without_a_crop_and_mirrored_only() -> None:
    train = opened({"flip": "horizontal"}).loaders["train"]
    batch = next(train.epoch())
    _, _, mirrored = train._augmenters["x"].draw(0, batch.samples)
    assert 0 < mirrored.sum() < 12
    for n, sample in enumerate(batch.samples):
        np.testing.assert_allclose(batch.blobs["x"][n], as_caffe(PIXELS[sample], 0, 0, (8, 7), mirrored[n]), atol=1e-6)
    plain = next(opened(std=2.0, scale=None).loaders["val"].epoch()).blobs["x"]
    np.testing.assert_allclose(plain, (PIXELS - MEAN) / 255 / 2, atol=1e-6)


def test_the_constants_travel_as_they_are(here: Path) -> None:
    transform = opened({"random_crop": {"size": 4}}).transform
    again = InputTransform.from_state(transform.state(), transform.kinds)
    assert again.placed == {"x"} and (again("x", PIXELS) == transform("x", PIXELS)).all()
    assert again("x", PIXELS).shape == (12, 3, 4, 4)
    with pytest.raises(DataError, match=r"has samples of the shape \(3, 4, 4\), the mean image has \(3, 8, 7\)"):
        again("x", PIXELS[:, :, :4, :4])


def test_a_run_goes_on_bit_for_bit_and_predicts_without_the_file(here: Path) -> None:
    feed = {"type": "NPY", "path": "x.npy", "label": "label.npy", "batch_size": 4}
    augment = {"random_crop": {"size": 5}, "flip": "horizontal"}
    config: dict[str, Any] = {
        "data": {
            "train": {**feed, "augment": augment},
            "val": feed,
            "transform": {"scale": SCALE, "mean_file": "mean.binaryproto"},
        },
        "net": [
            {"name": "flat", "type": "Flatten", "bottom": "x"},
            {"name": "fc", "type": "Linear", "out_features": 3},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
        ],
        "solver": {"lr": 0.1},
        "checkpoint": {"every": {"steps": 3}},
    }
    files = fingerprints(DataSection.from_config(config["data"]), [])
    assert "data.transform: mean.binaryproto" in files
    run = whole_and_resumed(config, 9, 4)
    Path("mean.binaryproto").unlink()
    model = load_model(run)
    scores = model.predict_proba(PIXELS)
    x = np.stack([as_caffe(image, 1, 1, (5, 5), False) for image in PIXELS]).reshape(12, -1)
    logits = x @ model.net.params["fc"]["weight"].data.T + model.net.params["fc"]["bias"].data
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_files_of_both_kinds(here: Path) -> None:
    np.save("mean.npy", MEAN)
    assert (read_mean_image("mean.npy") == MEAN).all() and (read_mean_image("mean.binaryproto") == MEAN).all()


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_a_mean_image_of_nvidias_fork(kind: int, dtype: str, here: Path) -> None:
    """Its numbers are raw bytes of one of several types."""
    sizes = wire.write_bytes(7, b"".join(b"\x08" + bytes([n]) for n in MEAN.shape))
    stored = wire.write_tag(10, wire.VARINT) + bytes([kind]) + wire.write_bytes(12, MEAN.astype(dtype).tobytes())
    Path("mean.binaryproto").write_bytes(sizes + stored)
    found = read_mean_image("mean.binaryproto")
    assert found.shape == MEAN.shape and (found == MEAN.astype(dtype)).all()


def test_what_is_no_mean_image(here: Path) -> None:
    write_mean_image("small.binaryproto", MEAN[:, :4])
    np.save("flat.npy", MEAN[0])
    write_mean_image("nan.binaryproto", MEAN * np.nan)
    Path("whole.binaryproto").write_bytes(wire.write_tag(10, wire.VARINT) + b"\x03" + wire.write_bytes(12, b"1234"))
    Path("cut.binaryproto").write_bytes(Path("mean.binaryproto").read_bytes()[:-5])
    for path, words, kind in (
        ("small.binaryproto", r"is \(3, 4, 7\), samples are \(3, 8, 7\)", ConfigError),
        ("flat.npy", r"holds float32 \(8, 7\), no mean image", DataError),
        ("nan.binaryproto", "not finite", DataError),
        ("cut.binaryproto", "byte 11: field 5 should have 672 bytes, but 667 are left", DataError),
        ("whole.binaryproto", "4 bytes of raw_data of type 3", DataError),
        ("nowhere", "no such file", DataError),
    ):
        with pytest.raises(kind, match=words):
            opened(mean_file=path)
    for values, words in (
        ({"mean": 3.0}, "mean and mean_file are both given"),
        ({"normalize": "imagenet"}, "stands for"),
    ):
        with pytest.raises(ConfigError, match=words):
            opened(**values)
    with pytest.raises(ConfigError, match="which random_resized_crop has not"):
        opened({"random_resized_crop": {"size": 5}})
