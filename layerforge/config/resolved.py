"""A configuration written out with all of its defaults, and where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..schema.locations import Place, PlacedDict, PlacedList, place_of
from ..schema.params import to_plain
from .variables import escape

DEFAULT = Place("default", 0, 0)
SELF_NAMED = "given"


def resolved_tree(settings: Mapping[str, Any], given: PlacedDict) -> PlacedDict:
    """The tree of `config.resolved.yaml`: all settings but those that are None, with the places of what was given."""
    # The variables of blocks were never replaced; everywhere else a "${" that is left is one that was escaped.
    plain = {k: v if k == "blocks" else escape(to_plain(v)) for k, v in settings.items() if v is not None}
    return _placed(plain, given)


def _placed(value: Any, given: Any) -> Any:
    """`value` with the places of those entries that `given` has too, and of all others that they are defaults."""
    if isinstance(value, Mapping):
        result = PlacedDict(value)
        for key, item in value.items():
            if isinstance(given, Mapping) and key in given:
                result[key] = _placed(item, _spelled_out(given, key) if isinstance(item, Mapping) else given[key])
                result.copy_places(given, key)
            else:
                result[key] = _placed(item, None)
                result.value_places[key] = DEFAULT
        return result
    if isinstance(value, (list, tuple)):
        items = PlacedList(_placed(v, given[i] if _same_length(value, given) else None) for i, v in enumerate(value))
        items.value_places = {i: p for i in range(len(items)) if (p := place_of(given, i)) is not None}
        return items
    return value


def _spelled_out(given: Any, key: Any) -> Any:
    """What was given under `key`; for a bare name the {type: name} that it stands for."""
    value, place = given[key], place_of(given, key)
    if not isinstance(value, str):
        return value
    named = PlacedDict({"type": value})
    if place is not None:
        named.value_places["type"] = place
    return named


def _same_length(value: Any, given: Any) -> bool:
    return isinstance(given, (list, tuple)) and len(given) == len(value)


def described(tree: PlacedDict) -> Iterator[tuple[str, Any, str]]:
    """(dotted key, value, origin) of every leaf: a scalar, a list of scalars, or something empty."""
    yield from _leaves(tree, "", None)


def _leaves(value: Any, prefix: str, place: Place | None) -> Iterator[tuple[str, Any, str]]:
    entries: list[tuple[str, Any, Any]] = []
    if isinstance(value, Mapping):
        entries = [(key, key, item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        entries = [(_label(item, index), index, item) for index, item in enumerate(value)]
    if not entries:
        yield prefix, value, origin_of(place)
    for label, key, item in entries:
        yield from _leaves(item, f"{prefix}.{label}" if prefix else label, place_of(value, key) or place)


def _label(item: Any, index: int) -> str:
    name = item.get("name") if isinstance(item, Mapping) else None
    return name if isinstance(name, str) else str(index)


def origin_of(place: Place | None) -> str:
    """A place in the words of the comments: the file and line, or what was given in its stead."""
    if place is None:
        return SELF_NAMED
    return f"{place.file}:{place.line}" if place.line else place.file
