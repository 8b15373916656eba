"""Files of texts with labels: a text a file, JSON Lines, CSV and TSV; bounded, and every failure a DataError."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from ..config.scalars import shorten
from ..schema.errors import DataError
from ..schema.locations import Place
from ..schema.synonyms import did_you_mean
from ..schema.texts import first_few
from .files import file_error, reading, size_of

LONGEST = 1 << 24  # bytes of a text, or of a line
JSON_LINES, TABLES = (".jsonl", ".ndjson"), (".csv", ".tsv")
FORMATS = ("jsonl", "csv", "tsv")
HINT = "take empty texts out"
QUOTES = "put texts with delimiters or line breaks into quotes"


class Sample(NamedTuple):
    """A text, its label as it is written (None without one), and where it is from."""

    text: str
    label: str | None
    place: Place


@dataclass(frozen=True)
class Fields:
    """Where a file has its texts: the keys of JSON, or the columns of a table by name or number from 0.

    label   None: labels are not read
    format  jsonl, csv or tsv; None: by the name of the file
    """

    text: str | int
    label: str | int | None
    format: str | None = None

    @classmethod
    def parse(cls, values: Any) -> Self:
        """From plain values. Errors   KeyError or TypeError where they are something else"""
        text, label = values["text"], values["label"]
        if not isinstance(text, str | int) or not isinstance(label, str | int | None):
            raise TypeError
        return cls(text, label, None if values["format"] is None else str(values["format"]))


def read_samples(path: str, fields: Fields) -> list[Sample]:
    """The texts of a file of many.

    Errors   DataError with file and line for what is no UTF-8, no JSON object or no table, for a key or column that is
             missing, for a text that is empty, longer than LONGEST bytes or no text, for a label that is no word or
             number
    """
    kind = fields.format or format_of(path)
    found = list(_json_lines(path, fields) if kind == "jsonl" else _table(path, fields, "\t" if kind == "tsv" else ","))
    if not found:
        raise file_error(path, "holds no texts")
    return found


def format_of(path: str) -> str:
    """How a file is written, by its name. Errors   DataError for a name that does not say it"""
    suffix = Path(path).suffix.lower()
    if suffix in JSON_LINES:
        return "jsonl"
    if suffix in TABLES:
        return suffix[1:]
    hint = "name it .jsonl, .csv or .tsv, or say format: jsonl, csv or tsv"
    raise file_error(path, f"'{suffix}' does not say how its texts are written", hint)


def read_one(path: str, label: str | None = None) -> Sample:
    """The whole of a file as one text. Errors   those of `read_samples`"""
    if size_of(path) > LONGEST:
        raise file_error(path, f"is longer than {LONGEST >> 20} MiB: no text is")
    text = "".join(line for _, line in _lines(path))
    return _checked(text, label, Place(path, 0, 0))


def read_folder(folder: str, classes: list[str] | None) -> list[Sample]:
    """The texts of a folder that has a subfolder for each class, with the names of these; all in alphabetical order.

    classes   the subfolders that count; None: all

    Errors   DataError for a folder without such subfolders, a class without texts, and those of `read_samples`
    """
    with reading(folder):
        there = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    for name in classes or ():
        if name not in there:
            hint = did_you_mean(name, there) or f"subfolders here: {first_few(there, 20) or 'none'}"
            raise file_error(folder, f"has no subfolder '{name}'", hint)
    if not there:
        raise file_error(folder, "has no subfolders", "a subfolder for each class, with a .txt file for each text")
    found: list[Sample] = []
    for name in classes if classes is not None else there:
        paths = text_files(Path(folder) / name)
        if not paths:
            hint = "take it out, or name those that are classes: classes: [...]"
            raise file_error(Path(folder) / name, "holds no .txt files", hint)
        found += [read_one(path, name) for path in paths]
    return found


def text_files(folder: Path) -> list[str]:
    """The .txt files in a folder and below, in alphabetical order."""
    return sorted(
        os.path.join(where, name) for where, _, names in os.walk(folder) for name in names if name.endswith(".txt")
    )


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, ends included; a mark that spreadsheets put in front is taken off.

    Errors   DataError with the line for other bytes, and for a line that is longer than LONGEST
    """
    size_of(path)
    with reading(path), open(path, "rb") as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise DataError(f"is longer than {LONGEST >> 20} MiB: no text is", place=Place(path, number, 1))
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").replace("\r\n", "\n")
            except UnicodeDecodeError as problem:
                what = f"is not UTF-8 text: byte 0x{line[problem.start]:02x} ({problem.reason})"
                raise DataError(what, place=Place(path, number, 1), hint="store the file as UTF-8") from None


