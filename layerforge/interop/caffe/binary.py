"""Caffemodels, solver states and binaryprotos: the binary format of Protocol Buffers, read and written.

Weights are not copied: packed arrays are views of the file's bytes, and read-only.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from ...data import wire
from ...schema.errors import ConfigError
from . import fields
from .fields import Field
from .files import content
from .message import MESSAGE_WEIGHT, MOST_VALUES, Message, Origin, Unknown, single

WIRE_TYPE = {
    **dict.fromkeys((*fields.INTEGERS, "bool", "enum"), wire.VARINT),
    "float": wire.FOUR,
    "double": wire.EIGHT,
    **dict.fromkeys(("string", "bytes", "message"), wire.BYTES),
}
FORMS = {"float": struct.Struct("<f"), "double": struct.Struct("<d")}
DTYPES: dict[str, np.dtype[Any]] = {"float": np.dtype("<f4"), "double": np.dtype("<f8")}


def load(path: str | Path, kind: str) -> Message:
    """The message of a binary file. Errors: DataError where it cannot be read; see `parse`."""
    return parse(content(path), kind, str(path))


def parse(buffer: wire.Buffer, kind: str, file: str = "<bytes>") -> Message:
    """The message of that kind that bytes hold.

    Fields whose numbers the tables do not have, and values that an enum does not have, are kept in `Message.unknown`.
    Errors   DataError with the offset of a byte where they are damaged
    """
    message = Message(kind, Origin(file))
    _Parser(buffer, file, message._origin).fields_of(message, 0, len(buffer))
    return message


class _Parser:
    """One pass over the bytes of a file."""

    def __init__(self, buffer: wire.Buffer, file: str, origin: Origin) -> None:
        self.buffer = buffer
        self.file = file
        self.origin = origin
        self.left = MOST_VALUES

    def fields_of(self, message: Message, start: int, end: int) -> None:
        """Read the fields of the message in these bytes; the tables have no message within itself."""
        arrays: dict[Field, list[np.ndarray]] = {}
        while start < end:
            start = self._until_run(message, start, end, arrays)
        for field, pieces in arrays.items():
            message.values[field.name] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _until_run(self, message: Message, start: int, end: int, arrays: dict[Field, list[np.ndarray]]) -> int:
        """Read fields up to the end, or the end of a run of numbers that are not packed; returns where that is."""
        table = fields.NUMBERS[message.kind]
        after = start  # where the field before ends
        for number, wire_type, value, offset in wire.fields(self.buffer, start, end, self.file):
            began, after = after, _end(self.buffer, wire_type, value, offset)
            field = table.get(number)
            if field is None or not _fits(field, wire_type):
                reason = "" if field is None else f"{field.name} of {message.kind} is not stored like this"
                self._unknown(message, number, began, after, reason)
            elif field.dtype is None:
                self._value(message, field, wire_type, value, offset, (began, after))
            else:
                self._count(offset)
                message.mark(field.name, offset)
                pieces = arrays.setdefault(field, [])
                if wire_type == wire.BYTES:
                    pieces.append(self._packed(field, value, offset))
                    continue
                piece, done = wire.run(self.buffer, began, end, self.buffer[began:offset], field.dtype)
                pieces.append(piece)
                return done
        return end

    def _count(self, offset: int, more: int = 1) -> None:
        self.left -= more
        if self.left < 0:
            raise wire.damaged(self.file, offset, f"more than {MOST_VALUES} values: this is no file of Caffe's")

    def _packed(self, field: Field, value: Any, offset: int) -> np.ndarray:
        """The numbers of a packed array, as a view."""
        assert field.dtype is not None
        if len(value) % field.dtype.itemsize:
            size = field.dtype.itemsize
            raise wire.damaged(self.file, offset, f"{field.name} has {len(value)} bytes, not a multiple of {size}")
        return np.frombuffer(self.buffer, field.dtype, len(value) // field.dtype.itemsize, offset)

    def _unknown(self, message: Message, number: int, began: int, after: int, reason: str) -> None:
        self._count(began)
        raw = bytes(self.buffer[began:after])
        message.unknown.append(Unknown(number, self.origin.place(began), raw, reason))

    def _value(
        self,
        message: Message,
        field: Field,
        wire_type: int,
        value: Any,
        offset: int,
        extent: tuple[int, int],
    ) -> None:
        """Keep a value of a field; the last one counts where one that is not repeated is given twice."""
        if field.kind == "message":
            self._count(offset, MESSAGE_WEIGHT)
            item = None if field.repeated else message.values.get(field.name)
            if item is None:
                item = Message(field.of, self.origin, offset)
            self.fields_of(item, offset, offset + len(value))
            found = [item]
        elif wire_type == wire.BYTES and WIRE_TYPE[field.kind] != wire.BYTES:
            found = self._many(field, value, offset)
        else:
            self._count(offset)
            found = [_scalar(field, value)]
        if field.kind == "enum" and None in found:
            self._unknown(message, field.number or 0, *extent, f"a value that {field.of} does not have")
            found = [item for item in found if item is not None]
        if not field.repeated:
            if found:
                message.values[field.name] = found[-1]
                message._positions[field.name] = [offset]
            return
        if found:
            message.values.setdefault(field.name, []).extend(found)
            message._positions.setdefault(field.name, []).extend([offset] * len(found))

    def _many(self, field: Field, value: memoryview, offset: int) -> list[Any]:
        """The values of a packed field."""
        if field.kind in DTYPES:
            dtype = DTYPES[field.kind]
            self._count(offset, len(value) // dtype.itemsize)
            if len(value) % dtype.itemsize:
                raise wire.damaged(self.file, offset, f"{field.name} has {len(value)} bytes")
            numbers = np.frombuffer(value, dtype).tolist()
            return [single(number) for number in numbers] if field.kind == "float" else numbers
        found = wire.varints(value, offset, self.file, self.left)
        self._count(offset, len(found))
        return [_scalar(field, number) for number in found]


def _end(buffer: wire.Buffer, wire_type: int, value: Any, offset: int) -> int:
    """Where a field ends whose value begins at an offset."""
    if wire_type == wire.BYTES:
        return offset + len(value)
    if wire_type in wire.FIXED:
        return offset + wire.FIXED[wire_type].size
    if wire_type == wire.OPEN:
        offset += len(value)
    while buffer[offset] >= 128:
        offset += 1
    return offset + 1


def _fits(field: Field, wire_type: int) -> bool:
    """Whether a field may be stored so; repeated numbers both packed and not."""
    expected = WIRE_TYPE[field.kind]
    return wire_type == expected or (wire_type == wire.BYTES and field.repeated and field.kind != "message")


def _scalar(field: Field, value: Any) -> Any:
    """A value as Python has it; None for a number that an enum does not have."""
    kind = field.kind
    if kind == "string":
        return bytes(value).decode("utf-8", errors="backslashreplace")
    if kind == "bytes":
        return bytes(value)
    if kind == "float":
        return single(FORMS["float"].unpack(value.to_bytes(4, "little"))[0])
    if kind == "double":
        return FORMS["double"].unpack(value.to_bytes(8, "little"))[0]
    if kind == "bool":
        return value != 0
    if kind == "enum":
        return fields.VALUES[field.of].get(wire.signed(value, 32))
    bits = 32 if kind.endswith("32") else 64
    return wire.signed(value, bits) if kind[0] == "i" else value & ((1 << bits) - 1)


# Writing --------------------------------------------------------------------------------------------------------------


def serialize(message: Message) -> bytes:
    """The bytes of a message: fields in the order of their numbers, then those that are not known as they were read.

    Errors   ConfigError for a field that has no number of its own because forks of Caffe disagree about it
    """
    return b"".join(_pieces(message))


def _pieces(message: Message) -> list[bytes | memoryview]:
    pieces: list[bytes | memoryview] = []
    for name in message.values:
        if fields.field(message.kind, name).number is None:
            raise ConfigError(
                f"{name} of {message.kind} has no number in binary files that all forks of Caffe agree about",
                place=message.place(name),
                hint="write the definition as text",
            )
    for number, field in sorted(fields.NUMBERS[message.kind].items()):
        if field.name not in message.values:
            continue
        value = message.values[field.name]
        if field.dtype is not None:
            _array(field, np.ascontiguousarray(value, field.dtype), pieces)
        elif field.kind == "message":
            for item in value if field.repeated else [value]:
                inner = _pieces(item)
                pieces += [wire.write_tag(number, wire.BYTES), wire.write_varint(sum(map(len, inner))), *inner]
        elif field.packed:
            pieces.append(wire.write_bytes(number, b"".join(_bytes(field, item) for item in value)))
        else:
            tag = wire.write_tag(number, WIRE_TYPE[field.kind])
            for item in value if field.repeated else [value]:
                pieces += [tag, _bytes(field, item)]
    pieces += [unknown.raw for unknown in message.unknown if isinstance(unknown.raw, bytes)]
    return pieces


def _array(field: Field, values: np.ndarray, pieces: list[bytes | memoryview]) -> None:
    """An array of weights or samples."""
    number = field.number or 0
    if not len(values):
        return
    if field.packed:
        content = values.data.cast("B")
        pieces += [wire.write_tag(number, wire.BYTES), wire.write_varint(len(content)), content]
        return
    key = wire.write_tag(number, WIRE_TYPE[field.kind])
    entries = np.empty(len(values), [("tag", np.void, len(key)), ("value", values.dtype)])
    entries["tag"] = np.void(key)
    entries["value"] = values
    pieces.append(entries.tobytes())


def _bytes(field: Field, value: Any) -> bytes:
    """A value without its tag."""
    kind = field.kind
    if kind in ("string", "bytes"):
        raw = value.encode("utf-8", errors="surrogateescape") if isinstance(value, str) else bytes(value)
        return wire.write_varint(len(raw)) + raw
    if kind in FORMS:
        with np.errstate(over="ignore"):
            return np.asarray(value, np.float64).astype(DTYPES[kind]).tobytes()
    if kind == "enum":
        return wire.write_varint(fields.ENUMS[field.of][value])
    return wire.write_varint(int(value))
