"""Lists of HDF5 files, as Caffe's HDF5Data layer reads them: a text file with a path a line."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from ..arrays.spec import Spec
from ..schema.errors import ConfigError, DataError
from ..schema.locations import Place
from .files import file_error, reading, size_of

SIGNATURE = b"\x89HDF\r\n\x1a\n"
FIRST_BLOCK = 512  # bytes: HDF5 begins at the start of a file, or there, or at a power of two times that
SUFFIXES = (".h5", ".hdf5", ".hdf")
MOST_BYTES = 1 << 24  # of a list
MOST_FILES = 10_000
ROLES = ("index", "real")


class RolesRule:
    """The rule for what blobs mean where their numbers do not tell it."""

    description = "a mapping of blobs to index or real, such as {label: index}"

    @staticmethod
    def parse(value: object) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise TypeError
        for blob, role in value.items():
            if role not in ROLES:
                raise ConfigError(f"roles: '{blob}' must be one of {', '.join(ROLES)}, got '{role}'")
        return {str(blob): str(role) for blob, role in value.items()}


def is_list(path: str) -> bool:
    """Whether a file is a list of others: no HDF5 file, neither by its name nor by its content."""
    size = size_of(path)
    if path.lower().endswith(SUFFIXES):
        return False
    with reading(path), open(path, "rb") as file:
        at = 0
        while at < size:
            file.seek(at)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return False
            at = 2 * at or FIRST_BLOCK
    return True


def listed(path: str, folder: str | None) -> list[str]:
    """The files of a list, in order.

    folder   where relative paths begin; None: at the folder of the list

    Errors   DataError with the line of what is no file
    """
    if size_of(path) > MOST_BYTES:
        raise file_error(path, f"is neither an HDF5 file nor a list of at most {MOST_BYTES} bytes")
    try:
        with reading(path), open(path, encoding="utf-8-sig") as file:
            lines = file.read().split("\n")
    except UnicodeDecodeError:
        raise file_error(path, "is neither an HDF5 file nor a list of such files in UTF-8") from None
    root, files = folder or os.path.dirname(path), []
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        file_name = os.path.join(root, os.path.expanduser(name))
        if "\0" in name or not os.path.isfile(file_name):
            hint = "folder: says where relative paths begin" if folder is None else None
            place = Place(path, number, 1, line[:200], len(name))
            raise DataError(f"there is no file {file_name[:500]!r}", place=place, hint=hint)
        files.append(file_name)
        if len(files) > MOST_FILES:
            raise file_error(path, f"names more than {MOST_FILES} files")
    if not files:
        raise file_error(path, "names no files")
    return files


def in_role(owner: str, values: np.ndarray, spec: Spec, first: int = 0) -> np.ndarray:
    """Samples as their blob has them: of an index as integers.

    first   the number of the first of them, for errors

    Errors   DataError for an index that is no whole number
    """
    if spec.is_real:
        return values.astype(np.uint8) if values.dtype.kind == "b" else values
    if values.dtype.kind != "f":
        return values
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    wrong = ~(whole == values)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        message = f"{owner}: sample {first + at[0]} is {values[at]}, but an index is a whole number"
        raise DataError(message, hint="remove it from roles where it is a quantity")
    return whole
