"""LMDB: Caffe's databases of samples, read without the library; and the writer, which needs it."""

from __future__ import annotations

import io
import os
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.data_files import isolate
from support.image_files import picture
from support.pages import blocks, output_of
from support.resuming import whole_and_resumed
from support.tools import demand, demand_that

from layerforge import load_model
from layerforge.config.data_section import DataSection
from layerforge.config.yaml_file import parse_yaml
from layerforge.data import Loader, open_data
from layerforge.data.datum import datum_bytes, encoded_datum_bytes, label_of, parse_blob, parse_datum
from layerforge.data.lazy import Lazy
from layerforge.data.lmdb_file import LmdbFile
from layerforge.data.lmdb_writing import write_lmdb, write_mean_image
from layerforge.data.wire import VARINT, write_tag, write_varint
from layerforge.schema.errors import ConfigError, DataError, LayerForgeError
from layerforge.schema.registry import SOURCES
from layerforge.training.fingerprints import files_of

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (30, 3, 8, 6), dtype=np.uint8)
LABELS = RNG.integers(0, 4, 30)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    demand("lmdb")
    return isolate(monkeypatch, tmp_path)


def source(path: Any, **values: Any) -> Any:
    return SOURCES.get("LMDB")(path=str(path), **values)


def loader(**config: Any) -> Loader:
    return open_data(DataSection.from_config(config), sections=["train"]).loaders["train"]


def put(path: str, *records: tuple[bytes, bytes], **options: Any) -> str:
    """A database of any records."""
    import lmdb

    os.makedirs(path, exist_ok=True)
    with lmdb.open(path, map_size=1 << 26, **options) as environment:
        table = environment.open_db(b"named") if options else None
        with environment.begin(write=True, db=table) as transaction:
            for key, value in records:
                transaction.put(key, value)
    return path


def failure(act: Callable[[], object]) -> DataError:
    with pytest.raises(DataError) as caught:
        act()
    assert caught.value.exit_code == 3
    return caught.value


def png(seed: int, height: int = 8, width: int = 6, mode: str = "RGB") -> bytes:
    picture(seed, height, width).convert(mode).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def caffe_file(name: str) -> Path:
    folder = os.environ.get("LAYERFORGE_CAFFE", "")
    demand_that(os.path.isdir(folder), "files of Caffe in $LAYERFORGE_CAFFE")
    return Path(folder) / "files" / name


def number(field: int, value: int) -> bytes:
    return write_tag(field, VARINT) + write_varint(value)


# Samples --------------------------------------------------------------------------------------------------------------


def test_what_caffe_wrote_is_read() -> None:
    kept = caffe_file("lmdb_u8")
    arrays = source(kept).load()
    assert arrays["image"].shape == (7, 3, 6, 5) and arrays["label"].tolist() == list(range(7))
    assert arrays["image"][2:3][0, 0, 0].tolist() == [40, 209, 135, 170, 0]
    assert parse_blob(caffe_file("mean.binaryproto").read_bytes(), "mean").shape == (1, 3, 6, 5)


def test_records_come_in_the_order_of_their_keys(here: Path) -> None:
    write_lmdb("train", PIXELS, LABELS)
    made = source("train", split="all[3:12]", classes=4)
    assert made.specs()["image"].shape == (3, 8, 6) and made.specs()["label"].high == 4
    arrays = made.load()
    assert isinstance(arrays["image"], Lazy) and arrays["image"].dtype == np.uint8
    assert (arrays["image"][:] == PIXELS[3:12]).all() and (arrays["label"] == LABELS[3:12]).all()
    assert (arrays["image"][np.array([4, 0, 4])] == PIXELS[[7, 3, 7]]).all()
    assert source("train/data.mdb", blob="data", label=None).load().keys() == {"data"}
    assert [path.name for path in files_of(made)] == ["data.mdb"], "lock.mdb changes when somebody looks"
    assert made.labels()["label"].tolist() == LABELS[3:12].tolist()


