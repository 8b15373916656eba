"""Tables: one sample per row, columns of numbers and words. CSV is the one in text files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np

from ..arrays.spec import Spec
from ..schema.errors import ConfigError, DataError
from ..schema.params import FilePath, param, to_plain
from ..schema.registry import register_source
from .columns import INDEX, NUMBER, Column, Columns
from .division import Share
from .encoding import Cells, Strange, cells_of, encoded, fitted, refuse_strange, standardised
from .reader import Reader
from .rows import is_number, read_layout
from .sheet import CsvSheet, Sheet
from .source import Source
from .table_keys import CategoricalRule, ColumnRule, Missing, Target
from .table_labels import labels_of
from .table_places import Places, refuse_row_numbers, refuse_unnamed
from .table_reader import TableReader

OWN = ("x", "label", "target", "weight")  # blobs, so that no index can be called so
FOLLOWED = ("missing", "categorical", "standardize", "unknown", "label_role")  # keys that are train's in val, too


@dataclass(frozen=True)
class Contents:
    """What a table came to: its blobs, the columns that they were made of, and the rows that cannot be used."""

    arrays: dict[str, np.ndarray]
    columns: Columns
    strange: Strange


class Table(Source):
    """Base of the sources of tables: each brings `open_sheet` and the keys that say where the table is.

    What training's rows say of a column - its words, what stands for a missing number, mean and deviation - is found
    once, and holds for val, test, eval and predict.
    """

    label: str | int | None = param(None, help="the label's column: its name, or its number from 0 (-1: the last)")
    label_role: str | None = param(
        None,
        help="index: a class; real: a target; binary: 0 or 1 as a real blob (1,), for one score; null: by the cells",
        choices=("index", "real", "binary"),
    )
    target: Target | None = param(
        None, help="what a regression learns, blob `target` (K,): a column, several, or {column:, standardize:}"
    )
    weight: str | int | None = param(None, help="the column of the samples' weights, blob `weight`")
    columns: list[str | int] | None = param(None, help="the feature columns; null: all that serve nothing else")
    ignore: Annotated[list[str | int], ColumnRule] = param([], help="columns that are passed over")
    categorical: Annotated[dict[str | int, str], CategoricalRule] = param(
        [], help="columns of words: a list, for one-hot, or {column: one_hot | index}; an index is a blob of its own"
    )
    missing: Missing = param(
        "error",
        help="what stands for a missing number: error, mean, median, constant, indicator, or a mapping of"
        " {strategy:, value:, indicator:, cells:}",
    )
    standardize: bool = param(False, help="(v - mean) / std of every column of numbers, by train's rows")
    unknown: str = param(
        "error",
        help="words that train does not have: an error, or all zeros (of an index one number more)",
        choices=("error", "ignore"),
    )

    _known: Contents | None = None
    _follows: Any = None

    def validate(self) -> None:
        if self.label is not None and self.target is not None:
            raise ConfigError("label and target: a table has one of them")

    # What a subclass brings -------------------------------------------------------------------------------------------

    def open_sheet(self, named: Sequence[str | int | None]) -> Sheet:
        """The cells. `named` are columns that somebody asked for by name."""
        raise NotImplementedError(f"{type(self).__name__} has no open_sheet(named)")

    @property
    def form(self) -> dict[str, Any]:
        """What a reader needs to know of the form of files: fields of Columns."""
        return {}

    # Source -----------------------------------------------------------------------------------------------------------

    @property
    def class_names(self) -> tuple[str, ...]:
        followed = self._followed
        return self._contents().columns.class_names if followed is None else followed.class_names

    def specs(self) -> dict[str, Spec]:
        contents = self._contents()
        label = contents.arrays.get("label")
        classes = int(label.max()) + 1 if label is not None and label.dtype.kind == "i" else 0
        return contents.columns.specs(classes)

    def count(self, part: str) -> int:
        return len(next(iter(self._contents().arrays.values())))

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        return dict(self._contents().arrays)

    def load(self, progress: bool | None = None) -> dict[str, np.ndarray]:
        """As of every source. Errors   DataError for a word, in one of its rows, that training's do not have"""
        arrays, strange = super().load(progress), self._contents().strange
        if strange:
            refuse_strange(strange, self.rows(self.count(self.part)))
        return arrays

    def labels(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in self.load().items() if name == "label" and array.dtype.kind == "i"}

    def column(self, name: str) -> np.ndarray:
        """The cells of a column, or of that of the label, target or weight. Nothing is fitted for it."""
        sheet = self.open_sheet(self._named)
        value = name if name in sheet.layout.names else self.asked.get(name)
        if value is None or isinstance(value, list):
            return super().column(name)
        texts = sheet.texts(sheet.layout.find(sheet.name, value))
        cells = np.array(texts, np.float64 if all(map(is_number, texts)) else None)
        return self.cut({name: cells})[name]

    def normalised(self) -> list[tuple[str, ...]]:
        """The features; a real label is a target and stays as it is."""
        return [("x",)] if self._contents().columns.in_x else []

    def notes(self) -> list[str]:
        followed = self._followed
        return (self._contents().columns if followed is None else followed).notes

    def fitted(self) -> list[str]:
        return self._contents().columns.told

    def follow(self, leader: Any) -> None:
        """Take the columns, and all that training's rows said of them, from the source or the checkpoint of training.

        leader   what has `reader()` and `class_names`

        Errors   ConfigError for a key that is another here than in data.train
        """
        super().follow(leader)
        self._known, self._follows = None, None
        if leader is self or (isinstance(leader, Source) and not isinstance(leader, Table)):
            return
        self._follows = leader
        for name in FOLLOWED if isinstance(leader, Table) else ():
            mine, theirs = to_plain(getattr(self, name)), to_plain(getattr(leader, name))
            if mine not in (theirs, to_plain(type(self)._default(name))):
                hint = "remove it here: it is train's for all"
                raise ConfigError(f"{name} is {mine} here and {theirs} in data.train", place=self.place, hint=hint)

    @classmethod
    def _default(cls, name: str) -> Any:
        field = cls.fields[name]
        return None if field.default is None else field.parse(field.default)

    def with_share(self, share: Share | None) -> Self:
        """The same table, of which other rows are train's: what was fitted on others is forgotten."""
        other = super().with_share(share)
        other._known = None
        return other

    def reader(self) -> Reader:
        followed = self._followed
        if followed is not None:
            reader = self._follows.reader()
            assert isinstance(reader, TableReader)
            return reader
        return TableReader(self.specs(), self._contents().columns)

    @property
    def _followed(self) -> Columns | None:
        """The columns of training, where this is not the source of data.train itself."""
        reader = None if self._follows is None else self._follows.reader()
        if not isinstance(reader, TableReader):
            return None
        columns, names = reader.columns, tuple(self._follows.class_names)
        if columns.label is not None and names and not columns.label.words:
            return replace(columns, label=replace(columns.label, words=names))
        return columns

    def _contents(self) -> Contents:
        if self._known is None:
            leader = self._follows
            same = isinstance(leader, Table) and type(leader) is type(self) and self._is_same_table(leader)
            self._known = leader._contents() if same else self._read()
        return self._known

    def _is_same_table(self, other: Table) -> bool:
        """Whether another source gives the same samples, but for the split."""
        mine, theirs = ({k: v for k, v in source.config.items() if k != "split"} for source in (self, other))
        return mine == theirs

    def _read(self) -> Contents:
        followed = self._followed
        names = [c.name for c in followed.features] if followed is not None and followed.named else []
        sheet = self.open_sheet([*self._named, *names])
        return self._trained(sheet) if followed is None else self._as_trained(sheet, followed)

    # The columns ------------------------------------------------------------------------------------------------------

    @property
    def asked(self) -> dict[str, Any]:
        """The columns as the configuration names them."""
        target = None if self.target is None else self.target.column
        return {
            "label": self.label, "target": target, "weight": self.weight,
            "columns": self.columns, "ignore": self.ignore,
        }  # fmt: skip

    @property
    def _named(self) -> list[str | int | None]:
        """All columns that the configuration names."""
        targets, features = self.asked["target"] or (), self.columns or ()
        return [self.label, self.weight, *targets, *features, *self.ignore, *self.categorical]

    def _trained(self, sheet: Sheet) -> Contents:
        """The contents of training's table, and what they say of its columns."""
        names, places = sheet.layout.names, Places(sheet, self.asked, None, self.title)
        if not places.features:
            raise ConfigError(f"{self.title}: no column of {sheet.name} is left for the features", place=self.place)
        features = self._features(places)
        cells = cells_of(sheet, features, self.missing.texts)
        if self.columns is None:
            refuse_unnamed(sheet, places.features, self.title)
            refuse_row_numbers(cells, features, self.title)
        label, weight = places.label, places.weight
        columns = Columns(
            tuple(self._fitted(cells, column) for column in features),
            tuple(names),
            sheet.layout.header,
            targets=tuple(Column(names[i], i) for i in places.targets),
            label=None if label is None else Column(names[label], label, INDEX),
            weight=None if weight is None else Column(names[weight], weight),
            ignored=tuple(names[i] for i in places.ignored),
            asked=self.asked,
            missing=self.missing.texts,
            unknown=self.unknown,
            **self.form,
        )
        return self._filled(sheet, cells, columns, trained=False)

    def _features(self, places: Places) -> list[Column]:
        """The features, of numbers or words, before they are fitted."""
        sheet, kinds = places.sheet, {places.find(column): kind for column, kind in self.categorical.items()}
        for place, kind in kinds.items():
            if place not in places.features:
                raise ConfigError(f"{self.title}: categorical names column {sheet.called(place)}, which is no feature")
            name = sheet.layout.names[place]
            if kind == INDEX and (not name or name in OWN):
                what = f"is called '{name}'" if name else "has no name"
                hint = "rename the column in the file's first line, or take it as one_hot"
                raise ConfigError(f"{self.title}: categorical makes a blob of column {place}, which {what}", hint=hint)
        return [Column(sheet.layout.names[i], i, kinds.get(i, NUMBER)) for i in places.features]

    def _fitted(self, cells: Cells, column: Column) -> Column:
        missing = self.missing
        needs = missing.strategy != "error" or self.standardize or column.kind != NUMBER
        rows = self.rows(cells.count) if needs else slice(None)
        return fitted(cells, column, rows, missing.strategy, missing.value, missing.indicator, self.standardize)

    def _as_trained(self, sheet: Sheet, trained: Columns) -> Contents:
        """The contents of another table than training's, with its columns."""
        layout, reader = sheet.layout, TableReader({}, trained)
        places = Places(sheet, self.asked, trained, self.title)
        features = places.features
        by_name = trained.named and layout.header
        if by_name:
            features = reader.by_name(sheet.name, layout, features)
        elif trained.named and self.form.get("header") is None:
            raise reader.nameless(sheet.name, self.form.get("delimiter", ","))
        elif len(features) != len(trained.features):
            what = f"{len(trained.features)} features are expected as in training"
            raise DataError(f"{sheet.name} has {len(layout.names)} columns, {what}")
        columns = trained.at(features, places.targets, places.label, places.weight)
        if places.label is not None and columns.label is None:
            columns = replace(columns, label=Column(layout.names[places.label], places.label, INDEX))
        cells = cells_of(sheet, columns.features, columns.missing)
        if not (by_name or trained.chosen or self.columns is not None):
            refuse_row_numbers(cells, columns.features, self.title)
        return self._filled(sheet, cells, columns, trained=trained.label is not None)

    # The blobs --------------------------------------------------------------------------------------------------------

    def _filled(self, sheet: Sheet, cells: Cells, columns: Columns, trained: bool) -> Contents:
        """All blobs of a table. `trained` says whether its label's kind and words are those of training."""
        strange: Strange = []
        arrays = encoded(cells, columns, strange)
        if columns.label is not None:
            header = self.form.get("header")
            arrays["label"], label = labels_of(sheet, columns.label, trained, self.label_role, header)
            columns = replace(columns, label=label)
        if columns.targets:
            values = sheet.numbers([column.place for column in columns.targets], None)
            if self._followed is None and self.target is not None and self.target.standardize:
                targets = [self._standardised(sheet, c, values[:, k]) for k, c in enumerate(columns.targets)]
                columns = replace(columns, targets=tuple(targets))
            arrays["target"] = np.stack([c.scaled(values[:, k]) for k, c in enumerate(columns.targets)], axis=1)
        if columns.weight is not None:
            arrays["weight"] = self._weights(sheet, columns.weight)
        return Contents(arrays, columns, strange)

    def _standardised(self, sheet: Sheet, column: Column, values: np.ndarray) -> Column:
        column = standardised(sheet, column, values[self.rows(len(values))])
        if not column.std:
            what = f"the target {sheet.called(column.place)} of {sheet.name}"
            raise DataError(f"{what} is the same in all of train's rows", hint="there is nothing to learn")
        return column

    def _weights(self, sheet: Sheet, column: Column) -> np.ndarray:
        weights = sheet.numbers([column.place], None)[:, 0]
        if (weights < 0).any():
            row = int((weights < 0).argmax())
            message = f"column {sheet.called(column.place)}: the weight {weights[row]:g} is negative"
            raise sheet.error(row, column.place, message)
        if not weights.any():
            raise DataError(f"all weights in column {sheet.called(column.place)} of {sheet.name} are 0")
        return weights


@register_source
class CSV(Table):
    """A table in a text file: blob `x` (D,) from the feature columns, and `label` or `target` where it is named.

    Labels that are whole numbers are classes (index), other numbers are targets (real), words are classes in
    alphabetical order. Every cell must be a finite number, but for labels and what `categorical` and `missing` say.
    Where there is a header, val, test and what is predicted have train's columns by their names, in any order. What
    train's rows say of a column - words, the median, mean and deviation - holds for all of them.
    """

    path: FilePath = param(help="the .csv file, in UTF-8")
    header: bool | None = param(None, help="whether the first line has names; null: when no cell of it is a number")
    delimiter: str = param(",", help="between the cells")

    def validate(self) -> None:
        super().validate()
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ConfigError("delimiter must be one character")

    @property
    def form(self) -> dict[str, Any]:
        return {"header": self.header, "delimiter": self.delimiter}

    def open_sheet(self, named: Sequence[str | int | None]) -> Sheet:
        layout = read_layout(self.path, self.delimiter, self.header, named=named, words=self.label)
        return CsvSheet(self.path, self.delimiter, layout)
