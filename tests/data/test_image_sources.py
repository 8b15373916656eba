"""ImageFolder and ImageList: what they list, in which form images come, what they do with broken ones."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.data_files import isolate
from support.image_files import picture, write_folder
from support.tools import demand

from layerforge.config.data_section import DataSection
from layerforge.data import Loader, image_form, lazy_images, open_data
from layerforge.data.image_form import ImageForm, read_image
from layerforge.data.lazy import Lazy
from layerforge.schema.errors import ConfigError, DataError
from layerforge.schema.registry import SOURCES


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def folder(path: Path, **values: Any) -> Any:
    return SOURCES.get("ImageFolder")(**{"path": str(path), "size": (12, 10), **values})


def listed(path: Path, **values: Any) -> Any:
    return SOURCES.get("ImageList")(**{"path": str(path), "size": (12, 10), **values})


def loader(**config: Any) -> Loader:
    return open_data(DataSection.from_config(config), sections=["train"]).loaders["train"]


def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded from now on."""
    seen: list[str] = []

    def spy(path: str, *args: Any) -> Any:
        seen.append(path)
        return read_image(path, *args)

    monkeypatch.setattr(lazy_images, "read_image", spy)
    return seen


# Folders --------------------------------------------------------------------------------------------------------------


def test_a_subfolder_is_a_class(here: Path) -> None:
    paths = write_folder(here / "pets", 3)
    (here / "pets" / "cat" / "deep").mkdir()
    picture(9, 20, 20).save(here / "pets" / "cat" / "deep" / "x.PNG")
    (here / "pets" / "cat" / "notes.txt").write_text("no image")
    (here / "pets" / ".hidden").mkdir()
    source = folder(here / "pets")
    assert (source.split, source.class_names) == ("all", ("cat", "dog"))
    assert source.specs()["image"].shape == (3, 12, 10) and source.specs()["label"].high == 2
    arrays = source.load()
    assert arrays["label"].tolist() == [0] * 4 + [1] * 3
    assert isinstance(arrays["image"], Lazy) and arrays["image"].shape == (7, 3, 12, 10)
    form = ImageForm((12, 10))
    np.testing.assert_array_equal(arrays["image"][:1][0], form.array(form.fitted(Image.open(paths[0]))))
    red, _, blue = arrays["image"][np.array([6, 0])].mean(axis=(2, 3)).T
    assert red[1] > 150 > red[0] and blue[0] > 150 > blue[1]


def test_parts_and_classes_are_those_of_train(here: Path) -> None:
    write_folder(here / "pets" / "train", 2)
    write_folder(here / "pets" / "val", 1)
    (here / "pets" / "val" / "cat" / "0.jpg").unlink()
    (here / "pets" / "val" / "cat").rmdir()
    config = {"train": {"type": "ImageFolder", "path": str(here / "pets"), "size": 8}}
    config["val"] = {**config["train"], "split": "val"}
    data = open_data(DataSection.from_config(config))
    assert data.section.train.source.split == "train"
    assert next(data.loaders["val"].epoch()).blobs["label"].tolist() == [1]
    assert any("lacks" in remark and "cat" in remark for remark in data.remarks)
    (here / "pets" / "val" / "fish").mkdir()
    picture(0, 9, 9).save(here / "pets" / "val" / "fish" / "1.jpg")
    with pytest.raises(DataError, match="class 'fish' is not among"):
        open_data(DataSection.from_config(config))


def test_parts_are_the_folders_that_are_there(here: Path) -> None:
    write_folder(here / "pets" / "test", 1)
    assert folder(here / "pets").split == "train", "what is missing is not replaced by what is there"
    assert folder(here / "pets").parts == ("train", "test")
    assert folder(here / "pets", split="val").parts == ("train", "val", "test")
    assert folder(here / "pets" / "test").parts == ("all",)
    with pytest.raises(ConfigError, match="there is no part 'all'"):
        folder(here / "pets", split="all")


def test_a_class_may_be_called_train(here: Path) -> None:
    for name in ("car", "train"):
        (here / "v" / name).mkdir(parents=True)
        picture(0, 9, 9).save(here / "v" / name / "1.jpg")
    assert folder(here / "v").class_names == ("car", "train")