@pytest.mark.parametrize("size", [20, 2030, 2037, 2050, 9000])
def test_small_and_large_records_in_trees_of_any_depth(here: Path, size: int) -> None:
    """Keys and lengths that fill pages in many ways, and pages that were freed and used again."""
    random.seed(size)
    records = {b"%d" % random.randrange(10**9): random.randbytes(size + random.randrange(9)) for _ in range(700)}
    put("d", *records.items())
    import lmdb

    with lmdb.open("d", map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for key in sorted(records)[::5]:
            transaction.delete(key)
            del records[key]
    file = LmdbFile("d/data.mdb")
    assert [(file.key(n), file.value(n)) for n in range(len(file))] == sorted(records.items())


def test_batches_are_the_same_for_any_number_of_workers(here: Path) -> None:
    write_lmdb("train", PIXELS, LABELS)
    train = {"type": "LMDB", "path": "train", "batch_size": 7, "augment": {"random_crop": {"size": [6, 4]}}}
    batches = [
        [batch.blobs for epoch in (0, 1) for batch in loader(train={**train, "workers": n}).epoch(epoch)]
        for n in (1, 2, 5)
    ]
    assert len(batches[0]) == 10 and batches[0][0]["image"].shape == (7, 3, 6, 4)
    for other in batches[1:]:
        for a, b in zip(batches[0], other, strict=True):
            assert all((a[name] == b[name]).all() for name in a)
    assert any((a["label"] != b["label"]).any() for a, b in zip(batches[0][:4], batches[0][5:9], strict=True))


def test_floats_stay_as_they_are(here: Path) -> None:
    values = RNG.normal(size=(5, 4, 2, 3)).astype(np.float32)
    write_lmdb("f", values, [-1, 0, 2**31 - 1, 1, 1])
    made = source("f")
    arrays = made.load()
    assert arrays["image"].dtype == np.float32 and (arrays["image"][:] == values).all()
    assert arrays["label"].tolist() == [-1, 0, 2**31 - 1, 1, 1]
    assert (made.reader().convert(values[0], ["image"], {})[0]["image"] == values[:1]).all()
    values[3, 1] = np.nan
    write_lmdb("nan", values)
    assert "record 3 (key '00000003')" in str(failure(lambda: source("nan").load()["image"][:]))


def test_encoded_images_are_decoded_in_blue_green_red(here: Path) -> None:
    contents = [png(n) for n in range(4)]
    write_lmdb("e", contents, range(4))
    rgb = np.stack([np.asarray(Image.open(io.BytesIO(c))).transpose(2, 0, 1) for c in contents])
    assert (source("e").load()["image"][:] == rgb[:, ::-1]).all() and source("e").channels == "bgr"
    assert (source("e", color="rgb").load()["image"][:] == rgb).all()
    grey = np.asarray(Image.open(io.BytesIO(contents[1])).convert("L"))
    assert (source("e", color="gray").load()["image"][1:2][0, 0] == grey).all()
    write_lmdb("g", [png(0, mode="L")])
    assert source("g").specs()["image"].shape == (1, 8, 6) and source("g").channels == "gray"
    made = source("e", size=4, resize=[4, 4])
    small = np.asarray(Image.open(io.BytesIO(contents[2])).resize((4, 4), Image.Resampling.BILINEAR))
    assert (made.load()["image"][2:3][0] == small.transpose(2, 0, 1)[::-1]).all()
    (here / "a.png").write_bytes(contents[2])
    assert (made.reader().read(here / "a.png", ["image"], {})["image"] == made.load()["image"][2:3]).all()


def test_distortions_see_colours_in_their_order(here: Path) -> None:
    """The same pictures, raw and encoded, cropped and jittered: the same numbers."""
    contents = [png(n, 9, 9) for n in range(6)]
    rgb = np.stack([np.asarray(Image.open(io.BytesIO(c))).transpose(2, 0, 1) for c in contents])
    write_lmdb("e", contents)
    write_lmdb("raw", np.ascontiguousarray(rgb[:, ::-1]))
    augment = {"random_resized_crop": {"size": 5}, "color_jitter": {"hue": 0.3, "saturation": 0.9}, "flip": "vertical"}
    train = {"type": "LMDB", "batch_size": 6, "augment": augment, "workers": 2}
    a, b = (next(loader(train={**train, "path": path}).epoch(3)).blobs["image"] for path in ("e", "raw"))
    assert a.shape == (6, 3, 5, 5) and (a == b).all()


def test_raw_and_encoded_records_may_stand_side_by_side(here: Path) -> None:
    bgr = np.asarray(Image.open(io.BytesIO(png(1)))).transpose(2, 0, 1)[::-1]
    put("m", (b"a", encoded_datum_bytes(png(1), 3)), (b"b", datum_bytes(np.ascontiguousarray(bgr), 4)))
    arrays = source("m").load()
    assert (arrays["image"][0:1] == arrays["image"][1:2]).all() and arrays["label"].tolist() == [3, 4]


# A run ----------------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_bit_for_bit_and_predicts_from_a_file(here: Path) -> None:
    write_lmdb("train", PIXELS, LABELS)
    write_lmdb("val", PIXELS[:10], LABELS[:10])
    feed = {"type": "LMDB", "blob": "data", "batch_size": 8}
    config: dict[str, Any] = {
        "data": {
            "train": {**feed, "path": "train", "augment": {"random_crop": {"size": 5}, "flip": "horizontal"}},
            "val": {**feed, "path": "val"},
            "transform": {"scale": 1, "mean": [104, 117, 123]},
        },
        "net": [
            {"name": "flat", "type": "Flatten", "bottom": "data"},
            {"name": "fc", "type": "Linear", "out_features": 4},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
        ],
        "solver": {"lr": 1e-4, "momentum": 0.9},
        "checkpoint": {"every": {"steps": 5}},
    }
    model = load_model(whole_and_resumed(config, 12, 5))
    Image.fromarray(np.ascontiguousarray(PIXELS[4, ::-1].transpose(1, 2, 0))).save(here / "a.png")
    assert (model.predict_proba("a.png") == model.predict_proba(PIXELS[4])).all()


def test_mean_and_std_of_records(here: Path) -> None:
    write_lmdb("train", PIXELS, LABELS)
    x = next(loader(train={"type": "LMDB", "path": "train"}, transform={"mean": "pixel"}).epoch()).blobs["image"]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)


