"""Prototxt: the text format of Protocol Buffers, read and written.

    layer { name: "conv1" type: "Convolution" convolution_param { num_output: 20 kernel_size: 5 } }  # a comment

A field that fields.py does not know is kept in `Message.unknown` with its place and its text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...schema.errors import LayerForgeError, raise_all
from . import fields
from .fields import Field
from .files import content
from .message import MESSAGE_WEIGHT, Message, Unknown, single
from .tokens import FLOAT, INTEGER, NAME, Tokens

DEEPEST = 100  # messages within messages that are not known
OPENING = {"{": "}", "<": ">"}


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


class _Parser(Tokens):
    """One pass over the tokens of a text."""

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

    def _scalars(self, message: Message, field: Field, at: int, arrays: dict[Field, list[float]]) -> None:
        """Read `: value` or `: [value, value]`."""
        if self.token != ":":
            raise self.fail(f"expected ':' after {field.name}, found {self.found()}")
        self.advance()
        read = self.readers[field.kind]
        if not field.repeated:
            self.count()
            value = read(field)
            if value is not None:
                message.values[field.name] = value
                message.mark(field.name, at)
            return
        items = message.values.setdefault(field.name, []) if field.dtype is None else arrays.setdefault(field, [])
        for _ in self._items():
            self.count()
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
            self.count(MESSAGE_WEIGHT)
            item, opened = Message(field.of, self.origin, at), self.at
            self.advance()
            self.fields_of(item, closing, opened)
            message.mark(field.name, at)
            if field.repeated:
                message.values.setdefault(field.name, []).append(item)
            else:
                message.values[field.name] = item

    def _items(self) -> Iterator[None]:
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
        self.count()
        raw = self.text[start : self.end].encode(errors="surrogateescape").decode(errors="backslashreplace")
        message.unknown.append(Unknown(name, self.origin.place(at, len(name)), raw))

    def _skip_scalar(self, name: str) -> None:
        if self.token[:1] in ("'", '"'):
            self.quoted_bytes(Field(name, None, "bytes", "", False, False, b"", None))
            return
        self.minus()
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
