"""Files of safetensors: what is written is read, and what is spoilt, or too much, is refused in words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import DataError
from layerforge.safetensors_file import MOST_HEADER, pack, read_safetensors, write_safetensors

ARRAYS = {
    "count": np.array(7),
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([[0.5], [-2]], np.float16),
    "none": np.zeros((0, 3)),
    "swapped": np.array([1.5, 2.5], ">f8"),
    "across": np.arange(6.0).reshape(2, 3).T,
    "flags": np.array([True, False, True]),
    "Ω.β": np.array([-128, 127], np.int8),
}


def same(found: dict[str, np.ndarray]) -> None:
    """The arrays of ARRAYS, in the machine's own order of bytes."""
    assert found.keys() == ARRAYS.keys()
    for name, array in found.items():
        assert (array.shape, array.dtype) == (ARRAYS[name].shape, ARRAYS[name].dtype.newbyteorder("="))
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "w.safetensors"
    write_safetensors(path, ARRAYS, {"format": "pt", "note": "Ω"})
    found, metadata = read_safetensors(path)
    same(found)
    assert metadata == {"format": "pt", "note": "Ω"}
    assert all(array.flags.writeable for array in found.values())


def test_what_others_write_is_read(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "w.safetensors"
    save_file({name: array.copy(order="C") for name, array in ARRAYS.items()}, path)
    found, metadata = read_safetensors(path)
    same(found)
    assert metadata == {}
    save_file({}, path)
    assert read_safetensors(path) == ({}, {})


def file_of(header: Any, numbers: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + numbers


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    numbers = np.array([1.5, -2.0, 3.0e38, np.inf, 0.0], np.float32)
    upper = (numbers.view(np.uint32) >> 16).astype("<u2")
    (tmp_path / "w.safetensors").write_bytes(file_of({"w": entry("BF16", (5,), (0, 10))}, upper.tobytes()))
    found = read_safetensors(tmp_path / "w.safetensors")[0]["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (numbers.view(np.uint32) >> 16 << 16).view(np.float32))


BROKEN = {
    "nothing": (b"", "its header should have 0 bytes"),
    "a few bytes": (b"abc", "its header should have"),
    "a header beyond the end": (file_of({}, length=1000), "should have 1000 bytes, and the file has 10"),
    "a header of almost 2^64 bytes": (file_of({}, length=2**64 - 1), "should have 18446744073709551615 bytes"),
    "no object": (file_of([1]), "there is no header"),
    "no JSON": (file_of(b"{'w': 1}"), "its header is no JSON"),
    "no UTF-8": (file_of(b'{"\xff": 1}'), "its header is no JSON"),
    "NaN": (file_of(b'{"__metadata__": NaN}'), "its header is no JSON"),
    "very deep": (file_of(b'{"w":' + b"[" * 100_000), "its header is no JSON"),
    "a name twice": (file_of(b'{"w": 1, "w": 2}'), "'w' is in its header twice"),
    "a key twice": (file_of(b'{"w": {"dtype": "F32", "dtype": "F64"}}'), "'dtype' is in its header twice"),
    "metadata that are no texts": (file_of({"__metadata__": {"a": 1}}), "no mapping of texts"),
    "metadata that are a list": (file_of({"__metadata__": ["a"]}), "no mapping of texts"),
    "no description": (file_of({"w": 5}), "invalid type: integer `5`"),
    "a negative size": (file_of({"w": entry(shape=(-2,))}, b"\0" * 8), "integer `-2`"),
    "a size that is true": (file_of({"w": entry(shape=(True, 2))}, b"\0" * 8), "boolean `true`"),
    "a size that is 2.0": (file_of({"w": entry(shape=(2.0,))}, b"\0" * 8), "floating point"),
    "33 axes": (file_of({"w": entry(shape=(1,) * 32 + (2,))}, b"\0" * 8), "'w' has 33 axes"),
    "three places": (file_of({"w": entry(offsets=(0, 8, 8))}, b"\0" * 8), "invalid length 3"),
    "an unknown dtype": (file_of({"w": entry("F8_E4M3", (8,))}, b"\0" * 8), "the dtype F8_E4M3, which is not read"),
    "a shape that is too large": (file_of({"w": entry(shape=(3,))}, b"\0" * 8), "invalid shape, data type, or offset"),
    "a huge shape": (file_of({"w": entry(shape=(2**62, 2**62, 4))}, b"\0" * 8), "overflow computing buffer size"),
    "an end before the beginning": (file_of({"w": entry(offsets=(8, 0))}, b"\0" * 8), "invalid offset for tensor `w`"),
    "numbers that are missing": (file_of({"w": entry()}, b"\0" * 7), "not fully covered"),
    "numbers too many": (file_of({"w": entry()}, b"\0" * 9), "not fully covered"),
    "an overlap": (file_of({"v": entry(), "w": entry(offsets=(4, 12))}, b"\0" * 12), "invalid offset for tensor `w`"),
    "one place twice": (file_of({"v": entry(), "w": entry()}, b"\0" * 8), "invalid offset for tensor"),
    "a gap": (file_of({"v": entry(), "w": entry(offsets=(9, 17))}, b"\0" * 17), "invalid offset for tensor `w`"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    content, words = BROKEN[name]
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_safetensors(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and caught.value.hint


def test_a_long_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with open(path, "wb") as file:
        file.write((MOST_HEADER + 1).to_bytes(8, "little"))
        file.truncate(MOST_HEADER + 100)
    with pytest.raises(DataError, match=f"its header has {MOST_HEADER + 1} bytes"):
        read_safetensors(path)
    with pytest.raises(DataError, match=r"the most that a \.safetensors file has room for"):
        pack({}, {"config": "x" * MOST_HEADER})


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "missing.safetensors", "No such file"),
        (tmp_path, "it is a folder"),
        (tmp_path / "pipe", "it is a named pipe"),
        ("a\0b", "null"),
    ):
        with pytest.raises(DataError, match=words):
            read_safetensors(path)


def test_what_the_format_does_not_have_is_refused() -> None:
    with pytest.raises(DataError, match="'z' holds complex128"):
        pack({"z": np.zeros(2, complex)}, {})
