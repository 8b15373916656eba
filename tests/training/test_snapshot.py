"""Snapshots: verified before they are believed, read without HDF5, refused in words."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from layerforge.schema.errors import DataError
from layerforge.snapshot import escape, pack, read_snapshot, unescape, unpack, write_snapshot

ARRAYS = {
    "params/fc/weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "params/fc/turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "params/fc/scalar": np.array(2.5),
    "params/fc/other way round": np.arange(3, dtype=">i4"),
    "state/a%2Fb/mean": np.zeros((0, 3)),
    "state/a%2Fb/seen": np.array([True, False]),
}


def test_round_trip_and_ordinary_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "new" / "w.h5"
    write_snapshot(path, ARRAYS, {"kind": "weights", "nested": {"list": [1, 2.5, None]}, "long": "ü" * 100_000})
    arrays, meta = read_snapshot(path)
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        assert arrays[name].flags.writeable
    assert meta["nested"] == {"list": [1, 2.5, None]}
    assert len(meta["long"]) == 100_000
    with h5py.File(path) as file:
        assert file["params/fc/weight"][1, 2] == 5
        assert json.loads(file["meta/nested"][()]) == meta["nested"]


def test_many_arrays_make_a_larger_head() -> None:
    arrays = {f"params/layer{i}/weight": np.full(3, i) for i in range(500)}
    assert unpack(pack(arrays, {}), "many")[0]["params/layer499/weight"].tolist() == [499] * 3


def test_the_same_content_gives_the_same_bytes() -> None:
    assert pack(ARRAYS, {"a": 1}) == pack(ARRAYS, {"a": 1})


def test_snapshots_are_read_without_the_hdf5_library(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "w.h5", ARRAYS, {})
    code = "import sys; from layerforge.snapshot import read_snapshot as r; r('w.h5'); print('h5py' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", ".", "100 %", "%2E"])
def test_names_survive(name: str) -> None:
    assert unescape(escape(name)) == name
    path = f"params/{escape(name)}/w"
    assert set(unpack(pack({path: np.ones(2)}, {}), "x")[0]) == {path}


def positions() -> list[int]:
    content = pack(ARRAYS, {})
    return [0, 30, content.index(b"{"), 1023, content.index(b"\x89HDF"), len(content) // 2, len(content) - 1]


@pytest.mark.parametrize("position", positions())
def test_any_flipped_byte_is_noticed(position: int) -> None:
    content = bytearray(pack(ARRAYS, {}))
    content[position] ^= 0x40
    with pytest.raises(DataError) as caught:
        unpack(bytes(content), "w.h5")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("size", [0, 10, 40, 87, 500, 2000, -1])
def test_a_file_cut_short_is_noticed(size: int) -> None:
    with pytest.raises(DataError, match=r"w\.h5 is"):
        unpack(pack(ARRAYS, {})[:size], "w.h5")


def forged(index: Any, body: bytes = bytes(4096)) -> bytes:
    """A file with an index of one's own and the right digest."""
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    rest = text + b"\n" + body
    return b"LayerForge snapshot 2\n" + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


FORGED = {
    "no index": b"",
    "no JSON": b"{",
    "nested too deeply": b"[" * 100_000,
    "a list": [],
    "an object": {"params/a/b": ["|O8", [1], 0]},
    "a record": {"params/a/b": ["<f4,<f4", [1], 0]},
    "an unknown size": {"params/a/b": ["<f3", [1], 0]},
    "larger than the file": {"params/a/b": ["<f4", [10**9], 0]},
    "too large to count": {"params/a/b": ["<f4", [2**62, 0, 2**62], 0]},
    "behind the end": {"params/a/b": ["<f4", [1], 10**6]},
    "before the beginning": {"params/a/b": ["<f4", [1], -8]},
    "a negative shape": {"params/a/b": ["<f4", [-1], 0]},
    "a shape that is none": {"params/a/b": ["<f4", "11", 0]},
    "a position that is none": {"params/a/b": ["<f4", [1], True]},
    "too many axes": {"params/a/b": ["<f4", [1] * 100, 0]},
    "the same bytes many times": {f"params/a/{i}": ["|u1", [4000], 0] for i in range(100)},
    "an attribute that is no JSON": {"meta/kind": ["|S4", [], 300]},
    "no entry": {"params/a/b": None},
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_index_is_refused(case: str) -> None:
    with pytest.raises(DataError, match="not a file that LayerForge wrote"):
        unpack(forged(FORGED[case]), "w.h5")


def test_a_later_format_is_refused_in_words() -> None:
    content = pack(ARRAYS, {}).replace(b"snapshot 2\n", b"snapshot 3\n", 1)
    with pytest.raises(DataError, match="of format 3, which a later LayerForge wrote") as caught:
        unpack(content, "w.h5")
    assert "reads formats up to 2" in str(caught.value)


def test_what_is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "other.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "empty.h5").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.h5")
    for name, words in {
        "other.h5": "is not a LayerForge snapshot",
        "empty.h5": "is empty",
        "pipe.h5": "not an ordinary file",
        "none.h5": "No such file",
        "nul\0.h5": "cannot read",
    }.items():
        with pytest.raises(DataError, match=words):
            read_snapshot(tmp_path / name)


def old_format(file_of: Any) -> bytes:
    """A snapshot of format 1 around an HDF5 file that `file_of` fills."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        file["meta/kind"] = '"weights"'
        file_of(file)
    body = buffer.getvalue()[512:]
    return (b"LayerForge snapshot 1\n" + hashlib.sha256(body).hexdigest().encode() + b"\n").ljust(512, b"\0") + body


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(3,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", shape=(3,))
    file.create_virtual_dataset("params/a/b", layout)


HOSTILE = {
    "external": lambda f: f.create_dataset("params/a/b", (5,), "u1", external=[("/etc/hostname", 0, 5)]),
    "virtual": virtual,
    "promises": lambda f: f.create_dataset("params/a/b", (10**12,), "f4"),
    "chunks": lambda f: f.create_dataset("params/a/b", (10**6,), "f4", compression="gzip"),
    "texts": lambda f: f.create_dataset("meta/many", data=["a" * 1000] * 10),
    "objects": lambda f: f.create_dataset("params/a/b", data=["a" * 1000] * 10),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_of_the_old_format_are_refused(case: str) -> None:
    with pytest.raises(DataError, match="not a file that LayerForge wrote"):
        unpack(old_format(HOSTILE[case]), "w.h5")


def test_links_in_files_of_the_old_format_are_not_followed() -> None:
    def links(file: h5py.File) -> None:
        file["params/a/b"] = np.ones(2)
        file["params/a/c"] = h5py.ExternalLink("/etc/other.h5", "x")
        file["params/a/d"] = h5py.SoftLink("/params/a/b")

    assert set(unpack(old_format(links), "w.h5")[0]) == {"params/a/b"}


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_or_a_device_is_not_replaced(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(os.devnull)
    kinds = {"pipe": "a named pipe", "link": "a device"}
    with pytest.raises(DataError, match=f"it is {kinds[name]}, not a regular file"):
        write_snapshot(tmp_path / name, {"a.weight": np.zeros(2)}, {"kind": "weights"})
    assert not (tmp_path / name).is_file() and sorted(os.listdir(tmp_path)) == ["link", "pipe"]
