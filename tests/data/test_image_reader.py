"""ImageReader: whatever image comes, it becomes what training's evaluation images were, also far from the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.image_files import picture, write_folder

from layerforge import DataError, load_model, train
from layerforge.data.image_form import ImageForm, read_image
from layerforge.data.image_reader import ImageReader
from layerforge.data.readers import reader_of
from layerforge.schema.registry import SOURCES
from layerforge.training.console import Console


@pytest.fixture
def reader(tmp_path: Path) -> ImageReader:
    """That of a folder, as a checkpoint gives it back."""
    write_folder(tmp_path / "pets", 2)
    source = SOURCES.get("ImageFolder")(path=str(tmp_path / "pets"), size=(12, 10), color="bgr", resize=14)
    found = reader_of(source.reader().plain(), "a checkpoint")
    assert isinstance(found, ImageReader) and found.words == {"label": ("cat", "dog")}
    assert found.form == ImageForm((12, 10), "bgr", 14) and found.specs == source.specs()
    images = source.load()["image"][:]
    np.testing.assert_array_equal(found.read(tmp_path / "pets" / "cat" / "1.jpg", ["image"], {})["image"], images[1:2])
    return found


def test_paths_images_and_arrays_are_the_same(reader: ImageReader, tmp_path: Path) -> None:
    path = tmp_path / "pets" / "dog" / "1.jpg"
    image = read_image(path, "RGB")
    pixels = np.asarray(image)
    expected = reader.form.array(reader.form.fitted(image))
    for one in (path, str(path), image, pixels, {"image": path}, Image.open(path), pixels.astype(np.uint16) * 257):
        blobs, single = reader.convert(one, ["image"], {})
        assert single and blobs["image"].dtype == np.uint8
        np.testing.assert_array_equal(blobs["image"], expected[None])
    clear = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    several: list[Any] = [[path, image, pixels], [clear] * 3, np.stack([pixels] * 3), np.array([str(path)] * 3)]
    for many in several:
        blobs, single = reader.convert(many, ["image"], {})
        assert not single
        np.testing.assert_array_equal(blobs["image"], np.stack([expected] * 3))
    prepared = np.ascontiguousarray(expected)
    assert reader.convert(prepared, ["image"], {})[1]
    np.testing.assert_array_equal(reader.convert(prepared[None], ["image"], {})[0]["image"], expected[None])


def test_gray_images_have_no_axis_of_channels(tmp_path: Path) -> None:
    grey = ImageReader({"image": SOURCES.get("Digits")().specs()["image"]}, ImageForm((28, 28), "gray"), {})
    pixels = np.asarray(picture(0, 40, 50).convert("L"))
    one, single = grey.convert(pixels, ["image"], {})
    assert single and one["image"].shape == (1, 1, 28, 28)
    many, single = grey.convert(np.stack([pixels] * 4), ["image"], {})
    assert not single and many["image"].shape == (4, 1, 28, 28)
    np.testing.assert_array_equal(many["image"][2], one["image"][0])
    np.testing.assert_array_equal(grey.convert(pixels[..., None], ["image"], {})[0]["image"], one["image"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones((9, 9, 3)), "whole numbers from 0 to 255, got float64"),
        (np.zeros((3, 40, 40), np.uint8), "move the axis|is no image"),
        (np.zeros((0, 4, 3), np.uint8), "there are no pixels"),
        (np.zeros((9, 9, 2), np.uint8), "is no image"),
        ("nowhere.jpg", "no such file"),
        ({"picture": 1}, "no 'image'"),
    ],
)
def test_what_is_no_image(reader: ImageReader, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        reader.convert(value, ["image"], {})
    with pytest.raises(DataError, match="does not hold 'label'"):
        reader.convert(np.zeros((9, 9, 3), np.uint8), ["label"], {})


def test_a_model_says_what_is_in_a_picture(tmp_path: Path) -> None:
    paths = write_folder(tmp_path / "pets", 6)
    net = [
        {"name": "flat", "type": "Flatten", "bottom": "image"},
        {"name": "fc", "type": "Linear", "out_features": 2},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "target"]},
        {"name": "accuracy", "type": "Accuracy", "bottom": ["fc", "label"], "phase": "eval"},
    ]
    augment = {"random_resized_crop": {"scale": [0.5, 1]}, "mixup": 0.2}
    source = {"type": "ImageFolder", "path": str(tmp_path / "pets"), "size": 8}
    config = {
        "data": {"transform": {"normalize": "imagenet"}, "train": {**source, "augment": augment}, "val": source},
        "net": net, "solver": {"lr": 0.05}, "train": {"epochs": 12},
    }  # fmt: skip
    quiet = Console(progress="off", quiet=True)
    result = train(config, [f"train.output_dir={tmp_path / 'runs'}"], console=quiet)
    other = picture(99, 70, 33, (190, 70, 50))
    for path in paths:
        path.unlink()
    model = load_model(str(result.run))
    assert model.predict(other) == "cat"
    assert model.predict([np.asarray(other), picture(98, 8, 8, (50, 80, 190))]).tolist() == ["cat", "dog"]
    assert model.predict_proba(other).shape == (2,)


@pytest.mark.parametrize("turned", [1, 2, 3, 6, 8])
def test_an_image_of_pillow_stands_upright_as_its_file_does(reader: ImageReader, tmp_path: Path, turned: int) -> None:
    image, exif = picture(3, 20, 30), Image.Exif()
    exif[0x0112] = turned
    image.save(tmp_path / "turned.png", exif=exif)
    expected = reader.read(tmp_path / "turned.png", ["image"], {})["image"]
    opened = Image.open(tmp_path / "turned.png")
    for one in (opened, opened.convert("RGB")):
        np.testing.assert_array_equal(reader.convert(one, ["image"], {})[0]["image"], expected)


def test_what_lies_under_a_mask_is_no_pixel(reader: ImageReader) -> None:
    pixels = np.asarray(picture(3, 20, 30))
    with pytest.raises(DataError, match="has masked elements"):
        reader.convert(np.ma.array(pixels, mask=pixels > 128), ["image"], {})
    assert reader.convert(np.ma.array(pixels), ["image"], {})[1]