def test_what_the_page_says_of_data_of_caffe(here: Path) -> None:
    [program] = blocks("data.md", "Data of Caffe", "python")
    [config] = blocks("data.md", "Data of Caffe", "yaml")
    names: dict[str, Any] = {}
    output_of(program, names, "data.md")
    data = open_data(DataSection.from_config(parse_yaml(config, "data.md")["data"]))
    batch = next(data.loaders["val"].epoch()).blobs
    images, mean = names["images"][80:].astype(np.float64), names["images"][:80].mean(axis=0)
    np.testing.assert_allclose(batch["data"], (images - mean)[:, :, 2:30, 2:30], atol=1e-4)
    assert batch["label"].tolist() == names["labels"][80:].tolist() and len(data.loaders["train"]) == 4


# Datum ----------------------------------------------------------------------------------------------------------------


def test_labels_are_found_without_the_pixels() -> None:
    record = datum_bytes(RNG.integers(0, 256, (3, 50, 50), dtype=np.uint8), -7)
    read: list[int] = []

    def piece(at: int, count: int) -> bytes:
        read.append(count)
        return record[at : at + count]

    assert label_of(piece, len(record), "Datum") == -7 and sum(read) < 150
    floats = datum_bytes(RNG.normal(size=(1, 9, 9)).astype(np.float32), 5)
    late = floats[: floats.index(b"\x28\x05")] + floats[floats.index(b"\x28\x05") + 2 :] + number(5, 6)
    for content, label in ((floats, 5), (late, 6), (floats + number(5, 8), 8), (floats[:6], 0)):
        assert label_of(lambda at, count, c=content: c[at : at + count], len(content), "Datum") == label


