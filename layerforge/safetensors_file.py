"""Safetensors: named arrays in the file that torch's tools read and write; nothing in it is ever executed.

    8 bytes        the length of the header, a little-endian integer
    the header     {name: {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}} as JSON, and under
                   __metadata__ a mapping of texts to texts
    the numbers    little-endian, the last axis the fastest, one array after the other

It is read by this module alone, which believes nothing: the header is checked whole against the size of the file
before an array is made. There is no digest in it: unlike a snapshot it does not know that a number was changed.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .schema.errors import DataError
from .schema.regular_files import regular
from .snapshot import atomic_write, writing

SUFFIX = ".safetensors"
METADATA = "__metadata__"
KEYS = {"dtype", "shape", "data_offsets"}
LENGTH = 8  # bytes of the first number
MOST_HEADER = 8 << 20  # bytes; as JSON it may take fifty times that
MOST_AXES = 32
ALIGNMENT = 8  # of the first array, for who maps the file
BFLOAT16 = "BF16"  # the upper half of a float32, which NumPy does not have
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", BFLOAT16: "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
DAMAGED = "it is damaged, or no safetensors file: write it again with safetensors' save_file or net.save()"
WORDS = {np.dtype(text): word for word, text in DTYPES.items() if word != BFLOAT16}


class _Malformed(Exception):
    """A header that is none, or does not fit its file; and a remedy."""

    def __init__(self, message: str, hint: str = DAMAGED) -> None:
        super().__init__(message)
        self.hint = hint


# Writing --------------------------------------------------------------------------------------------------------------


def pack(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file. Wide numbers come first, so that every array begins at a multiple of its width.

    Errors   DataError where names and metadata are longer than a reader takes, or a dtype is none of the format's
    """
    header: dict[str, Any] = {METADATA: dict(metadata)}
    parts, position = [], 0
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize):
        plain = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        if plain.dtype not in WORDS:
            raise DataError(f"'{name}' holds {array.dtype}, which a {SUFFIX} file cannot hold", hint="write a .h5 file")
        end = position + plain.nbytes
        header[name] = {"dtype": WORDS[plain.dtype], "shape": list(plain.shape), "data_offsets": [position, end]}
        parts.append(plain.tobytes())
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    if len(text) > MOST_HEADER:
        message = f"names, configuration and input transform take {len(text)} bytes of text, more than {MOST_HEADER}"
        raise DataError(f"{message}, the most that a {SUFFIX} file has room for", hint="write a .h5 file")
    return b"".join([len(text).to_bytes(LENGTH, "little"), text, *parts])


def write_safetensors(path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Pack in memory, then write atomically; a missing folder is made.

    Errors   those of `pack`, and DataError where the file cannot be written
    """
    content = pack(arrays, metadata)
    with writing(path, "choose another place"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, content)


# Reading --------------------------------------------------------------------------------------------------------------


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays by name, and the texts of the metadata. A BF16 array becomes float32, which holds all its numbers.

    Errors   DataError for what cannot be read, and for a file whose header is not that of this format: sizes that are
             not those of the file, arrays that overlap or leave a gap, names that are there twice, and dtypes that
             NumPy does not have
    """
    try:
        with open(path, "rb", opener=regular) as file:
            size = os.fstat(file.fileno()).st_size
            header, start = _header(file, size)
            metadata = _texts(header.pop(METADATA, {}))
            places = [_place(name, entry) for name, entry in header.items()]
            _demand_whole(places, size - start)
            return {place.name: _array(file, start, place) for place in places}, metadata
    except _Malformed as problem:
        raise DataError(f"cannot read {path}: {problem}", hint=problem.hint) from None
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL in it
        reason = getattr(problem, "strerror", None) or problem
        raise DataError(f"cannot read {path}: {reason}", hint="check the path") from None


class _Place(NamedTuple):
    """Where an array begins and ends behind the header, and what it is."""

    name: str
    begin: int
    end: int
    dtype: str
    shape: tuple[int, ...]


def _header(file: Any, size: int) -> tuple[dict[str, Any], int]:
    """The header, and where the numbers begin."""
    length = int.from_bytes(file.read(LENGTH), "little")
    if size < LENGTH or length > size - LENGTH:
        raise _Malformed(f"its header should have {length} bytes, and the file has {size}")
    if length > MOST_HEADER:
        raise _Malformed(f"its header has {length} bytes, more than {MOST_HEADER}")
    text = file.read(length)
    if not text.startswith(b"{"):
        raise _Malformed("there is no header at its beginning")
    try:
        return json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_refuse), LENGTH + length
    except (ValueError, RecursionError):
        raise _Malformed("its header is no JSON") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no name stands twice: readers would differ about which one counts."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Malformed(f"{_short(name)} is in its header twice")
        found[name] = value
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


def _short(name: str) -> str:
    """A name as errors write it: those of damaged files may be long."""
    return f"'{name[:100]}'"


def _texts(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _Malformed(f"its {METADATA} is no mapping of texts")
    return metadata


def _place(name: str, entry: Any) -> _Place:
    """What the header says of an array, which fits itself."""
    if not isinstance(entry, dict) or entry.keys() != KEYS or not isinstance(entry["dtype"], str):
        raise _Malformed(f"{_short(name)} is not described by {', '.join(sorted(KEYS))}")
    shape, offsets, word = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not all(isinstance(part, list) and all(type(n) is int and n >= 0 for n in part) for part in (shape, offsets)):
        raise _Malformed(f"shape or place of {_short(name)} are not numbers")
    if len(shape) > MOST_AXES or len(offsets) != 2:
        raise _Malformed(f"{_short(name)} has {len(shape)} axes and {len(offsets)} places")
    if word not in DTYPES:
        hint = f"convert it before it is saved, as tensor.float() does; known are {', '.join(DTYPES)}"
        raise _Malformed(f"{_short(name)} has the dtype {word[:20]}, which is not read here", hint)
    begin, end = offsets
    if end - begin != math.prod(shape) * np.dtype(DTYPES[word]).itemsize:
        raise _Malformed(f"{_short(name)} has a place of {end - begin} bytes, which its shape and dtype do not need")
    return _Place(name, begin, end, word, tuple(shape))


def _demand_whole(places: Iterable[_Place], size: int) -> None:
    """Demand arrays that follow each other without gap or overlap, from the first byte of the numbers to the last."""
    position = 0
    for place in sorted(places, key=lambda place: (place.begin, place.end)):
        if place.begin != position:
            fault = "overlaps the array before it" if place.begin < position else "leaves a gap before it"
            raise _Malformed(f"{_short(place.name)} {fault}")
        position = place.end
    if position != size:
        raise _Malformed(f"its arrays have {position} bytes, and behind the header are {size}")


def _array(file: Any, start: int, place: _Place) -> np.ndarray:
    """The numbers at a place, in the machine's order of bytes. `start` is where those of all arrays begin."""
    dtype, count = np.dtype(DTYPES[place.dtype]), math.prod(place.shape)
    file.seek(start + place.begin)
    flat = np.fromfile(file, dtype, count) if count else np.empty(0, dtype)
    if len(flat) != count:
        raise _Malformed("it became shorter while it was read")
    if place.dtype == BFLOAT16:
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.astype(flat.dtype.newbyteorder("="), copy=False).reshape(place.shape)
