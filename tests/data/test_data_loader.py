"""Batches: their order, their numbers, their random changes, and the thread that prepares them."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import images, isolate

from layerforge.config.data_section import DataSection
from layerforge.data import InputTransform, Loader, OpenData, open_data
from layerforge.data.transform import moments
from layerforge.schema.errors import ConfigError, DataError, LayerForgeError


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def opened(
    arrays: dict[str, Any] | None = None,
    *,
    val: dict[str, Any] | None = None,
    transform: dict[str, Any] | None = None,
    seed: int = 0,
    dtype: str = "float32",
    **feed: Any,
) -> OpenData:
    """The arrays (23 samples unless given) as data.train, and others as data.val."""
    if arrays is None:
        arrays = {"x": np.arange(23.0), "t": np.arange(23)}
    config: dict[str, Any] = {"train": {"type": "Arrays", "arrays": arrays, "batch_size": 5, **feed}}
    if val is not None:
        config["val"] = {"type": "Arrays", "arrays": val, "batch_size": 4}
    if transform is not None:
        config["transform"] = transform
    return open_data(DataSection.from_config(config), seed=seed, dtype=dtype)


def loader(*args: Any, **values: Any) -> Loader:
    return opened(*args, **values).train


def values(loader: Loader, epoch: int = 0, blob: str = "t") -> list[int]:
    return [int(v) for batch in loader.epoch(epoch) for v in batch.blobs[blob]]


def workers() -> int:
    return sum(thread.name.startswith("layerforge-") for thread in threading.enumerate())


def test_batches_in_order_with_a_ragged_last_one() -> None:
    batches = list(loader(shuffle=False))
    assert [batch.count for batch in batches] == [5, 5, 5, 5, 3]
    assert [batch.index for batch in batches] == [0, 5, 10, 15, 20]
    np.testing.assert_array_equal(np.concatenate([b.blobs["x"] for b in batches]), np.arange(23))
    assert (batches[0].blobs["x"].dtype, batches[0].blobs["t"].dtype) == (np.float32, np.int64)


def test_drop_last() -> None:
    whole = loader(drop_last=True)
    assert (len(whole), whole.samples, whole.samples_per_epoch) == (4, 23, 20)
    assert [batch.count for batch in whole] == [5, 5, 5, 5]
    with pytest.raises(ConfigError, match="drop_last leaves no batch"):
        loader({"x": np.zeros(3)}, drop_last=True)


def test_float64_is_exact() -> None:
    x = np.array([0.1, 1 / 3, 1e-300])
    np.testing.assert_array_equal(next(loader({"x": x}, shuffle=False, dtype="float64").epoch()).blobs["x"], x)


def test_shuffling_depends_on_seed_and_epoch_alone() -> None:
    first = values(loader(seed=3), 2)
    assert sorted(first) == list(range(23))
    assert values(loader(seed=3), 2) == first
    assert values(loader(seed=3), 1) != first
    assert values(loader(seed=4), 2) != first
    assert values(loader(seed=3, batch_size=7), 2) == first


def test_the_order_is_the_same_in_every_version() -> None:
    assert values(loader({"t": np.arange(8)}, seed=1), 5) == [4, 3, 1, 5, 7, 6, 2, 0]


def test_samples_say_which_ones_they_are() -> None:
    for batch in loader(seed=1).epoch(4):
        np.testing.assert_array_equal(batch.blobs["t"], batch.samples)


def test_an_epoch_can_be_entered_in_the_middle() -> None:
    feed = loader(seed=2)
    whole, rest = list(feed.epoch(1)), list(feed.epoch(1, start=3))
    assert [batch.index for batch in rest] == [15, 20]
    for a, b in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(a.blobs["t"], b.blobs["t"])
    assert list(feed.epoch(1, start=5)) == []


def test_skipped_batches_are_not_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    feed, prepared = loader(), []
    make = Loader.batch
    monkeypatch.setattr(Loader, "batch", lambda self, e, n, order=None: prepared.append(n) or make(self, e, n, order))
    list(feed.epoch(0, start=3))
    assert prepared == [3, 4]


def test_the_thread_ends_with_the_epoch_and_with_its_reader() -> None:
    feed = loader(batch_size=1)
    for _ in feed:
        assert workers() <= 1
    assert workers() == 0
    for _ in feed:
        break
    gc.collect()
    assert workers() == 0
    batches = feed.epoch()
    next(batches)
    batches.close()
    assert workers() == 0


def test_the_thread_does_not_run_ahead_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    make = Loader.batch
    monkeypatch.setattr(Loader, "batch", lambda self, e, n, order=None: prepared.append(n) or make(self, e, n, order))
    batches = loader(batch_size=1).epoch()
    next(batches)
    time.sleep(0.1)
    assert len(prepared) <= 1 + 3 + 1  # with the reader, in the queue, in the hands of the thread
    batches.close()


def test_an_exception_of_the_thread_reaches_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = loader()

    def fail(*args: object) -> None:
        raise DataError("the disk is gone")

    monkeypatch.setattr(feed, "transform", fail)
    with pytest.raises(DataError, match="the disk is gone"):
        list(feed)
    assert workers() == 0


PIXELS = images(12, seed=5, shape=(2, 6, 5))


def batch(**values: Any) -> np.ndarray:
    values.setdefault("shuffle", False)
    values.setdefault("batch_size", 12)
    return next(loader({"image": PIXELS}, dtype="float64", **values).epoch()).blobs["image"]


def test_bytes_are_scaled_by_default_and_other_numbers_not() -> None:
    np.testing.assert_allclose(batch(), PIXELS / 255, rtol=1e-15)
    np.testing.assert_allclose(batch(transform={"scale": 0.5}), PIXELS * 0.5)
    np.testing.assert_array_equal(next(loader({"x": np.array([2.0, 3.0])}, shuffle=False).epoch()).blobs["x"], [2, 3])


def test_mean_and_std_as_numbers() -> None:
    np.testing.assert_allclose(batch(transform={"mean": 0.25, "std": 0.5}), (PIXELS / 255 - 0.25) / 0.5, rtol=1e-12)
    per_channel = batch(transform={"mean": [0.25, 0.5], "std": [0.5, 2.0]})
    expected = (PIXELS / 255 - np.reshape([0.25, 0.5], (2, 1, 1))) / np.reshape([0.5, 2.0], (2, 1, 1))
    np.testing.assert_allclose(per_channel, expected, rtol=1e-12)
    with pytest.raises(ConfigError, match="mean has 3 numbers, samples of shape \\(2, 6, 5\\) have 2 channels"):
        batch(transform={"mean": [1, 2, 3]})


@pytest.mark.parametrize("scale", [None, 2.0, -1.0])
def test_statistics_per_channel(scale: float | None) -> None:
    y = batch(transform={"mean": "channel", "std": "channel", "scale": scale})
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), 1, rtol=1e-12)
    assert (np.corrcoef(y.ravel(), PIXELS.ravel())[0, 1] < 0) == (scale == -1.0)


def test_statistics_per_pixel() -> None:
    y = batch(transform={"mean": "pixel", "std": "pixel"})
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-12)


def test_a_pixel_that_never_changes_becomes_zero_and_does_not_explode_later() -> None:
    dark = PIXELS.copy()
    dark[:, 0, 0, 0] = 0
    bright = np.full((1, 2, 6, 5), 255, np.uint8)
    data = opened({"image": dark}, val={"image": bright}, transform={"mean": "pixel", "std": "pixel"}, shuffle=False)
    assert (next(data.train.epoch()).blobs["image"][:, 0, 0, 0] == 0).all()
    assert abs(next(data.val.epoch()).blobs["image"]).max() < 40


def test_a_feature_that_never_changes_is_always_zero() -> None:
    x = np.stack([np.full(6, 0.1), np.arange(6.0)], axis=1)
    y = next(loader({"x": x}, transform={"mean": "channel", "std": "channel"}, shuffle=False).epoch()).blobs["x"]
    assert (y[:, 0] == 0).all()
    assert y[:, 1].std() > 0.5


def test_statistics_come_from_train_alone() -> None:
    train, val = np.arange(10.0).reshape(10, 1), np.full((4, 1), 100.0)
    data = opened({"x": train}, val={"x": val}, transform={"mean": "channel", "std": "channel"}, dtype="float64")
    expected = (100 - train.mean()) / train.std()
    np.testing.assert_allclose(next(data.val.epoch()).blobs["x"], expected)


def test_statistics_far_from_zero_are_exact() -> None:
    x = 1e9 + np.arange(8.0)[:, None]
    y = next(loader({"x": x}, transform={"mean": "channel", "std": "channel"}, shuffle=False, batch_size=8).epoch())
    np.testing.assert_allclose(y.blobs["x"][:, 0], (np.arange(8) - 3.5) / np.arange(8).std(), rtol=1e-6)


def test_moments_are_those_of_all_arrays_together() -> None:
    big = images(1100, seed=1, shape=(3, 2, 2))
    mean, std = moments([big[:700], big[700:]], False)
    np.testing.assert_allclose(mean[:, 0, 0], big.mean(axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(std[:, 0, 0], big.std(axis=(0, 2, 3)), rtol=1e-13)


def test_transform_is_for_the_named_blobs() -> None:
    data = {"x": np.arange(4.0), "y": np.arange(4.0)}
    blobs = next(loader(data, transform={"mean": 1.0, "blobs": ["x"]}, shuffle=False).epoch()).blobs
    np.testing.assert_array_equal(blobs["x"], [-1, 0, 1, 2])
    np.testing.assert_array_equal(blobs["y"], [0, 1, 2, 3])
    with pytest.raises(ConfigError, match="blobs names 'z'"):
        loader(data, transform={"blobs": ["z"]})
    with pytest.raises(ConfigError, match="no images or features"):
        loader({"t": np.arange(4)}, transform={"mean": 1.0})


def test_both_sides_of_a_pair_share_their_statistics() -> None:
    inner = {"type": "Arrays", "arrays": {"x": np.arange(20.0)[:, None], "label": np.arange(20) % 3}}
    config = {"train": {"type": "Pairs", "source": inner}, "transform": {"mean": "channel", "std": "channel"}}
    data = open_data(DataSection.from_config(config))
    affine = data.transform.affine
    assert affine["x_a"] == affine["x_b"]


def test_a_transform_survives_a_checkpoint() -> None:
    data = opened(
        {"image": PIXELS}, transform={"mean": "pixel", "std": "channel"}, augment={"random_crop": {"size": 4}}
    )
    again = InputTransform.from_state({key: np.array(value) for key, value in data.transform.state().items()})
    np.testing.assert_array_equal(again("image", PIXELS), data.transform("image", PIXELS))
    assert again("image", PIXELS).shape == (12, 2, 4, 4)


def test_eval_with_a_known_transform_needs_no_training_data() -> None:
    config = {
        "train": {"type": "NPZ", "path": "gone.npz"},
        "test": {"type": "Arrays", "arrays": {"x": np.arange(4.0)}},
        "transform": {"mean": "channel"},
    }
    section = DataSection.from_config(config)
    known = InputTransform({"x": (np.float64(2), np.float64(1))})
    data = open_data(section, sections=["test"], transform=known)
    np.testing.assert_array_equal(next(data.test.epoch()).blobs["x"], [1, 3, 5, 7])
    assert data.train is None
    with pytest.raises(LayerForgeError, match="no such file"):
        open_data(section, sections=["test"])


def test_bytes_in_train_and_floats_in_val_are_refused() -> None:
    with pytest.raises(DataError, match="'image' is bytes in one of"):
        opened({"image": PIXELS}, val={"image": PIXELS / 255})


# Augmentation ---------------------------------------------------------------------------------------------------------


def moved(*, epoch: int = 0, pixels: np.ndarray = PIXELS, **values: Any) -> dict[int, np.ndarray]:
    """What each sample became, as bytes."""
    values.setdefault("seed", 7)
    feed = loader({"image": pixels}, dtype="float64", transform={"scale": 1}, **values)
    return {
        int(sample): image.astype(np.uint8)
        for batch in feed.epoch(epoch)
        for sample, image in zip(batch.samples, batch.blobs["image"], strict=True)
    }


def same(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> bool:
    return all((a[i] == b[i]).all() for i in a)


AUGMENT = {"random_crop": {"padding": 2}, "flip": "horizontal", "shift": 1}


def test_augmentation_depends_on_seed_epoch_and_sample_alone() -> None:
    first = moved(augment=AUGMENT, batch_size=5)
    assert same(first, moved(augment=AUGMENT, batch_size=3))
    assert same(first, moved(augment=AUGMENT, batch_size=12, shuffle=False))
    assert not same(first, moved(augment=AUGMENT, epoch=1))
    assert not same(first, moved(augment=AUGMENT, seed=8))


def test_augmentation_does_not_touch_the_data() -> None:
    before = PIXELS.copy()
    moved(augment={"flip": "vertical"}, shuffle=False)
    np.testing.assert_array_equal(PIXELS, before)


@pytest.mark.parametrize(("direction", "axis"), [("horizontal", 2), ("vertical", 1)])
def test_flips_mirror_about_half_of_the_images(direction: str, axis: int) -> None:
    many = images(400, shape=(1, 3, 4))
    flipped = 0
    for sample, image in moved(pixels=many, augment={"flip": direction}, batch_size=50).items():
        mirrored = (image == np.flip(many[sample], axis)).all()
        assert mirrored or (image == many[sample]).all()
        flipped += mirrored
    assert 160 < flipped < 240


def window(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """The window of an image at any place, 0 outside."""
    rim = 20
    padded = np.pad(image, ((0, 0), (rim, rim), (rim, rim)))
    return padded[:, top + rim : top + rim + height, left + rim : left + rim + width]


@pytest.mark.parametrize(
    ("augment", "size", "reach"),
    [
        ({"shift": 2}, (6, 5), {(y, x) for y in range(-2, 3) for x in range(-2, 3)}),
        ({"random_crop": [1, 2]}, (6, 5), {(y, x) for y in range(-1, 2) for x in range(-2, 3)}),
        ({"random_crop": {"size": [4, 5]}}, (4, 5), {(y, 0) for y in range(3)}),
        ({"random_crop": {"size": 4, "padding": 1}}, (4, 4), {(y, x) for y in range(-1, 4) for x in range(-1, 3)}),
    ],
)
def test_windows_reach_every_place_and_no_other(
    augment: dict[str, Any], size: tuple[int, int], reach: set[tuple[int, int]]
) -> None:
    many = images(300, shape=(2, 6, 5))
    found = set()
    for sample, image in moved(pixels=many, augment=augment, batch_size=64).items():
        assert image.shape == (2, *size)
        places = [place for place in reach if (image == window(many[sample], *place, *size)).all()]
        assert len(places) == 1
        found.add(places[0])
    assert found == reach


def test_all_images_of_a_sample_move_alike() -> None:
    feed = loader({"a": PIXELS, "b": PIXELS.copy()}, augment=AUGMENT)
    for batch in feed:
        np.testing.assert_array_equal(batch.blobs["a"], batch.blobs["b"])


def test_val_gets_the_middle_where_train_gets_a_random_window() -> None:
    data = opened(
        {"image": PIXELS}, val={"image": PIXELS}, transform={"scale": 1}, augment={"random_crop": {"size": [4, 3]}}
    )
    np.testing.assert_array_equal(next(data.val.epoch()).blobs["image"], PIXELS[:4, :, 1:5, 1:4])
    assert data.val.specs["image"].shape == (2, 4, 3)


def test_pixel_statistics_are_cropped_like_the_images() -> None:
    data = opened(
        {"image": PIXELS},
        val={"image": PIXELS},
        transform={"mean": "pixel"},
        augment={"random_crop": {"size": [4, 3]}},
        dtype="float64",
    )
    expected = (PIXELS / 255 - (PIXELS / 255).mean(axis=0))[:4, :, 1:5, 1:4]
    np.testing.assert_allclose(next(data.val.epoch()).blobs["image"], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("arrays", "augment", "words"),
    [
        ({"image": PIXELS}, {"random_crop": {"size": 9, "padding": 1}}, "9 x 9 does not fit an image of 6 x 5"),
        ({"x": np.zeros((12, 4))}, {"shift": 1}, "no images"),
        ({"image": PIXELS, "mask": np.zeros((12, 6, 5), int)}, {"shift": 1}, "would move 'image' but not 'mask'"),
    ],
)
def test_augmentation_that_does_not_fit(arrays: dict[str, Any], augment: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        loader(arrays, augment=augment)
