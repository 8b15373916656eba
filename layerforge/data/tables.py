"""CSV: a table of numbers, one sample per line."""

from __future__ import annotations

import csv
import math
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError
from ..params import FilePath, param
from ..places import Place
from ..registry import register_source
from ..spec import Spec, index
from ..words import did_you_mean
from .files import file_error, reading, size_of
from .source import Source

ENCODING = "utf-8-sig"  # UTF-8, with or without the mark that spreadsheets put in front
INTEGER = re.compile(r"[+-]?\d+")
MOST_CLASSES = 1 << 24


@dataclass(frozen=True)
class Layout:
    """What the first line tells: the names of the columns ("" each without a header) and whether it is a header."""

    names: list[str]
    header: bool

    def find(self, path: str, column: str | int) -> int:
        """The number of a column, from its name or its number (negative: from the end); ConfigError without one."""
        count = len(self.names)
        if isinstance(column, int):
            if not -count <= column < count:
                raise ConfigError(f"CSV: there is no column {column} in {path}: it has {count}, counted from 0")
            return column % count
        if not self.header:
            raise ConfigError(f"CSV: {path} has no header line: name column '{column}' by its number, counted from 0")
        if column not in self.names:
            hint = did_you_mean(column, self.names) or f"columns: {', '.join(self.names)}"
            raise ConfigError(f"CSV: there is no column '{column}' in {path}", hint=hint)
        return self.names.index(column)


@register_source
class CSV(Source):
    """A table: blob `x` (D,) from the feature columns, and `label` where a label column is named.

    Labels that are whole numbers are classes (index), other numbers are targets (real), words are classes in
    alphabetical order. Every cell must be a finite number, or a word in the label column.
    """

    path: FilePath = param(help="the .csv file, in UTF-8")
    label: str | int | None = param(None, help="the label's column: its name, or its number from 0 (-1: the last)")
    label_role: str | None = param(None, help="null: by the numbers", choices=("index", "real"))
    columns: list[str | int] | None = param(None, help="the feature columns; null: all except the label")
    header: bool | None = param(None, help="whether the first line has names; null: when no cell of it is a number")
    delimiter: str = param(",", help="between the cells")

    _known: tuple[dict[str, np.ndarray], tuple[str, ...]] | None = None

    def validate(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ConfigError("delimiter must be one character")

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._arrays()[1]

    def specs(self) -> dict[str, Spec]:
        arrays, _ = self._arrays()
        specs = {"x": Spec(arrays["x"].shape[1:])}
        if "label" in arrays:
            label = arrays["label"]
            specs["label"] = Spec(()) if label.dtype.kind == "f" else index((), int(label.max()) + 1)
        return specs

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        return dict(self._arrays()[0])

    def normalised(self) -> list[tuple[str, ...]]:
        """The features; a real label is a target and stays as it is."""
        return [("x",)]

    def _arrays(self) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        layout = read_layout(self.path, self.delimiter, self.header)
        label = None if self.label is None else layout.find(self.path, self.label)
        if self.columns is None:
            features = [i for i in range(len(layout.names)) if i != label]
        else:
            features = [layout.find(self.path, column) for column in self.columns]
        if not features:
            raise ConfigError(f"CSV: no column of {self.path} is left for the features")
        arrays = {"x": read_numbers(self.path, self.delimiter, layout, features)}
        names: tuple[str, ...] = ()
        if label is not None:
            texts = read_texts(self.path, self.delimiter, layout, label)
            arrays["label"], names = self._labels(texts, layout, label)
        return arrays, names

    def _labels(self, texts: list[str], layout: Layout, column: int) -> tuple[np.ndarray, tuple[str, ...]]:
        numeric = [_is_number(text) for text in texts]
        if not any(numeric) and self.label_role != "real":
            names = {name: number for number, name in enumerate(sorted(set(texts)))}
            return np.array([names[text] for text in texts]), tuple(names)
        if not all(numeric):
            locate(self.path, self.delimiter, layout, [column])
        if self.label_role == "real" or (self.label_role is None and not all(map(INTEGER.fullmatch, texts))):
            return np.array(texts, np.float64), ()
        numbers = np.array(texts, np.float64)
        wrong = (numbers < 0) | (numbers != np.floor(numbers)) | (numbers >= MOST_CLASSES)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{self.path}: label {texts[row][:100]} of row {row} is no class: classes are whole numbers from 0 to"
                f" {MOST_CLASSES - 1}",
                hint="set label_role: real where the label is a target, not a class",
            )
        return numbers.astype(np.int64), ()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_layout(path: str, delimiter: str = ",", header: bool | None = None) -> Layout:
    """The columns of a table, from its first line that is not blank."""
    size_of(path)
    with _rows(path, delimiter) as rows:
        first = next((row for row in rows if row), None)
    if first is None:
        raise file_error(path, "holds no table, only blank lines")
    cells = [cell.strip() for cell in first]
    if header is None:
        header = not any(_is_number(cell) for cell in cells)
    return Layout(cells if header else [""] * len(cells), header)


