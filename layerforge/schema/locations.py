"""Where a value was written: `file:line:column`, kept beside every value that came out of a file.

`PlacedDict` and `PlacedList` are an ordinary dict and list that also remember the place of each key and value, so
code that reads a configuration never has to care whether it came from YAML or from Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """A spot in something a person wrote. `text` is its whole line; `length` how many characters the caret marks."""

    file: str
    line: int
    column: int
    text: str = ""
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def excerpt(self, note: str = "") -> str:
        """The line with a caret under the place, as compilers print it; "" where the line is not known."""
        if not self.text.strip():
            return ""
        number = f"{self.line:4d}" if self.line else "    "
        text = self.text.rstrip("\n").expandtabs(1)
        length = max(1, min(self.length, len(text) - self.column + 1))
        start = self.column - 1
        if len(text) > 160:  # a very long line (a flow mapping, a binary file): show what is around the place
            left = max(0, start - 60)
            text, start = text[left : left + 150], start - left
        caret = " " * start + "^" * min(length, max(1, 150 - start))
        return f"{number} | {text}\n{' ' * len(number)} | {caret}{' ' + note if note else ''}"


@dataclass(frozen=True)
class BytePlace(Place):
    """A spot in a binary file; `column` is the offset of a byte, from 0."""

    def __str__(self) -> str:
        return f"{self.file}: byte {self.column}"


class PlacedDict(dict):
    """A dict that knows where it and each of its keys and values were written."""

    place: Place | None = None

    def __init__(self, *args: Any, place: Place | None = None) -> None:
        super().__init__(*args)
        self.place = place
        self.key_places: dict[Any, Place] = {}
        self.value_places: dict[Any, Place] = {}

    def copy_places(self, other: Any, key: Any) -> None:
        """Take over what `other` knows about the place of `key`."""
        for mine, theirs in (("key_places", "key_places"), ("value_places", "value_places")):
            known = getattr(other, theirs, {})
            if key in known:
                getattr(self, mine)[key] = known[key]


class PlacedList(list):
    """A list that knows where it and each of its items were written."""

    place: Place | None = None

    def __init__(self, *args: Any, place: Place | None = None) -> None:
        super().__init__(*args)
        self.place = place
        self.value_places: dict[int, Place] = {}


def place_of(container: Any, key: Any = None, *, of: str = "value") -> Place | None:
    """The place of a key or value in a container, of the container itself without a key; None when unknown."""
    own = getattr(container, "place", None)
    if key is None:
        return own
    places = getattr(container, "key_places" if of == "key" else "value_places", {})
    return places.get(key, own)


def part(mapping: Mapping[Any, Any], keys: Iterable[Any]) -> PlacedDict:
    """The entries of `mapping` under those of `keys` that it has, with all that it knows about their places."""
    chosen = PlacedDict({key: mapping[key] for key in keys if key in mapping}, place=place_of(mapping))
    for key in chosen:
        chosen.copy_places(mapping, key)
    return chosen
