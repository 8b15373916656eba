"""YAML, read safely: PyYAML splits the text into events, and this module builds the tree from them.

Only mappings with string keys, lists and scalars of YAML 1.2's core schema exist here. No tag can name a class, and
nothing grows beyond MAX_NODES values or MAX_DEPTH levels, however often anchors are repeated. Every mapping and list
knows where it and each of its values were written.
"""

from __future__ import annotations

import os
import re
from typing import Any

import yaml

from ..schema.errors import ConfigError, LayerForgeError, raise_all
from ..schema.locations import Place, PlacedDict, PlacedList
from ..schema.params import show
from .scalars import CORE_TAGS, forbidden_character, plain_scalar, quoted_scalar, shorten
from .text_file import read_text
from .yaml_events import LINE_BREAK, Argument, Events, Text

MAX_NODES = 200_000
MAX_DEPTH = 100
MAX_ERRORS = 50

ENCLOSED = ("[", "{", '"', "'", "!")  # how a value begins that is more than one plain word
NEVER_FIRST = tuple("#>|%@`,]}")  # no value of one line begins with these in YAML: on a command line they are its text

TAG_PREFIX = "tag:yaml.org,2002:"


def load_yaml(
    path: str | os.PathLike[str], place: Place | None = None, errors: list[LayerForgeError] | None = None
) -> tuple[PlacedDict, str]:
    """The tree and the text of a YAML file. `place` is where another file names it; `errors` as in parse_yaml.

    Errors   ConfigError for a file that cannot be read or is not YAML in our sense
    """
    text = read_text(path, place)
    return parse_yaml(text, os.fspath(path), errors), text


def parse_yaml(text: str, name: str, errors: list[LayerForgeError] | None = None) -> PlacedDict:
    """The tree of a YAML text whose top level is a mapping; errors call the text `name`.

    Syntax errors raise at once. Other errors (duplicate keys, tags, keys that are not strings) are collected in
    `errors`, or raised together where no list is given.
    """
    collected: list[LayerForgeError] = [] if errors is None else errors
    builder = _Builder(text.removeprefix("\ufeff"), name, None, collected)
    tree = builder.document()
    if tree is None:
        raise ConfigError(
            "the file is empty" if not text.strip() else "the file holds no values",
            place=Place(name, 0, 0),
            hint="a configuration needs at least a net:",
        )
    if not isinstance(tree, PlacedDict):
        raise_all(collected if errors is None else [])
        raise ConfigError(
            f"the top level must be a mapping, got {_kind(tree)}",
            place=builder.root,
            hint="write 'key: value' lines",
        )
    if errors is None:
        raise_all(collected)
    return tree


def parse_value(text: str, place: Place) -> Any:
    """The value of a YAML scalar, [list] or {mapping} written on a command line at `place`.

    Without quotes or brackets the whole text is the scalar, a '#' in it or in front of it too.

    Errors   ConfigError, all at that place, also for an empty text, for block style, and for what YAML would leave out
             without a word: comments, anchors, the marks of documents
    """
    if not text.strip():
        raise ConfigError("there is no value after '='", place=place, hint="write null for null")
    enclosed = text.lstrip().startswith(ENCLOSED)
    if not enclosed:
        text = text.strip()
    if text.startswith(NEVER_FIRST) and not LINE_BREAK.search(text):
        return _printable(text, place)
    collected: list[LayerForgeError] = []
    builder = _Builder(text, place.file, place, collected, Argument if enclosed else Events)
    try:
        value = builder.document()
        raise_all(collected)
    except ConfigError as error:
        raise error if enclosed or "not valid YAML" not in str(error) else _other_in_yaml(text, place) from None
    if builder.root_is_block:
        raise ConfigError(
            f"'{shorten(text)}' is not a scalar, [list] or {{mapping}}", place=place, hint="quote it, or add brackets"
        )
    if builder.root_is_marked:
        message = f"'{shorten(text)}' has an anchor or the mark of a document"
        raise ConfigError(message, place=place, hint="quote it if it is a text")
    if enclosed:
        return value
    return plain_scalar(_printable(text, place))


def _printable(text: str, place: Place) -> str:
    bad = forbidden_character(text)
    if bad:
        raise ConfigError(f"a string must not contain the control character {bad}", place=place)
    return text


def _other_in_yaml(text: str, place: Place) -> ConfigError:
    """What to say of a value on a command line that is no YAML: the quotes that make it a text, for YAML and shells."""
    hint = f"if it is a text, quote it twice, for the shell and for YAML: KEY='{quoted_scalar(text)}'"
    return ConfigError(
        f"'{shorten(text)}' is no value: its first word means something else in YAML", place=place, hint=hint
    )