def test_folders_that_hold_something_else(here: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        folder(here / "nowhere").specs()
    (here / "flat").mkdir()
    with pytest.raises(DataError, match="has no images"):
        folder(here / "flat").specs()
    picture(0, 9, 9).save(here / "flat" / "1.jpg")
    with pytest.raises(DataError, match="no subfolder for each class"):
        folder(here / "flat").specs()
    (here / "flat" / "cat").mkdir()
    with pytest.raises(DataError, match="has no images"):
        folder(here / "flat").specs()
    with pytest.raises(ConfigError, match="size"):
        SOURCES.get("ImageFolder").from_config({"path": "x"})


def test_few_images_are_decoded_before_the_first_batch(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(here / "pets", 12)
    seen = decodes(monkeypatch)
    feed = loader(train={"type": "ImageFolder", "path": str(here / "pets"), "size": 8, "batch_size": 5})
    assert len(seen) <= 16
    seen.clear()
    batch = feed.batch(0, 1)
    assert len(seen) == 5 and batch.blobs["image"].shape == (5, 3, 8, 8) and batch.blobs["image"].max() <= 1


def test_statistics_and_shares_of_lazy_images(here: Path) -> None:
    write_folder(here / "pets", 5, "png")
    train = {"type": "ImageFolder", "path": str(here / "pets"), "size": 8, "batch_size": 10}
    section = {"train": train, "transform": {"mean": "channel", "std": "channel"}}
    x = next(loader(**section).epoch()).blobs["image"]
    np.testing.assert_allclose(x.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 2, 3)), 1, rtol=1e-5)
    data = open_data(DataSection.from_config({**section, "split": {"val": 0.4, "stratify": "label"}}))
    parts = [next(data.loaders[name].epoch()).blobs["label"].tolist() for name in ("train", "val")]
    assert [sorted(labels) for labels in parts] == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1]]
    pairs = {"type": "Pairs", "source": {k: train[k] for k in ("type", "path", "size")}, "batch_size": 4}
    batch = next(loader(train=pairs).epoch()).blobs
    same = batch["image_a"].mean(axis=(2, 3)).argmax(1) == batch["image_b"].mean(axis=(2, 3)).argmax(1)
    np.testing.assert_array_equal(same, batch["match"] == 1)


