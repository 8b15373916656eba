"""Scalars of YAML 1.2's core schema: what a word without quotes means, and which words need quotes to stay strings.

YAML 1.1, which most Python readers still speak, takes `no` for false, `12:30` for 750, `017` for 15 and `1e-3` for a
string. Here, as the YAML 1.2 specification says (section 10.3.2): `no` and `12:30` are strings, `017` is 17 and `1e-3`
is a number.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from ..schema.errors import ConfigError
from ..schema.texts import BYTE

NULLS = ("", "~", "null", "Null", "NULL")
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
NAN = re.compile(r"\.(nan|NaN|NAN)")

LONGEST_SHOWN = 200  # characters of a string in an error
SMALLEST, LARGEST = -(2**63), 2**64 - 1
CORE_TAGS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float,),
    "bool": (bool,),
    "null": (type(None),),
    "map": (dict,),
    "seq": (list,),
}

# Words that any reader of YAML 1.1 or 1.2 leaves a string when they stand without quotes, in flow and in block style.
PLAIN = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
SPECIAL_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
PRINTABLE = re.compile("[ -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def plain_scalar(text: str) -> Any:
    """The value of a word without quotes: null, a boolean, an integer, a float, or the text itself.

    Errors   ConfigError where a number does not fit: integers into 64 bits, floats into a double
    """
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if INTEGER.fullmatch(text):
        return _integer(text)
    if FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ConfigError(f"the number {shorten(text)} is too large for a float", hint="infinity is written .inf")
        return number
    if INFINITY.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    if NAN.fullmatch(text):
        return math.nan
    return text


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    digits = (text.lstrip("+-") if base == 10 else text[2:]).lstrip("0") or "0"
    number = int(digits, base) if len(digits) <= 64 else LARGEST + 1
    if text[0] == "-":
        number = -number
    if not SMALLEST <= number <= LARGEST:
        raise ConfigError(f"the integer {shorten(text)} does not fit into 64 bits", hint="quote it if it is a name")
    return number


def shorten(text: str, limit: int = 40) -> str:
    """A text as an error quotes it: never longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def forbidden_character(text: str, also: str = "") -> str | None:
    """The first character that no string of a configuration may hold, as U+XXXX: controls and half surrogates.

    Those that stand for a byte of a file name that is no UTF-8 (U+DC80 to U+DCFF) are allowed: written as escapes.
    """
    for character in text:
        control = unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r"
        if (control and not BYTE.match(character)) or character in also:
            return f"U+{ord(character):04X}"
    return None


def quoted_scalar(value: Any) -> str:
    """A scalar as YAML text that reads back as the same value, in YAML 1.2 and, where it can express it, in 1.1.

    Errors   ConfigError for anything but null, booleans, numbers and strings, and for a string that would not be read
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, str):
        bad = forbidden_character(value)
        if bad:
            message = f"a string must not contain the control character {bad}: {shorten(value, LONGEST_SHOWN)}"
            raise ConfigError(message, hint="rename the file or folder, if it is one")
        return value if PLAIN.fullmatch(value) and value.lower() not in SPECIAL_WORDS else _double_quoted(value)
    raise ConfigError(f"a value of type {type(value).__name__} cannot be written as YAML: {shorten(repr(value))}")


def _float_text(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, _, exponent = repr(float(value)).partition("e")
    if not exponent:
        return mantissa
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"  # YAML 1.1 wants the point


def _double_quoted(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in SHORT_ESCAPES:
        return SHORT_ESCAPES[character]
    if PRINTABLE.fullmatch(character):
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