class _rows:
    """The rows of a table by the csv module, with its errors as DataErrors."""

    def __init__(self, path: str, delimiter: str) -> None:
        self.path, self.delimiter = path, delimiter

    def __enter__(self) -> Any:
        with reading(self.path):
            self.file = open(self.path, encoding=ENCODING, newline="")
        return csv.reader(self.file, delimiter=self.delimiter)

    def __exit__(self, kind: Any, problem: Any, trace: Any) -> None:
        self.file.close()
        if isinstance(problem, UnicodeDecodeError):
            raise file_error(self.path, f"is not a UTF-8 table ({problem.reason} at byte {problem.start})") from None
        if isinstance(problem, csv.Error):
            raise file_error(self.path, f"is not a table ({problem})") from None


def read_texts(path: str, delimiter: str, layout: Layout, column: int) -> list[str]:
    """The cells of a column as texts, without spaces around them. The lines were checked by `read_numbers`."""
    with _rows(path, delimiter) as rows:
        cells = [row[column].strip() for row in rows if row]
    return cells[layout.header :]


def read_numbers(path: str, delimiter: str, layout: Layout, columns: list[int]) -> np.ndarray:
    """The cells of some columns as float64 (rows, columns), all finite; DataError with line and column."""
    _check_lengths(path, delimiter, layout)
    try:
        with reading(path), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # loadtxt warns of blank lines and of a table without rows
            cells = np.loadtxt(
                path,
                dtype=np.float64,
                delimiter=delimiter,
                comments=None,
                quotechar='"',
                skiprows=_lines_before_data(path, delimiter, layout),
                usecols=columns,
                ndmin=2,
                encoding=ENCODING,
            )
    except UnicodeDecodeError as problem:
        raise file_error(path, f"is not a UTF-8 table ({problem.reason} at byte {problem.start})") from None
    except ValueError as problem:
        locate(path, delimiter, layout, columns)
        raise file_error(path, f"cannot be read as a table ({problem})") from None
    if not len(cells):
        raise file_error(path, "holds no rows of data")
    if not np.isfinite(cells).all():
        locate(path, delimiter, layout, columns)
    return cells


def _check_lengths(path: str, delimiter: str, layout: Layout) -> None:
    """DataError for a row with more or fewer cells than the first: NumPy would take the wrong ones silently."""
    doubtful = False
    with _rows(path, delimiter) as rows:
        del rows  # counting delimiters is ten times faster; only quotes need the csv module
        with open(path, encoding=ENCODING) as file:
            for line in file:
                if '"' in line or (line.count(delimiter) + 1 != len(layout.names) and line != "\n"):
                    doubtful = True
                    break
    if doubtful:
        locate(path, delimiter, layout, [])


def _lines_before_data(path: str, delimiter: str, layout: Layout) -> int:
    if not layout.header:
        return 0
    with _rows(path, delimiter) as rows:
        next(row for row in rows if row)
        return rows.line_num


def locate(path: str, delimiter: str, layout: Layout, columns: list[int]) -> None:
    """Find the first cell of the columns that is no finite number, or the first row of another length, and raise."""
    header = layout.header
    with _rows(path, delimiter) as rows:
        for row in rows:
            if not row:
                continue
            if header:
                header = False
                continue
            if len(row) != len(layout.names):
                message = f"{len(row)} cells, where the first line has {len(layout.names)}"
                raise DataError(message, place=_place(path, rows.line_num, delimiter, 0))
            for column in columns:
                if not _is_number(row[column]):
                    name = f" '{layout.names[column]}'" if layout.header else ""
                    what = f"'{row[column]}' is not a finite number" if row[column].strip() else "the cell is empty"
                    raise DataError(
                        f"column {column}{name}: {what}",
                        place=_place(path, rows.line_num, delimiter, column),
                        hint="correct the cell, or leave the column out with columns: [...]",
                    )


def _place(path: str, line: int, delimiter: str, column: int) -> Place:
    """The place of a cell; of its line's beginning where quotes make the cells hard to count."""
    with open(path, encoding=ENCODING) as file:
        text = next((t for number, t in enumerate(file, 1) if number == line), "").rstrip("\r\n")
    if '"' in text:
        return Place(path, line, 1, text, len(text))
    cells = text.split(delimiter)
    return Place(path, line, 1 + sum(len(cell) + 1 for cell in cells[:column]), text, max(1, len(cells[column])))
