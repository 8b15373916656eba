"""IDX, the file format of MNIST: a magic number, the sizes, then the values in row-major order, all big-endian.

    bytes 0-1   zero
    byte  2     type: 0x08 uint8, 0x09 int8, 0x0B int16, 0x0C int32, 0x0D float32, 0x0E float64
    byte  3     number of dimensions D
    4 D bytes   the sizes, unsigned 32-bit each

Source     http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .files import ByteFile

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 8


def read_idx(path: str | Path, remedy: str | None = None) -> np.ndarray:
    """The array in an IDX file, gzip or plain.

    Errors   DataError for another magic number, sizes that the file cannot hold, missing or surplus bytes
    """
    with ByteFile(path, remedy) as file:
        shape, dtype = _header(file)
        array = file.array(shape, dtype, "values")
        file.expect_end()
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def idx_shape(path: str | Path) -> tuple[int, ...]:
    """The shape that the header of an IDX file promises; DataError where it has none."""
    with ByteFile(path) as file:
        return _header(file)[0]


def _header(file: ByteFile) -> tuple[tuple[int, ...], str]:
    zero, kind, dimensions = np.frombuffer(
        file.read(4, "the IDX header"), np.dtype([("z", ">u2"), ("k", "u1"), ("d", "u1")])
    )[0]
    if zero or kind not in TYPES or not 1 <= dimensions <= MOST_DIMENSIONS:
        found = bytes([zero >> 8, zero & 255, kind, dimensions]).hex(" ")
        raise file.error(f"is not an IDX file: it begins with {found}, where 00 00, a type and the dimensions belong")
    shape = tuple(int(n) for n in np.frombuffer(file.read(4 * int(dimensions), "the IDX header"), ">u4"))
    return shape, TYPES[int(kind)]
