"""Files that cannot be data: pipes, devices, promises that a file does not keep, words that would move a cursor."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.data_files import isolate
from support.inputs import read_inputs

from layerforge.arrays.spec import Spec
from layerforge.cli import main
from layerforge.data.idx import read_idx
from layerforge.schema.errors import DataError, LayerForgeError
from layerforge.schema.registry import SOURCES
from layerforge.schema.texts import visible


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def source(kind: str, path: str, **values: Any) -> Any:
    return SOURCES.get(kind)(path=path, **values)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX has pipes and devices among its files")
@pytest.mark.parametrize("name", ["pipe", "/dev/zero"])
def test_pipes_and_devices_are_refused_at_once(here: Path, name: str) -> None:
    if name == "pipe":
        os.mkfifo(name)
    path = str(Path(name).absolute())
    extra = {"Text": {"sequence_length": 2}}
    for kind in ("CSV", "NPZ", "HDF5", "Text"):
        with pytest.raises(DataError, match="is not an ordinary file"):
            source(kind, path, **extra.get(kind, {})).specs()
    with pytest.raises(DataError, match="is not an ordinary file"):
        read_idx(path)
    if name == "pipe":
        for suffix in (".png", ".npz", ".csv", ".gz", ""):
            os.mkfifo(f"a{suffix}")
            with pytest.raises(DataError, match="is not an ordinary file"):
                read_inputs(f"a{suffix}", Spec((1, 3, 3)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX has pipes among its files")
def test_pipes_in_the_place_of_public_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, name in (("mnist", "train-images-idx3-ubyte.gz"), ("cifar10", "cifar-10-binary.tar.gz")):
        (here / "data" / folder).mkdir(parents=True)
        os.mkfifo(here / "data" / folder / name)
    with pytest.raises(LayerForgeError):
        SOURCES.get("MNIST")(split="train").load(progress=False)
    with pytest.raises(DataError, match="is not an ordinary file"):
        SOURCES.get("CIFAR10")(split="train").load(progress=False)
    assert main(["data", "verify", "MNIST"]) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: f.create_dataset("x", (4, 10**8), "f4"), "but only 0 are stored"),
        (lambda f: f.create_dataset("x", (1, 6 * 10**7), "u1", chunks=(1, 10**4)), "but only 0 are stored"),
        (lambda f: f.create_dataset("x", data=5.0), "array 'x' is a single number"),
        (lambda f: f.create_dataset("x", data=h5py.Empty("f4")), "'x' is empty, without a shape"),
    ],
)
def test_an_hdf5_file_is_refused_before_a_net_is_built(here: Path, make: Any, words: str) -> None:
    with h5py.File("a.h5", "w") as file:
        make(file)
    with pytest.raises(DataError) as caught:
        source("HDF5", "a.h5").specs()
    assert words in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_an_empty_data_set_beside_others_is_left_out(here: Path) -> None:
    with h5py.File("a.h5", "w") as file:
        file["x"], file["note"] = np.ones((3, 2)), h5py.Empty("f4")
    with pytest.warns(UserWarning, match="'note' is empty"):
        assert list(source("HDF5", "a.h5").load()) == ["x"]


def npy(shape: str, dtype: str = "<f4", data: bytes = bytes(48)) -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def test_a_header_that_python_2_wrote_is_read_without_a_word(here: Path) -> None:
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", npy("(3L, 4)", data=bytes(48)))
    assert source("NPZ", "a.npz").load()["x"].shape == (3, 4)


@pytest.mark.parametrize("shape", ["(3, 100000000)", "(" + "9" * 20 + ",)", "(3, " + "9" * 5000 + ")", "(-4, -3)"])
def test_an_npz_file_is_refused_before_a_net_is_built(here: Path, shape: str) -> None:
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", npy(shape))
    with pytest.raises(DataError):
        source("NPZ", "a.npz").specs()


@pytest.mark.parametrize("dtype", ["<f" + "9" * 20, "|V" + "9" * 20, "<U" + "9" * 20, "9" * 20 + "f4", "<f4," * 3])
def test_dtypes_of_very_many_digits(here: Path, dtype: str) -> None:
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", npy("(3, 4)", dtype))
    with pytest.raises(DataError):
        source("NPZ", "a.npz").load()


@pytest.mark.parametrize("digits", ["9" * 20, "9" * 400, "9" * 5000, "-" + "9" * 20, "1e" + "9" * 20])
def test_numbers_of_very_many_digits_in_tables(here: Path, digits: str) -> None:
    """As a label, as a class, as a feature: a number or an error of ours."""
    Path("a.csv").write_text(f"1,0\n{digits},{digits}\n")
    for values in ({}, {"label": -1}, {"label": -1, "label_role": "index"}, {"label": -1, "label_role": "real"}):
        try:
            source("CSV", "a.csv", **values).load()
        except LayerForgeError:
            continue
    for values in ({"split": f"all[:{digits}]"}, {"label": 10**20}, {"columns": [10**20]}):
        with pytest.raises(LayerForgeError):
            source("CSV", "a.csv", **values).load()


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's own
def test_two_arrays_of_one_name(here: Path) -> None:
    with zipfile.ZipFile("a.npz", "w") as archive:
        archive.writestr("x.npy", npy("(3, 4)"))
        archive.writestr("x.npy", npy("(3, 4)", data=bytes(range(48))))
    with pytest.raises(DataError, match="two arrays called 'x'"):
        source("NPZ", "a.npz").load()


def test_an_idx_file_that_promises_too_much(here: Path) -> None:
    Path("a").write_bytes(b"\0\0\x0e\x08" + b"\xff" * 32)
    with pytest.raises(DataError, match="out of range"):
        read_idx("a")


def test_words_of_a_file_move_no_cursor(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text("a,\x1b[2Jb\n1,\x1b]0;x\x07\n2,\x9b31m\n3,\u202eabc\n")
    path = str(here / "a.csv")
    assert main(["data", "info", "CSV", f"path={path}", "label=1"]) == 0
    assert main(["data", "info", "CSV", f"path={path}"]) == 3
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b" in said.err
    assert visible("a\tb\nc\x1b\u202e") == "a\tb\nc\\x1b\\u202e"
