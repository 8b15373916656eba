"""From the cells of a table to blobs: how columns are fitted on training's table, and applied to every other.

numbers   (v - mean) / std, with v the cell or what stands for a missing one
one-hot   the words in alphabetical order; so are those of an index
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..schema.errors import DataError
from ..schema.texts import first_few
from .columns import NUMBER, ONE_HOT, Column, Columns
from .rows import is_number
from .sheet import Coded, Sheet, StoredSheet, expect_memory, not_a_number

FILLS: dict[str, Callable[[Any], Any]] = {"mean": np.mean, "median": np.median}
EXACT = 2.0**53  # from here on whole numbers that differ are the same float
MOST_ONE_HOT = 4096  # words of a column of which each becomes a number in every row


class Cells:
    """The cells of the features of a table, read once; `count` is that of its rows."""

    def __init__(self, sheet: Sheet, columns: Iterable[Column], missing: Sequence[str] | None) -> None:
        every = list(columns)
        numbers = [c.place for c in every if c.kind == NUMBER]
        words = [c.place for c in every if c.kind != NUMBER]
        self.sheet = sheet
        self.table = sheet.numbers(numbers, missing) if numbers else np.zeros((0, 0))
        self.at = {place: k for k, place in enumerate(numbers)}
        self.words: dict[int, Coded] = {}
        if words:
            self.words = dict(zip(words, sheet.coded(words, missing or ()), strict=True))
        if missing is None:
            self._refuse_missing()
        self.count = len(self.table) if numbers else len(next(iter(self.words.values())).codes) if words else 0

    def numbers(self, column: Column) -> np.ndarray:
        """The cells of a column of numbers; NaN where one is missing."""
        return self.table[:, self.at[column.place]]

    def coded(self, column: Column) -> Coded:
        """The cells of a column of words."""
        return self.words[column.place]

    def _refuse_missing(self) -> None:
        for place, coded in self.words.items():
            refuse_empty(self.sheet, place, coded)


class SeparateCells(Cells):
    """The cells of the features of a sheet that is not in memory: each column is read when it is asked for."""

    def __init__(self, sheet: StoredSheet, missing: Sequence[str] | None) -> None:
        self.sheet = sheet
        self.missing = missing
        self.count = sheet.count

    def numbers(self, column: Column) -> np.ndarray:
        return self.sheet.numbers([column.place], self.missing)[:, 0]

    def coded(self, column: Column) -> Coded:
        coded = self.sheet.coded([column.place], self.missing or ())[0]
        if self.missing is None:
            refuse_empty(self.sheet, column.place, coded)
        return coded


def cells_of(sheet: Sheet, columns: Iterable[Column], missing: Sequence[str] | None) -> Cells:
    """The cells of the features of a table.

    missing   the texts of those that are missing; None: none may be
    """
    return SeparateCells(sheet, missing) if isinstance(sheet, StoredSheet) else Cells(sheet, columns, missing)


def refuse_empty(sheet: Sheet, place: int, coded: Coded) -> None:
    """DataError for a column of words with an empty cell."""
    if "" in coded.words:
        row = int((coded.codes == coded.words.index("")).argmax())
        message = f"column {sheet.called(place)}: the cell is empty"
        raise sheet.error(row, place, message, "missing: constant takes it as a word, too")


# Fitting --------------------------------------------------------------------------------------------------------------


def fitted(cells: Cells, column: Column, rows: slice | np.ndarray, strategy: str, value: float, indicator: bool,
           standardize: bool) -> Column:  # fmt: skip
    """A feature with what the rows of training say of it.

    strategy   error, mean, median or constant: what stands for a missing number

    Errors   DataError for a column without any value, and for too many words
    """
    if column.kind != NUMBER:
        coded = cells.coded(column)
        words = [coded.words[number] for number in np.unique(coded.codes[rows])]
        if column.kind == ONE_HOT and len(words) > MOST_ONE_HOT:
            raise DataError(
                f"column {cells.sheet.called(column.place)} of {cells.sheet.name} has {len(words)} words: one-hot would"
                " make as many columns of it",
                hint=f"categorical: {{{column.name or column.place}: index}} for an Embedding, or ignore: [...]",
            )
        return replace(column, words=tuple(sorted(words)))
    if strategy == "error" and not standardize:
        return column
    numbers = cells.numbers(column)[rows]
    absent = np.isnan(numbers)
    if strategy != "error":
        if absent.all() and strategy != "constant":
            raise DataError(
                f"column {cells.sheet.called(column.place)} of {cells.sheet.name} has no value in training's rows",
                hint="leave it out with ignore: [...]",
            )
        with np.errstate(over="ignore"):  # `standardised`, or the reader of the blob, says what is too large
            value = value if strategy == "constant" else float(FILLS[strategy](numbers[~absent]))
        if not np.isfinite(value):
            raise too_large(cells.sheet, column)
        column = replace(column, fill=value, indicator=indicator and bool(absent.any()))
        numbers = np.where(absent, value, numbers)
    return standardised(cells.sheet, column, numbers) if standardize else column


def standardised(sheet: Sheet, column: Column, numbers: np.ndarray) -> Column:
    """A column with the mean and the standard deviation of numbers; DataError where float64 does not hold them."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(numbers.mean()), float(numbers.std())
    if not (np.isfinite(mean) and np.isfinite(std)):
        raise too_large(sheet, column)
    return replace(column, mean=mean, std=0.0 if std <= 1e-12 * abs(mean) else std)


