"""The messages of Caffe's files: for every field its name, number, kind and default.

The tables of `fields_net.py`, `fields_layers.py`, `fields_solver.py`, `fields_old.py` and `fields_forks.py` are text:

    message FillerParameter
        enum VarianceNorm: FAN_IN=0 FAN_OUT=1 AVERAGE=2
        type 1 string = constant; value 2 float; max 4 float = 1
        variance_norm 8 VarianceNorm = FAN_IN

`name number kind`, then `*` after the kind of a repeated field, `**` where it is written packed, and `= default`.
Several fields of a line are separated by semicolons. A field with `-` for its number is known by name only: forks of
Caffe give such fields different numbers, so one in a binary file cannot be told from another. `alias A = B` makes the
message A another name of B's fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import fields_forks, fields_layers, fields_net, fields_old, fields_solver

INTEGERS = {  # kind to its least and greatest value
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}
SCALARS = (*INTEGERS, "bool", "float", "double", "string", "bytes")
# Repeated fields that hold weights or samples; their values are NumPy arrays.
ARRAYS: dict[tuple[str, str], np.dtype[Any]] = {
    ("BlobProto", "data"): np.dtype("<f4"),
    ("BlobProto", "diff"): np.dtype("<f4"),
    ("BlobProto", "double_data"): np.dtype("<f8"),
    ("BlobProto", "double_diff"): np.dtype("<f8"),
    ("Datum", "float_data"): np.dtype("<f4"),
}
OPEN_ENUMS = ("V1LayerParameter.LayerType",)  # forks add layer types to it; the importer says which it does not know


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    number   in binary files; None where forks give it different numbers
    kind     int32, int64, uint32, uint64, bool, float, double, string, bytes, enum or message
    of       the name of the message or enum
    dtype    of the array, where values are kept in one
    """

    name: str
    number: int | None
    kind: str
    of: str
    repeated: bool
    packed: bool
    default: Any
    dtype: np.dtype | None


MESSAGES: dict[str, dict[str, Field]] = {}  # message to its fields by name
ENUMS: dict[str, dict[str, int]] = {}  # enum to its values by name
NUMBERS: dict[str, dict[int, Field]] = {}  # message to its fields by number
VALUES: dict[str, dict[int, str]] = {}  # enum to its names by value


def field(message: str, name: str) -> Field:
    """A field by name. Errors: KeyError that names both."""
    try:
        return MESSAGES[message][name]
    except KeyError:
        raise KeyError(f"{message} has no field {name}") from None


def _read(tables: tuple[str, ...]) -> None:
    """Fill the dictionaries from the tables."""
    lines = [line.strip() for table in tables for line in table.splitlines() if line.strip()]
    message = ""
    raw: dict[str, list[str]] = {}
    aliases: list[tuple[str, str]] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "message":
            message = rest
            raw[message] = []
        elif word == "enum":
            name, _, values = rest.partition(":")
            pairs = (pair.split("=") for pair in values.split())
            ENUMS[f"{message}.{name}" if message else name] = {value: int(number) for value, number in pairs}
        elif word == "alias":
            new, _, old = rest.partition(" = ")
            aliases.append((new, old))
        else:
            raw[message] += [part.strip() for part in line.split(";") if part.strip()]
    for new, old in aliases:
        raw[new] = raw[old]
        inner = {name: values for name, values in ENUMS.items() if name.startswith(f"{old}.")}
        ENUMS.update({new + name.removeprefix(old): values for name, values in inner.items()})
    for message, parts in raw.items():
        entries = [_field(message, part, raw) for part in parts]
        MESSAGES[message] = {entry.name: entry for entry in entries}
        NUMBERS[message] = {entry.number: entry for entry in entries if entry.number is not None}
    VALUES.update({name: {number: value for value, number in values.items()} for name, values in ENUMS.items()})


def _field(message: str, text: str, messages: dict[str, list[str]]) -> Field:
    """A field from `name number kind = default`."""
    declared, _, written = text.partition(" = ")
    name, number, of = declared.split()
    stars = len(of) - len(of.rstrip("*"))
    of = of.rstrip("*")
    if of in SCALARS:
        kind, of = of, ""
    elif of in messages:
        kind = "message"
    else:
        kind = "enum"
        of = next(full for full in (f"{message}.{of}", of) if full in ENUMS)
    return Field(
        name=name,
        number=None if number == "-" else int(number),
        kind=kind,
        of=of,
        repeated=stars > 0,
        packed=stars > 1,
        default=_default(kind, of, written) if not stars else None,
        dtype=ARRAYS.get((message, name)),
    )


def _default(kind: str, of: str, written: str) -> Any:
    """The value of a field that is not set, as Protocol Buffers defines it where the table gives none."""
    if kind in INTEGERS:
        return int(written or 0)
    if kind in ("float", "double"):
        return float(written or 0)
    if kind == "bool":
        return written == "true"
    if kind == "enum":
        return written or next(iter(ENUMS[of]))
    return written.encode() if kind == "bytes" else written


_read((fields_net.TABLE, fields_layers.TABLE, fields_solver.TABLE, fields_old.TABLE, fields_forks.TABLE))
