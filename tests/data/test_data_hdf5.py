"""HDF5 data: datasets become blobs; what would read elsewhere, lie about its size or never end is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.data_files import isolate

from layerforge.data import Source
from layerforge.schema.errors import LayerForgeError
from layerforge.schema.registry import SOURCES


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def source(**values: Any) -> Source:
    return SOURCES.get("HDF5")(path="a.h5", **values)


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(LayerForgeError) as caught:
        act()
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_datasets_of_the_root_group_are_blobs(here: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    with h5py.File(here / "a.h5", "w") as file:
        file.create_dataset("image", data=pixels, compression="gzip", chunks=(2, 3, 4, 4))
        file["label"] = np.arange(5, dtype=np.int32)
        file["x"] = np.arange(10, dtype=">f4").reshape(5, 2)
        file["inner/y"] = np.zeros(7)
    h5 = source(split="all[1:4]")
    assert {n: (s.shape, s.role) for n, s in h5.specs().items()} == {
        "image": ((3, 4, 4), "real"),
        "label": ((), "index"),
        "x": ((2,), "real"),
    }
    with pytest.warns(UserWarning, match="'inner' is a group"):
        arrays = h5.load()
    np.testing.assert_array_equal(arrays["image"], pixels[1:4])
    np.testing.assert_array_equal(arrays["x"], np.arange(10).reshape(5, 2)[1:4])
    assert arrays["x"].dtype == np.float32


def test_what_is_left_out_of_a_file_is_said_by_name(here: Path) -> None:
    with h5py.File(here / "a.h5", "w") as file:
        file["x"] = np.arange(3.0)
        file["wave"] = np.zeros(3, complex)
        file["nothing"] = h5py.Empty("f4")
        file["words"] = np.array([b"a", b"b", b"c"])
        file["inner/deep/y"] = file["inner/z"] = np.zeros(3)
    with pytest.warns(UserWarning) as told:
        assert list(source().load()) == ["x"]
    words = str(told[0].message)
    for part in ("'inner' is a group", "'nothing' is empty", "'wave' holds complex128", "'words' holds |S1"):
        assert part in words
    assert "blobs: {BLOB: GROUP/NAME}" in words and "'x'" not in words
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(source(blobs={"x": "x"}).load()) == ["x"], "who names what is meant knows the rest"


def test_blobs_name_datasets_in_groups(here: Path) -> None:
    with h5py.File(here / "a.h5", "w") as file:
        file["train/x"] = np.arange(4.0)
        file["train/itself"] = file["train"]  # a hard link in a circle
    np.testing.assert_array_equal(source(blobs={"x": "train/x"}).load()["x"], np.arange(4.0))


def test_links_and_data_in_other_files_are_refused(here: Path) -> None:
    with h5py.File(here / "secret.h5", "w") as file:
        file["x"] = np.arange(3.0)
    np.arange(3.0).tofile(here / "raw.bin")
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(here / "secret.h5", "x", (3,))
    with h5py.File(here / "a.h5", "w") as file:
        file["out"] = h5py.ExternalLink("secret.h5", "x")
        file["soft"] = h5py.SoftLink("/nowhere")
        file.create_dataset("raw", (3,), "f8", external=[("raw.bin", 0, 24)])
        file.create_virtual_dataset("virtual", layout)
    words = {"out": "is an external link", "soft": "is a soft link", "raw": "in another file", "virtual": "in another"}
    for name, why in words.items():
        assert why in failure(source(blobs={"x": name}).load)
    assert "holds no datasets of numbers" in failure(source().load)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "the file is empty"), (b"no HDF5 at all" * 100, "is not an HDF5 file, or damaged")],
)
def test_files_that_are_no_hdf5(here: Path, data: bytes, words: str) -> None:
    (here / "a.h5").write_bytes(data)
    assert words in failure(source().specs)


def test_a_truncated_file(here: Path) -> None:
    with h5py.File(here / "a.h5", "w") as file:
        file["x"] = np.zeros((100, 100))
    (here / "a.h5").write_bytes((here / "a.h5").read_bytes()[:-1000])
    assert "damaged" in failure(source().load)


def test_damaged_chunks_are_noticed(here: Path) -> None:
    with h5py.File(here / "a.h5", "w") as file:
        x = file.create_dataset("x", data=np.arange(5000.0), compression="gzip", chunks=(5000,))
        offset = x.id.get_chunk_info(0).byte_offset
    data = bytearray((here / "a.h5").read_bytes())
    data[offset : offset + 50] = bytes(50)
    (here / "a.h5").write_bytes(data)
    assert "damaged" in failure(source().load)


def test_words_and_promises_are_refused(here: Path) -> None:
    with h5py.File(here / "a.h5", "w") as file:
        file["words"] = ["a", "b"]
        file.create_dataset("huge", (2**40,), "u1", chunks=(2**20,))
    assert "not numbers" in failure(source(blobs={"x": "words"}).load)
    assert "'huge' should have 1099511627776 bytes, but only 0 are stored" in failure(source().load)


def test_a_reader_that_does_not_end_is_ended(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is made to loop; the processor time of the child is limited, ours is not."""
    from layerforge.data import hdf5

    (here / "a.h5").write_bytes(b"x")
    loop = here / "hdf5_child.py"
    text = Path(hdf5.__file__).with_name("hdf5_child.py").read_text()
    loop.write_text(text.replace("import h5py\n", "while True: pass\n").replace("SECONDS = 30", "SECONDS = 1"))
    monkeypatch.setattr(hdf5, "__file__", str(loop))
    assert "crashed or did not come to an end" in failure(source().specs)
