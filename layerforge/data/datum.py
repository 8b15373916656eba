"""Caffe's messages that hold data: Datum, a sample in a database, and BlobProto, an array such as a mean image.

    Datum        1 channels, 2 height, 3 width, 4 data (bytes), 5 label, 6 float_data, 7 encoded
    BlobProto    1-4 num, channels, height, width (before there was shape), 5 data, 7 shape, 8 double_data, and of
                 NVIDIA's fork 10 raw_data_type, 12 raw_data

Source     caffe.proto of BVLC Caffe
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import wire

MOST_AXES = 32
RAW: dict[int, np.dtype[Any]] = {0: np.dtype("<f8"), 1: np.dtype("<f4"), 2: np.dtype("<f2")}  # by raw_data_type
WINDOW = 64  # bytes of a record that are read at a time, to find its label
Buffer = bytes | memoryview
Field = tuple[int, int, Any, int]


@dataclass(frozen=True)
class Datum:
    """A sample.

    shape     channels, height and width; those of an encoded image are in its own header
    data      pixels in the order of the shape, or the bytes of an image file; empty where there are floats
    floats    values (float32) in the order of the shape; empty where there is data
    encoded   whether data are those of an image file
    """

    shape: tuple[int, int, int]
    data: Buffer
    label: int
    floats: np.ndarray
    encoded: bool

    @property
    def array(self) -> np.ndarray:
        """The sample (C, H, W), bytes or float32, of one that is not encoded: a view."""
        flat = np.frombuffer(self.data, np.uint8) if len(self.data) else self.floats
        return flat.reshape(self.shape)


EMPTY = np.empty(0, np.float32)


def parse_datum(buffer: Buffer, what: str) -> Datum:
    """The sample that the bytes of a record hold.

    what   the file, for errors

    Errors   DataError where they are no Datum, or hold another number of values than its sizes say
    """
    sizes, data, label, encoded = [0, 0, 0], b"", 0, False
    floats: list[np.ndarray] = []
    for number, kind, value, at in _with_runs(buffer, 6, what):
        if number in (1, 2, 3, 5, 7):
            small = wire.signed(_expected(kind, wire.VARINT, value, at, what), 32)
            if number <= 3:
                sizes[number - 1] = small
            elif number == 5:
                label = small
            else:
                encoded = bool(value)
        elif number == 4:
            data = _expected(kind, wire.BYTES, value, at, what)
        elif number == 6:
            floats.append(_numbers(kind, value, "<f4", at, what))
    values = np.concatenate(floats) if len(floats) > 1 else floats[0] if floats else EMPTY
    shape = sizes[0], sizes[1], sizes[2]
    if encoded:
        if not len(data):
            raise wire.damaged(what, 0, "an encoded image without data")
        return Datum(shape, data, label, EMPTY, True)
    count = len(data) or len(values)
    if min(shape) < 1 or math.prod(shape) != count:
        words = f"{count} {'bytes' if len(data) else 'floats'} do not make {' x '.join(map(str, shape))} values"
        raise wire.damaged(what, 0, words)
    return Datum(shape, data, label, EMPTY if len(data) else values.astype(np.float32, copy=False), False)


def label_of(read: Callable[[int, int], bytes], size: int, what: str) -> int:
    """The label of a Datum of so many bytes, whose pixels are passed over unread.

    read   gives so many bytes from a place in it on
    what   the file, for errors

    Errors   DataError where these are no fields
    """
    label = at = first = 0
    window = b""
    while at < size:
        if at + 20 > first + len(window) and first + len(window) < size:
            first, window = at, read(at, min(WINDOW, size - at))
        tag, place = wire.read_varint(window, at - first, len(window), what)
        number, kind = tag >> 3, tag & 7
        if kind not in (wire.VARINT, wire.BYTES):  # floats one by one: a label behind them is found by reading all
            return parse_datum(read(0, size), what).label
        value, place = wire.read_varint(window, place, len(window), what)
        label = wire.signed(value, 32) if number == 5 and kind == wire.VARINT else label
        at = first + place + (value if kind == wire.BYTES else 0)
    if at > size:
        raise wire.damaged(what, size, "a field goes beyond the end")
    return label


def parse_blob(buffer: Buffer, what: str) -> np.ndarray:
    """The array that a BlobProto holds: float32, or float64 where it has doubles.

    what   the file, for errors

    Errors   DataError where it is none, or has another number of values than its shape says
    """
    legacy, shape, raw, kind_of_raw = [0, 0, 0, 0], None, b"", 0
    values: dict[int, list[np.ndarray]] = {5: [], 8: []}
    for number, kind, value, at in _with_runs(buffer, 5, what):
        if number in (1, 2, 3, 4):
            legacy[number - 1] = wire.signed(_expected(kind, wire.VARINT, value, at, what), 32)
        elif number == 7:
            shape = _dims(_expected(kind, wire.BYTES, value, at, what), at, what)
        elif number == 10:
            kind_of_raw = _expected(kind, wire.VARINT, value, at, what)
        elif number == 12:
            raw = _expected(kind, wire.BYTES, value, at, what)
        elif number in values:
            values[number].append(_numbers(kind, value, "<f4" if number == 5 else "<f8", at, what))
    found = [np.concatenate(each) for each in (values[8], values[5]) if each]
    array = found[0] if found else _raw(raw, kind_of_raw, what)
    dims = legacy if shape is None else shape
    if min(dims, default=1) < 0 or math.prod(dims) != array.size:
        raise wire.damaged(what, 0, f"{array.size} values do not make the shape {tuple(dims)}")
    return array.reshape(dims).astype(array.dtype.newbyteorder("="), copy=False)


def _raw(raw: Buffer, kind: int, what: str) -> np.ndarray:
    """The numbers of raw_data: halves as float32."""
    if not len(raw):
        return EMPTY
    if kind not in RAW or len(raw) % RAW[kind].itemsize:
        raise wire.damaged(what, 0, f"{len(raw)} bytes of raw_data of type {kind} are no numbers with a point")
    values = np.frombuffer(raw, RAW[kind])
    return values.astype(np.float32) if values.dtype.itemsize == 2 else values


def _with_runs(buffer: Buffer, floats: int, what: str) -> Iterator[Field]:
    """The fields of a message. Floats that stand one by one, a field each, come as one array: there are many."""
    start, end, tag = 0, len(buffer), wire.write_tag(floats, wire.FOUR)
    while start < end:
        for field in wire.fields(buffer, start, end, what):
            number, kind, _, at = field
            if number == floats and kind == wire.FOUR:
                values, start = wire.run(buffer, at - len(tag), end, tag, np.dtype("<f4"))
                yield number, kind, values, at
                break
            yield field
        else:
            return


def _expected(kind: int, wanted: int, value: Any, at: int, what: str) -> Any:
    if kind != wanted:
        raise wire.damaged(what, at, f"a value of wire type {kind}, where {wanted} belongs")
    return value


def _numbers(kind: int, value: Any, dtype: str, at: int, what: str) -> np.ndarray:
    """The numbers of a packed field, of a run, or the one of a field of eight bytes."""
    if isinstance(value, np.ndarray):
        return value
    if kind == wire.EIGHT and dtype == "<f8":
        return np.array([value], "<u8").view(dtype)
    if len(_expected(kind, wire.BYTES, value, at, what)) % np.dtype(dtype).itemsize:
        raise wire.damaged(what, at, f"{len(value)} bytes are no whole number of values")
    return np.frombuffer(value, dtype)


def _dims(buffer: memoryview, offset: int, what: str) -> list[int]:
    """The sizes of a BlobShape, packed or one by one."""
    dims: list[int] = []
    for number, _, value, at in wire.fields(buffer, 0, len(buffer), what):
        if number == 1 and isinstance(value, memoryview):
            dims += map(wire.signed, wire.varints(value, offset + at, what, MOST_AXES))
        elif number == 1 and isinstance(value, int):
            dims.append(wire.signed(value))
    if len(dims) > MOST_AXES:
        raise wire.damaged(what, offset, f"more than {MOST_AXES} axes")
    return dims


# Writing --------------------------------------------------------------------------------------------------------------


def _number(number: int, value: int) -> bytes:
    """A field of a whole number."""
    return wire.write_tag(number, wire.VARINT) + wire.write_varint(value)


def datum_bytes(array: np.ndarray, label: int) -> bytes:
    """A Datum of a sample (C, H, W): of bytes its pixels, of other numbers floats."""
    channels, height, width = array.shape
    head = b"".join(_number(n, size) for n, size in enumerate((channels, height, width), 1))
    if array.dtype == np.uint8:
        return head + wire.write_bytes(4, array.tobytes()) + _number(5, label)
    tag = np.frombuffer(wire.write_tag(6, wire.FOUR), np.uint8)
    table = np.empty((array.size, len(tag) + 4), np.uint8)
    table[:, : len(tag)] = tag
    table[:, len(tag) :] = array.astype("<f4").reshape(-1, 1).view(np.uint8)
    return head + _number(5, label) + table.tobytes()


def encoded_datum_bytes(content: bytes, label: int) -> bytes:
    """A Datum of the bytes of an image file."""
    return wire.write_bytes(4, content) + _number(5, label) + _number(7, 1)


def blob_bytes(array: np.ndarray) -> bytes:
    """A BlobProto of an array of at most four axes, as compute_image_mean of Caffe writes it: float32."""
    sizes = (1,) * (4 - array.ndim) + array.shape
    head = b"".join(_number(n, size) for n, size in enumerate(sizes, 1))
    return head + wire.write_bytes(5, array.astype("<f4").tobytes())