def too_large(sheet: Sheet, column: Column) -> DataError:
    """The error for numbers whose mean or deviation float64 does not hold."""
    return DataError(f"column {sheet.called(column.place)} of {sheet.name} has numbers too large to take their mean")


# Applying -------------------------------------------------------------------------------------------------------------


Strange = list[tuple[np.ndarray, Callable[[int], DataError]]]  # rows with words of no meaning, and the error for one


def encoded(cells: Cells, columns: Columns, strange: Strange) -> dict[str, Any]:
    """Blob `x`, and a blob for each index.

    strange   gets what has to be said of the rows whose words training does not have: their blobs mean nothing

    Errors   DataError where the numbers do not fit into memory
    """
    blobs: dict[str, Any] = {}
    if columns.in_x and isinstance(cells.sheet, StoredSheet):
        blobs["x"] = cells.sheet.stream(columns)
    elif columns.in_x and columns.is_plain:
        blobs["x"] = cells.table
    elif columns.in_x:
        blobs["x"] = _features(cells, columns, strange)
    for column in columns.indices:
        codes = _codes(cells, column, columns, strange)
        unknown = len(column.words) if columns.unknown == "ignore" else 0
        blobs[column.name] = np.where(codes < 0, unknown, codes)
        if isinstance(cells.sheet, StoredSheet):  # whole in memory, so in as few bytes as they need
            blobs[column.name] = blobs[column.name].astype(np.min_scalar_type(len(column.words)))
    return blobs


def refuse_strange(strange: Strange, rows: np.ndarray | None = None) -> None:
    """DataError for the first of some rows, or of all, whose word training does not have."""
    for where, error in strange:
        mine = where if rows is None else np.intersect1d(where, rows)
        if len(mine):
            raise error(int(mine[0]))


def _features(cells: Cells, columns: Columns, strange: Strange) -> np.ndarray:
    width, start, rows = sum(column.width for column in columns.in_x), 0, np.arange(cells.count)
    expect_memory(cells.sheet.name, cells.count, width)
    x = np.zeros((cells.count, width))
    for column in columns.in_x:
        if column.kind == ONE_HOT:
            codes = _codes(cells, column, columns, strange)
            known = codes >= 0
            x[rows[known], start + codes[known]] = 1
        else:
            numbers = cells.numbers(column)
            absent = np.isnan(numbers)
            if absent.any() and column.fill is None:
                raise not_a_number(cells.sheet, int(absent.argmax()), column.place, "")
            x[:, start] = column.scaled(np.where(absent, column.fill or 0.0, numbers))
            if column.indicator:
                x[:, start + 1] = absent
        start += column.width
    return x


def _codes(cells: Cells, column: Column, columns: Columns, strange: Strange) -> np.ndarray:
    """The number of the word of each row; -1 for one that training does not have."""
    coded, known = cells.coded(column), {word: number for number, word in enumerate(column.words)}
    by_value = _by_value(column.words)
    numbers = np.array([known.get(word, by_value.get(_value(word), -1)) for word in coded.words], np.int64)
    codes = numbers[coded.codes]
    unknown = np.flatnonzero(codes < 0)
    if len(unknown) and columns.unknown != "ignore":
        strange.append((unknown, partial(_unknown, cells.sheet, column, coded)))
    return codes


def _unknown(sheet: Sheet, column: Column, coded: Coded, row: int) -> DataError:
    """The error for a word that training does not have."""
    word = coded.words[coded.codes[row]]
    what = f"the category '{word[:100]}' is not among those of training" if word else "the cell is empty"
    hint = (
        f"categories of training: {first_few(word or '(missing)' for word in column.words)}; with `unknown: ignore` in"
        " data.train others are taken as none of them"
    )
    return sheet.error(row, column.place, f"column {sheet.called(column.place)}: {what}", hint)


def _value(word: str) -> float | None:
    """The number that a word says; none of a long one, for several of these (accounts, devices) are the same float."""
    value = float(word) if is_number(word) else None
    return None if value is None or abs(value) >= EXACT else value


def _by_value(words: Sequence[str]) -> dict[float | None, int]:
    """The words that are numbers, by these: 3 of a file is 3.0 of a frame. Not those of which several say the same."""
    values = [_value(word) for word in words]
    often = Counter(values)
    return {value: number for number, value in enumerate(values) if value is not None and often[value] == 1}
