"""Prototxt: the text format of Protocol Buffers, read and written.

    layer { name: "conv1" type: "Convolution" convolution_param { num_output: 20 kernel_size: 5 } }  # a comment

A field that fields.py does not know is kept in `Message.unknown` with its place and its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...schema.errors import ConfigError, DataError, LayerForgeError, raise_all
from . import fields
from .fields import Field
from .files import content
from .message import Message, Origin, Unknown, single

DEEPEST = 100  # messages within messages that are not known
MOST_VALUES = 2_000_000  # in a file
TOKEN = re.compile(
    r"""[A-Za-z_]\w* | \.?\d(?:[eE][+-]|[\w.])* | "[^"\\\n]*(?:\\.[^"\\\n]*)*" | '[^'\\\n]*(?:\\.[^'\\\n]*)*' | \#[^\n]*
    | \S""",
    re.VERBOSE | re.ASCII,
)
FLOAT = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?", re.ASCII)
INTEGER = re.compile(r"0[xX][0-9a-fA-F]+|\d+", re.ASCII)
NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
ESCAPED = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
PLAIN = (b"\\", b"'", b'"', b"?")
OPENING = {"{": "}", "<": ">"}
TRUE, FALSE = ("true", "True", "t", "1"), ("false", "False", "f", "0")
WORDS = {"inf": float("inf"), "infinity": float("inf"), "nan": float("nan")}


def parse(text: str, kind: str, file: str = "<text>", problems: list[LayerForgeError] | None = None) -> Message:
    """The message of that kind that a text describes.

    problems   takes the ConfigErrors, for who wants to tell of others with them; what they are about is not set then

    Errors   DataError with line and column where the text is damaged: a brace is missing, a character stands where
             none belongs; ConfigError, for all together, where a value does not fit its field: a word for a number,
             a value that an enum does not have, a field given twice
    """
    parser = _Parser(text.removeprefix("\ufeff"), file)
    message = Message(kind, parser.origin)
    parser.fields_of(message, "", 0)
    if problems is None:
        raise_all(parser.problems)
    else:
        problems += parser.problems
    return message


def decode(content: bytes) -> str:
    """The text of a file. Bytes that are not UTF-8 (comments in other encodings) are kept as lone surrogates."""
    return content.decode("utf-8", errors="surrogateescape")


class _Parser:
    """One pass over the tokens of a text; `token` is the next one, "" at the end, and `at` where it begins."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.origin = Origin(file, text)
        self.problems: list[LayerForgeError] = []
        self.left = MOST_VALUES
        self._matches = TOKEN.finditer(text)
        self._readers: dict[str, Callable[[Field], Any]] = {
            **dict.fromkeys(fields.INTEGERS, self._integer),
            "float": self._float,
            "double": self._float,
            "bool": self._bool,
            "string": self._string,
            "bytes": self._bytes,
            "enum": self._enum,
        }
        self.end = 0  # of the token before
        self.at = 0
        self.token = ""
        self.advance()

    def advance(self) -> None:
        """Go on to the next token."""
        self.end = self.at + len(self.token)
        for match in self._matches:
            token = match.group()
            if token[0] != "#":
                self.token, self.at = token, match.start()
                return
        self.token, self.at = "", len(self.text)

    def fail(self, what: str, at: int | None = None, length: int = 1, hint: str | None = None) -> DataError:
        """An error with the place of the present token, or another."""
        place = self.origin.place(self.at, max(1, len(self.token))) if at is None else self.origin.place(at, length)
        return DataError(what, place=place, hint=hint)

    def wrong(self, what: str, at: int, length: int, hint: str | None = None) -> None:
        """Note a value that does not fit its field."""
        self.problems.append(ConfigError(what, place=self.origin.place(at, length), hint=hint))

    def found(self) -> str:
        """The present token in words."""
        if self.token in ("'", '"'):
            return "a text whose closing quote is missing"
        return f"'{self.token[:40].encode(errors='replace').decode()}'" if self.token else "the end of the file"

    def fields_of(self, message: Message, closing: str, opened: int) -> None:
        """Read the fields of a message up to its closing brace; the tables have no message within itself."""
        table, values = fields.MESSAGES[message.kind], message.values
        arrays: dict[Field, list[float]] = {}
        while self.token != closing:
            name, at = self.token, self.at
            field = table.get(name)
            if field is None:
                self._unknown(message, closing, opened)
            else:
                self.advance()
                if name in values and not field.repeated:
                    self.wrong(f"{name} is given twice", at, len(name), f"first in line {message.place(name).line}")
                if field.kind == "message":
                    self._messages(message, field, at)
                else:
                    self._scalars(message, field, at, arrays)
            if self.token in (",", ";"):
                self.advance()
        for field, numbers in arrays.items():
            with np.errstate(over="ignore"):
                values[field.name] = np.array(numbers, np.float64).astype(field.dtype)
        self.advance()

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.fail(f"more than {MOST_VALUES} values: this is no definition of a net")

    def _scalars(self, message: Message, field: Field, at: int, arrays: dict[Field, list[float]]) -> None:
        """Read `: value` or `: [value, value]`."""
        if self.token != ":":
            raise self.fail(f"expected ':' after {field.name}, found {self.found()}")
        self.advance()
        read = self._readers[field.kind]
        if not field.repeated:
            self._count()
            value = read(field)
            if value is not None:
                message.values[field.name] = value
                message.mark(field.name, at)
            return
        items = message.values.setdefault(field.name, []) if field.dtype is None else arrays.setdefault(field, [])
        for _ in self._items():
            self._count()
            value = read(field)
            if value is not None:
                items.append(value)
                message.mark(field.name, at)
        if not items:
            message.values.pop(field.name, None)

    def _messages(self, message: Message, field: Field, at: int) -> None:
        """Read `{ fields }`, also with a colon before it, or a list of these."""
        if self.token == ":":
            self.advance()
        for _ in self._items() if field.repeated else (None,):
            closing = OPENING.get(self.token)
            if closing is None:
                raise self.fail(f"expected '{{' after {field.name}, found {self.found()}")
            self._count()
            item, opened = Message(field.of, self.origin, at), self.at
            self.advance()
            self.fields_of(item, closing, opened)
            message.mark(field.name, at)
            if field.repeated:
                message.values.setdefault(field.name, []).append(item)
            else:
                message.values[field.name] = item

    def _items(self) -> Any:
        """Once for a single value, once for each of a list in brackets."""
        if self.token != "[":
            yield
            return
        self.advance()
        if self.token == "]":
            self.advance()
            return
        while True:
            yield
            if self.token == "]":
                self.advance()
                return
            if self.token != ",":
                raise self.fail(f"expected ',' or ']' in a list, found {self.found()}")
            self.advance()

    # Values: what is read, or None after noting that it does not fit ------------------------------------------------

    def _minus(self) -> bool:
        """Whether a minus stands here; it is skipped."""
        if self.token != "-":
            return False
        self.advance()
        return True

    def _misfit(self, field: Field, wanted: str, at: int) -> None:
        """Note and skip a value of another kind."""
        token = self.token
        if token[:1] in ("'", '"') and len(token) > 1:
            self._bytes(field)
        elif NAME.fullmatch(token) or token[:1].isdigit() or (token[:1] == "." and len(token) > 1):
            self.advance()
        else:
            raise self.fail(f"{field.name} is {wanted}, not {self.found()}")
        shown = self.text[at : self.end]
        self.wrong(f"{field.name} is {wanted}, not {shown[:40].encode(errors='replace').decode()}", at, len(shown))

    def _integer(self, field: Field) -> int | None:
        """A whole number: decimal, octal with a leading 0, hexadecimal with 0x."""
        at = self.at
        negative = self._minus()
        value = _whole(self.token)
        if value is None:
            self._misfit(field, "a whole number", at)
            return None
        self.advance()
        value = -value if negative else value
        least, most = fields.INTEGERS[field.kind]
        if not least <= value <= most:
            self.wrong(f"{field.name} lies between {least} and {most}", at, self.end - at)
            return None
        return value

    def _float(self, field: Field) -> float | None:
        """A number, or inf or nan."""
        at = self.at
        negative = self._minus()
        token = self.token
        if FLOAT.fullmatch(token):
            value = float(token.rstrip("fF"))
        elif token.lower() in WORDS:
            value = WORDS[token.lower()]
        else:
            self._misfit(field, "a number", at)
            return None
        self.advance()
        if field.kind == "float" and (len(token) > 7 or "e" in token or "E" in token):
            value = single(value)  # others have six digits at most, and name a 32-bit float as they are
        return -value if negative else value

    def _bool(self, field: Field) -> bool | None:
        token = self.token
        if token not in TRUE and token not in FALSE:
            self._misfit(field, "true or false", self.at)
            return None
        self.advance()
        return token in TRUE

    def _string(self, field: Field) -> str | None:
        """A text in single or double quotes, or several that follow each other."""
        token = self.token
        if token[:1] in ("'", '"') and len(token) > 1 and "\\" not in token and token.isascii():
            self.advance()
            if self.token[:1] not in ("'", '"'):
                return token[1:-1]
            rest = self._bytes(field)
            return token[1:-1] + ("" if rest is None else rest.decode("utf-8", errors="backslashreplace"))
        whole = self._bytes(field)
        return None if whole is None else whole.decode("utf-8", errors="backslashreplace")

    def _bytes(self, field: Field) -> bytes | None:
        pieces = []
        while self.token[:1] in ("'", '"') and len(self.token) > 1:
            pieces.append(self._unescaped())
            self.advance()
        if not pieces:
            at = self.at
            self._minus()
            self._misfit(field, "a text in quotes", at)
            return None
        return b"".join(pieces)

    def _unescaped(self) -> bytes:
        """The bytes of a quoted text."""

        def meant(match: re.Match[bytes]) -> bytes:
            octal, hexadecimal, short, long, other = match.groups()
            if octal:
                return bytes([int(octal, 8) & 255])
            if hexadecimal:
                return bytes([int(hexadecimal, 16)])
            if short or long:
                code = int(short or long, 16)
                if code < 0x110000 and not 0xD800 <= code < 0xE000:
                    return chr(code).encode()
            if other in ESCAPED:
                return ESCAPED[other]
            if other in PLAIN:
                return other
            shown = match.group().decode(errors="replace")
            raise self.fail(f"a text has '{shown}', which is no escape", hint="a backslash itself is written \\\\")

        raw = self.token[1:-1].encode("utf-8", errors="surrogateescape")
        return ESCAPE.sub(meant, raw) if b"\\" in raw else raw

    def _enum(self, field: Field) -> str | None:
        """The name of a value of an enum, also where its number is written."""
        at = self.at
        negative = self._minus()
        token = self.token
        name: str | None = token
        number = _whole(token)
        if number is not None:
            name = fields.VALUES[field.of].get(-number if negative else number)
        elif negative or not NAME.fullmatch(token):
            self._misfit(field, "a word without quotes", at)
            return None
        self.advance()
        if name in fields.ENUMS[field.of] or (name is not None and field.of in fields.OPEN_ENUMS):
            return name
        self.wrong(
            f"{field.name} has no value {token}", at, self.end - at, f"it has {', '.join(fields.ENUMS[field.of])}"
        )
        return None

    # Fields that are not known --------------------------------------------------------------------------------------

    def _unknown(self, message: Message, closing: str, opened: int) -> None:
        """Keep a field that the tables do not know."""
        name, at = self.token, self.at
        if not name:
            raise self.fail(f"the '{self.text[opened]}' is never closed", opened)
        if name == "[":  # the name of an extension
            while self.token not in ("]", ""):
                self.advance()
            name = self.text[at : self.at + 1]
        elif not NAME.fullmatch(name):
            expected = f"a field of {message.kind}" + (f" or '{closing}'" if closing else "")
            raise self.fail(f"expected {expected}, found {self.found()}")
        self.advance()
        colon = self.token == ":"
        if colon:
            self.advance()
        start = self.at
        if self.token in ("{", "<", "["):
            self._skip_group()
        elif colon:
            self._skip_scalar(name)
        else:
            raise self.fail(f"expected ':' or '{{' after {name}, found {self.found()}")
        self._count()
        message.unknown.append(Unknown(name, self.origin.place(at, len(name)), self.text[start : self.end]))

    def _skip_scalar(self, name: str) -> None:
        if self.token[:1] in ("'", '"'):
            self._bytes(Field(name, None, "bytes", "", False, False, b"", None))
            return
        self._minus()
        if not (NAME.fullmatch(self.token) or FLOAT.fullmatch(self.token) or INTEGER.fullmatch(self.token)):
            raise self.fail(f"expected a value of {name}, found {self.found()}")
        self.advance()

    def _skip_group(self) -> None:
        """Skip a message or list with all that is in it."""
        opened = self.at
        closers = []
        while True:
            token = self.token
            if not token:
                raise self.fail(f"the '{self.text[opened]}' is never closed", opened)
            if token in ("{", "<", "["):
                closers.append("]" if token == "[" else OPENING[token])
                if len(closers) > DEEPEST:
                    raise self.fail(f"messages within messages, more than {DEEPEST} deep")
            elif token in ("}", ">", "]"):
                if token != closers.pop():
                    raise self.fail(f"unexpected {self.found()}")
                if not closers:
                    self.advance()
                    return
            elif token in ("'", '"'):
                raise self.fail(f"expected a value, found {self.found()}")
            self.advance()


def _whole(token: str) -> int | None:
    """The number of a token of digits; None where it is none, or has too many."""
    if not INTEGER.fullmatch(token) or len(token) > 24:
        return None
    try:
        return int(token, 16 if token[1:2] in ("x", "X") else 8 if token[0] == "0" else 10)
    except ValueError:  # a digit that octal numbers do not have
        return None


# Writing --------------------------------------------------------------------------------------------------------------


def render(message: Message) -> str:
    """The text of a message, its fields in the order of the tables; fields that are not known as they were read."""
    lines: list[str] = []
    _render(message, "", lines)
    return "".join(f"{line}\n" for line in lines)


def _render(message: Message, indent: str, lines: list[str]) -> None:
    for field in fields.MESSAGES[message.kind].values():
        if field.name not in message.values:
            continue
        value = message.values[field.name]
        for item in value if field.repeated else [value]:
            if field.kind == "message":
                lines.append(f"{indent}{field.name} {{")
                _render(item, f"{indent}  ", lines)
                lines.append(f"{indent}}}")
            else:
                lines.append(f"{indent}{field.name}: {_written(item, field)}")
    for unknown in message.unknown:
        if isinstance(unknown.raw, str):
            colon = "" if unknown.raw[:1] in ("{", "<") else ":"
            lines.append(f"{indent}{unknown.name}{colon} {unknown.raw}")


def _written(value: Any, field: Field) -> str:
    """A scalar as text."""
    if field.kind in ("string", "bytes"):
        return quoted(value)
    if field.kind == "bool":
        return "true" if value else "false"
    if field.kind == "enum":
        return value
    if field.kind in fields.INTEGERS:
        return str(int(value))
    number = single(float(value)) if field.kind == "float" else float(value)
    return str(int(number)) if number == round(number, 0) and 0 < abs(number) < 1e15 else repr(number)


def quoted(value: str | bytes) -> str:
    """A text in double quotes, with escapes."""
    raw = value.encode("utf-8", errors="surrogateescape") if isinstance(value, str) else value
    plain = {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", ord('"'): '\\"', ord("\\"): "\\\\"}
    return '"' + "".join(plain.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in raw) + '"'


def load(path: str | Path, kind: str, problems: list[LayerForgeError] | None = None) -> Message:
    """The message of a text file. Errors: DataError where it cannot be read; see `parse`."""
    return parse(decode(content(path)), kind, str(path), problems)
