"""Reading files that others wrote: bounded, exact, and every failure a DataError that names the file."""

from __future__ import annotations

import gzip
import math
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from weakref import WeakValueDictionary

import numpy as np

from ..schema.errors import DataError
from ..schema.locations import Place

DEFLATE_RATIO = 1032  # deflate cannot do better: a compressed byte holds at most this many


def file_error(path: str | Path, message: str, hint: str | None = None) -> DataError:
    """A DataError about a file."""
    return DataError(message, place=Place(str(path), 0, 0), hint=hint)


@contextmanager
def reading(path: str | Path, remedy: str | None = None) -> Iterator[None]:
    """Turn the ways in which reading a file fails into a DataError about it."""
    try:
        yield
    except FileNotFoundError:
        raise file_error(path, "there is no such file", remedy or "check the path") from None
    except IsADirectoryError:
        raise file_error(path, "is a folder, not a file", remedy or "name the files in it") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise file_error(path, f"the compressed data is damaged or cut off ({problem})", remedy) from None
    except OSError as problem:
        raise file_error(path, f"cannot be read ({problem.strerror or problem})", remedy) from None


def size_of(path: str | Path, remedy: str | None = None) -> int:
    """How many bytes a file has; DataError where it is missing, empty or not an ordinary file (a pipe never ends)."""
    with reading(path, remedy):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError
    if not stat.S_ISREG(status.st_mode):
        raise file_error(path, "is not an ordinary file", remedy)
    if status.st_size == 0:
        raise file_error(path, "the file is empty", remedy)
    return status.st_size


class ByteFile:
    """A file of bytes, gzip or plain (told by its first two bytes), read in order and never further than asked.

    `capacity` is the largest number of bytes that the content can have: what a header promises beyond it is refused
    before memory is taken.
    """

    def __init__(self, path: str | Path, remedy: str | None = None) -> None:
        self.path = path
        self.remedy = remedy
        size = size_of(path, remedy)
        with reading(path, remedy):
            self._raw = open(path, "rb")  # noqa: SIM115  (closed by __exit__)
            magic = self._raw.read(2)
            self._raw.seek(0)
        self.compressed = magic == b"\x1f\x8b"
        self.capacity = size * DEFLATE_RATIO if self.compressed else size
        self._file: Any = gzip.GzipFile(fileobj=self._raw) if self.compressed else self._raw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        self._raw.close()

    def error(self, message: str) -> DataError:
        return file_error(self.path, message, self.remedy)

    def read(self, count: int, what: str) -> bytes:
        """Exactly `count` bytes; DataError where the file ends before."""
        with reading(self.path, self.remedy):
            data = self._file.read(count)
        if len(data) < count:
            raise self.error(f"the file ends within {what}: {count} bytes expected, {len(data)} found")
        return data

    def array(self, shape: tuple[int, ...], dtype: Any, what: str) -> np.ndarray:
        """An array read straight into its memory; DataError where the file cannot hold it or ends before."""
        dtype = np.dtype(dtype)
        if math.prod(max(1, n) for n in shape) >= 2**48:  # also with a 0 among them NumPy could not count so far
            raise self.error(f"the sizes {' x '.join(map(str, shape))} are out of range")
        count = math.prod(shape) * dtype.itemsize
        if count > self.capacity:
            raise self.error(
                f"the header promises {count} bytes of {what}, but the file cannot hold more than {self.capacity}"
            )
        array = np.empty(shape, dtype)
        view, done = array.reshape(-1).view(np.uint8).data, 0
        with reading(self.path, self.remedy):
            while done < count:
                got = self._file.readinto(view[done:])
                if not got:
                    break
                done += got
        if done < count:
            raise self.error(f"the file is cut off within {what}: {count} bytes expected, {done} found")
        return array

    def rest(self, limit: int, what: str) -> np.ndarray:
        """All the bytes that are left; DataError where there are more than `limit`."""
        pieces, count = [], 0
        with reading(self.path, self.remedy):
            while piece := self._file.read(1 << 20):
                pieces.append(piece)
                count += len(piece)
                if count > limit:
                    raise self.error(f"holds more than {limit} bytes of {what}")
        return np.frombuffer(b"".join(pieces), np.uint8)

    def expect_end(self) -> None:
        """DataError where anything follows. Reading the end also checks gzip's checksum."""
        with reading(self.path, self.remedy):
            more = self._file.read(1)
        if more:
            raise self.error("the file goes on after the data that its header promises")


_kept: WeakValueDictionary[Any, np.ndarray] = WeakValueDictionary()


def shared(read: Callable[[str], np.ndarray], path: str | Path) -> np.ndarray:
    """`read(path)`, or the array of an earlier call where it is still in use and the file has not changed.

    Train and val are usually two slices of one file: it is unpacked once. The array is read-only.
    """
    with reading(path):
        status = os.stat(path)
    key = (read, str(path), status.st_mtime_ns, status.st_size)
    array = _kept.get(key)
    if array is None:
        array = read(str(path))
        array.flags.writeable = False
        _kept[key] = array
    return array
