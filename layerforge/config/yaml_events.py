"""The events of a YAML text, as PyYAML's front end splits it, with the place of each and errors in our words."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ..schema.errors import ConfigError
from ..schema.locations import Place
from .scalars import shorten

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # where PyYAML counts a new line
UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE

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


class Events(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's front end without its composer and constructor: text in, events out."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


class Argument(Events):
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


class Text:
    """One text: its lines, and its events one after the other.

    origin   shifts all places into a command line's argument

    Errors   ConfigError for a character that YAML does not allow, and for what is not YAML
    """

    def __init__(self, text: str, name: str, origin: Place | None, events: type[Events]) -> None:
        self.name = name
        self.origin = origin
        self.lines = [UNPRINTABLE.sub("\ufffd", line) for line in LINE_BREAK.split(text)]
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

    def _shifted(self, line: int, column: int, length: int) -> Place:
        if self.origin is not None:
            if line:
                return self.origin
            return Place(self.name, self.origin.line, self.origin.column + column, self.origin.text, length)
        text = self.lines[line] if line < len(self.lines) else ""
        return Place(self.name, line + 1, column + 1, text, length)

    def place_of(self, event: Any) -> Place:
        """Where an event stands, to its end on that line."""
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column
        if end.line != start.line:
            length = len(self.lines[start.line]) - start.column if start.line < len(self.lines) else 1
        return self._shifted(start.line, start.column, max(1, length))

    def next(self) -> Any:
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
