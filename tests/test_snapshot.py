"""Snapshots: whole or not at all, verified before they are opened."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from layerforge.errors import DataError
from layerforge.snapshot import BLOCK, atomic_write, pack, read_snapshot, unpack, write_snapshot

ARRAYS = {"params/fc/weight": np.arange(6, dtype=np.float32).reshape(2, 3), "state/a%2Fb/mean": np.zeros(0)}


def test_round_trip_and_ordinary_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "new" / "w.h5"
    write_snapshot(path, ARRAYS, {"kind": "weights", "nested": {"list": [1, 2.5, None]}, "long": "x" * 100_000})
    arrays, meta = read_snapshot(path)
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    assert meta["nested"] == {"list": [1, 2.5, None]}
    assert len(meta["long"]) == 100_000
    with h5py.File(path) as file:
        assert file["params/fc/weight"][1, 2] == 5


def test_the_same_content_gives_the_same_bytes() -> None:
    assert pack(ARRAYS, {"a": 1}) == pack(ARRAYS, {"a": 1})


@pytest.mark.parametrize("position", [0, 30, BLOCK, BLOCK + 100, -1])
def test_any_flipped_byte_is_noticed(position: int) -> None:
    content = bytearray(pack(ARRAYS, {}))
    content[position] ^= 0x40
    with pytest.raises(DataError) as caught:
        unpack(bytes(content), "w.h5")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "last.h5"
    atomic_write(path, b"old")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(DataError, match="No space left on device"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["last.h5"]
