"""NPZ: NumPy's archive of arrays, read without pickle and without trusting its sizes."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ..arrays.spec import Spec
from ..schema.errors import ConfigError, DataError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from ..schema.synonyms import did_you_mean
from ..schema.texts import first_few
from .files import DEFLATE_RATIO, file_error, reading, size_of
from .reader import Reader
from .source import Source, infer_spec

KINDS = "biuf"
HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
DAMAGE = (zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError, ValueError, OverflowError, KeyError)
MOST_ARRAYS = 10_000
LONGEST_WORD = 256  # bytes
LONGEST_HEADER = 10_000  # bytes; what NumPy itself accepts


@register_source
class NPZ(Source):
    """Arrays of a .npz file: every array is a blob, with the samples along the first axis.

    Floats are real; bytes with at least two axes are pixels (real, scaled by 1/255); other integers are indices.
    """

    path: FilePath = param(help="the .npz file")
    blobs: dict | None = param(None, help="which arrays, as {blob: name in the file}; null: all under their own names")

    def count(self, part: str) -> int | None:
        lengths = {headers(self.path)[name][0][:1] for name in self.names().values()}
        # None where reading them will say what is wrong: no samples, or different numbers of them.
        return next(iter(lengths.pop()), None) or None if len(lengths) == 1 else None

    def names(self) -> dict[str, str]:
        """Blob to name in the file."""
        return chosen(self.path, self.blobs, list(headers(self.path)))

    def specs(self) -> dict[str, Spec]:
        known = headers(self.path)
        return {blob: spec_of(self.path, name, *known[name]) for blob, name in self.names().items()}

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        return {blob: read_array(self.path, name) for blob, name in self.names().items()}

    def reader(self) -> Reader:
        from .array_reader import ArrayReader

        return ArrayReader(self.specs(), self.blobs)

    def labels(self) -> dict[str, np.ndarray]:
        wanted = [blob for blob, spec in self.specs().items() if not spec.is_real and not spec.shape]
        arrays = {blob: read_array(self.path, self.names()[blob]) for blob in wanted}
        return self.cut(arrays) if arrays else {}


def chosen(path: str, blobs: Any, known: list[str]) -> dict[str, str]:
    """{blob: name}, checked against the names in the file; all of them where nothing was chosen."""
    if blobs is None:
        return {name: name for name in known}
    for name in blobs.values():
        if name not in known:
            hint = did_you_mean(str(name), known) or f"arrays here: {', '.join(known)}"
            raise DataError(f"{path} has no array '{name}'", hint=hint)
    if not blobs:
        raise ConfigError("blobs must name at least one array", hint="remove it to get all of them")
    return {str(blob): str(name) for blob, name in blobs.items()}


def input_name(path: Path, blob: str, blobs: Mapping[str, Any] | None, known: Sequence[str]) -> str:
    """The name that a blob has in a file given to `predict`: what `blobs` says, or its own; else the only one there is.

    Errors   DataError where there are several, and none of that name
    """
    name = str((blobs or {}).get(blob, blob))
    if name in known:
        return name
    if len(known) == 1:
        return known[0]
    meant = f", which training reads as '{blob}'" if name != blob else ""
    hint = f"arrays here: {first_few(known, 20)}; name one of them '{name}'"
    raise file_error(path, f"has no array '{name}'{meant}", hint)


def npz_input(path: Path, blob: str, blobs: Mapping[str, Any] | None = None) -> np.ndarray:
    """The samples of a blob from a .npz file given to `predict`; `blobs` is that of the source of training."""
    known = headers(path)
    name = input_name(path, blob, blobs, list(known))
    spec_of(str(path), name, *known[name])
    return read_array(path, name)


def spec_of(path: str, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Spec:
    """The Spec of one sample of an array in a file; DataError for what is no array of samples."""
    if dtype.kind not in KINDS:
        raise file_error(path, f"array '{name}' holds {dtype}, not numbers", "leave it out with blobs: {...}")
    if not shape:
        hint = "leave it out with blobs: {...}"
        raise file_error(path, f"array '{name}' is a single number, without an axis of samples", hint)
    return infer_spec(shape, dtype)


@contextmanager
def opened(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """The archive, with everything that zipfile raises as a DataError."""
    size_of(path)
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            yield archive
    except DAMAGE as problem:
        raise file_error(
            path, f"is not a .npz file, or damaged ({problem})", "write it again with numpy.savez"
        ) from None


def headers(path: str | Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of every array in the file."""
    with opened(path) as archive:
        found = {}
        if len(archive.infolist()) > MOST_ARRAYS:
            raise file_error(path, f"holds more than {MOST_ARRAYS} arrays")
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                with archive.open(info) as stream:
                    shape, _, dtype = _header(path, info, stream)
                    _demand_size(path, info, stream, shape, dtype)
                name = info.filename.removesuffix(".npy")
                if name in found:
                    raise file_error(path, f"holds two arrays called '{name}'", "write it again with numpy.savez")
                found[name] = (shape, dtype)
    if not found:
        raise file_error(path, "holds no arrays")
    return found


