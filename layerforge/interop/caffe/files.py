"""What the readers of Caffe's files share: a file's bytes, and whether it is one of HDF5."""

from __future__ import annotations

from pathlib import Path

from ...data.files import file_error, reading
from ...schema.regular_files import regular

LARGEST = (1 << 31) - 1  # bytes: Protocol Buffers allow no more
HDF5 = b"\x89HDF\r\n\x1a\n"


def content(path: str | Path) -> bytes:
    """The bytes of a file. Errors: DataError where there is none, or it is larger than Protocol Buffers allow."""
    with reading(path), open(path, "rb", opener=regular) as file:
        size = file.seek(0, 2)
        if size > LARGEST:
            raise file_error(path, f"has {size} bytes; files of Protocol Buffers have less than 2 GiB")
        file.seek(0)
        return file.read(size)


def is_hdf5(path: str | Path) -> bool:
    """Whether a file begins as those of HDF5 do. Errors: DataError where it cannot be read."""
    with reading(path), open(path, "rb", opener=regular) as file:
        return file.read(len(HDF5)) == HDF5
