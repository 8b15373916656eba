"""Sheets: the cells of a table, whatever it is stored in, by the numbers of its columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.host_memory import memory_of_this_machine
from ..config.scalars import shorten
from ..schema.errors import DataError
from .files import file_error
from .rows import (
    LEAVE_OUT,
    Layout,
    check_lengths,
    locate,
    place_of_cell,
    read_cells,
    read_numbers,
    read_texts,
)

MOST_WORDS = 100_000  # different words of a column
ROWS = 20_000  # at a time


@dataclass(frozen=True)
class Coded:
    """A column of words: the words that occur, each once, and the number of that of each row."""

    words: list[str]
    codes: np.ndarray


class Sheet:
    """The cells of a table.

    name      what errors call it
    layout    the names of its columns
    """

    def __init__(self, name: str, layout: Layout) -> None:
        self.name = name
        self.layout = layout

    def numbers(self, places: Sequence[int], missing: Collection[str] | None) -> np.ndarray:
        """The cells of some columns (rows, columns) in float64, NaN where one is missing.

        missing   the texts of such cells; None: no cell may be

        Errors   DataError for a cell that is no finite number
        """
        raise NotImplementedError(f"{type(self).__name__} has no numbers(places, missing)")

    def texts(self, place: int) -> list[str]:
        """The cells of a column as texts; "" where there is none."""
        raise NotImplementedError(f"{type(self).__name__} has no texts(place)")

    def coded(self, places: Sequence[int], missing: Collection[str]) -> list[Coded]:
        """The words of some columns, "" where one is missing. Errors   DataError for more than MOST_WORDS of them"""
        found = []
        for place in places:
            coder = Coder(self, place, missing)
            coder.add(self.texts(place))
            found.append(coder.coded)
        return found

    def error(self, row: int, place: int, message: str, hint: str | None = None) -> DataError:
        """A DataError about a cell, by the number of its row from 0."""
        return DataError(f"{self.name}, row {row}: {message}", hint=hint)

    def called(self, place: int) -> str:
        """What errors call a column."""
        name = self.layout.names[place]
        return f"{place} '{name[:100]}'" if name else str(place)


class StoredSheet(Sheet):
    """A table that stays in its file: a column is in memory while somebody looks at it.

    count   its rows
    """

    count: int

    def stream(self, columns: Any) -> Any:
        """The blob `x` of the features among some Columns, a Lazy."""
        raise NotImplementedError(f"{type(self).__name__} has no stream(columns)")


class Coder:
    """Numbers the words of a column as they come."""

    def __init__(self, sheet: Sheet, place: int, missing: Collection[str]) -> None:
        self.sheet, self.place, self.missing = sheet, place, missing
        self.numbers: dict[str, int] = {}
        self.parts: list[np.ndarray] = []

    def add(self, texts: Sequence[str]) -> None:
        numbers, missing = self.numbers, self.missing
        words = ("" if text in missing else text for text in texts)
        self.parts.append(np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int32))
        if len(numbers) > MOST_WORDS:
            raise DataError(
                f"column {self.sheet.called(self.place)} of {self.sheet.name} has more than {MOST_WORDS} words",
                hint="it may tell the rows apart; leave it out with ignore: [...]",
            )

    @property
    def coded(self) -> Coded:
        return Coded(list(self.numbers), np.concatenate(self.parts) if self.parts else np.zeros(0, np.int32))


class CsvSheet(Sheet):
    """A CSV file. Numbers that are complete are read by NumPy, everything else row by row."""

    def __init__(self, path: str, delimiter: str, layout: Layout) -> None:
        super().__init__(path, layout)
        self.delimiter = delimiter
        self._is_checked = False

    def numbers(self, places: Sequence[int], missing: Collection[str] | None) -> np.ndarray:
        if missing is None and places:
            return read_numbers(self.name, self.delimiter, self.layout, list(places))
        self._check()
        parts = [np.zeros((0, len(places)))]
        for columns in read_cells(self.name, self.delimiter, self.layout, places, ROWS):
            part = np.empty((len(columns[0]) if columns else 0, len(places)))
            for k, texts in enumerate(columns):
                part[:, k] = self._parsed(texts, places, missing or ())
            parts.append(part)
        return np.concatenate(parts)

    def _parsed(self, texts: Sequence[str], places: Sequence[int], missing: Collection[str]) -> np.ndarray:
        known = ["nan" if text in missing else text for text in texts]
        try:
            numbers = np.array(known, np.float64)
        except ValueError:
            numbers = np.full(len(known), np.inf)
        absent = np.array([text in missing for text in texts], bool)
        if not (np.isfinite(numbers) | absent).all() or any("_" in text for text in known):
            locate(self.name, self.delimiter, self.layout, list(places), missing)
            raise file_error(self.name, "cannot be read as a table of numbers")
        return numbers

    def texts(self, place: int) -> list[str]:
        self._check()
        return read_texts(self.name, self.delimiter, self.layout, place)

    def coded(self, places: Sequence[int], missing: Collection[str]) -> list[Coded]:
        self._check()
        coders = [Coder(self, place, missing) for place in places]
        for columns in read_cells(self.name, self.delimiter, self.layout, places, ROWS):
            for coder, texts in zip(coders, columns, strict=True):
                coder.add(texts)
        return [coder.coded for coder in coders]

    def error(self, row: int, place: int, message: str, hint: str | None = None) -> DataError:
        where = place_of_cell(self.name, self.delimiter, self.layout, row, place)
        return DataError(message, place=where, hint=hint)

    def _check(self) -> None:
        if not self._is_checked:
            check_lengths(self.name, self.delimiter, self.layout)
            self._is_checked = True


def not_a_number(sheet: Sheet, row: int, place: int, cell: object) -> DataError:
    """The error for a cell that is no finite number."""
    text = "" if cell is None else str(cell)
    what = f"'{shorten(text)}' is not a finite number" if text.strip() else "the cell is empty"
    return sheet.error(row, place, f"column {sheet.called(place)}: {what}", LEAVE_OUT)


def expect_memory(owner: str, rows: int, columns: int) -> None:
    """DataError before numbers are stored that take more than half of the machine's memory."""
    most = int(memory_of_this_machine(unknown=16 << 30)) // 2
    if rows * columns * 8 > most:
        raise DataError(
            f"{owner} becomes {rows} rows of {columns} numbers: {rows * columns * 8 >> 20} MiB, and {most >> 20} MiB"
            " may be used",
            hint="words of many kinds may be an index instead of one-hot; or take fewer columns: columns: [...]; or"
            " stream: true of a Parquet file",
        )