def _header(path: str | Path, info: zipfile.ZipInfo, stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise file_error(path, f"'{info.filename}' is compressed in a way that numpy.savez does not use")
    if info.file_size > min(info.compress_size, size_of(path)) * DEFLATE_RATIO:
        raise file_error(path, f"'{info.filename}' promises {info.file_size} bytes, more than it can hold")
    return npy_header(path, info.filename, stream)


def npy_header(path: str | Path, name: str, stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis is the fastest, and dtype of an array that begins here in a stream."""
    try:
        version = npy.read_magic(stream)
        if version not in HEADER_READERS:
            raise ValueError(f"format version {version}")
        size = stream.read(2 * version[0])
        length = int.from_bytes(size, "little")
        if length > LONGEST_HEADER:  # before it is read: a few compressed bytes can be gigabytes
            raise ValueError(f"a header of {length} bytes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of types that NumPy gives up, of headers that Python 2 wrote
            shape, fortran, dtype = HEADER_READERS[version](io.BytesIO(size + stream.read(length)))
        if len(shape) > 32 or min(shape, default=0) < 0 or math.prod(max(1, n) for n in shape) >= 2**48:
            raise ValueError(f"shape {shape}")
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as problem:
        raise file_error(path, f"'{name}' is not an array of numbers ({problem})") from None
    return shape, fortran, dtype


def _demand_size(path: str | Path, info: zipfile.ZipInfo, stream: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """DataError where an array's shape is not that of its bytes: before a net is built for it, or memory taken."""
    size, left = math.prod(shape) * dtype.itemsize, info.file_size - stream.tell()
    if size != left and dtype.kind in KINDS:
        name = info.filename.removesuffix(".npy")
        raise file_error(path, f"array '{name}' should have {size} bytes, the file has {left}")


def read_array(path: str | Path, name: str) -> np.ndarray:
    """One array of the file; its size is checked against the file before memory is taken."""
    with opened(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as stream:
            shape, fortran, dtype = _header(path, info, stream)
            spec_of(str(path), name, shape, dtype)
            _demand_size(path, info, stream, shape, dtype)
            flat = np.frombuffer(bytearray(stream.read()), dtype)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def read_word(path: str | Path, name: str) -> str:
    """A short text in the file, such as the name of a format."""
    with opened(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as stream:
            shape, _, dtype = _header(path, info, stream)
            if shape or dtype.kind not in "SU" or dtype.itemsize > LONGEST_WORD:
                raise file_error(path, f"'{name}' in it is no word")
            text = np.frombuffer(stream.read(dtype.itemsize).ljust(dtype.itemsize, b"\0"), dtype)[0]
    return text.decode("latin-1") if isinstance(text, bytes) else str(text)
