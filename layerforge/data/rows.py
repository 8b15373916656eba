"""The rows of a CSV file: read exactly, and every failure a DataError with its line and column."""

from __future__ import annotations

import csv
import json
import math
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np

from ..config.scalars import shorten
from ..schema.errors import ConfigError, DataError
from ..schema.locations import Place
from ..schema.synonyms import did_you_mean
from .files import file_error, reading, size_of
from .first_line import may_be_names

# What a column of row numbers or keys is called: by pandas ("Unnamed: 0", level_0), R (rownames), Kaggle (PassengerId).
KEY = re.compile(
    r"(?i:unnamed: \d+|level_\d+|(.*[ _.-])?(id|idx|index)|row[ _.-]?(names?|num(ber)?|no|id)?)|.*[a-z]I[dD]"
)
ENCODING = "utf-8-sig"  # UTF-8, with or without the mark that spreadsheets put in front

SAY_HEADER = "say so with header: true or header: false"
LEAVE_OUT = (
    "correct the cell, or leave the column out with ignore: [...]; words are taken with categorical: [...], as classes"
    " with label: COLUMN, gaps with"
    ' missing: median, marks for gaps of your own with missing: {strategy: median, cells: ["-"]}'
)
# The same for who gives a file to `predict`, and has no keys of a configuration to write.
WITHOUT_KEYS = {
    SAY_HEADER: "put a line of names that are no numbers in front: it is skipped, or read where training had one, too",
    LEAVE_OUT: "correct the cell; an empty one is a gap, where training had `missing`",
}


@dataclass(frozen=True)
class Layout:
    """What the first line tells: the names of the columns ("" each without a header) and whether it is a header.

    owner   the type of the source, for errors
    """

    names: list[str]
    header: bool
    owner: str = "CSV"

    def find(self, path: str, column: str | int) -> int:
        """The number of a column, from its name or its number (negative: from the end); ConfigError without one."""
        count = len(self.names)
        if isinstance(column, int):
            if not -count <= column < count:
                raise ConfigError(
                    f"{self.owner}: there is no column {column} in {path}: it has {count}, counted from 0"
                )
            return column % count
        if not self.header:
            what = f"{path} has no header line: name column '{column}' by its number, counted from 0"
            raise ConfigError(f"{self.owner}: {what}")
        if column not in self.names:
            hint = did_you_mean(column, self.names) or f"columns: {', '.join(self.names)}"
            other = next((mark for mark in ";\t|" if len(self.names) == 1 and mark in self.names[0]), None)
            if other is not None:
                hint = f"its columns seem to be divided by another sign: delimiter: {json.dumps(other)}"
            raise ConfigError(f"{self.owner}: there is no column '{column}' in {path}", hint=hint)
        return self.names.index(column)


def is_number(text: str) -> bool:
    """Whether a cell holds a finite number; 1_000 is one of Python's only."""
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def read_layout(
    path: str,
    delimiter: str = ",",
    header: bool | None = None,
    *,
    named: Collection[str | int | None] = (),
    words: int | str | None = None,
    counting: bool | None = None,
) -> Layout:
    """The columns of a table, from its first line that is not blank.

    header    whether that line has the columns' names; None: as it looks
    named     the columns that a configuration asks for: where one of them stands in the line, it has names
    words     the column whose cells may be words, as those of labels are
    counting  what a line of numbers that may be names is taken for where `header` is None; None: the user is asked

    Errors   ConfigError for a line that may be either; DataError for two columns of one name
    """
    size_of(path)
    with _rows(path, delimiter) as rows:
        first = next((row for row in rows if row), None)
        if first is None:
            raise file_error(path, "holds no table, only blank lines")
        line = rows.line_num
        cells = [cell.strip() for cell in first]
        found = header
        if found is None and any(isinstance(name, str) and name in cells for name in named):
            found = True
        if found is None:
            found = _looks_like_names(cells, words, (row for row in rows if row), counting)
    if found is None:
        listed = delimiter.join(cells[:5]) + ("..." if len(cells) > 5 else "")
        message = f"CSV: is the first line of {path} ({listed[:100]}) a header or a sample? It may be either"
        raise ConfigError(message, hint=SAY_HEADER)
    if found:
        _refuse_repeated(path, delimiter, line, cells)
    return Layout(cells if found else [""] * len(cells), found)


