"""`${solver.lr}`: a value written once and used in several places.

A value that is nothing but one `${...}` becomes what it names, with its type; inside a longer text the value is
written out. `$${` is a plain `${`. Only keys of the configuration can be named: no environment, no code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..schema.errors import ConfigError, LayerForgeError
from ..schema.locations import Place, PlacedDict, PlacedList, place_of
from ..schema.synonyms import nearest
from .address import entry, names_in
from .scalars import quoted_scalar, shorten
from .yaml_file import MAX_DEPTH, MAX_NODES

WHOLE = re.compile(r"\$\{([^${}]*)\}")
PIECES = re.compile(r"(\$\$\{)|\$\{([^${}]*)\}|(\$\{)")
LONGEST_TEXT = 10_000


def interpolate(
    tree: PlacedDict, leave_out: Iterable[str] = ()
) -> tuple[PlacedDict, list[LayerForgeError], set[Place]]:
    """A copy of `tree` with every `${...}` replaced, except below the top-level keys `leave_out`.

    Also the errors, and the places of the values that had to stay as they were: what they fail next is no news.
    """
    work = _Interpolation(tree)
    return work.mapping(tree, 1, (), skip=tuple(leave_out)), work.errors, work.broken


def escape(value: Any) -> Any:
    """A copy of `value` whose texts mean themselves when they are interpolated."""
    if isinstance(value, Mapping):
        return {key: escape(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [escape(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


class _Unresolved(Exception):
    """A value that has no meaning because of an error that is already in the list."""


class _Interpolation:
    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = names
        self.errors: list[LayerForgeError] = []
        self.broken: set[Place] = set()
        self.circles: set[frozenset[str]] = set()
        self.nodes = 0

    def _child(self, value: Any, place: Place | None, depth: int, active: tuple[str, ...]) -> Any:
        """The value of an entry; the text as it is where that has no value and nobody waits for it."""
        try:
            return self._value(value, place, depth, active)
        except _Unresolved:
            if active:
                raise
            if place is not None:
                self.broken.add(place)
            return value

    def mapping(self, value: PlacedDict, depth: int, active: tuple[str, ...], skip: tuple[str, ...] = ()) -> PlacedDict:
        result = PlacedDict(place=place_of(value))
        for key, item in value.items():
            kept = key in skip
            result[key] = item if kept else self._child(item, place_of(value, key), depth + 1, active)
            result.copy_places(value, key)
        return result

    def _value(self, value: Any, place: Place | None, depth: int, active: tuple[str, ...]) -> Any:
        self._count(place)
        if depth > MAX_DEPTH:
            self._fail(f"values are nested more than {MAX_DEPTH} levels deep", place)
        if isinstance(value, dict):
            return self.mapping(value, depth, active)
        if isinstance(value, list):
            items = PlacedList(place=place_of(value))
            for index, item in enumerate(value):
                items.append(self._child(item, place_of(value, index), depth + 1, active))
            items.value_places = dict(getattr(value, "value_places", {}))
            return items
        if isinstance(value, str) and "${" in value:
            return self._text(value, place, depth, active)
        return value

    def _count(self, place: Place | None) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ConfigError(f"with its variables the configuration has more than {MAX_NODES} values", place=place)

    def _text(self, text: str, place: Place | None, depth: int, active: tuple[str, ...]) -> Any:
        whole = WHOLE.fullmatch(text)
        if whole:
            return self._named(whole[1].strip(), text, place, depth, active)
        out, end = [], 0
        for piece in PIECES.finditer(text):
            out.append(text[end : piece.start()])
            end = piece.end()
            if piece[1]:
                out.append("${")
            elif piece[3]:
                self._fail("'${' without a name and '}' after it", _narrowed(place, "${"), "write $${ for a plain ${")
            else:
                out.append(self._written_out(piece, place, depth, active))
            if sum(map(len, out)) > LONGEST_TEXT:
                self._fail(f"with its variables this text is longer than {LONGEST_TEXT} characters", place)
        return "".join(out) + text[end:]

    def _written_out(self, piece: re.Match[str], place: Place | None, depth: int, active: tuple[str, ...]) -> str:
        value = self._named(piece[2].strip(), piece[0], place, depth, active)
        if isinstance(value, (dict, list)):
            what = "a mapping" if isinstance(value, dict) else "a list"
            self._fail(
                f"{piece[0]} is {what} and cannot stand inside a text",
                _narrowed(place, piece[0]),
                "let the value be nothing but the ${...}",
            )
        return value if isinstance(value, str) else quoted_scalar(value)

    def _named(self, name: str, written: str, place: Place | None, depth: int, active: tuple[str, ...]) -> Any:
        """What `name` stands for, its own variables replaced."""
        here = _narrowed(place, written)
        value, origin = self._look_up(name, here, active)
        return self._value(value, origin, depth + 1, (*active, name))

    def _look_up(self, name: str, here: Place | None, active: tuple[str, ...]) -> tuple[Any, Place | None]:
        self._count(here)
        if name in active:
            self._circle((*active[active.index(name) :], name), here)
        value, place, parts = self.names, here, name.split(".")
        while parts:
            if isinstance(value, str) and (link := WHOLE.fullmatch(value)) and len(active) < MAX_DEPTH:
                value, _ = self._look_up(link[1].strip(), here, (*active, name))
            found = entry(value, parts)
            if found is None:
                self._fail(*self._unknown(name, parts, value, here))
            key, count = found
            place, value, parts = place_of(value, key), value[key], parts[count:]
        return value, place

    def _unknown(
        self, name: str, parts: list[str], container: Any, here: Place | None
    ) -> tuple[str, Place | None, str]:
        above = name.removesuffix(".".join(parts)).rstrip(".")
        near = nearest(parts[0], names_in(container))
        rest = ".".join(filter(None, (above, near, *parts[1:])))
        what = f"'{shorten(above)}' has no key '{shorten(parts[0])}' here" if above else "there is no such key"
        hint = (
            f"did you mean '${{{rest}}}'?"
            if near
            else "a variable names a key of this configuration, like ${solver.lr}"
        )
        return f"unknown variable '${{{shorten(name)}}}': {what}", here, hint

    def _circle(self, names: tuple[str, ...], here: Place | None) -> None:
        if frozenset(names) in self.circles:
            raise _Unresolved
        self.circles.add(frozenset(names))
        self._fail(f"variables go round in a circle: {shorten(' -> '.join(names), 200)}", here)

    def _fail(self, message: str, place: Place | None, hint: str | None = None) -> Any:
        self.errors.append(ConfigError(message, place=place, hint=hint))
        raise _Unresolved


def _narrowed(place: Place | None, written: str) -> Place | None:
    """The place of a part of a text, where the text stands on its line as it is."""
    if place is None:
        return None
    start = place.text.find(written, place.column - 1, place.column - 1 + place.length)
    return place if start < 0 else Place(place.file, place.line, start + 1, place.text, len(written))