def test_arrays_of_caffe_in_all_their_forms() -> None:
    """Packed and one by one, float and double, with a shape and with the four sizes of old."""
    values = np.arange(6, dtype=np.float32)
    packed = b"\x2a\x18" + values.tobytes()
    single = b"".join(b"\x2d" + struct.pack("<f", v) for v in values)
    shape, old = b"\x3a\x04\x0a\x02\x02\x03", b"\x08\x01\x10\x01\x18\x02\x20\x03"
    for content, wanted in ((packed + shape, (2, 3)), (single + shape, (2, 3)), (old + single, (1, 1, 2, 3))):
        found = parse_blob(content, "blob")
        assert found.shape == wanted and (found.ravel() == values).all()
    doubles = parse_blob(b"\x3a\x04\x08\x02\x08\x03\x42\x30" + values.astype("<f8").tobytes(), "blob")
    assert doubles.dtype == np.float64 and doubles.shape == (2, 3)
    with pytest.raises(DataError, match=r"6 values do not make the shape \(2, 4\)"):
        parse_blob(packed + b"\x3a\x04\x0a\x02\x02\x04", "blob")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 floats do not make 0 x 0 x 0"),
        (b"\x08\x03\x10\x02\x18\x02\x22\x0b" + bytes(11), "11 bytes do not make 3 x 2 x 2"),
        (b"\x08\x03\x22\x7f" + bytes(9), "byte 4: field 4 should have 127 bytes, but 9 are left"),
        (b"\x0a\x03abc", "byte 2: a value of wire type 2, where 0 belongs"),
        (b"\x08" + b"\xff" * 11, "more than ten bytes"),
        (b"\x38\x01", "an encoded image without data"),
        (b"\x08\xff\xff\xff\xff\x0f\x10\x01\x18\x01\x22\x01x", "do not make -1 x 1 x 1"),
        (b"\x32\x03abc", "3 bytes are no whole number of values"),
    ],
)
def test_records_that_are_no_datum(here: Path, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_datum(content, "Datum")
    put("d", (b"first", datum_bytes(PIXELS[0], 0)), (b"key-7", content))
    said = failure(lambda: source("d", label=None).load()["image"][:])
    assert "data.mdb: byte " in str(said) and "record 1 (key 'key-7'): " in str(said)
    byte = re.search(r"byte (\d+)", words)
    begin = Path("d/data.mdb").read_bytes().index(b"key-7") + 5
    assert said.place is not None and said.place.column == begin + (int(byte[1]) if byte else said.place.column - begin)


def test_samples_of_another_form_are_named(here: Path) -> None:
    first = (b"0", datum_bytes(PIXELS[0], 0))
    put("a", first, (b"1", datum_bytes(PIXELS[0, :, :4], 0)))
    assert "holds uint8 (3, 4, 6), the first one uint8 (3, 8, 6)" in str(
        failure(lambda: source("a").load()["image"][:])
    )
    put("b", (b"0", encoded_datum_bytes(png(0), 0)), (b"1", encoded_datum_bytes(png(0, 9, 9), 0)))
    assert "an image of 9 x 9 pixels" in str(failure(lambda: source("b").load()["image"][:]))
    assert source("b", size=5).load()["image"][:].shape == (2, 3, 5, 5)
    put("c", (b"0", encoded_datum_bytes(png(0), 0)), (b"1", encoded_datum_bytes(png(0)[:60], 0)))
    assert "record 1 (key '1'): cannot be decoded" in str(failure(lambda: source("c").load()["image"][:]))
    for values, words in (({"size": 4}, "for encoded images"), ({"color": "gray"}, "3 channels, which is not 'gray'")):
        with pytest.raises(ConfigError, match=words):
            source("a", **values).specs()


# Databases that are none ----------------------------------------------------------------------------------------------


def test_databases_that_cannot_be_read(here: Path) -> None:
    write_lmdb("train", PIXELS, LABELS)
    good = Path("train/data.mdb").read_bytes()
    for name in ("empty", "cut", "none", "version", "old"):
        Path(name).mkdir()
    Path("empty/data.mdb").write_bytes(b"")
    Path("cut/data.mdb").write_bytes(good[: 3 * 4096])
    Path("none/data.mdb").write_bytes(b"something else" * 1000)
    Path("version/data.mdb").write_bytes(good[:20] + b"\2" + good[21:])
    Path("old/CURRENT").write_text("MANIFEST-1")
    put("several", (b"a", b"x"), max_dbs=2)
    put("records")
    for name, words in (
        ("empty", "the file is empty"),
        ("cut", "is cut off"),
        ("none", "is no LMDB database"),
        ("version", "of data version 2"),
        ("old", "is a LevelDB"),
        ("several", "holds named databases"),
        ("records", "holds no records"),
        (".", "there is no data.mdb in it"),
        ("nowhere", "there is no such file"),
    ):
        assert words in str(failure(source(name).specs)), name


def test_a_file_that_was_cut_short_is_refused_before_its_samples_are_read(here: Path) -> None:
    write_lmdb("d", RNG.integers(0, 256, (6, 3, 50, 50), dtype=np.uint8))
    path = Path("d/data.mdb")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 4096 * 4096 - 4 * 4096)
    assert "is cut off" in str(failure(lambda: LmdbFile("d/data.mdb")))


