"""MNIST and CIFAR-10 from local files: what is read, and what is said of files that are not as they should be."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.data_files import MNIST_FILES, idx_bytes, images, isolate, write_mnist

from layerforge.data import MissingData
from layerforge.data.idx import read_idx
from layerforge.schema.errors import ConfigError, DataError
from layerforge.schema.registry import SOURCES

TRAIN_IMAGES, TRAIN_LABELS = MNIST_FILES["train"]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def mnist(split: str = "train") -> dict[str, np.ndarray]:
    return SOURCES.get("MNIST")(split=split).load()


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        act()
    assert caught.value.exit_code == 3
    assert not isinstance(caught.value, MissingData)
    return str(caught.value)


def test_mnist_is_read_as_bytes_with_channels_first(here: Path) -> None:
    write_mnist(here / "data/mnist")
    arrays = mnist()
    assert arrays["image"].dtype == np.uint8
    np.testing.assert_array_equal(arrays["image"], images(20, seed=20)[:, None])
    np.testing.assert_array_equal(arrays["label"], np.arange(20) % 10)
    assert len(mnist("test")["label"]) == 10


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte"])
def test_plain_files_under_their_usual_names(here: Path, name: str) -> None:
    folder = here / "data/mnist"
    write_mnist(folder)
    (folder / name).write_bytes(gzip.decompress((folder / TRAIN_IMAGES).read_bytes()))
    (folder / TRAIN_IMAGES).unlink()
    np.testing.assert_array_equal(mnist()["image"], images(20, seed=20)[:, None])


def test_folders_are_searched_in_order(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "cache/mnist", train=11)
    assert len(mnist()["label"]) == 11
    write_mnist(tmp_path / "own/mnist", train=12)
    monkeypatch.setenv("LAYERFORGE_DATA", str(tmp_path / "own"))
    assert len(mnist()["label"]) == 12
    write_mnist(here / "data/mnist", train=13)
    assert len(mnist()["label"]) == 13


def test_without_layerforge_cache_the_users_cache_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAYERFORGE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    write_mnist(tmp_path / ".cache/layerforge/mnist", train=11)
    assert len(mnist()["label"]) == 11
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    write_mnist(tmp_path / "xdg/layerforge/mnist", train=12)
    assert len(mnist()["label"]) == 12


def test_fashion_mnist_has_its_own_folder_and_names(here: Path) -> None:
    write_mnist(here / "data/fashion_mnist")
    source = SOURCES.get("FashionMNIST")()
    assert len(source.load()["label"]) == 20
    assert source.class_names[7] == "sneaker"


def test_two_splits_of_one_file_share_its_memory(here: Path) -> None:
    write_mnist(here / "data/mnist")
    first, second = mnist("train[:15]"), mnist("train[10:]")
    assert np.shares_memory(first["image"][10:], second["image"][:5])
    with pytest.raises(ValueError, match="read-only"):
        first["image"][0] = 0


def test_a_changed_file_is_read_again(here: Path) -> None:
    write_mnist(here / "data/mnist", train=20)
    before = mnist()
    write_mnist(here / "data/mnist", train=21)
    assert len(mnist()["label"]) == 21
    assert len(before["label"]) == 20


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", range(20)),
        ("train[:5]", range(5)),
        ("train[5:]", range(5, 20)),
        ("train[5:7]", range(5, 7)),
        ("train[-3:]", range(17, 20)),
        ("train[:-3]", range(17)),
        ("train[:50%]", range(10)),
        ("train[50%:]", range(10, 20)),
        ("train[-10%:]", range(18, 20)),
        ("train[ 1 : 2 ]", range(1, 2)),
    ],
)
def test_splits(here: Path, split: str, expected: range) -> None:
    write_mnist(here / "data/mnist")
    np.testing.assert_array_equal(mnist(split)["image"], images(20, seed=20)[list(expected), None])


@pytest.mark.parametrize("split", ["train[:21]", "train[21:]", "train[-21:]", "train[:120%]"])
def test_a_split_out_of_range_says_how_many_there_are(here: Path, split: str) -> None:
    write_mnist(here / "data/mnist")
    with pytest.raises(ConfigError, match="out of range: MNIST train has 20 samples") as caught:
        mnist(split)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("split", ["train[5:5]", "train[7:5]", "train[20:]", "train[:1%]"])
def test_an_empty_split_is_an_error(here: Path, split: str) -> None:
    write_mnist(here / "data/mnist")
    with pytest.raises(ConfigError, match="is empty"):
        mnist(split)


def spoil(here: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """Write MNIST with one file changed, plain."""
    folder = here / "data/mnist"
    write_mnist(folder)
    path = folder / name
    plain = folder / name.removesuffix(".gz")
    plain.write_bytes(change(gzip.decompress(path.read_bytes())))
    path.unlink()
    return plain


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (TRAIN_IMAGES, lambda b: b"", "the file is empty"),
        (TRAIN_IMAGES, lambda b: b[:3], "ends within the IDX header"),
        (TRAIN_IMAGES, lambda b: b[:9], "ends within the IDX header"),
        (TRAIN_IMAGES, lambda b: b"\x89PNG" + b[4:], "is not an IDX file: it begins with 89 50 4e 47"),
        (TRAIN_IMAGES, lambda b: b[:-1], "cut off within values: 15680 bytes expected, 15679 found"),
        (TRAIN_IMAGES, lambda b: b + b"x", "goes on after the data"),
        (TRAIN_IMAGES, lambda b: b[:4] + struct.pack(">3I", 2**31, 28, 28) + b[16:], "cannot hold more than"),
        (TRAIN_IMAGES, lambda b: idx_bytes(images(20, shape=(14, 14))), "28 x 28 bytes, found 20 x 14 x 14 uint8"),
        (TRAIN_IMAGES, lambda b: idx_bytes(images(0)), "holds no images"),
        (
            TRAIN_LABELS,
            lambda b: idx_bytes(np.zeros(19, np.uint8)),
            "holds 19 labels, but train-images-idx3-ubyte.gz 20",
        ),
        (TRAIN_LABELS, lambda b: idx_bytes(np.full(20, 10, np.uint8)), "label 10 of image 0 is out of range"),
        (TRAIN_LABELS, lambda b: idx_bytes(np.zeros(20, np.int32)), "one byte per image, found 20 int32"),
    ],
)
def test_a_wrong_idx_file_is_named_with_what_was_found(
    here: Path, name: str, change: Callable[[bytes], bytes], words: str
) -> None:
    path = spoil(here, name, change)
    text = failure(mnist)
    assert words in text
    assert path.name in text
    assert "delete the file" in text


@pytest.mark.parametrize("cut", [1, 9, 2000])
def test_a_truncated_gzip_file(here: Path, cut: int) -> None:
    write_mnist(here / "data/mnist")
    path = here / "data/mnist" / TRAIN_IMAGES
    path.write_bytes(path.read_bytes()[:-cut])
    assert "damaged or cut off" in failure(mnist)


def test_a_damaged_gzip_file(here: Path) -> None:
    write_mnist(here / "data/mnist")
    path = here / "data/mnist" / TRAIN_IMAGES
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert TRAIN_IMAGES in failure(mnist)


def test_a_small_gzip_file_that_promises_much_takes_no_memory(here: Path) -> None:
    write_mnist(here / "data/mnist")
    head = struct.pack(">HBB3I", 0, 8, 3, 2**24, 28, 28)
    (here / "data/mnist" / TRAIN_IMAGES).write_bytes(gzip.compress(head))
    assert "cannot hold more than" in failure(mnist)


def test_a_folder_in_place_of_a_file(here: Path) -> None:
    write_mnist(here / "data/mnist")
    path = here / "data/mnist" / TRAIN_IMAGES
    path.unlink()
    path.mkdir()
    assert "is a folder, not a file" in failure(mnist)


def test_a_pipe_in_place_of_a_file_does_not_hang(here: Path) -> None:
    write_mnist(here / "data/mnist")
    path = here / "data/mnist" / TRAIN_IMAGES
    path.unlink()
    os.mkfifo(path)
    assert "not an ordinary file" in failure(mnist)


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "f4", "f8"])
def test_idx_of_every_type(here: Path, kind: str) -> None:
    array = np.arange(-6, 6).reshape(3, 4).astype(kind)
    (here / "a.idx").write_bytes(idx_bytes(array))
    found = read_idx(here / "a.idx")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def records(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).integers(0, 256, (count, 3073), dtype=np.uint8)
    rows[:, 0] %= 10
    return rows


def cifar(split: str = "train") -> dict[str, np.ndarray]:
    return SOURCES.get("CIFAR10")(split=split).load()


def test_cifar_records_of_several_files_in_order(here: Path) -> None:
    folder = here / "data/cifar10"
    folder.mkdir(parents=True)
    one, two, test = records(3, 1), records(2, 2), records(4, 3)
    (folder / "data_batch_2.bin.gz").write_bytes(gzip.compress(two.tobytes()))
    (folder / "data_batch_1_first3.bin").write_bytes(one.tobytes())
    (folder / "test_batch.bin").write_bytes(test.tobytes())
    arrays = cifar()
    both = np.concatenate([one, two])
    np.testing.assert_array_equal(arrays["label"], both[:, 0])
    np.testing.assert_array_equal(arrays["image"][3, 2, 5], two[0, 1 + 2 * 1024 + 5 * 32 :][:32])
    assert cifar("test")["image"].shape == (4, 3, 32, 32)


def test_cifar_file_and_its_gzip_count_once(here: Path) -> None:
    folder = here / "data/cifar10/cifar-10-batches-bin"
    folder.mkdir(parents=True)
    (folder / "data_batch_1.bin").write_bytes(records(3).tobytes())
    (folder / "data_batch_1.bin.gz").write_bytes(gzip.compress(records(3).tobytes()))
    assert len(cifar()["label"]) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.tobytes()[:-1], "no whole number of records"),
        (lambda r: np.where(np.arange(3073) == 0, 11, r).astype(np.uint8).tobytes(), "label 11 of record 0"),
        (lambda r: b"", "the file is empty"),
        (lambda r: gzip.compress(r.tobytes())[:-5], "damaged or cut off"),
    ],
)
def test_a_wrong_cifar_file(here: Path, change: Callable[[np.ndarray], bytes], words: str) -> None:
    folder = here / "data/cifar10"
    folder.mkdir(parents=True)
    (folder / "data_batch_1.bin").write_bytes(change(records(3)))
    text = failure(cifar)
    assert words in text
    assert "data_batch_1.bin" in text
