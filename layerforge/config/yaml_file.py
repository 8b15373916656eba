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
from .scalars import CORE_TAGS, forbidden_character, plain_scalar, shorten
from .text_file import read_text

MAX_NODES = 200_000
MAX_DEPTH = 100
MAX_ERRORS = 50

ENCLOSED = ("[", "{", '"', "'", "!")  # how a value begins that is more than one plain word

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # where PyYAML counts a new line
UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE
TAG_PREFIX = "tag:yaml.org,2002:"

# What PyYAML says, and what usually helps.
ADVICE = (
    ("would begin a comment", "put the text that it belongs to in quotes"),
    ("mapping values are not allowed", "a ': ' too many: quote the value, or check the indentation of this line"),
    ("found character '\\t'", "YAML is indented with spaces, not tabs"),
    ("could not find expected ':'", "a key needs ': ' (colon and space) after it"),
    ("but found '<block mapping start>'", "this line is indented deeper than the one it belongs to"),
    ("expected <block end>, but found '-'", "this '-' is indented unlike the entries above it"),
    ("expected <block end>", "check the indentation of this line and the brackets and quotes above it"),
    ("expected the node content", "a value is missing here, or a bracket above is not closed"),
    ("but got '<stream end>'", "this bracket is not closed"),
    ("expected ',' or", "a comma or a closing bracket is missing before this"),
    ("found unexpected end of stream", "this quote is not closed"),
    ("found unexpected document separator", "this quote is not closed"),
    ("found unknown escape character", "in double quotes write \\\\ for a backslash, or use single quotes"),
    ("found character", "quote the value: this character has a meaning of its own in YAML"),
    ("found undefined tag handle", "tags are not used here"),
)
SHOWN_AT_THE_START = ("could not find expected ':'", "unexpected end of stream", "unexpected document", "<stream end>")


