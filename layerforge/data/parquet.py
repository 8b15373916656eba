"""Parquet: tables in columns, read by pyarrow."""

from __future__ import annotations

from collections.abc import Sequence

from ..arrays.spec import Spec
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from .files import file_error
from .frame_sheet import FrameSheet, sheet_of
from .parquet_stream import ParquetSheet, arrow_errors, open_parquet
from .sheet import Sheet, expect_memory
from .streaming import is_streamed
from .tables import Table


def parquet_sheet(path: str) -> FrameSheet:
    """The columns of a Parquet file.

    Errors   ConfigError without pyarrow; DataError for a file that is none, is damaged, or does not fit into memory
    """
    with open_parquet(path) as file, arrow_errors(path):
        head = file.metadata
        expect_memory(path, max(head.num_rows, 0), head.num_columns)
        table = file.read(use_threads=False)
    if not table.column_names:
        raise file_error(path, "holds no columns")
    return sheet_of(table, path, "Parquet")[0]


@register_source
class Parquet(Table):
    """A table in a Parquet file, as CSV in all else: columns of numbers or words by their names, nulls are missing.

    Needs pyarrow: pip install 'layerforge[table]'.
    """

    path: FilePath = param(help="the .parquet file")
    stream: bool | None = param(
        None, help="read samples when a batch wants them; null: where rows times columns of float64 exceed 1 GiB"
    )

    def open_sheet(self, named: Sequence[str | int | None]) -> Sheet:
        with open_parquet(self.path) as file, arrow_errors(self.path):
            rows, columns = file.metadata.num_rows, file.metadata.num_columns
        streamed = is_streamed(self.stream, Spec((columns,)), rows, 8)
        return ParquetSheet(self.path) if streamed else parquet_sheet(self.path)
