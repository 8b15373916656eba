"""The wire format of Protocol Buffers, as bytes: fields one after the other, each a tag and a value.

The tag is a varint (7 bits a byte, the lowest first) of `number << 3 | wire type`: 0 a varint, 1 eight bytes, 2 a
length and so many bytes, 5 four bytes; 3 and 4 open and close a group, which nobody writes any more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from ..schema.errors import DataError
from ..schema.locations import BytePlace

VARINT, EIGHT, BYTES, OPEN, CLOSE, FOUR = 0, 1, 2, 3, 4, 5
DEEPEST = 100  # messages, or groups, within each other
MOST_NUMBER = (1 << 29) - 1  # of a field
FIXED = {EIGHT: struct.Struct("<Q"), FOUR: struct.Struct("<I")}

Buffer: TypeAlias = bytes | bytearray | memoryview
Value: TypeAlias = int | memoryview


def damaged(what: str, offset: int, message: str) -> DataError:
    """An error about a byte of a file."""
    return DataError(message, place=BytePlace(what, 0, offset))


def read_varint(buffer: Buffer, at: int, end: int, what: str) -> tuple[int, int]:
    """A number of 64 bits without sign, and where it ends. Errors: DataError with the byte."""
    value = shift = 0
    start = at
    while at < end:
        byte = buffer[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & ((1 << 64) - 1), at
        shift += 7
        if shift > 63:
            raise damaged(what, start, "a number has more than ten bytes: the file is damaged")
    raise damaged(what, start, "the file ends within a number, or its message does")


def fields(buffer: Buffer, start: int, end: int, what: str) -> Iterator[tuple[int, int, Value, int]]:
    """The fields of the message that lies in buffer[start:end].

    what     the file, for errors
    yields   (number, wire type, value, offset): the value is an int of 64 bits without sign, or for BYTES and groups
             (OPEN) a memoryview of what is inside, which copies nothing; `offset` is where the value begins

    Errors   DataError with the byte where a value goes beyond the message, or is none
    """
    view = memoryview(buffer)
    at = start
    while at < end:
        tag_at = at
        tag = buffer[at]
        at += 1
        if tag >= 128:
            tag, at = read_varint(buffer, tag_at, end, what)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number <= MOST_NUMBER:
            raise damaged(what, tag_at, f"a field has the number {number}: the file is damaged, or no such file")
        if wire_type == BYTES:
            length, at = read_varint(buffer, at, end, what)
            if length > end - at:
                raise damaged(
                    what, at, f"field {number} should have {length} bytes, but {end - at} are left: the file is cut off"
                )
            yield number, wire_type, view[at : at + length], at
            at += length
        elif wire_type == VARINT:
            value_at = at
            value, at = read_varint(buffer, at, end, what)
            yield number, wire_type, value, value_at
        elif wire_type in FIXED:
            form = FIXED[wire_type]
            if form.size > end - at:
                raise damaged(what, at, f"field {number} should have {form.size} bytes, but {end - at} are left")
            yield number, wire_type, form.unpack_from(buffer, at)[0], at
            at += form.size
        elif wire_type == OPEN:
            inside = at
            close, at = _group_end(buffer, at, end, number, what)
            yield number, wire_type, view[inside:close], inside
        else:
            raise damaged(what, tag_at, f"a field has the wire type {wire_type}: the file is damaged, or no such file")


def _group_end(buffer: Buffer, at: int, end: int, number: int, what: str) -> tuple[int, int]:
    """Where the content of a group ends, and where the tag that closes it does."""
    opened = [number]
    while at < end:
        tag_at = at
        tag, at = read_varint(buffer, at, end, what)
        wire_type = tag & 7
        if wire_type == CLOSE and tag >> 3 == opened[-1]:
            opened.pop()
            if not opened:
                return tag_at, at
        elif wire_type == OPEN:
            opened.append(tag >> 3)
            if len(opened) > DEEPEST:
                raise damaged(what, tag_at, f"groups within groups, more than {DEEPEST} deep: the file is damaged")
        elif wire_type == VARINT:
            _, at = read_varint(buffer, at, end, what)
        elif wire_type == BYTES:
            length, at = read_varint(buffer, at, end, what)
            at += length
        elif wire_type in FIXED:
            at += FIXED[wire_type].size
        else:
            raise damaged(what, tag_at, f"a field has the wire type {wire_type}: the file is damaged, or no such file")
    raise damaged(what, end, f"a group of field {number} is not closed: the file is damaged")


def signed(value: int, bits: int = 64) -> int:
    """The lowest bits of a number as one with a sign."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def varints(view: memoryview, offset: int, what: str, most: int) -> list[int]:
    """The numbers of a packed field. Errors: DataError also where there are more than `most`."""
    found = []
    at, end = 0, len(view)
    while at < end:
        value, at = read_varint(view, at, end, f"{what}: packed field") if view[at] >= 128 else (view[at], at + 1)
        found.append(value)
        if len(found) > most:
            raise damaged(what, offset, f"more than {most} numbers")
    return found


def run(buffer: Buffer, start: int, end: int, tag: Buffer, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """The values of fields that follow each other with one tag, and where they end: a repeated field not packed.

    start   of the first tag
    dtype   of the values, of four or eight bytes
    """
    size = len(tag) + dtype.itemsize
    rows = np.frombuffer(buffer, np.uint8, (end - start) // size * size, start).reshape(-1, size)
    wanted = np.frombuffer(tag, np.uint8)
    count, looked = 0, 64
    while count < len(rows):
        same = (rows[count : count + looked, : len(tag)] == wanted).all(axis=1)
        if not same.all():
            count += int(np.argmin(same))
            break
        count += len(same)
        looked = min(4 * looked, 1 << 16)
    values = np.ascontiguousarray(rows[:count, len(tag) :]).view(dtype).reshape(-1)
    return values, start + count * size


# Writing --------------------------------------------------------------------------------------------------------------


def write_varint(value: int) -> bytes:
    """A number as 1 to 10 bytes; one below 0 as its two's complement of 64 bits."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_tag(number: int, wire_type: int) -> bytes:
    """What stands before a value."""
    return write_varint(number << 3 | wire_type)


def write_bytes(number: int, content: Buffer) -> bytes:
    """A field with a length."""
    return b"".join((write_tag(number, BYTES), write_varint(len(content)), content))
