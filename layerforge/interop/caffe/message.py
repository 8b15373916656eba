"""A message of Protocol Buffers: the values that are set, where each was written, and which were read.

An importer asks for what it understands; what was set and never asked for is what it would ignore (`unread`).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...schema.locations import BytePlace, Place
from . import fields

MISSING: Any = object()


class Origin:
    """The file that messages came from; it turns positions in it into places.

    text   the whole text of a text file; None for a binary file, whose positions are byte offsets
    """

    def __init__(self, file: str, text: str | None = None) -> None:
        self.file = file
        self.text = text
        self._starts: list[int] | None = None
        self._shown = (0, "")  # the line that was asked for last, which may be long, and its text

    def place(self, position: int, length: int = 1) -> Place:
        """The place of a character or byte."""
        if self.text is None:
            return BytePlace(self.file, 0, position)
        if self._starts is None:
            self._starts = [0, *(i + 1 for i, character in enumerate(self.text) if character == "\n")]
        line = bisect.bisect_right(self._starts, position)
        start = self._starts[line - 1]
        if self._shown[0] != line:
            end = self._starts[line] - 1 if line < len(self._starts) else len(self.text)
            self._shown = (line, self.text[start:end].encode(errors="replace").decode().rstrip("\r"))
        return Place(self.file, line, position - start + 1, self._shown[1], length)


MOST_VALUES = 2_000_000  # in a file, apart from weights
MESSAGE_WEIGHT = 10  # a message takes the memory of so many other values; the readers count it so

MADE = Origin("<made here>")  # of messages that no file holds


@dataclass(frozen=True)
class Unknown:
    """A field that fields.py does not know, or whose value it does not know.

    name    of the field in a text; its number in a binary file
    raw     the text of its value; in a binary file the bytes of the whole field
    reason  why it is not understood, where its name or number is known
    """

    name: str | int
    place: Place
    raw: str | bytes
    reason: str = ""


class Message:
    """The values of a message by the names of their fields.

    kind      the message's name, such as LayerParameter
    values    what is set: int, float, bool, str, bytes, Message; enums as their names; lists of repeated fields, and
              arrays for those of weights and samples (read-only where they come from a file)
    unknown   the fields that are not understood
    """

    __slots__ = ("_origin", "_positions", "_read", "_start", "kind", "unknown", "values")

    def __init__(self, kind: str, origin: Origin = MADE, start: int = 0, /, **values: Any) -> None:
        if kind not in fields.MESSAGES:
            raise KeyError(f"there is no message {kind}")
        self.kind = kind
        self.values: dict[str, Any] = {}
        self.unknown: list[Unknown] = []
        self._origin = origin
        self._start = start
        self._positions: dict[str, list[int]] = {}
        self._read: set[str] = set()
        for name, value in values.items():
            self.set(name, value)

    def get(self, name: str, default: Any = MISSING) -> Any:
        """The value of a field, and where it is not set `default` or that of Caffe; the field counts as read.

        A repeated field that is not set is an empty list or array, a message that is not set an empty one.
        """
        field = fields.field(self.kind, name)
        self._read.add(name)
        value = self.values.get(name, default)
        if value is not MISSING:
            return value
        if field.dtype is not None:
            return np.empty(0, field.dtype)
        if field.repeated:
            return []
        return Message(field.of, self._origin, self._start) if field.kind == "message" else field.default

    def has(self, name: str) -> bool:
        """Whether a field is set, or a repeated one holds something; it counts as read then."""
        fields.field(self.kind, name)
        self._read.add(name)
        return name in self.values

    def peek(self, name: str) -> Any:
        """As `get`, but the field does not count as read."""
        known = name in self._read
        value = self.get(name)
        if not known:
            self._read.discard(name)
        return value

    def set(self, name: str, value: Any) -> None:
        """Set a field; a list for a repeated one. An empty list or array unsets it."""
        field = fields.field(self.kind, name)
        if field.dtype is not None:
            value = np.asarray(value, field.dtype).reshape(-1)
        elif field.repeated:
            value = list(value)
        if field.repeated and not len(value):
            self.clear(name)
            return
        self.values[name] = value
        self._positions.pop(name, None)
        self._read.discard(name)

    def add(self, name: str, value: Any = MISSING) -> Any:
        """Append to a repeated field; without a value a new message. Returns what was appended."""
        field = fields.field(self.kind, name)
        if value is MISSING:
            value = Message(field.of)
        self.values.setdefault(name, []).append(value)
        return value

    def clear(self, name: str) -> None:
        """Unset a field."""
        self.values.pop(name, None)
        self._positions.pop(name, None)

    def insert(self, name: str, value: Any) -> None:
        """Put in front of a repeated field."""
        self.values.setdefault(name, []).insert(0, value)
        if name in self._positions:
            self._positions[name].insert(0, self._positions[name][0])

    def take(self, other: Message, name: str, value: Any = MISSING, as_name: str | None = None) -> None:
        """Set a field to what `other` has as `name`, or to `value`, with the place that it has there."""
        new = as_name or name
        fields.field(self.kind, new)
        self.values[new] = other.values[name] if value is MISSING else value
        self._positions[new] = list(other._positions.get(name, [other._start]))

    def place(self, name: str | None = None, index: int = 0) -> Place:
        """Where a field was written, or an item of a repeated one; without a name, the message itself."""
        if name is None:
            return self._origin.place(self._start)
        at = self._positions.get(name)
        length = len(name) if self._origin.text is not None else 1
        return self._origin.place(at[min(index, len(at) - 1)], length) if at else self._origin.place(self._start)

    def mark(self, name: str, position: int) -> None:
        """Remember where a value was written, in the order of the values. For the readers of files."""
        self._positions.setdefault(name, []).append(position)

    def placed_like(self, other: Message, name: str | None = None) -> Message:
        """This message, made while another was upgraded, with the place of that or of a field of it."""
        self._origin = other._origin
        at = other._positions.get(name) if name else None
        self._start = at[0] if at else other._start
        return self

    def copy(self) -> Message:
        """A message of its own with the same values and places; arrays are shared."""
        twin = Message(self.kind, self._origin, self._start)
        twin.unknown = list(self.unknown)
        twin._positions = {name: list(at) for name, at in self._positions.items()}
        for name, value in self.values.items():
            if isinstance(value, Message):
                value = value.copy()
            elif isinstance(value, list):
                value = [item.copy() if isinstance(item, Message) else item for item in value]
            twin.values[name] = value
        return twin

    def children(self) -> Iterator[tuple[str, int, Message]]:
        """(field, index, message) of every message that is set."""
        for name, value in self.values.items():
            items = value if isinstance(value, list) else [value]
            yield from ((name, index, item) for index, item in enumerate(items) if isinstance(item, Message))

    def unread(self, prefix: str = "") -> list[tuple[str, Place]]:
        """(path, place) of each field that is set and was never read; of a message read in part, its unread fields."""
        found = []
        for name, value in self.values.items():
            if name not in self._read:
                found.append((prefix + name, self.place(name)))
                continue
            repeated = isinstance(value, list)
            for index, item in enumerate(value if repeated else [value]):
                if isinstance(item, Message):
                    found += item.unread(f"{prefix}{name}[{index}]." if repeated else f"{prefix}{name}.")
        return found

    def mark_read(self) -> None:
        """All that is set counts as read, recursively."""
        self._read.update(self.values)
        for _, _, inner in self.children():
            inner.mark_read()

    def all_unknown(self, prefix: str = "") -> list[tuple[str, Unknown]]:
        """(path of the message that holds it, with a dot; unknown field), recursively."""
        found = [(prefix, unknown) for unknown in self.unknown]
        for name, index, item in self.children():
            repeated = isinstance(self.values[name], list)
            found += item.all_unknown(f"{prefix}{name}[{index}]." if repeated else f"{prefix}{name}.")
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        if self.kind != other.kind or self.values.keys() != other.values.keys():
            return False
        return all(_same(value, other.values[name]) for name, value in self.values.items())

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(self.values)})"


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal; nan equals nan, -0.0 is not 0.0."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b)
    return bool(a == b)


def single(value: float) -> float:
    """The number that a 32-bit float holds, as the shortest decimal that names it: 0.1, not 0.10000000149011612."""
    if value != value or (-1e7 < value < 1e7 and value == round(value)):
        return float(value)
    with np.errstate(over="ignore", under="ignore"):
        return float(str(np.float32(value)))
