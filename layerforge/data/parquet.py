"""Parquet: tables in columns, read by pyarrow."""

from __future__ import annotations

from collections.abc import Sequence

from ..schema.errors import DataError
from ..schema.optional import require
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from .files import file_error, size_of
from .frame_sheet import FrameSheet, sheet_of
from .sheet import Sheet, expect_memory
from .tables import Table


def parquet_sheet(path: str) -> FrameSheet:
    """The columns of a Parquet file.

    Errors   ConfigError without pyarrow; DataError for a file that is none, is damaged, or does not fit into memory
    """
    size_of(path)
    parquet = require("pyarrow.parquet", extra="table", why="reading a Parquet file")
    try:
        with parquet.ParquetFile(path) as file:
            head = file.metadata
            expect_memory(path, max(head.num_rows, 0), head.num_columns)
            table = file.read(use_threads=False)
    except DataError:
        raise
    except (ValueError, OSError, KeyError, NotImplementedError, MemoryError) as problem:  # Arrow's errors among them
        first = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
        raise file_error(path, f"is no Parquet file, or damaged ({first})") from None
    if not table.column_names:
        raise file_error(path, "holds no columns")
    return sheet_of(table, path, "Parquet")[0]


@register_source
class Parquet(Table):
    """A table in a Parquet file, as CSV in all else: columns of numbers or words by their names, nulls are missing.

    Needs pyarrow: pip install 'layerforge[table]'.
    """

    path: FilePath = param(help="the .parquet file")

    def open_sheet(self, named: Sequence[str | int | None]) -> Sheet:
        return parquet_sheet(self.path)
