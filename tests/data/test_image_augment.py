"""Random changes of images: the same whatever the workers, and with the statistics that they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.data_files import images as noise
from support.data_files import isolate
from support.image_files import picture, write_folder

from layerforge.config.augmentation import ColorJitter, RandomResizedCrop
from layerforge.config.data_section import DataSection
from layerforge.data import Loader, open_data
from layerforge.data.distort import Distortion, jittered, piece, turned_hue, uniform_words
from layerforge.data.mixing import beta
from layerforge.schema.errors import ConfigError, DataError

EVERYTHING = {
    "random_resized_crop": {"scale": [0.2, 1]}, "rotation": 20, "random_crop": 2, "shift": 1, "flip": "horizontal",
    "color_jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1},
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def loader(seed: int = 0, **train: Any) -> Loader:
    return open_data(DataSection.from_config({"train": train}), seed=seed).loaders["train"]


def by_sample(feed: Loader, epoch: int, blob: str = "image") -> np.ndarray:
    """A blob of an epoch in the order of the source."""
    batches = list(feed.epoch(epoch))
    order = np.concatenate([batch.samples for batch in batches])
    return np.concatenate([batch.blobs[blob] for batch in batches])[order.argsort()]


def test_batches_are_the_same_whatever_the_workers(here: Path) -> None:
    write_folder(here / "pets", 9)
    augment = {**EVERYTHING, "mixup": 0.4, "cutmix": 1.0}
    train = {"type": "ImageFolder", "path": str(here / "pets"), "size": 12, "batch_size": 4, "augment": augment}
    one = list(loader(**train, workers=1).epoch(3))
    for workers in (2, 5):
        many = list(loader(**train, workers=workers).epoch(3))
        assert [batch.index for batch in many] == [batch.index for batch in one] == [0, 4, 8, 12, 16]
        for a, b in zip(one, many, strict=True):
            assert a.blobs.keys() == b.blobs.keys() == {"image", "label", "target"}
            for name in a.blobs:
                np.testing.assert_array_equal(a.blobs[name], b.blobs[name])
    rest = list(loader(**train, workers=3).epoch(3, start=3))
    np.testing.assert_array_equal(rest[0].blobs["image"], one[3].blobs["image"])
    assert not np.array_equal(next(loader(**train).epoch(4)).blobs["image"], one[0].blobs["image"])


def test_what_happens_to_a_sample_does_not_depend_on_its_batch(here: Path) -> None:
    write_folder(here / "pets", 4)
    train = {"type": "ImageFolder", "path": str(here / "pets"), "size": 12, "augment": EVERYTHING}
    first = by_sample(loader(**train, batch_size=3), 1)
    np.testing.assert_array_equal(by_sample(loader(**train, batch_size=8, workers=2), 1), first)
    assert not np.array_equal(by_sample(loader(**train, batch_size=3), 2), first)
    assert not np.array_equal(by_sample(loader(seed=1, **train, batch_size=3), 1), first)


@pytest.mark.parametrize("augment", [{"random_resized_crop": True}, {"rotation": 40}, {"color_jitter": {"hue": 0.4}}])
def test_each_change_is_another_in_the_next_epoch(here: Path, augment: dict[str, Any]) -> None:
    write_folder(here / "pets", 3)
    feed = loader(type="ImageFolder", path=str(here / "pets"), size=12, augment=augment)
    first, again, second = by_sample(feed, 0), by_sample(feed, 0), by_sample(feed, 1)
    np.testing.assert_array_equal(first, again)
    assert (first != second).any(axis=(1, 2, 3)).all()


def test_an_error_of_a_worker_is_raised_in_its_turn(here: Path) -> None:
    paths = write_folder(here / "pets", 4)
    train = {"type": "ImageFolder", "path": str(here / "pets"), "size": 8, "batch_size": 2, "shuffle": False}
    feed = loader(**train, workers=3)
    paths[5].write_bytes(b"nothing")
    seen = []
    with pytest.raises(Exception, match="sample 5"):
        for batch in feed.epoch():
            seen.append(batch.index)
    assert seen == [0, 2]


def test_a_crop_may_say_the_size_of_train_and_val_alike(here: Path) -> None:
    write_folder(here / "pets", 3)
    source = {"type": "ImageFolder", "path": str(here / "pets"), "size": 16}
    config = {"train": {**source, "augment": {"random_resized_crop": 10}}, "val": source}
    section = DataSection.from_config(config)
    data = open_data(section)
    assert section.sample_specs("val")["image"].shape == (3, 10, 10)
    shapes = {name: next(feed.epoch()).blobs["image"].shape for name, feed in data.loaders.items()}
    assert shapes == {"train": (6, 3, 10, 10), "val": (6, 3, 10, 10)}
    with pytest.raises(ConfigError, match="both say the size"):
        loader(**source, augment={"random_resized_crop": 10, "random_crop": {"size": 8}})


def test_arrays_of_bytes_are_distorted_too() -> None:
    arrays = {"image": noise(6, shape=(3, 20, 20)), "label": np.arange(6)}
    feed = loader(type="Arrays", arrays=arrays, augment=EVERYTHING, batch_size=6)
    assert next(feed.epoch()).blobs["image"].shape == (6, 3, 20, 20)
    turned = loader(type="Arrays", arrays={"image": noise(2, shape=(1, 9, 9))}, augment={"rotation": [90, 90]})
    np.testing.assert_allclose(by_sample(turned, 0) * 255, np.rot90(noise(2, shape=(1, 9, 9)), axes=(2, 3)), atol=1e-3)
    for wrong in (np.ones((2, 3, 8, 8), np.float32), noise(2, shape=(5, 8, 8))):
        with pytest.raises(ConfigError, match="take gray or coloured bytes"):
            loader(type="Arrays", arrays={"image": wrong}, augment={"rotation": 5})


# Pieces, colours ------------------------------------------------------------------------------------------------------


def test_pieces_have_the_areas_and_shapes_that_were_asked_for() -> None:
    crop = RandomResizedCrop(scale=(0.2, 0.6), ratio=(0.5, 2.0))
    words = uniform_words(0, "distort", 0, np.arange(4000), 32)
    found = np.array([piece(crop, 200, 200, row[:22]) for row in words])
    left, top, width, height = found.T
    assert (left.min(), top.min()) == (0, 0) and (left + width).max() == 200 and (top + height).max() == 200
    share, ratio = width * height / 40000, width / height
    assert 0.19 < share.min() < 0.21 and 0.59 < share.max() < 0.61
    assert 0.49 < ratio.min() < 0.53 and 1.9 < ratio.max() < 2.02
    assert abs(np.log(ratio).mean()) < 0.05
    room = left[width < 190] / (200 - width[width < 190])
    np.testing.assert_allclose(np.quantile(room, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.04)
    middle = RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert piece(middle, 100, 40, words[0, :22]) == (30, 0, 40, 40)
    assert piece(middle, 40, 100, words[0, :22]) == (0, 30, 40, 40)


def test_colours() -> None:
    image, draws = picture(0, 8, 8, (90, 120, 60)), np.zeros(8)
    pixels = np.asarray(image).astype(float)
    draws[:4] = 1  # the largest factors
    np.testing.assert_allclose(
        np.asarray(jittered(image, ColorJitter(brightness=0.5), draws)), np.minimum(pixels * 1.5, 255), atol=1
    )
    grey = np.asarray(image.convert("L")).astype(float)[..., None]
    drained = jittered(image, ColorJitter(saturation=1.0), np.zeros(8))
    np.testing.assert_allclose(np.asarray(drained), grey.repeat(3, 2), atol=1)
    flat = np.asarray(jittered(image, ColorJitter(contrast=1.0), np.zeros(8)))
    np.testing.assert_allclose(flat, round(grey.mean()), atol=1)
    red = Image.new("RGB", (2, 2), (200, 0, 0))
    green, blue = (np.asarray(turned_hue(red, part))[0, 0] for part in (1 / 3, -1 / 3))
    assert green.argmax() == 1 and blue.argmax() == 2 and min(green[1], blue[2]) > 190
    only = jittered(image.convert("L"), ColorJitter(saturation=0.9, hue=0.5), draws)
    assert np.array_equal(only, image.convert("L"))


def test_the_order_of_colour_changes_is_drawn() -> None:
    image = picture(0, 8, 8, (90, 120, 200))
    jitter = ColorJitter(brightness=0.9, contrast=0.9)
    orders = [np.array([1, 1, 0, 0, *order]) for order in ([0.1, 0.2, 0, 0], [0.2, 0.1, 0, 0])]
    assert not np.array_equal(*(jittered(image, jitter, draws) for draws in orders))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"random_resized_crop": {"scale": [0.9, 0.2]}}, "smaller end"),
        ({"random_resized_crop": {"scale": [0, 1]}}, "scale must be > 0"),
        ({"random_resized_crop": {"interpolation": "best"}}, "interpolation must be one of"),
        ({"rotation": -5}, "rotation: degrees must be an angle > 0"),
        ({"color_jitter": {}}, "changes nothing"),
        ({"color_jitter": {"hue": 0.7}}, "hue must be <= 0.5"),
        ({"mixup": 0}, "mixup must be > 0"),
    ],
)
def test_augmentations_that_make_no_sense(augment: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loader(type="Arrays", arrays={"image": noise(2, shape=(3, 8, 8))}, augment=augment)


def test_the_changes_of_an_image_are_whole_or_of_the_form() -> None:
    words = np.zeros((1, 32))
    section = DataSection.from_config({"train": {"type": "Digits", "augment": {"rotation": 10}}})
    assert section.train.augment is not None
    change = Distortion(section.train.augment, (28, 28), words)
    assert not change.whole and change(0, picture(0, 28, 28)).size == (28, 28)


# Mixing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 2.0, "cutmix": 0.5}])
def test_images_and_targets_are_mixed_alike(augment: dict[str, float]) -> None:
    """Images of one value each: the mean of what comes is the same mixture of values as the target's of classes."""
    labels = np.arange(8) % 4
    arrays = {"image": (labels * 60).astype(np.uint8)[:, None, None, None] + np.zeros((1, 2, 9, 7), np.uint8)}
    arrays["label"] = labels
    feed = loader(type="Arrays", arrays=arrays, batch_size=4, augment={**augment, "classes": 4})
    shares = []
    for epoch in range(30):
        for batch in feed.epoch(epoch):
            target = batch.blobs["target"]
            assert target.shape == (4, 4) and target.dtype == np.float32
            np.testing.assert_allclose(target.sum(1), 1, rtol=1e-6)
            mean = batch.blobs["image"].mean(axis=(1, 2, 3)) * 255 / 60
            np.testing.assert_allclose(mean, target @ np.arange(4), atol=1e-4)
            np.testing.assert_array_equal(batch.blobs["label"], labels[batch.samples])
            shares.append(target[0, batch.blobs["label"][0]])
    assert len(set(shares)) > 10
    assert arrays["image"].reshape(8, -1).std(axis=1).max() == 0, "the source's own memory is untouched"


