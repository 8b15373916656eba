"""Tables as inputs: the columns of a file, of a frame or of dicts, by training's names and encoded as in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..arrays.spec import Spec, parse_specs
from ..schema.errors import DataError, LayerForgeError
from ..schema.texts import first_few
from .array_reader import ArrayReader, checked
from .columns import Columns
from .encoding import Cells, Strange, encoded, refuse_strange
from .frame_sheet import is_table, sheet_of, sheet_of_array, without_mask
from .kinds import Kind
from .reader import Blobs, Reader, demand_blobs
from .rows import WITHOUT_KEYS, Layout, read_layout
from .sheet import CsvSheet, Sheet

PARQUET = (".parquet", ".pq")


class TableReader(Reader):
    """Blob `x` of the feature columns, and one for each index. Columns go by name, in any order, where both have names.

    Targets, labels and weights are columns, too, and are passed over.
    """

    kind = "table"

    def __init__(self, specs: Mapping[str, Spec], columns: Columns) -> None:
        super().__init__(specs)
        self.columns = columns

    def plain(self) -> dict[str, Any]:
        return {**super().plain(), "columns": self.columns.plain}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        return cls(parse_specs(values["blobs"]), Columns.parse(values["columns"]))

    @property
    def targets(self) -> tuple[str, ...]:
        label = self.columns.label
        if self.columns.targets:
            return tuple(column.name or str(column.place) for column in self.columns.targets)
        return (label.name,) if label is not None and label.name else ()

    def in_own_units(self, values: np.ndarray) -> np.ndarray:
        return self.columns.in_own_units(values)

    def columns_of(self, blob: str) -> tuple[str, ...]:
        columns = self.columns
        if blob == "x":
            return tuple(column.name for column in columns.in_x) if columns.named else ()
        return (blob,) if any(column.name == blob for column in columns.indices) else ()

    # Files ------------------------------------------------------------------------------------------------------------

    def read(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        """The features of another table without labels; those of the label are passed over.

        Errors   DataError where a column is missing, or is none of training's
        """
        demand_blobs(self, blobs)
        suffix = path.suffix.lower()
        if suffix not in (".csv", *PARQUET):
            return self._of_arrays(path, blobs, seen)
        with _without_keys():
            return self._of_sheet(self.sheet(path), blobs, seen)

    def sheet(self, path: Path) -> Sheet:
        """A file of cells."""
        if path.suffix.lower() in PARQUET:
            from .parquet import parquet_sheet

            return parquet_sheet(str(path))
        columns = self.columns
        named = [c.name for c in columns.features] if columns.named else []
        named += [name for name in columns.aside[:1] if name]
        layout = read_layout(str(path), columns.delimiter, columns.header, named=named, counting=columns.named)
        return CsvSheet(str(path), columns.delimiter, layout)

    def _of_arrays(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        """Of a file of arrays: the numbers of the columns, samples first."""
        if self.columns.is_plain:
            return ArrayReader(self.specs).read(path, blobs, seen)
        raw = ArrayReader({"x": Spec((len(self.columns.features),))}).read(path, ["x"], {})["x"]
        return self._of_sheet(sheet_of_array(raw), blobs, seen)

    # Objects ----------------------------------------------------------------------------------------------------------

    def convert(self, value: Any, blobs: Sequence[str], seen: Mapping[str, Kind]) -> tuple[Blobs, bool]:
        """Of a path, a frame (pandas, polars), a dict of columns or of one sample, a list of these, or an array."""
        demand_blobs(self, blobs)
        if isinstance(value, (str, Path)):
            return self.read(Path(value), blobs, seen), False
        if isinstance(value, (list, tuple)) and value and self._are_tables(value):
            parts = [self.convert(one, blobs, seen)[0] for one in value]
            return {blob: np.concatenate([part[blob] for part in parts]) for blob in blobs}, False
        if is_table(value):
            sheet, single = sheet_of(value)
            with _without_keys():
                return self._of_sheet(sheet, blobs, seen), single
        if self.columns.is_plain:
            return ArrayReader(self.specs).convert(value, blobs, seen)
        array = without_mask(value if hasattr(value, "dtype") else np.array(value, object))
        width = len(self.columns.features)
        if array.ndim not in (1, 2) or array.shape[-1] != width:
            raise DataError(f"the array has the shape {array.shape}, rows of {width} columns are expected")
        return self._of_sheet(sheet_of_array(np.atleast_2d(array)), blobs, seen), array.ndim == 1

    def _are_tables(self, value: Sequence[Any]) -> bool:
        """Whether a list holds paths or tables, and is no table or row itself."""
        first = value[0]
        if isinstance(first, str):  # a path, or the first cell of a row
            return self.columns.is_plain or len(value) != len(self.columns.features) or bool(Path(first).suffix)
        if isinstance(first, Mapping):
            return not all(isinstance(row, Mapping) and all(np.ndim(c) == 0 for c in row.values()) for row in value)
        return isinstance(first, Path) or is_table(first) or getattr(first, "ndim", 0) > 1

    # Columns ----------------------------------------------------------------------------------------------------------

    def _of_sheet(self, sheet: Sheet, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        for blob in blobs:
            if blob in ("label", "target", "weight"):
                raise DataError(f"'{blob}' is no input of a prediction")
        columns, layout = self.columns, sheet.layout
        if columns.named and layout.header:
            aside = set(columns.aside)
            offered = [i for i, name in enumerate(layout.names) if name not in aside]
            places = self.by_name(sheet.name, layout, offered)
        else:
            places = self._by_place(sheet.name, layout)
        here = columns.at(places)
        strange: Strange = []
        made = encoded(Cells(sheet, here.features, here.missing), here, strange)
        refuse_strange(strange)
        return {blob: checked(sheet.name, self.specs[blob], made[blob], seen.get(blob)) for blob in blobs}

    @property
    def _names(self) -> list[str]:
        return [column.name for column in self.columns.features]

    def by_name(self, owner: str, layout: Layout, offered: Sequence[int]) -> list[int]:
        """The places of training's features; DataError where the columns that are there are not these."""
        features, have = self._names, [layout.names[i] for i in offered]
        missing = [name for name in features if name not in have]
        extra = [name or "(without a name)" for name in have if name not in features]
        if not missing and (not extra or self.columns.chosen):
            return [layout.names.index(name) for name in features]
        named = (("without", missing), ("with", extra if not self.columns.chosen else []))
        what = [f"{word} {first_few(names, 5)}" for word, names in named if names]
        raise DataError(
            f"{owner} has other columns than training: {' and '.join(what)}",
            hint=f"columns of training, in any order: {first_few(features, 20)}",
        )

    def nameless(self, owner: str, delimiter: str) -> DataError:
        """The error for a table without a header where training's has one."""
        listed = delimiter.join(self._names[:20]) + ("..." if len(self._names) > 20 else "")
        return DataError(
            f"{owner} has no header line, and the columns of training have names",
            hint=f"put the names above its columns: {listed}",
        )

    def _by_place(self, owner: str, layout: Layout) -> list[int]:
        """The columns in their order, where names cannot tell; DataError where they are not as many as training's."""
        columns, count = self.columns, len(layout.names)
        if columns.named and not layout.header and columns.header is None and owner != "the array":
            raise self.nameless(owner, columns.delimiter)
        wanted = len(columns.features)
        places = [column.place for column in columns.features] if count > wanted else list(range(count))
        if len(places) != wanted or max(places) >= count:
            raise DataError(f"{owner} has {count} columns, {wanted} features are expected as in training")
        return places


@contextmanager
def _without_keys() -> Iterator[None]:
    """Hints for those who have no configuration to write."""
    try:
        yield
    except LayerForgeError as error:
        error.hint = WITHOUT_KEYS.get(error.hint or "", error.hint)
        raise
