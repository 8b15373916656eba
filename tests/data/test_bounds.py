"""What a file promises is checked against the file before memory or time is spent on it."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.data_files import png_bytes
from support.inputs import read_inputs

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.config import extends
from layerforge.config.document import Config
from layerforge.config.yaml_file import parse_yaml
from layerforge.data.cifar import read_records
from layerforge.data.idx import read_idx
from layerforge.data.png import read_png
from layerforge.schema.errors import ConfigError, DataError, LayerForgeError
from layerforge.schema.registry import SOURCES

MIB = 1 << 20


def load(kind: str, path: Path, **values: Any) -> dict[str, np.ndarray]:
    return SOURCES.get(kind)(path=str(path), **values).load()


def peak_of(work: Callable[[], Any]) -> int:
    """The most memory that a piece of work, or its failure, took at once."""
    tracemalloc.start()
    try:
        work()
    except LayerForgeError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def npz(path: Path, content: bytes, name: str = "x.npy") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def test_a_header_of_an_npz_is_not_unpacked_before_its_length_is_known(tmp_path: Path) -> None:
    bomb = b"\x93NUMPY\2\0" + struct.pack("<I", 50 * MIB) + bytes(50 * MIB)
    path = npz(tmp_path / "a.npz", bomb)
    with pytest.raises(DataError, match="a header of 52428800 bytes"):
        load("NPZ", path)
    assert peak_of(lambda: load("NPZ", path)) < 5 * MIB


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3L, ",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 10000000000000000000000)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': [], 'fortran_order': False, 'shape': (1,)}",
        "(" * 5000,
        "{[]: 1}",
    ],
)
def test_headers_of_an_npz_that_are_none(tmp_path: Path, header: str) -> None:
    text = header.encode() + b"\n"
    path = npz(tmp_path / "a.npz", b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(8))
    with pytest.raises(DataError):
        load("NPZ", path)


def test_a_name_in_an_npz_that_is_no_text(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    path = npz(tmp_path / "a.npz", buffer.getvalue(), "ä.npy")
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xff\xff"))
    with pytest.raises(DataError, match=r"is not a \.npz file, or damaged"):
        load("NPZ", path)


def test_an_npz_of_very_many_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(DataError, match="more than 10000 arrays"):
        load("NPZ", tmp_path / "a.npz")


def test_one_long_label_does_not_make_all_labels_long(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,a\n" * 10_000 + f"1,{'b' * 100_000}\n")
    assert peak_of(lambda: load("CSV", path, label=-1)) < 20 * MIB
    assert load("CSV", path, label=-1)["label"].tolist() == [0] * 10_000 + [1]


@pytest.mark.parametrize("text", ["\r ", " \n", "\n  \n\n", ' \n"', ","])
def test_a_table_of_nothing_but_spaces(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    with pytest.raises(DataError):
        load("CSV", path)


def test_a_header_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\n"one\nand two",b\n1,2\n3,4\n')
    assert load("CSV", path)["x"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("label", ["1e300", "99999999999999999999", "16777216"])
def test_a_label_that_would_make_very_many_classes(tmp_path: Path, label: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"1,0\n1,{label}\n")
    with pytest.raises(DataError, match="is no class"):
        load("CSV", path, label=-1, label_role="index")


def test_a_text_takes_a_few_times_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("some words and more\n" * 500_000)
    assert peak_of(lambda: load("Text", path)) < 10 * path.stat().st_size


def test_a_picture_of_another_size_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes([bytes(3001)] * 3000, 3000))
    with pytest.raises(DataError, match="is 3000 x 3000 pixels, the net reads 28 x 28"):
        read_inputs(path, Spec((1, 28, 28)))
    assert peak_of(lambda: read_inputs(path, Spec((1, 28, 28)))) < MIB


def test_a_picture_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes([bytes(10)] * 3, 2**23))
    with pytest.raises(DataError, match="allowed are 1 to"):
        read_png(path)


@pytest.mark.parametrize("sizes", [(2**31, 28, 28), (0, 2**32 - 1, 2**32 - 1)])
def test_sizes_of_an_idx_file(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    path = tmp_path / "a-ubyte"
    path.write_bytes(b"\0\0\x08\3" + struct.pack(">3I", *sizes) + bytes(100))
    with pytest.raises(DataError, match=r"cannot hold more than|out of range"):
        read_idx(path)


def test_an_empty_cifar_file(tmp_path: Path) -> None:
    path = tmp_path / "test_batch.bin.gz"
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match="0 bytes are no whole number of records"):
        read_records(path)


def test_many_promises_of_an_hdf5_file_count_together(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number in range(20):
            file.create_dataset(f"x{number}", (10, MIB), "u1", chunks=(1, MIB))
    with pytest.raises(DataError, match="should have 209715200 bytes, but only 0 are stored"):
        load("HDF5", path)
    assert load("HDF5", path, blobs={"x": "x0"})["x"].shape == (10, MIB)


@pytest.mark.parametrize("name", ["/".join("a" * 60), "a" * 60_000])
def test_names_of_an_hdf5_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number in range(20):
            file[f"{name}{number}/x"] = np.ones(3)
    with pytest.raises(DataError, match="too long or too deep"):
        load("HDF5", path)


def test_many_large_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extends, "MAX_CHARACTERS", 4000)
    (tmp_path / "base.yaml").write_text(f"# {'x' * 1500}\nseed: 1\n")
    (tmp_path / "a.yaml").write_text("extends: [base.yaml, base.yaml, base.yaml]\nnet:\n  - {name: a, type: ReLU}\n")
    with pytest.raises(ConfigError, match="more than 4000 characters"):
        Config.load(tmp_path / "a.yaml")


def blocks(inner: str, outer: str) -> dict[str, Any]:
    """Blocks that use each other nine levels deep; `outer` has B for the block below."""
    levels = {f"b{i}": outer.replace("B", f"b{i - 1}") for i in range(1, 10)}
    lines = [f"  {name}: {{args: {{c: 1}}, net: [{body}]}}" for name, body in ({"b0": inner} | levels).items()]
    net = ["net:", "  - {name: z, block: b9, with: {c: [xxxx]}}"]
    return parse_yaml("\n".join(["inputs: {x: {shape: [2, 3]}}", "blocks:", *lines, *net]), "bomb")


@pytest.mark.parametrize(
    ("inner", "outer", "words"),
    [
        ("{name: r, type: ReLU}", ", ".join(f"{{name: u{i}, block: B}}" for i in range(10)), "more than 10000 layers"),
        ("", ", ".join(f"{{name: u{i}, block: B}}" for i in range(10)), "more than 10000 layers"),
        ("{name: r, type: ReLU}", "{name: u, block: B, repeat: 1000000000}", "more than 10000 layers"),
        ("{name: r, type: ReLU}", '{name: u, block: B, with: {c: [' + '"${c}", ' * 5 + "1]}}", "too long"),
        ("{name: r, type: ReLU}", '{name: u, block: B, with: {c: "' + "${c} " * 20 + '"}}', "too long"),
    ],
)
def test_blocks_within_blocks_cannot_explode(inner: str, outer: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Net.from_config(blocks(inner, outer))


def test_a_very_deep_key_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("net:\n  - {name: a, type: ReLU}\n")
    with pytest.raises(ConfigError, match="more than 100 parts"):
        Config.load(path, [f"solver{'.a' * 10_000}=1"]).raise_errors()
