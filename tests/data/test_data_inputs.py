"""Inputs of `predict`: PNG, IDX, NPZ and CSV as samples for a net."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import grey_png, idx_bytes, images, png_bytes
from support.inputs import read_inputs

from layerforge.arrays.spec import Spec, index
from layerforge.data.array_reader import ArrayReader
from layerforge.data.png import read_png
from layerforge.schema.errors import DataError, LayerForgeError
from layerforge.schema.registry import SOURCES

GREY = Spec((1, 4, 5))


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        act()
    assert caught.value.exit_code == 3
    return str(caught.value)


def filtered(image: np.ndarray, kind: int) -> list[bytes]:
    """The rows of an image (H, W, C) by one of PNG's five filters, straight from its definition."""
    height, width, step = image.shape
    flat = image.reshape(height, width * step).astype(int)
    rows = []
    for y in range(height):
        row = [kind]
        for i in range(width * step):
            left = flat[y, i - step] if i >= step else 0
            up = flat[y - 1, i] if y else 0
            corner = flat[y - 1, i - step] if y and i >= step else 0
            base = left + up - corner
            nearest = sorted((abs(base - v), n, v) for n, v in enumerate((left, up, corner)))[0][2]
            guess = (0, left, up, (left + up) // 2, nearest)[kind]
            row.append((flat[y, i] - guess) % 256)
        rows.append(bytes(int(v) for v in row))
    return rows


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_png_filters(tmp_path: Path, kind: int, colour: int, channels: int) -> None:
    image = images(1, seed=kind, shape=(7, 6, channels))[0]
    (tmp_path / "a.png").write_bytes(png_bytes(filtered(image, kind), 6, colour=colour))
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), image.transpose(2, 0, 1))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_of_few_grey_levels(tmp_path: Path, depth: int) -> None:
    levels = np.arange(15).reshape(3, 5) % 2**depth
    bits = (levels[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = [b"\0" + np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in bits]
    (tmp_path / "a.png").write_bytes(png_bytes(rows, 5, depth=depth))
    np.testing.assert_array_equal(read_png(tmp_path / "a.png")[0], levels * 255 // (2**depth - 1))


def test_png_with_a_palette(tmp_path: Path) -> None:
    palette = images(1, shape=(4, 3))[0]
    chosen = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
    data = png_bytes([b"\0" + row.tobytes() for row in chosen], 3, colour=3, PLTE=palette.tobytes(), tRNS=b"\xff\xff")
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), palette[chosen].transpose(2, 0, 1))


@pytest.mark.parametrize(("colour", "channels"), [(4, 2), (6, 4)])
def test_png_with_alpha_must_be_opaque(tmp_path: Path, colour: int, channels: int) -> None:
    image = images(1, shape=(3, 4, channels))[0]
    image[..., -1] = 255
    (tmp_path / "a.png").write_bytes(png_bytes(filtered(image, 0), 4, colour=colour))
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), image[..., :-1].transpose(2, 0, 1))
    image[1, 1, -1] = 254
    (tmp_path / "a.png").write_bytes(png_bytes(filtered(image, 0), 4, colour=colour))
    assert "partly transparent" in failure(lambda: read_png(tmp_path / "a.png"))


