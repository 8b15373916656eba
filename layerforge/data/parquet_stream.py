"""Parquet files that stay where they are: columns read one at a time for what is fitted, samples a piece at a time.

A row group can only be read from its first row on. So pieces of a group are read one after the other, as they come in
an epoch: row groups in random order, and the samples of each in the order of the file but for the shuffle buffer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..schema.errors import DataError
from ..schema.optional import require
from .columns import Columns
from .encoding import Cells, Strange, encoded, refuse_strange
from .files import file_error, size_of
from .frame_sheet import FrameSheet, array_of
from .rows import Layout
from .sheet import Coded, Coder, Sheet, StoredSheet, expect_memory
from .streaming import Chunked

BUFFERED = 1 << 18  # bytes of a column that are read from the file at a time
OPEN = 4  # row groups that are being read: a shuffle buffer reaches into two or three of them where they are large
ROWS = 20_000  # at a time, of the columns that are gone through


class ParquetSheet(StoredSheet):
    """The cells of a Parquet file, of which a column is in memory while somebody looks at it.

    Errors   ConfigError without pyarrow; DataError for a file that is none, or is damaged
    """

    def __init__(self, path: str) -> None:
        self.file = open_parquet(path)
        with arrow_errors(path):
            head, names = self.file.metadata, list(self.file.schema_arrow.names)
            rows = head.num_rows
            groups = [head.row_group(number).num_rows for number in range(head.num_row_groups)]
        super().__init__(path, Layout(names, True, "Parquet"))
        for name in names:
            if names.count(name) > 1:
                raise file_error(path, f"has two columns that are called '{name[:100]}'")
        if not names:
            raise file_error(path, "holds no columns")
        if min(groups, default=0) < 0 or sum(groups) != rows:
            raise file_error(path, "is damaged: the rows of its groups are not those of the file")
        if not sum(groups):
            raise DataError(f"{path} holds no rows of data")
        self.starts = np.concatenate([[0], np.cumsum(np.array(groups, np.int64))])
        self.count = int(self.starts[-1])
        expect_memory(path, self.count, 1)
        self._gaps: dict[int, bool] = {}

    def stream(self, columns: Columns) -> StreamedTable:
        """The blob `x` of some columns, still to be read."""
        return StreamedTable(self, columns)

    def parts(self, places: Sequence[int], group: int | None = None, rows: int | None = None) -> Iterator[Part]:
        """The cells of some columns, so many rows at a time, of one row group or of all."""
        rows = rows or ROWS
        names = [self.layout.names[place] for place in places]
        first, last = (0, len(self.starts) - 1) if group is None else (group, group + 1)
        at, end = int(self.starts[first]), int(self.starts[last])
        with arrow_errors(self.name):
            batches = self.file.iter_batches(rows, list(range(first, last)), names, use_threads=False)
        for table in in_steps(self.name, batches, rows):
            columns = {place: array_of(table, name, self.name) for place, name in zip(places, names, strict=True)}
            yield Part(self, at, table.num_rows, columns)
            at += table.num_rows
        if at != end:
            raise file_error(self.name, f"should have {end} rows up to here, and has {at}: it is damaged, or changed")

    def numbers(self, places: Sequence[int], missing: Collection[str] | None) -> np.ndarray:
        expect_memory(self.name, self.count, len(places))
        table = np.empty((self.count, len(places)))
        for part in self.parts(places):
            table[part.start : part.start + part.count] = part.numbers(places, missing)
        return table

    def texts(self, place: int) -> list[str]:
        known: dict[str, str] = {}  # each text once, however often it comes
        parts = self.parts([place])
        return [known.setdefault(text, text) for part in parts for text in part.texts(place)]

    def coded(self, places: Sequence[int], missing: Collection[str]) -> list[Coded]:
        coders = [Coder(self, place, missing) for place in places]
        for part in self.parts(places):
            for coder in coders:
                coder.add(part.texts(coder.place))
        return [coder.coded for coder in coders]

    def has_gaps(self, place: int) -> bool:
        """Whether a cell of a column is missing: whole numbers then are numbers with a point for all rows."""
        if place not in self._gaps:
            name = [self.layout.names[place]]
            with arrow_errors(self.name):
                batches = self.file.iter_batches(ROWS, columns=name, use_threads=False)
                self._gaps[place] = any(batch.column(name[0]).null_count for batch in batches)
        return self._gaps[place]


class Part(FrameSheet):
    """Some rows of a Parquet file, and some of its columns by their places; its errors count the rows of the file.

    start, count   its first row, and how many there are
    """

    def __init__(self, whole: ParquetSheet, start: int, count: int, columns: Mapping[int, np.ndarray]) -> None:
        Sheet.__init__(self, whole.name, whole.layout)
        self.whole = whole
        self.start = start
        self.count = count
        self.columns = columns

    def texts(self, place: int) -> list[str]:
        column = self.columns[place]
        if column.dtype.kind not in "iu" or not self.whole.has_gaps(place):
            return super().texts(place)
        return [str(cell) for cell in column.astype(np.float64).tolist()]

    def error(self, row: int, place: int, message: str, hint: str | None = None) -> DataError:
        return self.whole.error(self.start + row, place, message, hint)


class StreamedTable(Chunked):
    """Blob `x` of a Parquet file, by the columns that training was fitted to. Its pieces lie within row groups."""

    is_measured = True
    goes_forward = True

    def __init__(self, sheet: ParquetSheet, columns: Columns) -> None:
        spec = columns.specs()["x"]
        super().__init__(sheet.name, Spec(spec.shape), (sheet.count, *spec.shape), np.float64)
        self.sheet = sheet
        self.columns = replace(columns, features=columns.in_x, label=None, targets=(), weight=None)
        self.places = [column.place for column in columns.in_x]
        self.groups = sheet.starts
        pairs = zip(self.groups[:-1], self.groups[1:], strict=True)
        self.starts = np.concatenate([*(np.arange(a, b, self.length) for a, b in pairs), [sheet.count]])
        self.rows = self.length  # of a piece that no end of a group cuts
        self.length = max(1, sheet.count // max(1, len(self.starts) - 1))
        self._strange: dict[int, Strange] = {}
        self._begun: OrderedDict[int, tuple[int, Iterator[Part]]] = OrderedDict()  # by group: the next piece, the rest

    def read(self, rows: np.ndarray) -> np.ndarray:
        x = super().read(rows)
        for strange in list(self._strange.values()):
            refuse_strange(strange, rows)
        return x

    def chunks(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.groups) - 1), np.diff(self.groups))

    def load(self, start: int, stop: int) -> np.ndarray:
        piece, group = (int(np.searchsorted(ends, start, "right")) - 1 for ends in (self.starts, self.groups))
        at, parts = self._begun.pop(group, (len(self.starts), iter(())))
        if at > piece:
            at = int(np.searchsorted(self.starts, self.groups[group], "right")) - 1
            parts = self.sheet.parts(self.places, group, self.rows)
        while at < piece:  # what lies between is read for nothing, but for what a buffer will ask for, too
            part = next(parts)
            if piece - at <= self._room // 2:
                between = self._encoded(part)
                self.check(at, between)
                self.keep(at, between)
            at += 1
        x = self._encoded(next(parts))
        if self.starts[piece + 1] < self.groups[group + 1]:
            self._begun[group] = piece + 1, parts
        else:
            next(parts, None)  # says whether the group has as many rows as it should
        while len(self._begun) > OPEN:
            self._begun.popitem(last=False)
        return x

    def _encoded(self, part: Part) -> np.ndarray:
        strange: Strange = []
        made = encoded(Cells(part, self.columns.features, self.columns.missing), self.columns, strange)
        if strange:
            self._strange[part.start] = [
                (where + part.start, partial(_error_of, error, part.start)) for where, error in strange
            ]
        return made["x"]


def _error_of(error: Callable[[int], DataError], start: int, row: int) -> DataError:
    """The error for a row of the file, from that for the rows of a part."""
    return error(row - start)


def in_steps(path: str, batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Batches of Arrow as tables of exactly so many rows, but for the last."""
    arrow = require("pyarrow", extra="table", why="reading a Parquet file")
    held: list[Any] = []
    while True:
        with arrow_errors(path):
            batch = next(batches, None)
            held += [] if batch is None else [batch]
            table = arrow.Table.from_batches(held) if held else None
        if table is None:
            return
        whole = table.num_rows if batch is None else table.num_rows // rows * rows
        for start in range(0, whole, rows):
            yield table.slice(start, min(rows, whole - start))
        held = table.slice(whole).to_batches()
        if batch is None:
            return


def open_parquet(path: str) -> Any:
    """The pyarrow.parquet.ParquetFile of a path. Errors   ConfigError without pyarrow; DataError where it is none"""
    size_of(path)
    parquet = require("pyarrow.parquet", extra="table", why="reading a Parquet file")
    with arrow_errors(path):
        # Without pre_buffer=False the buffer is not used, and all of a row group as it is stored comes into memory.
        return parquet.ParquetFile(path, buffer_size=BUFFERED, pre_buffer=False)


@contextmanager
def arrow_errors(path: str) -> Iterator[None]:
    """DataError in place of whatever Arrow raises."""
    try:
        yield
    except DataError:
        raise
    except (ValueError, OSError, KeyError, NotImplementedError, MemoryError) as problem:  # Arrow's errors among them
        first = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
        raise file_error(path, f"is no Parquet file, or damaged ({first})") from None