class _Events(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's front end without its composer and constructor: text in, events out."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


class _Argument(_Events):
    """The same for an argument of a command line, in which '#' begins no comment: what stands there is all meant."""

    def scan_to_next_token(self) -> None:
        while True:
            while self.peek() == " ":
                self.forward()
            if self.peek() == "#":
                problem = "'#' would begin a comment here"
                raise yaml.scanner.ScannerError(None, None, problem, self.get_mark())
            if not self.scan_line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True


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

    Without quotes or brackets the whole text is the scalar, a '#' in it too.

    Errors   ConfigError, all at that place, also for an empty text, for block style, and for what YAML would leave out
             without a word: comments, anchors, the marks of documents
    """
    collected: list[LayerForgeError] = []
    enclosed = text.lstrip().startswith(ENCLOSED)
    builder = _Builder(text, place.file, place, collected, _Argument if enclosed else _Events)
    value = builder.document()
    raise_all(collected)
    if not text.strip() or (value is None and builder.root_is_empty):
        hint = "write null for null" if not text.strip() else "quote a value that begins with '#'"
        raise ConfigError("there is no value after '='", place=place, hint=hint)
    if builder.root_is_block:
        raise ConfigError(
            f"'{shorten(text)}' is not a scalar, [list] or {{mapping}}", place=place, hint="quote it, or add brackets"
        )
    if builder.root_is_marked:
        message = f"'{shorten(text)}' has an anchor or the mark of a document"
        raise ConfigError(message, place=place, hint="quote it if it is a text")
    if enclosed:
        return value
    bad = forbidden_character(text)
    if bad:
        raise ConfigError(f"a string must not contain the control character {bad}", place=place)
    return plain_scalar(text.strip())


def _kind(value: Any) -> str:
    """What a value is, for "got ..."."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return show(value)


class _Builder:
    """Builds one tree from the events of one text. `origin` shifts all places into a command line's argument."""

    def __init__(
        self,
        text: str,
        name: str,
        origin: Place | None,
        errors: list[LayerForgeError],
        events: type[_Events] = _Events,
    ) -> None:
        self.name, self.origin, self.errors = name, origin, errors
        self.lines = [UNPRINTABLE.sub("\ufffd", line) for line in LINE_BREAK.split(text)]
        self.anchors: dict[str, tuple[Any, Place]] = {}
        self.open_anchors: set[str] = set()
        self.nodes = 0
        self.root: Place | None = None
        self.root_is_empty = self.root_is_block = self.root_is_marked = False
        self._refuse_controls(text)
        self.events = events(text)

    def _refuse_controls(self, text: str) -> None:
        found = UNPRINTABLE.search(text)
        if found:
            before = LINE_BREAK.split(text[: found.start()])
            place = self._shifted(len(before) - 1, len(before[-1]), 1)
            raise ConfigError(
                f"the character U+{ord(found.group()):04X} is not allowed in YAML (byte offset"
                f" {len(text[: found.start()].encode('utf-8', 'surrogatepass'))})",
                place=place,
                hint="save it as plain UTF-8 text",
            )

    # ---- places ------------------------------------------------------------------------------------------------

    def _shifted(self, line: int, column: int, length: int) -> Place:
        if self.origin is not None:
            if line:
                return self.origin
            return Place(self.name, self.origin.line, self.origin.column + column, self.origin.text, length)
        text = self.lines[line] if line < len(self.lines) else ""
        return Place(self.name, line + 1, column + 1, text, length)

    def _place(self, event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column
        if end.line != start.line:
            length = len(self.lines[start.line]) - start.column if start.line < len(self.lines) else 1
        return self._shifted(start.line, start.column, max(1, length))

    def _collect(self, message: str, place: Place, hint: str | None = None) -> None:
        self.errors.append(ConfigError(message, place=place, hint=hint))
        if len(self.errors) >= MAX_ERRORS:
            raise_all(self.errors)

    # ---- events ------------------------------------------------------------------------------------------------

    def _next(self) -> Any:
        """The next event; syntax errors of PyYAML in our form."""
        try:
            return self.events.get_event()
        except yaml.MarkedYAMLError as problem:
            raise self._syntax_error(problem) from None
        except (yaml.YAMLError, ValueError, OverflowError) as problem:  # \UFFFFFFFF, %YAML 1.99...9
            mark = self.events.get_mark()
            place = self._shifted(mark.line, mark.column, 1)
            raise ConfigError(f"not valid YAML: {shorten(str(problem))}", place=place) from None

    def _syntax_error(self, problem: yaml.MarkedYAMLError) -> ConfigError:
        what = str(problem.problem or problem.context)
        mark, opened = problem.problem_mark or self.events.get_mark(), problem.context_mark
        message = f"not valid YAML: {what}"
        if opened is not None and any(words in what for words in SHOWN_AT_THE_START):
            mark = opened  # the end of the file says little about a quote that was opened somewhere above it
        elif opened is not None and problem.context and opened.line != mark.line:
            message += f" ({problem.context} that starts on line {opened.line + 1})"
        place = self._shifted(mark.line, mark.column, 1)
        hint = next((advice for words, advice in ADVICE if words in what), None)
        if place.text[max(0, place.column - 2) : place.column] == "${":
            hint = 'inside { } and [ ] a variable needs quotes: "${...}"'
        return ConfigError(message, place=place, hint=hint)

    def document(self) -> Any:
        """The value of the only document; None for an empty text."""
        self._next()  # the start of the stream
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            self.root_is_empty = True
            return None
        start, event = event, self._next()
        self.root = self._place(event)
        self.root_is_empty = isinstance(event, yaml.ScalarEvent) and event.style is None and event.value == ""
        self.root_is_block = getattr(event, "flow_style", True) is False
        marks = start.explicit or getattr(event, "anchor", None) is not None
        value = self._node(event, 1)
        end = self._next()  # of the document
        self.root_is_marked = marks or end.explicit
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise ConfigError(
                "a second YAML document starts here", place=self._place(event), hint="one file holds one configuration"
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
        place = self._place(event)
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
        while not isinstance(item := self._next(), yaml.SequenceEndEvent):
            where = self._place(item)
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
        while not isinstance(key_event := self._next(), yaml.MappingEndEvent):
            key_place = self._place(key_event)
            is_merge = isinstance(key_event, yaml.ScalarEvent) and key_event.style is None and key_event.value == "<<"
            key = self._node(key_event, depth + 1)
            value_event = self._next()
            value_place = self._place(value_event)
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
        place = self._place(event)
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
