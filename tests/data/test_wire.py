"""The wire format of Protocol Buffers, byte by byte."""

from __future__ import annotations

import numpy as np
import pytest

from layerforge.data import wire
from layerforge.schema.errors import DataError


def read(content: bytes) -> list[tuple[int, int, object, int]]:
    found = wire.fields(content, 0, len(content), "w.bin")
    return [(n, t, bytes(v) if isinstance(v, memoryview) else v, at) for n, t, v, at in found]


def test_fields_of_every_wire_type() -> None:
    """150 as a varint is 96 01, the example of the format's own description."""
    assert read(bytes.fromhex("089601")) == [(1, wire.VARINT, 150, 1)]
    assert read(bytes.fromhex("120774657374696e67")) == [(2, wire.BYTES, b"testing", 2)]
    assert read(bytes.fromhex("2d0000803f")) == [(5, wire.FOUR, 0x3F800000, 1)]
    assert read(bytes.fromhex("410000000000000840")) == [(8, wire.EIGHT, 0x4008000000000000, 1)]
    assert read(bytes.fromhex("0b080113140c")) == [(1, wire.OPEN, b"\x08\x01\x13\x14", 1)]


def test_the_inside_is_not_copied() -> None:
    content = bytearray(wire.write_bytes(7, b"abc"))
    ((_, _, inside, at),) = wire.fields(content, 0, len(content), "w.bin")
    content[at] = ord("x")
    assert bytes(inside) == b"xbc"


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63, 2**64 - 1, -1, -(2**31)])
def test_numbers_come_back(value: int) -> None:
    content = wire.write_tag(3, wire.VARINT) + wire.write_varint(value)
    ((number, _, found, _),) = wire.fields(content, 0, len(content), "w.bin")
    assert number == 3
    assert found == value % 2**64
    assert isinstance(found, int)
    assert wire.signed(found) == (value if value < 2**63 else value - 2**64)


@pytest.mark.parametrize(
    ("content", "byte", "words"),
    [
        ("08", 1, "ends within a number"),
        ("0896", 1, "ends within a number"),
        ("08ffffffffffffffffffff01", 1, "more than ten bytes"),
        ("0801120774", 4, "7 bytes, but 1 are left"),
        ("12ffffffffffffffff7f", 10, "are left"),
        ("2d0000", 1, "4 bytes, but 2 are left"),
        ("41", 1, "8 bytes, but 0 are left"),
        ("0801000801", 2, "the number 0"),
        ("08010c", 2, "wire type 4"),
        ("0f", 0, "wire type 7"),
        ("0b0801", 3, "not closed"),
        ("0b" + "13" * 200, 100, "deep"),
    ],
)
def test_damage_names_the_byte(content: str, byte: int, words: str) -> None:
    with pytest.raises(DataError, match=words) as failed:
        read(bytes.fromhex(content))
    assert str(failed.value).startswith(f"w.bin: byte {byte}: ")
    assert failed.value.exit_code == 3


@pytest.mark.parametrize("count", [1, 63, 64, 65, 5000])
def test_a_run_of_numbers_ends_where_another_field_begins(count: int) -> None:
    values = np.random.default_rng(count).standard_normal(count).astype("<f4")
    row = b"".join(b"\x2d" + value.tobytes() for value in values)
    content = b"\x08\x01" + row + b"\x35\0\0\0\0" + b"\x2d\0\0\x80\x3f"
    found, end = wire.run(content, 2, len(content), b"\x2d", values.dtype)
    np.testing.assert_array_equal(found, values)
    assert end == 2 + 5 * count