def _kind(value: Any) -> str:
    """What a value is, for "got ..."."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return show(value)


class _Builder:
    """Builds one tree from the events of one text."""

    def __init__(
        self,
        text: str,
        name: str,
        origin: Place | None,
        errors: list[LayerForgeError],
        events: type[Events] = Events,
    ) -> None:
        self.errors = errors
        self.anchors: dict[str, tuple[Any, Place]] = {}
        self.open_anchors: set[str] = set()
        self.nodes = 0
        self.root: Place | None = None
        self.root_is_empty = self.root_is_block = self.root_is_marked = False
        self.text = Text(text, name, origin, events)

    def _collect(self, message: str, place: Place, hint: str | None = None) -> None:
        self.errors.append(ConfigError(message, place=place, hint=hint))
        if len(self.errors) >= MAX_ERRORS:
            raise_all(self.errors)

    def document(self) -> Any:
        """The value of the only document; None for an empty text."""
        self.text.next()  # the start of the stream
        event = self.text.next()
        if isinstance(event, yaml.StreamEndEvent):
            self.root_is_empty = True
            return None
        start, event = event, self.text.next()
        self.root = self.text.place_of(event)
        self.root_is_empty = isinstance(event, yaml.ScalarEvent) and event.style is None and event.value == ""
        self.root_is_block = getattr(event, "flow_style", True) is False
        marks = start.explicit or getattr(event, "anchor", None) is not None
        value = self._node(event, 1)
        end = self.text.next()  # of the document
        self.root_is_marked = marks or end.explicit
        event = self.text.next()
        if not isinstance(event, yaml.StreamEndEvent):
            place = self.text.place_of(event)
            raise ConfigError(
                "a second YAML document starts here", place=place, hint="one file holds one configuration"
            )
        return value

    # ---- nodes -------------------------------------------------------------------------------------------------

    def _admit(self, depth: int, place: Place) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ConfigError(
                f"the configuration has more than {MAX_NODES} values",
                place=place,
                hint="aliases (*name) count as often as they are used" if self.anchors else None,
            )
        if depth > MAX_DEPTH:
            raise ConfigError(f"values are nested more than {MAX_DEPTH} levels deep", place=place)

    def _node(self, event: Any, depth: int) -> Any:
        place = self.text.place_of(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, depth, place)
        self._admit(depth, place)
        anchor = event.anchor
        if anchor is not None:
            if anchor in self.anchors or anchor in self.open_anchors:
                self._collect(
                    f"the anchor '&{shorten(anchor)}' is defined twice", place, "give one of them another name"
                )
            self.open_anchors.add(anchor)
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(event, depth, place)
        else:
            value = self._mapping(event, depth, place)
        if anchor is not None:
            self.open_anchors.discard(anchor)
            self.anchors[anchor] = (value, place)
        return value

    def _alias(self, anchor: str, depth: int, place: Place) -> Any:
        if anchor in self.open_anchors:
            raise ConfigError(f"the alias '*{shorten(anchor)}' stands inside the value that it repeats", place=place)
        if anchor not in self.anchors:
            known = (
                ", ".join(f"&{shorten(name)}" for name in list(self.anchors)[:10]) or "there are none above this line"
            )
            raise ConfigError(
                f"the alias '*{shorten(anchor)}' has no anchor above it", place=place, hint=f"anchors: {known}"
            )
        return self._copy(self.anchors[anchor][0], depth, place)

    def _copy(self, value: Any, depth: int, place: Place) -> Any:
        """A copy of an anchored value, so that changing one use of it later changes no other."""
        self._admit(depth, place)
        if isinstance(value, PlacedDict):
            twin = PlacedDict({k: self._copy(v, depth + 1, place) for k, v in value.items()}, place=value.place)
            twin.key_places, twin.value_places = dict(value.key_places), dict(value.value_places)
            return twin
        if isinstance(value, PlacedList):
            items = PlacedList([self._copy(v, depth + 1, place) for v in value], place=value.place)
            items.value_places = dict(value.value_places)
            return items
        return value

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Any:
        bad = forbidden_character(event.value)
        if bad:
            self._collect(f"a string must not contain the control character {bad}", place)
            return None
        try:
            value = plain_scalar(event.value) if event.implicit[0] and event.tag is None else event.value
            return self._tagged(event, value, place)
        except ConfigError as error:
            self._collect(error.message, place, error.hint)
            return None

    def _tagged(self, event: Any, value: Any, place: Place) -> Any:
        """`value`, after a look at the tag that was written before it: only those of the core schema are known."""
        tag = event.tag
        if tag in (None, "!"):
            return value
        kind = tag.removeprefix(TAG_PREFIX) if tag.startswith(TAG_PREFIX) else ""
        if kind not in CORE_TAGS:
            shown = f"!!{kind}" if tag.startswith(TAG_PREFIX) else tag
            hint = "a configuration holds plain values only; nothing in it can name Python code"
            self._collect(f"the tag '{shorten(shown)}' is not allowed", place, hint)
            return value
        if isinstance(value, str) and kind != "str":
            value = plain_scalar(value)
        if kind == "float" and type(value) is int:
            value = float(value)
        if not isinstance(value, CORE_TAGS[kind]) or (kind == "int" and isinstance(value, bool)):
            self._collect(f"the tag '!!{kind}' does not fit {_kind(value)}", place)
        return value

    def _sequence(self, event: Any, depth: int, place: Place) -> PlacedList:
        items = PlacedList(place=self._start(place))
        self._tagged(event, items, place)
        while not isinstance(item := self.text.next(), yaml.SequenceEndEvent):
            where = self.text.place_of(item)
            value = self._node(item, depth + 1)
            items.value_places[len(items)] = where
            items.append(value)
        return items

    def _start(self, place: Place) -> Place:
        """The place of a collection is its first character."""
        return Place(place.file, place.line, place.column, place.text, 1)

    # ---- mappings ----------------------------------------------------------------------------------------------

    def _mapping(self, event: Any, depth: int, place: Place) -> PlacedDict:
        mapping = PlacedDict(place=self._start(place))
        self._tagged(event, mapping, place)
        merges: list[tuple[Any, Place]] = []
        while not isinstance(key_event := self.text.next(), yaml.MappingEndEvent):
            key_place = self.text.place_of(key_event)
            is_merge = isinstance(key_event, yaml.ScalarEvent) and key_event.style is None and key_event.value == "<<"
            key = self._node(key_event, depth + 1)
            value_event = self.text.next()
            value_place = self.text.place_of(value_event)
            value = self._node(value_event, depth + 1)
            if is_merge:
                merges.append((value, value_place))
            elif self._check_key(mapping, key, key_event, value_event):
                mapping[key] = value
                mapping.key_places[key], mapping.value_places[key] = key_place, value_place
                if isinstance(value, (PlacedDict, PlacedList)):
                    value.place = key_place  # "lr is required" is best shown under the name of its section
        for value, value_place in merges:
            self._merge(mapping, value, value_place)
        return mapping

    def _check_key(self, mapping: PlacedDict, key: Any, event: Any, value_event: Any) -> bool:
        """Whether `key` can be entered; what is wrong with it is collected otherwise."""
        place = self.text.place_of(event)
        if not isinstance(key, str):
            hint = f"quote it: '{shorten(event.value)}'" if getattr(event, "value", "") else None
            self._collect(f"a key must be a string, got {_kind(key)}", place, hint)
            return False
        bad = forbidden_character(key, also="\t\n\r")
        if bad:
            self._collect(f"a key must not contain the character {bad}", place)
            return False
        empty = isinstance(value_event, yaml.ScalarEvent) and value_event.start_mark.index == value_event.end_mark.index
        if empty and re.fullmatch(r"\w+:\S.*", key):
            name, _, value = key.partition(":")
            self._collect(f"no value for the key '{shorten(key)}'", place, f"a space after the colon: {name}: {value}")
            return False
        if key in mapping:
            first = mapping.key_places[key]
            where = f"line {first.line}, column {first.column}" if first.line else str(first)
            self._collect(f"the key '{shorten(key)}' is given twice; first at {where}", place, "remove one of the two")
            return False
        return True

    def _merge(self, mapping: PlacedDict, value: Any, place: Place) -> None:
        """`<<: *anchor` or `<<: [*a, *b]`: entries that the mapping does not have itself; the first one counts."""
        sources = value if isinstance(value, PlacedList) else [value]
        if not all(isinstance(source, PlacedDict) for source in sources):
            self._collect("'<<' needs a mapping or a list of mappings, usually '*anchor'", place)
            return
        for source in sources:
            for key, item in source.items():
                if key not in mapping:
                    mapping[key] = item
                    mapping.copy_places(source, key)
