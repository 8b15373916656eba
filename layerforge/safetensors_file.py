"""Safetensors: named arrays in the file that torch's tools read and write; nothing in it is ever executed.

The package `safetensors` (extra safetensors) reads and writes it, and checks that every array lies in the file where
its header says. Here are the bound on what it is given, the number types that NumPy lacks, and errors in words. There
is no digest in such a file: unlike a snapshot it does not know that a number was changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .schema.errors import DataError
from .schema.optional import require
from .schema.regular_files import regular
from .snapshot import atomic_write, writing

SUFFIX = ".safetensors"
METADATA = "__metadata__"
LENGTH = 8  # bytes of the first number, which is the length of the header
MOST_HEADER = 8 << 20  # bytes; parsed it may take fifty times that
MOST_AXES = 32
BFLOAT16 = "BF16"  # the upper half of a float32, which NumPy does not have
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", BFLOAT16: "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
DAMAGED = "it is damaged, or no safetensors file: write it again with safetensors' save_file or net.save()"
PREFIX = "Error while deserializing: "  # of the package's errors
HELD = {np.dtype(text).newbyteorder("=") for word, text in DTYPES.items() if word != BFLOAT16}


class _Malformed(Exception):
    """A file that cannot be taken, and a remedy."""

    def __init__(self, message: str, hint: str = DAMAGED) -> None:
        super().__init__(message)
        self.hint = hint


def package() -> Any:
    """The package. Errors: ConfigError with the line that installs it."""
    return require("safetensors.numpy", extra="safetensors", why=f"a {SUFFIX} file")


# Writing --------------------------------------------------------------------------------------------------------------


def pack(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file.

    Errors   DataError where names and metadata are longer than a reader takes, or a dtype is none of the format's;
             ConfigError where the package is missing
    """
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=") not in HELD:
            raise DataError(f"'{name}' holds {array.dtype}, which a {SUFFIX} file cannot hold", hint="write a .h5 file")
    plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    content: bytes = package().save(plain, metadata=dict(metadata))
    length = int.from_bytes(content[:LENGTH], "little")
    if length > MOST_HEADER:
        message = f"names, configuration and input transform take {length} bytes of text, more than {MOST_HEADER}"
        raise DataError(f"{message}, the most that a {SUFFIX} file has room for", hint="write a .h5 file")
    return content


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

    The file is read into memory, not mapped: one that is cut off meanwhile cannot end the process.

    Errors   DataError for what cannot be read, for a file that is not as its header says, for a name that is there
             twice, and for dtypes that NumPy does not have; ConfigError where the package is missing
    """
    package()
    try:
        with open(path, "rb", opener=regular) as file:
            content = _bounded(file)
        header = _header(content)
        return {name: _array(name, view) for name, view in _views(content)}, dict(header.get(METADATA) or {})
    except _Malformed as problem:
        raise DataError(f"cannot read {path}: {problem}", hint=problem.hint) from None
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL in it
        reason = getattr(problem, "strerror", None) or problem
        raise DataError(f"cannot read {path}: {reason}", hint="check the path") from None


def _bounded(file: Any) -> bytes:
    """The whole file, if its header is no longer than anybody needs."""
    size = os.fstat(file.fileno()).st_size
    start: bytes = file.read(LENGTH)
    length = int.from_bytes(start, "little")
    if size < LENGTH or length > size - LENGTH:
        raise _Malformed(f"its header should have {length} bytes, and the file has {size}")
    if length > MOST_HEADER:
        raise _Malformed(f"its header has {length} bytes, more than {MOST_HEADER}")
    return start + file.read()


def _views(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    """What the package finds: (name, {dtype, shape, data}) of each array."""
    safetensors = require("safetensors", extra="safetensors", why=f"a {SUFFIX} file")
    try:
        found: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(content)
    except safetensors.SafetensorError as problem:
        raise _Malformed(_short(str(problem).removeprefix(PREFIX))) from None
    return found


def _header(content: bytes) -> dict[str, Any]:
    """The header, in which no name stands twice: readers would differ about which one counts."""
    text = content[LENGTH : LENGTH + int.from_bytes(content[:LENGTH], "little")]
    try:
        header = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise _Malformed("its header is no JSON") from None
    if not isinstance(header, dict):
        raise _Malformed("there is no header at its beginning")
    texts = header.get(METADATA, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise _Malformed(f"its {METADATA} is no mapping of texts")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Malformed(f"'{_short(name)}' is in its header twice")
        found[name] = value
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


def _short(text: str) -> str:
    """Words as errors write them: those of damaged files may be long."""
    return text[:100]


def _array(name: str, view: Mapping[str, Any]) -> np.ndarray:
    """An array of the package's, in the machine's order of bytes."""
    word, shape = view["dtype"], view["shape"]
    if word not in DTYPES:
        hint = f"convert it before it is saved, as tensor.float() does; known are {', '.join(DTYPES)}"
        raise _Malformed(f"'{_short(name)}' has the dtype {word[:20]}, which is not read here", hint)
    if len(shape) > MOST_AXES:
        raise _Malformed(f"'{_short(name)}' has {len(shape)} axes, more than {MOST_AXES}")
    flat = np.frombuffer(view["data"], DTYPES[word])
    if word == BFLOAT16:
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.astype(flat.dtype.newbyteorder("=")).reshape(shape)