def _looks_like_names(
    cells: list[str], words: int | str | None, later: Iterator[list[str]], counting: bool | None
) -> bool | None:
    """Whether a first line has names: it has where no cell is a number. None: it cannot be told."""
    numeric = [is_number(cell) for cell in cells]
    if not any(numeric):
        return True
    second = next(later, None)
    if second is None:
        return False  # a header without rows makes no sense
    if _counts_up(cells):
        return counting
    label = words % len(cells) if isinstance(words, int) and -len(cells) <= words < len(cells) else None
    others = [i for i in range(len(cells)) if i != label]
    if any(not _parses(cells[i]) and (cells[i] or i == 0) for i in others):
        return None
    return counting if may_be_names(cells, label, chain([second], later)) else False


def _counts_up(cells: list[str]) -> bool:
    """Whether the numbers of a line are 0, 1, 2, ..., as pandas names the columns of an array."""
    numbers = [cell for cell in cells if is_number(cell)]
    return len(numbers) > 1 and numbers == [str(i) for i in range(len(numbers))]


def _parses(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _refuse_repeated(path: str, delimiter: str, line: int, names: list[str]) -> None:
    for i, name in enumerate(names):
        if name and name in names[:i]:
            message = f"two columns are called '{name[:100]}': {names.index(name)} and {i}, counted from 0"
            raise DataError(message, place=_place(path, line, delimiter, i), hint="give each column a name of its own")


class _rows:
    """The rows of a table by the csv module, with its errors as DataErrors."""

    def __init__(self, path: str, delimiter: str) -> None:
        self.path = path
        self.delimiter = delimiter

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


def place_of_cell(path: str, delimiter: str, layout: Layout, row: int, column: int) -> Place:
    """The place of a cell, by the number of its row among the rows of data (from 0)."""
    with _rows(path, delimiter) as rows:
        full = (rows.line_num for cells in rows if cells)
        line = next(number for k, number in enumerate(full, -int(layout.header)) if k == row)
    return _place(path, line, delimiter, column)


def read_texts(path: str, delimiter: str, layout: Layout, column: int) -> list[str]:
    """The cells of a column as texts, without spaces around them. The lines were checked by `read_numbers`."""
    with _rows(path, delimiter) as rows:
        cells = [row[column].strip() for row in rows if row]
    return cells[layout.header :]


def read_cells(
    path: str, delimiter: str, layout: Layout, columns: Sequence[int], rows: int
) -> Iterator[list[list[str]]]:
    """The cells of some columns as texts without spaces around them, column by column, so many rows at a time."""
    with _rows(path, delimiter) as table:
        data = (row for row in table if row)
        if layout.header:
            next(data, None)
        found = False
        while some := list(islice(data, rows)):
            found = True
            yield [[row[column].strip() for row in some] for column in columns]
    if not found:
        raise file_error(path, "holds no rows of data")


def read_numbers(path: str, delimiter: str, layout: Layout, columns: list[int]) -> np.ndarray:
    """The cells of some columns as float64 (rows, columns), all finite; DataError with line and column."""
    check_lengths(path, delimiter, layout)
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


def check_lengths(path: str, delimiter: str, layout: Layout) -> None:
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


def locate(path: str, delimiter: str, layout: Layout, columns: list[int], missing: Collection[str] = ()) -> None:
    """Find the first cell of the columns that is no finite number, or the first row of another length, and raise.

    missing   the texts of cells that may be no numbers
    """
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
                if not is_number(row[column]) and row[column].strip() not in missing:
                    name = f" '{layout.names[column]}'" if layout.header else ""
                    cell = row[column]
                    what = f"'{shorten(cell)}' is not a finite number" if cell.strip() else "the cell is empty"
                    raise DataError(
                        f"column {column}{name}: {what}",
                        place=_place(path, rows.line_num, delimiter, column),
                        hint=LEAVE_OUT,
                    )


def _place(path: str, line: int, delimiter: str, column: int) -> Place:
    """The place of a cell; of its line's beginning where quotes make the cells hard to count."""
    with open(path, encoding=ENCODING) as file:
        text = next((t for number, t in enumerate(file, 1) if number == line), "").rstrip("\r\n")
    if '"' in text:
        return Place(path, line, 1, text, len(text))
    cells = text.split(delimiter)
    return Place(path, line, 1 + sum(len(cell) + 1 for cell in cells[:column]), text, max(1, len(cells[column])))
