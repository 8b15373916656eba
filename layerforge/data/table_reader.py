"""Tables as inputs: the features of a CSV file, of a frame or of dicts, by the names of training's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..arrays.spec import Spec, parse_specs
from ..schema.errors import DataError, LayerForgeError
from ..schema.params import parse_as
from .array_reader import ArrayReader, checked
from .kinds import Kind
from .reader import Blobs, Reader, demand_blobs
from .rows import WITHOUT_KEYS, Layout, read_layout, read_numbers


@dataclass(frozen=True)
class Columns:
    """What training's table looks like.

    features   the names of its feature columns, in order; "" each without a header
    places     their numbers in its lines
    label      the name of the label's column; "" where it has none
    named      whether it has a header
    chosen     whether its configuration named the features, so that others may be there and are passed over
    header     what the configuration says of a header
    delimiter  between the cells
    """

    features: list[str]
    places: list[int]
    label: str
    named: bool
    chosen: bool
    header: bool | None
    delimiter: str

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From plain values. Errors   KeyError, TypeError or ValueError where they are something else"""
        header = values["header"]
        return cls(
            parse_as(list[str], values["features"]), parse_as(list[int], values["places"]), str(values["label"]),
            parse_as(bool, values["named"]), parse_as(bool, values["chosen"]),
            None if header is None else parse_as(bool, header), str(values["delimiter"]),
        )  # fmt: skip


class TableReader(Reader):
    """Blob `x` of the feature columns. Columns go by name, in any order, where both tables have names."""

    kind = "table"

    def __init__(self, specs: Mapping[str, Spec], columns: Columns) -> None:
        super().__init__(specs)
        self.columns = columns

    def plain(self) -> dict[str, Any]:
        return {**super().plain(), "columns": asdict(self.columns)}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        return cls(parse_specs(values["blobs"]), Columns.parse(values["columns"]))

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.columns.label,) if self.columns.label else ()

    def columns_of(self, blob: str) -> tuple[str, ...]:
        return tuple(self.columns.features) if blob == "x" and self.columns.named else ()

    def read(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        """The features of another table without labels; those of the label are passed over.

        Errors   DataError where a column is missing, or is none of training's
        """
        demand_blobs(self, blobs)
        if path.suffix.lower() != ".csv":
            return ArrayReader(self.specs).read(path, blobs, seen)
        try:
            x = self._features(str(path))
        except LayerForgeError as error:
            error.hint = WITHOUT_KEYS.get(error.hint or "", error.hint)
            raise
        return {"x": checked(str(path), self.specs["x"], x, seen.get("x"))}

    def convert(self, value: Any, blobs: Sequence[str], seen: Mapping[str, Kind]) -> tuple[Blobs, bool]:
        """Of a path, a frame (pandas, polars), a dict of columns or of one sample, a list of these, or an array."""
        demand_blobs(self, blobs)
        if isinstance(value, (str, Path)):
            return self.read(Path(value), blobs, seen), False
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], (str, Path, Mapping)):
            parts = [self.convert(one, blobs, seen)[0]["x"] for one in value]
            return {"x": np.concatenate(parts)}, False
        if not hasattr(value, "columns") and not isinstance(value, Mapping):
            return ArrayReader(self.specs).convert(value, blobs, seen)
        table = {str(name): np.asarray(value[name]) for name in getattr(value, "columns", value)}
        single = all(column.ndim == 0 for column in table.values())
        names = self._in_order("the table", [name for name in table if name != self.columns.label])
        x = np.stack([self._numbers(name, np.atleast_1d(table[name])) for name in names], axis=1)
        return {"x": checked("the table", self.specs["x"], x, seen.get("x"))}, single

    def _numbers(self, name: str, column: np.ndarray) -> np.ndarray:
        if column.dtype.kind not in "fiub":
            raise DataError(f"column '{name}' must hold numbers, got {column.dtype}")
        return column.astype(np.float64)

    def _features(self, path: str) -> np.ndarray:
        columns = self.columns
        named = [*columns.features, columns.label] if columns.named else [columns.label]
        layout = read_layout(path, columns.delimiter, columns.header, named=named, counting=columns.named)
        if columns.named and layout.header:
            places = [layout.names.index(name) for name in self._in_order(path, self._offered(layout))]
        else:
            places = self._by_place(path, layout)
        return read_numbers(path, columns.delimiter, layout, places)

    def _offered(self, layout: Layout) -> list[str]:
        label = self.columns.label
        return [name for name in layout.names if not (name == label != "")]

    def _in_order(self, owner: str, have: Sequence[str]) -> list[str]:
        """Training's features; DataError where the columns that are there are not these."""
        features = self.columns.features
        missing = [name for name in features if name not in have]
        extra = [name or "(without a name)" for name in have if name not in features and not self.columns.chosen]
        if not missing and not extra:
            return list(features)
        what = [f"{word} {', '.join(names[:5])}" for word, names in (("without", missing), ("with", extra)) if names]
        raise DataError(
            f"{owner} has other columns than training: {' and '.join(what)}",
            hint=f"columns of training, in any order: {', '.join(features[:20])}",
        )

    def _by_place(self, path: str, layout: Layout) -> list[int]:
        """The columns in their order, where names cannot tell; DataError where they are not as many as training's."""
        columns, count = self.columns, len(layout.names)
        if columns.named and not layout.header and columns.header is None:
            listed = columns.delimiter.join(columns.features[:20]) + ("..." if len(columns.features) > 20 else "")
            raise DataError(
                f"{path} has no header line, and the columns of training have names",
                hint=f"put the names above its columns: {listed}",
            )
        wanted = len(columns.features)
        places = columns.places if count > wanted else list(range(count))
        if len(places) != wanted or max(places) >= count:
            raise DataError(f"{path} has {count} columns, {wanted} features are expected as in training")
        return places