GOOD = grey_png(images(1, shape=(4, 5))[0])
ROWS = [b"\0" + bytes(5)] * 4


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file is empty"),
        (b"GIF89a something else", "is not a PNG image"),
        (GOOD[:-20], "the file ends within"),
        (GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:], "checksum of a chunk is wrong"),
        (GOOD[:8] + b"\xff\xff\xff\xff" + GOOD[12:], "a chunk promises 4294967295 bytes"),
        (png_bytes(ROWS, 5, interlaced=1), "is interlaced"),
        (png_bytes(ROWS, 5, depth=16), "has 16 bits"),
        (png_bytes(ROWS, 5, colour=5), "of colour type 5"),
        (png_bytes(ROWS, 6), "has 24 bytes, 6 x 4 pixels need 28"),
        (png_bytes(ROWS, 4), "4 x 4 pixels need 20"),
        (png_bytes(ROWS, 2**20), "the image data has 24 bytes"),
        (png_bytes(ROWS * 9999, 2**20), "pixels, allowed are"),
        (png_bytes([b"\7" + bytes(5)] * 4, 5), "unknown filter"),
        (png_bytes([b"\0\1\1\1\1\1"] * 4, 5, colour=3, PLTE=b"\0\0\0"), "a colour that the palette does not have"),
        (png_bytes(ROWS, 5, tRNS=b"\0\0"), "transparent colour"),
    ],
)
def test_png_that_cannot_be_read(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(data)
    text = failure(lambda: read_png(tmp_path / "a.png"))
    assert words in text
    assert "a.png" in text


def test_png_becomes_one_sample(tmp_path: Path) -> None:
    image = images(1, shape=(4, 5))[0]
    (tmp_path / "a.png").write_bytes(grey_png(image))
    np.testing.assert_array_equal(read_inputs(tmp_path / "a.png", GREY), image[None, None])
    np.testing.assert_array_equal(read_inputs(tmp_path / "a.png", Spec((4, 5))), image[None])
    np.testing.assert_array_equal(read_inputs(tmp_path / "a.png", Spec((3, 4, 5)))[0], [image] * 3)
    assert "4 x 5 pixels, the net reads 5 x 4" in failure(lambda: read_inputs(tmp_path / "a.png", Spec((1, 5, 4))))
    assert "is an image" in failure(lambda: read_inputs(tmp_path / "a.png", Spec((20,))))


def test_a_coloured_png_becomes_grey(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    (tmp_path / "a.png").write_bytes(png_bytes(filtered(colours, 0), 4, colour=2))
    np.testing.assert_array_equal(read_inputs(tmp_path / "a.png", Spec((1, 1, 4))), [[[[76, 150, 29, 255]]]])


PIXELS = images(3, shape=(4, 5))


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.gz", "images.idx", "t10k-images-idx3-ubyte"])
def test_idx_inputs(tmp_path: Path, name: str) -> None:
    data = idx_bytes(PIXELS)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    np.testing.assert_array_equal(read_inputs(tmp_path / name, GREY), PIXELS[:, None])


@pytest.mark.parametrize(
    "arrays",
    [
        {"image": PIXELS[:, None], "other": np.zeros(3)},
        {"whatever": PIXELS},
        {"image": PIXELS.reshape(3, 20)},
    ],
)
def test_npz_inputs(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    np.testing.assert_array_equal(read_inputs(tmp_path / "a.npz", GREY), PIXELS[:, None])


def test_npz_of_one_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=PIXELS[0])
    np.testing.assert_array_equal(read_inputs(tmp_path / "a.npz", GREY), PIXELS[:1, None])


@pytest.mark.parametrize("header", ["", "a,b,c\n"])
def test_csv_inputs(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(header + "1,2,3\n4,5,6.5\n")
    np.testing.assert_array_equal(read_inputs(tmp_path / "a.csv", Spec((3,)), "x"), [[1, 2, 3], [4, 5, 6.5]])
    (tmp_path / "i.csv").write_text("1,2,3\n")
    whole = read_inputs(tmp_path / "i.csv", index((3,), 4), "x")
    assert whole.dtype == np.int64


def test_inputs_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=PIXELS, two=PIXELS)
    assert "has no array 'image'" in failure(lambda: read_inputs(tmp_path / "a.npz", GREY))
    np.savez(tmp_path / "b.npz", image=PIXELS.transpose(0, 2, 1))
    text = failure(lambda: read_inputs(tmp_path / "b.npz", GREY))
    assert "has the shape (3, 5, 4), samples of the shape (1, 4, 5) are expected" in text
    (tmp_path / "c.csv").write_text("1,2,x\n")
    assert "'x' is not a finite number" in failure(lambda: read_inputs(tmp_path / "c.csv", Spec((3,))))
    np.savez(tmp_path / "d.npz", t=np.array([0, 7]))
    assert "sample 1 has the value 7, allowed are 0 to 3" in failure(
        lambda: read_inputs(tmp_path / "d.npz", index((), 4))
    )
    (tmp_path / "e.jpg").write_bytes(b"x")
    assert "'.jpg' is no kind of input" in failure(lambda: read_inputs(tmp_path / "e.jpg", GREY))
    assert "there is no such file" in failure(lambda: read_inputs(tmp_path / "none.png", GREY))
    np.savez(tmp_path / "f.npz", image=PIXELS[:0])
    assert "holds no samples" in failure(lambda: read_inputs(tmp_path / "f.npz", GREY))


NAMED = {"x": "feats", "t": "t"}


@pytest.mark.parametrize("type_name", ["NPZ", "HDF5"])
def test_arrays_go_by_the_names_that_training_gave_them(tmp_path: Path, type_name: str) -> None:
    raw, feats = images(6, shape=(4,)).astype(np.float32), images(6, seed=1, shape=(4,)).astype(np.float32)
    path = tmp_path / f"a.{'npz' if type_name == 'NPZ' else 'h5'}"
    write_arrays(path, x=raw, feats=feats, t=np.arange(6))
    source = SOURCES.get(type_name).from_config({"path": str(path), "blobs": NAMED})
    np.testing.assert_array_equal(read_inputs(path, Spec((4,)), "x", source.reader()), feats)
    write_arrays(path := path.with_stem("b"), x=raw, t=np.arange(6))
    text = failure(lambda: read_inputs(path, Spec((4,)), "x", source.reader()))
    assert "no array 'feats'" in text and "training reads as 'x'" in text
    write_arrays(path := path.with_stem("c"), whatever=raw)
    np.testing.assert_array_equal(read_inputs(path, Spec((4,)), "x", source.reader()), raw)


def test_arrays_of_one_kind_of_file_go_by_the_names_in_another(tmp_path: Path) -> None:
    feats = images(6, shape=(4,)).astype(np.float32)
    write_arrays(tmp_path / "a.npz", x=feats + 1, feats=feats)
    reader = ArrayReader({"x": Spec((4,))}, NAMED)
    np.testing.assert_array_equal(read_inputs(tmp_path / "a.npz", Spec((4,)), "x", reader), feats)


def test_a_side_of_a_pair_is_read_as_its_samples_are(tmp_path: Path) -> None:
    feats = images(6, shape=(4,)).astype(np.float32)
    write_arrays(path := tmp_path / "a.npz", x=feats + 1, feats=feats, label=np.arange(6) % 2)
    inner = {"type": "NPZ", "path": str(path), "blobs": {"x": "feats", "label": "label"}}
    source = SOURCES.get("Pairs").from_config({"source": inner})
    np.testing.assert_array_equal(read_inputs(path, Spec((4,)), "x_b", source.reader()), feats)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,1,2\n" + "3.5,1.5,2.5\n" * 12, "put a line of names that are no numbers in front"),
        ("a,b,c\n1,2,3\n1,x,3\n", "an empty one is a gap"),
    ],
)
def test_hints_on_tables_name_no_key_that_predict_has_not(tmp_path: Path, trained: bool, text: str, words: str) -> None:
    (tmp_path / "train.csv").write_text("a,b,c,label\n" + "1.5,2.5,3.5,0\n2.5,1.5,3.5,1\n" * 6)
    (tmp_path / "a.csv").write_text(text)
    table = SOURCES.get("CSV").from_config({"path": str(tmp_path / "train.csv"), "label": "label"}, "CSV")
    with pytest.raises(LayerForgeError) as caught:
        read_inputs(tmp_path / "a.csv", Spec((3,)), "x", table.reader() if trained else None)
    if not (trained and "names" in words):  # then the columns' own names are asked for
        assert words in str(caught.value)
    assert "header:" not in str(caught.value) and "columns: [" not in str(caught.value)