def test_imagenet_and_the_order_of_colours(here: Path) -> None:
    write_folder(here / "pets", 2, "png")
    train = {"type": "ImageFolder", "path": str(here / "pets"), "size": 8, "shuffle": False}
    raw = next(loader(train=train).epoch()).blobs["image"]
    expected = (raw - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape([0.229, 0.224, 0.225], (3, 1, 1))
    scaling = {"transform": {"normalize": "imagenet"}}
    np.testing.assert_allclose(next(loader(train=train, **scaling).epoch()).blobs["image"], expected, atol=1e-5)
    bgr = next(loader(train={**train, "color": "bgr"}, **scaling).epoch()).blobs["image"]
    np.testing.assert_allclose(bgr, expected[:, ::-1], atol=1e-5)
    gray = next(loader(train={**train, "color": "gray"}).epoch()).blobs["image"]
    np.testing.assert_allclose(gray[:, 0], np.tensordot(raw, [0.299, 0.587, 0.114], ([1], [0])), atol=0.01)
    with pytest.raises(ConfigError, match="three colours"):
        loader(train={**train, "color": "gray"}, **scaling)
    with pytest.raises(ConfigError, match="stands for mean and std"):
        DataSection.from_config({"train": train, "transform": {"normalize": "imagenet", "mean": 0.5}})


# The form -------------------------------------------------------------------------------------------------------------


def test_resize_and_crop_are_those_of_torchvision() -> None:
    image = picture(0, 60, 91)
    scaled = image.resize((36, 24), Image.Resampling.BILINEAR)  # int(24 * 91 / 60)
    assert np.array_equal(ImageForm((20, 20), resize=24).fitted(image), scaled.crop((8, 2, 28, 22)))
    exact = image.resize((10, 12), Image.Resampling.BICUBIC)
    assert np.array_equal(ImageForm((12, 10), resize=(12, 10), interpolation="bicubic").fitted(image), exact)
    covering = image.resize((20, 20), Image.Resampling.BILINEAR, (15.5, 0, 75.5, 60))
    assert np.array_equal(ImageForm((20, 20)).fitted(image), covering)
    rough = image.resize((round(91 * 20 / 60), 20), Image.Resampling.BILINEAR).crop((5, 0, 25, 20))
    assert np.abs(np.asarray(covering) - 0.0 - np.asarray(rough)).mean() < 6, "as good as scaled first, then cut"
    middle = image.crop((20, 5, 70, 55)).resize((20, 20), Image.Resampling.BILINEAR)  # round(20.5) = 20
    assert np.array_equal(ImageForm((20, 20), center_crop=(50, 50)).fitted(image), middle)
    small = np.asarray(ImageForm((30, 30), resize=(20, 20)).fitted(image))
    assert small.shape == (30, 30, 3) and small[5:25, 5:25].all() and not small[:5].any() and not small[:, 25:].any()
    for height, width in ((1, 300), (300, 1), (7, 9), (3, 5), (1000, 7)):
        assert ImageForm((7, 9)).fitted(picture(1, height, width)).size == (9, 7)
    with pytest.raises(DataError, match=r"of 200000 x 1 pixels would become 200000000 x 1000"):
        ImageForm((7, 9), resize=1000).fitted(Image.new("RGB", (200_000, 1)))


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_every_kind_of_file_comes_out_the_same(here: Path) -> None:
    image = picture(0, 9, 7)
    pixels, grey = np.asarray(image), image.convert("L")
    kinds: dict[str, dict[str, Any]] = {"a.png": {}, "a.bmp": {}, "a.webp": {"lossless": True}, "a.tif": {}}
    for name, options in kinds.items():
        assert np.array_equal(read_image(saved(here / name, image, **options), "RGB"), pixels), name
    lossy = read_image(saved(here / "a.jpg", image, quality=100, subsampling=0), "RGB")
    assert np.abs(np.asarray(lossy) - 0.0 - pixels).mean() < 2
    few = image.quantize(8)
    assert np.array_equal(read_image(saved(here / "palette.png", few), "RGB"), few.convert("RGB"))
    deep = np.asarray(grey).astype(np.uint16) * 257
    for name in ("deep.png", "deep.tif"):
        assert np.array_equal(read_image(saved(here / name, Image.fromarray(deep)), "L"), grey)
        assert np.array_equal(np.asarray(read_image(here / name, "RGB"))[..., 1], grey)
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(np.arange(7) < 3, 255, 0).astype(np.uint8)[None].repeat(9, 0)))
    found = np.asarray(read_image(saved(here / "clear.png", clear), "RGB"))
    assert np.array_equal(found[:, :3], pixels[:, :3]) and (found[:, 3:] == 255).all()
    ink = picture(0, 9, 7, (250, 10, 10)).convert("CMYK")
    red, green, _ = np.asarray(read_image(saved(here / "ink.jpg", ink), "RGB")).mean(axis=(0, 1))
    assert red > 200 > 60 > green
    frames = {"save_all": True, "append_images": [Image.new("RGB", (7, 9))], "duration": 9}
    for name in ("frames.png", "frames.webp"):
        assert np.array_equal(read_image(saved(here / name, image, lossless=True, **frames), "RGB"), pixels)
    (here / "interlaced.png").write_bytes(interlaced(np.asarray(grey)))
    assert np.array_equal(read_image(here / "interlaced.png", "L"), grey)
    with pytest.raises(DataError, match="floating-point"):
        read_image(saved(here / "float.tif", Image.fromarray(np.ones((3, 3), np.float32))), "L")


