"""The tokens of a prototxt and the values that they stand for, with the place of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...schema.errors import ConfigError, DataError, LayerForgeError, raise_all
from . import fields
from .fields import Field
from .message import MOST_VALUES, Origin, single

MOST_PROBLEMS = 1000  # of which one file tells
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
TRUE, FALSE = ("true", "True", "t", "1"), ("false", "False", "f", "0")
WORDS = {"inf": float("inf"), "infinity": float("inf"), "nan": float("nan")}


class Tokens:
    """One pass over the tokens of a text; `token` is the next one, "" at the end, and `at` where it begins."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.origin = Origin(file, text)
        self.problems: list[LayerForgeError] = []
        self.left = MOST_VALUES
        self._matches = TOKEN.finditer(text)
        self.readers: dict[str, Callable[[Field], Any]] = {
            **dict.fromkeys(fields.INTEGERS, self._integer),
            "float": self._float,
            "double": self._float,
            "bool": self._bool,
            "string": self._string,
            "bytes": self.quoted_bytes,
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
        if len(self.problems) >= MOST_PROBLEMS:
            raise_all(self.problems)

    def found(self) -> str:
        """The present token in words."""
        if self.token in ("'", '"'):
            return "a text whose closing quote is missing"
        return f"'{self.token[:40].encode(errors='replace').decode()}'" if self.token else "the end of the file"

    def count(self, values: int = 1) -> None:
        """Refuse a file with more values than a definition of a net has."""
        self.left -= values
        if self.left < 0:
            raise self.fail(f"more than {MOST_VALUES} values: this is no definition of a net")

    # Values: what is read, or None after noting that it does not fit ------------------------------------------------

    def minus(self) -> bool:
        """Whether a minus stands here; it is skipped."""
        if self.token != "-":
            return False
        self.advance()
        return True

    def _misfit(self, field: Field, wanted: str, at: int) -> None:
        """Note and skip a value of another kind."""
        token = self.token
        if token[:1] in ("'", '"') and len(token) > 1:
            self.quoted_bytes(field)
        elif NAME.fullmatch(token) or token[:1].isdigit() or (token[:1] == "." and len(token) > 1):
            self.advance()
        else:
            raise self.fail(f"{field.name} is {wanted}, not {self.found()}")
        shown = self.text[at : self.end]
        self.wrong(f"{field.name} is {wanted}, not {shown[:40].encode(errors='replace').decode()}", at, len(shown))

    def _integer(self, field: Field) -> int | None:
        """A whole number: decimal, octal with a leading 0, hexadecimal with 0x."""
        at = self.at
        negative = self.minus()
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
        negative = self.minus()
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
            rest = self.quoted_bytes(field)
            return token[1:-1] + ("" if rest is None else rest.decode("utf-8", errors="backslashreplace"))
        whole = self.quoted_bytes(field)
        return None if whole is None else whole.decode("utf-8", errors="backslashreplace")

    def quoted_bytes(self, field: Field) -> bytes | None:
        pieces = []
        while self.token[:1] in ("'", '"') and len(self.token) > 1:
            pieces.append(self._unescaped())
            self.advance()
        if not pieces:
            at = self.at
            self.minus()
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
        negative = self.minus()
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


def _whole(token: str) -> int | None:
    """The number of a token of digits; None where it is none, or has too many."""
    if not INTEGER.fullmatch(token) or len(token) > 24:
        return None
    try:
        return int(token, 16 if token[1:2] in ("x", "X") else 8 if token[0] == "0" else 10)
    except ValueError:  # a digit that octal numbers do not have
        return None