def test_no_damaged_file_ends_the_process(here: Path) -> None:
    """Bytes are changed where the tree is, and anywhere; the file is cut off. What comes is samples or an error."""
    write_lmdb("train", PIXELS, LABELS)
    good = Path("train/data.mdb").read_bytes()
    put("small", *((b"%d" % n, datum_bytes(PIXELS[n, :1, :2], n)) for n in range(30)))
    other = Path("small/data.mdb").read_bytes()
    rng, path, refused = random.Random(1), here / "x.mdb", 0
    for _ in range(400):
        data = bytearray(rng.choice((good, other)))
        for _ in range(rng.randrange(1, 4)):
            page = rng.randrange(len(data) // 4096) * 4096
            at = page + rng.randrange(200) if rng.random() < 0.8 else rng.randrange(len(data))
            data[at] = rng.choice((0, 1, 255, rng.randrange(256)))
        if rng.random() < 0.1:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            source(path).load()["image"][:]
        except LayerForgeError as error:
            refused += 1
            assert isinstance(error, DataError)
    assert 20 < refused < 400


def test_a_circle_of_pages_is_found(here: Path) -> None:
    put("d", *((b"%06d" % n, bytes(100)) for n in range(500)))
    data = bytearray(Path("d/data.mdb").read_bytes())
    roots = [struct.unpack_from("<Q", data, page + 16 + 24 + 48 + 40)[0] for page in (0, 4096)]
    root = max(r for r in roots if r < len(data) // 4096)
    node = root * 4096 + struct.unpack_from("<H", data, root * 4096 + 16)[0]
    struct.pack_into("<HHH", data, node, root, 0, 0)
    (here / "x.mdb").write_bytes(data)
    assert "goes in a circle" in str(failure(lambda: LmdbFile("x.mdb")))


# Writing --------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_refused(here: Path) -> None:
    write_lmdb("d", PIXELS[:1])
    with pytest.raises(DataError, match="holds a database already"):
        write_lmdb("d", PIXELS)
    for samples, labels, words in (
        (PIXELS[0], None, r"numbers \(N, C, H, W\)"),
        (PIXELS, LABELS[:3], "labels must be 30 whole numbers"),
        (PIXELS, np.full(len(PIXELS), -(1 << 63)), "labels must be 30 whole numbers"),
        (PIXELS, LABELS / 2, "labels must be 30 whole numbers"),
        (["a"], None, "bytes of image files"),
    ):
        with pytest.raises(ConfigError, match=words):
            write_lmdb("e", samples, labels)
    with pytest.raises(ConfigError, match="a mean image is"):
        write_mean_image("m", PIXELS)


def test_without_the_package_only_writing_fails(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lmdb("d", PIXELS, LABELS)
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    assert (source("d").load()["image"][:] == PIXELS).all()
    with pytest.raises(ConfigError) as caught:
        write_lmdb("e", PIXELS)
    assert caught.value.hint == "pip install 'layerforge[lmdb]'"