def test_val_has_the_targets_unmixed() -> None:
    arrays = {"image": noise(4, shape=(1, 6, 6)), "label": np.array([0, 2, 1, 2])}
    source = {"type": "Arrays", "arrays": arrays}
    section = DataSection.from_config({"train": {**source, "augment": {"mixup": 1.0, "classes": 3}}, "val": source})
    batch = next(open_data(section).loaders["val"].epoch()).blobs
    np.testing.assert_array_equal(batch["target"], np.eye(3)[[0, 2, 1, 2]])
    np.testing.assert_allclose(batch["image"] * 255, arrays["image"], atol=1e-3)
    with pytest.raises(ConfigError, match="there is none"):
        loader(type="Arrays", arrays={"image": arrays["image"]}, augment={"mixup": 1.0})
    with pytest.raises(ConfigError, match="need the number of classes"):
        loader(**source, augment={"mixup": 1.0})
    with pytest.raises(DataError, match="has the class 2, classes says 2"):
        next(loader(**source, augment={"mixup": 1.0, "classes": 2}).epoch())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.5])
def test_shares_are_drawn_from_beta(alpha: float) -> None:
    rng = np.random.default_rng(0)
    draws = np.array([beta(alpha, lambda: float(rng.random()) or 0.5) for _ in range(6000)])
    assert draws.min() >= 0 and draws.max() <= 1
    np.testing.assert_allclose(draws.mean(), 0.5, atol=0.02)
    np.testing.assert_allclose(draws.var(), 1 / (4 * (2 * alpha + 1)), rtol=0.06)
