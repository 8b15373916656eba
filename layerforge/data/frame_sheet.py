"""Tables of Python as sheets: frames of pandas and polars, tables of Arrow, dicts of columns, lists of dicts, arrays.

None of these packages is imported: a frame has `columns`, gives a column by its name, and that an array by `to_numpy`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from ..schema.errors import DataError, LayerForgeError
from .rows import Layout, is_number
from .sheet import Sheet, not_a_number

NO_NUMBERS = (np.complexfloating, np.timedelta64)  # though NumPy counts both among its numbers
NO_VALUES = ("NAType", "NaTType")  # what pandas calls its missing values


class FrameSheet(Sheet):
    """Columns of one length, by their numbers."""

    columns: Sequence[np.ndarray] | Mapping[int, np.ndarray]

    def __init__(self, name: str, names: Sequence[str], columns: Sequence[np.ndarray], header: bool = True,
                 owner: str = "Frame") -> None:  # fmt: skip
        super().__init__(name, Layout(list(names), header, owner))
        self.columns = columns
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            listed = ", ".join(f"{n}: {len(column)}" for n, column in zip(names[:5], columns, strict=False))
            raise DataError(
                f"the columns of {name} have different lengths ({listed})", hint="give a value for each row"
            )
        if lengths in (set(), {0}):
            raise DataError(f"{name} holds no rows of data")
        self.count = lengths.pop()

    def numbers(self, places: Sequence[int], missing: Collection[str] | None) -> np.ndarray:
        table = np.empty((self.count, len(places)))
        for k, place in enumerate(places):
            table[:, k] = self._numbers(place, missing)
        return table

    def _numbers(self, place: int, missing: Collection[str] | None) -> np.ndarray:
        column = self.columns[place]
        if column.dtype.kind in "fiub":
            numbers = column.astype(np.float64)
        elif column.dtype.kind in "OUT":
            numbers = np.array([self._number(row, place, cell, missing) for row, cell in enumerate(column)], np.float64)
        else:
            raise DataError(f"column {self.called(place)} of {self.name} must hold numbers, got {column.dtype}")
        wrong = np.isinf(numbers) if missing is not None else ~np.isfinite(numbers)
        if wrong.any():
            row = int(wrong.argmax())
            raise not_a_number(self, row, place, None if is_missing(column[row]) else column[row])
        return numbers

    def _number(self, row: int, place: int, cell: Any, missing: Collection[str] | None) -> float:
        if is_missing(cell) or (isinstance(cell, str) and missing is not None and cell.strip() in missing):
            return np.nan
        number = isinstance(cell, (int, float, np.number, np.bool_, Decimal)) and not isinstance(cell, NO_NUMBERS)
        if number or (isinstance(cell, str) and is_number(cell)):
            try:
                return float(cell)
            except OverflowError:
                pass
        raise not_a_number(self, row, place, cell)

    def texts(self, place: int) -> list[str]:
        column = self.columns[place]
        if column.dtype.kind in "iubUT":
            return [str(cell).strip() for cell in column.tolist()]
        if column.dtype.kind not in "fO":
            raise DataError(f"column {self.called(place)} of {self.name} must hold words, got {column.dtype}")
        return ["" if is_missing(cell) else str(cell).strip() for cell in column.tolist()]


def without_mask(value: Any) -> np.ndarray:
    """An array of something; what is masked is missing: what lies under the mask is no number of anybody's."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        cells = np.array(value.data, object)
        cells[np.ma.getmaskarray(value)] = None
        return cells
    return np.asarray(value)


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, masked, or what pandas has for these."""
    return (
        cell is None
        or cell is np.ma.masked
        or type(cell).__name__ in NO_VALUES
        or (isinstance(cell, (float, np.floating)) and cell != cell)
    )


def is_table(value: Any) -> bool:
    """Whether an object has columns by name: a frame or a row of one, a mapping, a list of mappings, a record array."""
    if isinstance(value, (list, tuple)):
        return bool(value) and isinstance(value[0], Mapping)
    by_name = any(hasattr(value, word) for word in ("column_names", "columns")) or _names_of_record(value) is not None
    return isinstance(value, Mapping) or by_name or _is_row(value)


def _is_row(value: Any) -> bool:
    """Whether an object is a row of a pandas frame, whose cells have the names of the columns."""
    return hasattr(value, "keys") and hasattr(value, "to_dict") and all(isinstance(key, str) for key in [*value.keys()])


def _names_of_record(value: Any) -> tuple[str, ...] | None:
    """The names of the fields of an array of records."""
    return getattr(getattr(value, "dtype", None), "names", None)


def sheet_of(value: Any, name: str = "the table", owner: str = "Frame") -> tuple[FrameSheet, bool]:
    """The sheet of an object for which `is_table` holds, and whether it is a single row without an axis of rows.

    Errors   DataError for columns that are none
    """
    if isinstance(value, (list, tuple)):
        return _of_rows(value, name, owner), False
    if not isinstance(value, Mapping) and not hasattr(value, "columns") and _is_row(value):
        value = value.to_dict()
    names = getattr(value, "column_names", None)  # Arrow's, whose `columns` are the arrays themselves
    names = _names_of_record(value) if names is None else names
    names = list(getattr(value, "columns", value) if names is None else names)
    words = [str(each) for each in names]
    for word in words:
        if words.count(word) > 1:
            raise DataError(f"two columns of {name} are called '{word[:100]}'", hint="give each a name of its own")
    if isinstance(value, Mapping):
        _demand_one_index(value, name)
    columns = [array_of(value, each, name) for each in names]
    single = bool(columns) and all(column.ndim == 0 for column in columns)
    return FrameSheet(name, words, [np.atleast_1d(column) for column in columns], owner=owner), single


def sheet_of_array(array: np.ndarray, owner: str = "Frame") -> FrameSheet:
    """The sheet of an array (rows, columns), which has no names."""
    return FrameSheet("the array", [""] * array.shape[1], list(array.T), False, owner)


def _of_rows(rows: Sequence[Any], name: str, owner: str) -> FrameSheet:
    names: dict[str, None] = {}
    for row in rows:
        if not isinstance(row, Mapping):
            raise DataError(f"{name} has a row that is no mapping of names to values, but a {type(row).__name__}")
        names.update(dict.fromkeys(map(str, row)))
    columns = []
    for each in names:
        column = np.empty(len(rows), object)
        for k, row in enumerate(rows):
            column[k] = row.get(each)
        columns.append(column)
    return FrameSheet(name, list(names), columns, owner=owner)


def _demand_one_index(columns: Mapping[Any, Any], name: str) -> None:
    """Errors   DataError for columns of pandas whose indexes differ, in their labels or in the order of these"""
    series = [(key, cells.index) for key, cells in columns.items() if hasattr(getattr(cells, "index", None), "equals")]
    for key, index in series[1:]:
        if not index.equals(series[0][1]):
            raise DataError(
                f"columns '{series[0][0]}' and '{key}' of {name} have different indexes: which rows belong together?",
                hint="make a frame of them, or take the indexes away: series.to_numpy()",
            )


def array_of(value: Any, column: Any, name: str) -> np.ndarray:
    """A column as an array with one axis, or none for a single value."""
    try:
        cells = value[column]
        if hasattr(cells, "cast") and hasattr(getattr(cells, "type", None), "index_type"):
            cells = cells.cast(cells.type.value_type)  # Arrow's `to_numpy` makes words of nulls in a dictionary
        array = without_mask(cells.to_numpy() if hasattr(cells, "to_numpy") else cells)
        if array.dtype.kind == "U" and isinstance(cells, (list, tuple)):
            array = np.array([*cells, None], object)[:-1]  # else NaN among words would be the word "nan"
    except LayerForgeError:
        raise
    except Exception as problem:  # whatever the package of the frame raises
        raise DataError(f"column '{column}' of {name} is no list of values ({problem})") from None
    if array.ndim > 1:
        raise DataError(f"column '{column}' of {name} has {array.ndim} axes, one value for each row is expected")
    return array