def interlaced(grey: np.ndarray) -> bytes:
    """A PNG whose pixels stand in seven passes (Adam7)."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [b"\0" + row.tobytes() for y, x, dy, dx in passes for row in grey[y::dy, x::dx] if row.size]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 1)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_pictures_stand_upright(here: Path, kind: str) -> None:
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :8] = 255
    turns = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }  # fmt: skip
    for orientation, stored in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = saved(here / f"{orientation}.{kind}", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
        np.testing.assert_array_equal(np.asarray(read_image(path, "L")) > 128, upright > 128)


# Broken files ---------------------------------------------------------------------------------------------------------


def spoil(paths: list[Path]) -> None:
    paths[1].write_bytes(b"")
    paths[3].write_bytes(paths[3].read_bytes()[:-200])


def test_a_broken_file_is_named_with_its_position(here: Path) -> None:
    spoil(paths := write_folder(here / "pets", 3))
    images = folder(here / "pets").load()["image"]
    with pytest.raises(DataError, match=r"\(sample 3\) cannot be decoded: it is damaged or cut off") as caught:
        images[3:4]
    assert caught.value.place is not None and caught.value.place.file == str(paths[3])
    with pytest.raises(DataError, match="the file is empty"):
        images[1:2]
    paths[0].unlink()
    with pytest.raises(DataError, match="no such file"):
        images[0:1]


def test_broken_files_are_left_out_and_counted(here: Path) -> None:
    spoil(paths := write_folder(here / "pets", 3))
    with pytest.warns(UserWarning, match="2 of 6 images of ImageFolder .all. are left out.*1.jpg.*0.jpg"):
        arrays = folder(here / "pets", on_error="skip").load()
    assert arrays["label"].tolist() == [0, 0, 1, 1] and arrays["image"][:].shape == (4, 3, 12, 10)
    for path in paths:
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no image"):
        folder(here / "pets", on_error="skip").load()


def test_bombs_are_refused_before_they_are_decoded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = bytearray(interlaced(np.zeros((2, 2), np.uint8)))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    (here / "bomb.png").write_bytes(bomb)
    with pytest.raises(DataError, match=r"60000|decompression bomb"):
        read_image(here / "bomb.png", "RGB")
    path = saved(here / "a.png", picture(0, 20, 20))
    monkeypatch.setattr(image_form, "MOST_PIXELS", 399)
    with pytest.raises(DataError, match="20 x 20 pixels, allowed are 399"):
        read_image(path, "RGB")
    monkeypatch.setattr(image_form, "MOST_BYTES", 100)
    with pytest.raises(DataError, match="bytes, allowed are 100"):
        read_image(path, "RGB")


def test_without_pillow_the_error_says_how_to_install_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(here / "pets", 1)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    image_form.pillow.cache_clear()
    with pytest.raises(ConfigError) as caught:
        folder(here / "pets").specs()
    assert caught.value.hint == "pip install 'layerforge[image]'"


# Caches ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("augment", [None, {"random_resized_crop": True}])
def test_a_cache_decodes_once(here: Path, monkeypatch: pytest.MonkeyPatch, cache: str, augment: Any) -> None:
    paths = write_folder(here / "pets", 2)
    train = {"type": "ImageFolder", "path": str(here / "pets"), "size": 8, "shuffle": False, "augment": augment}
    expected = [next(loader(train=train).epoch(n)).blobs["image"] for n in range(2)]
    feed = loader(train={**train, "cache": cache})
    seen = decodes(monkeypatch)
    for epoch, images in enumerate(expected):
        np.testing.assert_array_equal(next(feed.epoch(epoch)).blobs["image"], images)
    assert len(seen) == (4 if augment else 0)  # what opening looked at was kept, too
    if cache == "memory":
        return
    seen.clear()
    np.testing.assert_array_equal(next(loader(train={**train, "cache": cache}).epoch()).blobs["image"], expected[0])
    assert not seen
    for kept in (here.parent / "cache" / "images").rglob("*.npy"):
        kept.write_bytes(kept.read_bytes()[:-1])
    os.utime(paths[0], (1, 1))
    np.testing.assert_array_equal(next(loader(train={**train, "cache": cache}).epoch()).blobs["image"], expected[0])
    assert set(seen) == {str(path) for path in paths}


def test_both_sides_of_pairs_share_a_cache(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(here / "pets", 3)
    seen = decodes(monkeypatch)
    inner = {"type": "ImageFolder", "path": str(here / "pets"), "size": 8, "cache": "memory"}
    for _ in loader(train={"type": "Pairs", "source": inner, "pairs": 40, "batch_size": 10}).epoch():
        pass
    assert len(seen) == 6


# Lists ----------------------------------------------------------------------------------------------------------------


def table(here: Path, text: str, name: str = "list.csv") -> Path:
    (here / "img").mkdir(exist_ok=True)
    for number in range(3):
        picture(number, 20, 20, (80 * number, 10, 10)).save(here / "img" / f"{number}.png")
    (here / name).write_text(text)
    return here / name


def test_a_list_of_paths_and_words(here: Path) -> None:
    path = table(here, "file,kind\nimg/2.png,dog\nimg/0.png,cat\nimg/1.png,dog\n")
    source = listed(path, label="kind")
    arrays = source.load()
    assert arrays["label"].tolist() == [1, 0, 1] and source.class_names == ("cat", "dog")
    red = arrays["image"][:].mean(axis=(2, 3))[:, 0]
    assert red.argsort().tolist() == [1, 2, 0]
    other = table(here, "img/1.png\tdog\nimg/0.png\tbird\n", "val.tsv")
    follower = listed(other, label=1)
    follower.follow(source)
    with pytest.raises(DataError, match="class 'bird' is not among") as caught:
        follower.load()
    assert caught.value.place is not None and caught.value.place.line == 2
    missing = listed(table(here, "file,kind\nimg/9.png,dog\n"), label="kind")
    with pytest.raises(DataError, match="no such file"):
        missing.load()["image"][:]


def test_a_list_with_several_labels_tags_and_targets(here: Path) -> None:
    rows = ["kind,n,x,y,file,tags", "a,0,1.5,2,img/0.png,red|big", "b,4,-1,3,img/1.png,red", "a,1,0,0,img/2.png,"]
    path = table(here, "\n".join(rows))
    arrays = listed(path, image="file", label=["kind", "n"], target=["x", "y"]).load()
    assert (arrays["kind"].tolist(), arrays["n"].tolist()) == ([0, 1, 0], [0, 4, 1])
    assert arrays["target"].tolist() == [[1.5, 2], [-1, 3], [0, 0]]
    assert listed(path, image=4, target="x").load()["target"].tolist() == [1.5, -1, 0]
    with pytest.raises(DataError, match="cell of column 'tags' is empty") as caught:
        listed(path, image="file", label="tags", separator="|").load()
    assert caught.value.place is not None and caught.value.place.line == 4
    path.write_text(path.read_text().replace("img/2.png,", "img/2.png,small"))
    source = listed(path, image="file", label="tags", separator="|")
    assert source.load()["label"].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert source.class_names == ("big", "red", "small") and source.specs()["label"].is_real


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("file,kind\nimg/0.png,a\n", {"label": "kin"}, "has no column 'kin'"),
        ("img/0.png,a\nimg/1.png\n", {"label": 1}, "1 cells, where the first line has 2"),
        ("img/0.png,a\n", {"label": "kind"}, "no header line"),
        ("img/0.png,a\n", {"label": 2}, "there is no column 2"),
        ("img/0.png,a\n", {"target": 1}, "'a' in column '1' is no finite number"),
        ("img/0.png,99999999999999999999\n", {"label": 1}, "a class is a whole number below"),
        ("file,kind\n", {"label": "kind"}, "no line below"),
        ("", {}, "the file is empty"),
        ("img/0.png,a\n", {"label": [1], "separator": "|"}, "separator is for one column"),
        ("img/0.png,a\n", {"label": ["image"]}, "names of their own"),
    ],
)
def test_lists_that_cannot_be_read(here: Path, text: str, values: dict[str, Any], message: str) -> None:
    path = table(here, text)
    with pytest.raises((DataError, ConfigError), match=message):
        listed(path, **values).load()


# Lists of Caffe -------------------------------------------------------------------------------------------------------


def caffe_list(here: Path, text: str) -> Path:
    (here / "a b").mkdir(exist_ok=True)
    for number in range(3):
        picture(number, 30, 20).save(here / "a b" / f"{number}.png")
    (here / "list.txt").write_text(text)
    return here / "list.txt"


def test_a_list_of_caffe_ends_its_paths_at_the_last_space(here: Path) -> None:
    path = caffe_list(here, "a b/0.png 2\na b/1.png 0\r\n\na b/2.png 10 \n")
    train = {"type": "ImageList", "path": str(path), "delimiter": " ", "label": 1, "color": "bgr", "blob": "data"}
    train |= {"size": [12, 10], "resize": [12, 10], "shuffle": False}
    blobs = next(loader(train=train, transform={"scale": 1}).epoch()).blobs
    assert blobs["label"].tolist() == [2, 0, 10]
    small = Image.open(here / "a b" / "1.png").resize((10, 12), Image.Resampling.BILINEAR)
    assert (blobs["data"][1] == np.asarray(small).transpose(2, 0, 1)[::-1]).all(), "0 to 255, blue first"
    source = SOURCES.get("ImageList")(**{k: v for k, v in train.items() if k not in ("type", "shuffle")})
    read = source.reader().read(here / "a b" / "1.png", ["data"], {})
    assert (read["data"][0] == blobs["data"][1]).all()
    (here / "a b" / "0.png").rename(here / "a b" / "0")
    moved = here / "elsewhere.txt"
    moved.write_text("0 1\n")
    assert listed(moved, delimiter=" ", label=1, folder=str(here / "a b")).load()["image"][:].shape == (1, 3, 12, 10)


def test_lists_of_caffe_that_cannot_be_read(here: Path) -> None:
    path = caffe_list(here, "a b/0.png 2\na b/1.png -1\n")
    with pytest.raises(DataError, match="the class -1 is below 0") as caught:
        listed(path, delimiter=" ", label=1).load()
    assert caught.value.place is not None and caught.value.place.line == 2
    path.write_text("a.png 1\nb.png\n")
    with pytest.raises(DataError, match="1 cells, where the first line has 2"):
        listed(path, delimiter=" ", label=1).load()
    for name in ("label", "target"):
        with pytest.raises(ConfigError, match=f"cannot be the blob '{name}'"):
            listed(path, blob=name)


@pytest.mark.parametrize("kind", ["RGB", "L"])
def test_scaling_without_antialiasing_is_opencvs_bit_for_bit(kind: str) -> None:
    demand("cv2")
    import cv2

    rng = np.random.default_rng(0)
    for number in range(60):
        high, wide, height, width = (int(n) for n in rng.integers(1, 60, 4))
        if number % 10 == 0:  # a way of its own
            high, wide = 2 * height, 2 * width
        image = picture(number, high, wide).convert(kind)
        form = ImageForm((height, width), "gray" if kind == "L" else "rgb", (height, width), antialias=False)
        assert np.array_equal(form.fitted(image), cv2.resize(np.asarray(image), (width, height)))


def test_scaling_without_antialiasing_in_a_source(here: Path) -> None:
    path = caffe_list(here, "a b/0.png 0\na b/1.png 1\n")
    values = {"delimiter": " ", "label": 1, "resize": [12, 10]}
    rough, smooth = (listed(path, **values, antialias=how).load()["image"][:] for how in (False, True))
    x = np.asarray(Image.open(here / "a b" / "1.png")).astype(np.float64)[3:5, 2:4]  # of 30 x 20: at 3.25 and 2.5
    assert np.abs(rough[1, :, 1, 1] - np.array([0.75, 0.25]) @ x.mean(axis=1)).max() < 1
    assert (rough != smooth).any()
    reader = listed(path, **values, antialias=False).reader()
    assert not type(reader).parse(reader.plain()).form.antialias
    for wrong in ({"antialias": False}, {"antialias": False, "resize": 9, "interpolation": "bicubic"}):
        with pytest.raises(ConfigError, match="antialias: false is for bilinear scaling"):
            listed(path, **wrong)