def _json_lines(path: str, fields: Fields) -> Iterator[Sample]:
    for number, line in _lines(path):
        if line.strip():
            place = Place(path, number, 1)
            values = _object(line, place)
            text = _value(values, fields.text, place)
            if not isinstance(text, str):
                message = f"'{fields.text}' must be a text, got {shorten(repr(text))}"
                raise DataError(message, place=place, hint="name the key of the texts: text: ...")
            label = None if fields.label is None else _word(_value(values, fields.label, place), fields.label, place)
            yield _checked(text, label, place)


def _object(line: str, place: Place) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as problem:
        what = str(problem) if isinstance(problem, json.JSONDecodeError) else "numbers or brackets without end"
        hint = 'a line is an object such as {"text": "...", "label": "..."}'
        raise DataError(f"is no JSON: {what}", place=place, hint=hint) from None
    if not isinstance(found, dict):
        hint = 'a line is an object such as {"text": "...", "label": "..."}'
        raise DataError(f"is no JSON object: {shorten(line.strip())}", place=place, hint=hint)
    return found


def _value(values: dict[str, Any], key: str | int, place: Place) -> Any:
    name = str(key)
    if name not in values:
        hint = did_you_mean(name, list(values)) or f"its keys: {first_few(map(shorten, values))}"
        raise DataError(f"has no key '{shorten(name)}'", place=place, hint=hint)
    return values[name]


def _word(value: Any, key: str | int, place: Place) -> str:
    """A label as a word; a whole number of JSON is one without a point."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float) and value == value:
        try:
            return str(value)
        except ValueError:  # thousands of digits
            pass
    raise DataError(f"'{key}' is no label: {shorten(repr(value))}", place=place, hint="a label is a word or a number")


def _table(path: str, fields: Fields, delimiter: str) -> Iterator[Sample]:
    lines = _lines(path)
    rows = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    columns: tuple[int, int | None] | None = None
    width = 0
    named = isinstance(fields.text, str)
    try:
        for row in rows:
            if not row:
                continue
            place = Place(path, rows.line_num, 1)
            if columns is None:
                width = len(row)
                columns = _columns([cell.strip() for cell in row], fields, named, place)
                if named:
                    continue
            if len(row) != width:
                raise DataError(f"{len(row)} cells, where the first line has {width}", place=place, hint=QUOTES)
            at, label = columns
            word = None if label is None else _word(row[label], fields.label or label, place)
            yield _checked(row[at], word, place)
    except csv.Error as problem:
        hint = "give long texts as JSON Lines" if "field" in str(problem) else None
        raise DataError(f"is no table ({problem})", place=Place(path, rows.line_num, 1), hint=hint) from None


def _columns(cells: list[str], fields: Fields, named: bool, place: Place) -> tuple[int, int | None]:
    """The numbers of the columns of the text and of the label."""
    wanted = [fields.text] if fields.label is None else [fields.text, fields.label]
    found: list[int] = []
    for column in wanted:
        if isinstance(column, str) and named:
            if column not in cells:
                hint = did_you_mean(column, cells) or f"columns: {first_few(map(shorten, cells))}"
                raise DataError(f"there is no column '{column}'", place=place, hint=hint)
            if cells.count(column) > 1:
                raise DataError(f"two columns are called '{column}'", place=place)
            found.append(cells.index(column))
        elif isinstance(column, int) and -len(cells) <= column < len(cells):
            found.append(column % len(cells))
        else:
            raise DataError(f"there is no column {column!r}: {len(cells)}, counted from 0", place=place)
    return found[0], found[1] if len(found) > 1 else None


def _checked(text: str, label: str | None, place: Place) -> Sample:
    """A sample whose text says something, in whole characters."""
    if not text.strip():
        raise DataError("the text is empty", place=place, hint=HINT)
    return Sample(whole_characters(text), None if label is None else whole_characters(label), place)


def whole_characters(text: str) -> str:
    """The text without halves of surrogate pairs, which no file holds: U+FFFD in their place."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
