"""Texts that leave the process: for terminals and logs, and JSON for programs.

A path may hold bytes that are no UTF-8 (Python keeps them as lone surrogates), a metric may be NaN: neither belongs
into a text that others are to read. Here is the one place that says what stands there instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

NOT_FINITE = "not_finite"  # the key beside the nulls of an object: {name: "nan", "inf" or "-inf"}
BYTE = re.compile("[\udc80-\udcff]")
SURROGATE = re.compile("[\ud800-\udfff]")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""The text with bytes of file names that are no UTF-8 as \xNN, and other lone surrogates as \uNNNN."""
    text = BYTE.sub(lambda m: f"\\x{ord(m[0]) - 0xDC00:02x}", text)
    return SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def visible(text: str) -> str:
    """A text for a terminal: printable, and its control characters written out, such as \\x1b, so that those of a file
    or a server move no cursor. Ends of lines and tabs stay.
    """
    text = printable(text)
    return CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


def first_few(words: Iterable[str], most: int = 10) -> str:
    """Words in a line: the first of them, and dots where there are more."""
    every = list(words)
    return ", ".join(every[:most]) + (", ..." if len(every) > most else "")


def bytes_in_words(count: int | None) -> str:
    """A number of bytes with its unit: 640 B, 12.3 KiB; "?" where it is not known."""
    if count is None:
        return "?"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def to_json(value: Any, *, indent: int | None = None, words: bool = False, sort: bool = False) -> str:
    """A value as JSON (RFC 8259), which has no NaN, no infinities and no bytes that are not UTF-8.

    A number that is not finite becomes null, and its object says beside it, under "not_finite", what it was:
    {"train/loss": null, "not_finite": {"train/loss": "nan"}}; in a list below, {"x[2]": "inf"}. What is in no object
    gets one, under the key "". `from_json` puts the numbers back.

    words    such numbers become the words of YAML instead: ".nan", ".inf", "-.inf"
    sort     the keys of objects in order
    """
    if words:
        plain = _words(value)
    else:
        found: dict[str, str] = {}
        plain = _nulls(value, "", found)
        plain = {"": plain, NOT_FINITE: found} if found else plain
    return json.dumps(plain, indent=indent, sort_keys=sort, ensure_ascii=False, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """What `to_json` wrote, or any JSON; also the NaN and Infinity that earlier versions wrote.

    Errors   ValueError, RecursionError for a text that is no JSON
    """
    return json.loads(text, object_hook=_restored)


def _nulls(value: Any, path: str, found: dict[str, str]) -> Any:
    """The value without numbers that are not finite; those of this object (not of objects in it) go to `found`."""
    if isinstance(value, Mapping):
        inner: dict[str, str] = {}
        plain = {printable(k) if isinstance(k, str) else k: _nulls(v, str(k), inner) for k, v in value.items()}
        return {**plain, NOT_FINITE: inner} if inner else plain
    if isinstance(value, (list, tuple)):
        return [_nulls(v, f"{path}[{i}]", found) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        found[printable(path)] = repr(float(value))
        return None
    return printable(value) if isinstance(value, str) else value


def _words(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {printable(str(k)): _words(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_words(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return printable(value) if isinstance(value, str) else value


def _restored(read: dict[str, Any]) -> dict[str, Any]:
    beside = read.get(NOT_FINITE)
    if not isinstance(beside, dict) or not all(w in ("nan", "inf", "-inf") for w in beside.values()):
        return read
    del read[NOT_FINITE]
    for path, word in beside.items():
        _put(read, path, float(word))
    return read[""] if set(read) == {""} else read


def _put(read: dict[str, Any], path: str, number: float) -> None:
    """Set a number where its path says; a path that leads nowhere is left alone."""
    if path in read:
        read[path] = number
        return
    name, numbers = re.fullmatch(r"(.*?)((?:\[\d+\])*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
    place, steps = read.get(name), [int(n) for n in re.findall(r"\d+", numbers)]
    for step in steps[:-1]:
        place = place[step] if isinstance(place, list) and step < len(place) else None
    if steps and isinstance(place, list) and steps[-1] < len(place):
        place[steps[-1]] = number
