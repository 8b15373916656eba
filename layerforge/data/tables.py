"""CSV: a table of numbers, one sample per line."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays.spec import Spec, index
from ..schema.errors import ConfigError, DataError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from .first_line import INTEGER
from .reader import Reader
from .rows import Layout, is_number, locate, place_of_cell, read_layout, read_numbers, read_texts
from .source import Source
from .table_reader import Columns, TableReader

MOST_CLASSES = 1 << 24
# What a column of row numbers or keys is called: by pandas ("Unnamed: 0", level_0), R (rownames), Kaggle (PassengerId).
KEY = re.compile(
    r"(?i:unnamed: \d+|level_\d+|(.*[ _.-])?(id|idx|index)|row[ _.-]?(names?|num(ber)?|no|id)?)|.*[a-z]I[dD]"
)
MOST_WHOLE = 100  # different whole numbers that may be classes
FEW_ROWS = 10  # too few to tell numbers of rows from numbers, or a word from the name of its column


@dataclass(frozen=True)
class Table:
    """What a file came to: its arrays, and how its columns and labels are to be read in other files of the run.

    layout    the columns as its first line tells
    features  the numbers of the feature columns
    label     the number of the label's column; None without one
    classes   the words of the labels, in the order of their numbers
    """

    arrays: dict[str, np.ndarray]
    layout: Layout
    features: list[int]
    label: int | None
    classes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The names of the features; of a file without a header there are none."""
        return [self.layout.names[i] for i in self.features] if self.layout.header else []

    @property
    def label_name(self) -> str:
        return "" if self.label is None else self.layout.names[self.label]


@register_source
class CSV(Source):
    """A table: blob `x` (D,) from the feature columns, and `label` where a label column is named.

    Labels that are whole numbers are classes (index), other numbers are targets (real), words are classes in
    alphabetical order. Every cell must be a finite number, or a word in the label column. Where there is a header, val,
    test and what is predicted have train's columns by their names, in any order, and train's numbers for its words.
    """

    path: FilePath = param(help="the .csv file, in UTF-8")
    label: str | int | None = param(None, help="the label's column: its name, or its number from 0 (-1: the last)")
    label_role: str | None = param(None, help="null: by the numbers", choices=("index", "real"))
    columns: list[str | int] | None = param(None, help="the feature columns; null: all except the label")
    header: bool | None = param(None, help="whether the first line has names; null: when no cell of it is a number")
    delimiter: str = param(",", help="between the cells")

    _known: Table | None = None

    def validate(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ConfigError("delimiter must be one character")

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._table().classes

    def specs(self) -> dict[str, Spec]:
        arrays = self._table().arrays
        specs = {"x": Spec(arrays["x"].shape[1:])}
        if "label" in arrays:
            label = arrays["label"]
            known = len(self.class_names) or int(label.max()) + 1
            specs["label"] = Spec(()) if label.dtype.kind == "f" else index((), known)
        return specs

    def count(self, part: str) -> int:
        return len(self._table().arrays["x"])

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        return dict(self._table().arrays)

    def labels(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in self.load().items() if name == "label" and array.dtype.kind == "i"}

    def normalised(self) -> list[tuple[str, ...]]:
        """The features; a real label is a target and stays as it is."""
        return [("x",)]

    def follow(self, leader: Source) -> None:
        super().follow(leader)
        self._known = None

    def reader(self) -> Reader:
        table = self._table()
        named, features = table.layout.header, [table.layout.names[i] for i in table.features]
        columns = Columns(
            features, table.features, table.label_name, named, self.columns is not None, self.header, self.delimiter
        )
        return TableReader(self.specs(), columns)

    def _table(self) -> Table:
        if self._known is None:
            leader = self._training
            same = leader is not None and all(
                getattr(self, name) == getattr(leader, name) for name in self.fields if name != "split"
            )
            self._known = leader._table() if leader is not None and same else self._read()
        return self._known

    @property
    def _training(self) -> CSV | None:
        """Data.train's source, where this is that of val or test."""
        return self.leader if isinstance(self.leader, CSV) else None

    def _read(self) -> Table:
        path, leader = self.path, self._training
        named = [self.label, *(self.columns or ()), *(leader._table().names if leader else ())]
        layout = read_layout(path, self.delimiter, self.header, named=named, words=self.label)
        label = self._label_column(layout)
        features = self._features(layout, label)
        if not features:
            raise ConfigError(f"CSV: no column of {path} is left for the features")
        arrays = {"x": read_numbers(path, self.delimiter, layout, features)}
        self._refuse_unnamed(layout, features)
        self._refuse_row_numbers(layout, features, arrays["x"])
        names: tuple[str, ...] = ()
        if label is not None:
            texts = read_texts(path, self.delimiter, layout, label)
            self._refuse_empty(texts, layout, label)
            arrays["label"], names = self._labels(texts, layout, label)
        return Table(arrays, layout, features, label, names)

    # The columns ------------------------------------------------------------------------------------------------------

    def _label_column(self, layout: Layout) -> int | None:
        """The label's column. A number means the column of that number in train: here that is the one of its name."""
        leader = self._training
        if self.label is None:
            return None
        if isinstance(self.label, int) and leader is not None and layout.header:
            name = leader._table().label_name if leader.label == self.label else ""
            if name:
                return layout.find(self.path, name)
        return layout.find(self.path, self.label)

    def _offered(self, layout: Layout, label: int | None) -> list[int]:
        """The columns that may be features: those that the configuration names, or all except the label."""
        chosen = self.columns
        if chosen is None and self._training is not None and layout.header:
            chosen = self._training.columns and self._training._table().names
        if not chosen:
            return [i for i in range(len(layout.names)) if i != label]
        return [layout.find(self.path, self._as_in_train(column, layout)) for column in chosen]

    def _as_in_train(self, column: str | int, layout: Layout) -> str | int:
        """A column that is given by its number has that number in train: elsewhere it is the one of its name."""
        leader = self._training
        if not isinstance(column, int) or leader is None or leader.columns != self.columns or not layout.header:
            return column
        names = leader._table().layout.names  # all "" where train has no header
        return (names[column] if -len(names) <= column < len(names) else "") or column

    def _features(self, layout: Layout, label: int | None) -> list[int]:
        offered, leader = self._offered(layout, label), self._training
        for i, column in enumerate(offered):
            name = layout.names[column] or column
            if column == label:
                raise ConfigError(f"CSV: columns names the label '{name}': it would be a feature, too")
            if column in offered[:i]:
                raise ConfigError(f"CSV: columns names '{name}' twice", hint="name each column once")
        if leader is None:
            return offered
        table = leader._table()
        if table.layout.header and layout.header:
            return self._by_name(self.path, layout, offered, table)
        if table.layout.header and self.header is None:
            raise self._nameless(self.path, table)
        return self._by_place(self.path, layout, offered)

    def _nameless(self, path: str, table: Table) -> DataError:
        listed = self.delimiter.join(table.names[:20]) + ("..." if len(table.names) > 20 else "")
        return DataError(
            f"{path} has no header line, and the columns of training have names",
            hint=f"put the names above its columns: {listed}",
        )

    def _by_name(self, path: str, layout: Layout, offered: Sequence[int], table: Table) -> list[int]:
        """The columns in train's order; DataError where they are not train's."""
        have = [layout.names[i] for i in offered]
        missing = [name for name in table.names if name not in have]
        extra = [name or "(without a name)" for name in have if name not in table.names]
        if not missing and not extra:
            return [layout.names.index(name) for name in table.names]
        what = [f"{word} {', '.join(names[:5])}" for word, names in (("without", missing), ("with", extra)) if names]
        raise DataError(
            f"{path} has other columns than training: {' and '.join(what)}",
            hint=f"columns of training, in any order: {', '.join(table.names[:20])}",
        )

    def _by_place(self, path: str, layout: Layout, offered: Sequence[int]) -> list[int]:
        """The columns in their order, where names cannot tell; DataError where they are not as many as train's."""
        table = (self._training or self)._table()
        if table.layout.header and not layout.header and self.header is None:
            raise self._nameless(path, table)
        wanted, count = len(table.features), len(layout.names)
        if len(offered) != wanted or max(offered) >= count:
            raise DataError(f"{path} has {count} columns, {wanted} features are expected as in training")
        return list(offered)

    def _refuse_unnamed(self, layout: Layout, offered: Sequence[int]) -> None:
        """A column without a name, as pandas writes for the numbers of the rows, is a feature only where asked for."""
        if self._chosen or not layout.header:
            return
        for i in offered:
            if not layout.names[i]:
                raise ConfigError(
                    f"CSV: column {i} of {self.path} has no name: it may only count the rows",
                    hint="name the feature columns, by name or number from 0: columns: [...]",
                )

    def _refuse_row_numbers(self, layout: Layout, features: list[int], x: np.ndarray) -> None:
        """Numbers of rows that nobody named are no feature, unless the configuration says that they are."""
        decided = self._training is not None and layout.header  # val has train's columns by name
        if self._chosen or decided or x.shape[1] < 2 or len(x) < FEW_ROWS:
            return
        for i, numbers in zip(features, x.T, strict=True):
            if layout.header and not KEY.fullmatch(layout.names[i]):
                continue
            counts = np.abs(numbers[1] - numbers[0]) == 1 and (np.diff(numbers) == numbers[1] - numbers[0]).all()
            if counts or (layout.header and _are_keys(numbers)):
                what = "only counts the rows" if counts else "only tells the rows apart"
                name = f" '{layout.names[i][:100]}'" if layout.header else ""
                raise ConfigError(
                    f"CSV: column {i}{name} of {self.path} {what}: is it a feature?",
                    hint="name the feature columns, by name or number from 0: columns: [...]",
                )

    @property
    def _chosen(self) -> bool:
        """Whether the configuration names the features, here or in train."""
        return any(source is not None and source.columns is not None for source in (self, self._training))

    # The labels -------------------------------------------------------------------------------------------------------

    def _labels(self, texts: list[str], layout: Layout, column: int) -> tuple[np.ndarray, tuple[str, ...]]:
        leader = self._training._table() if self._training is not None else None
        if leader is not None and leader.classes:
            return self._numbered(texts, layout, column, leader.classes), leader.classes
        numeric = [is_number(text) for text in texts]
        as_train = None if leader is None or "label" not in leader.arrays else leader.arrays["label"].dtype.kind
        if not any(numeric) and self.label_role != "real" and as_train is None:
            self._refuse_name_as_word(texts, layout)
            names = {name: number for number, name in enumerate(sorted(set(texts)))}
            return np.array([names[text] for text in texts]), tuple(names)
        if not all(numeric):
            locate(self.path, self.delimiter, layout, [column])
        role = self.label_role or {"f": "real", "i": "index"}.get(as_train or "")
        if role == "real" or (role is None and not all(map(INTEGER.fullmatch, texts))):
            self._warn_of_classes(texts, role)
            return np.array(texts, np.float64), ()
        numbers = np.array(texts, np.float64)
        wrong = (numbers < 0) | (numbers != np.floor(numbers)) | (numbers >= MOST_CLASSES)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{self.path}: label {texts[row][:100]} of row {row} is no class: classes are whole numbers from 0 to"
                f" {MOST_CLASSES - 1}",
                hint="set label_role: real where the label is a target, not a class",
            )
        return numbers.astype(np.int64), ()

    def _refuse_empty(self, texts: list[str], layout: Layout, column: int) -> None:
        """A sample without a label is none of a class called ''."""
        if "" in texts:
            raise DataError(
                f"column {column}: the cell of the label is empty",
                place=place_of_cell(self.path, self.delimiter, layout, texts.index(""), column),
                hint="take samples without a label out; a delimiter at the end of each line makes a column of its own",
            )

    def _warn_of_classes(self, texts: list[str], role: str | None) -> None:
        """Whole numbers written as 0.0 and 1.0, as pandas writes a column with gaps, may be meant as classes."""
        unsaid = role is None and self._training is None
        few = len(set(texts)) <= min(MOST_WHOLE, len(texts) // 2)
        if unsaid and few and all(float(text).is_integer() for text in texts):
            warnings.warn(
                f"CSV: the labels of {self.path} are whole numbers with a point ({texts[0][:20]}), taken as real"
                " targets; label_role: index takes them as classes, label_role: real says that this is right",
                stacklevel=2,
            )

    def _numbered(self, texts: list[str], layout: Layout, column: int, classes: tuple[str, ...]) -> np.ndarray:
        """Train's numbers of the words; DataError for a word that train does not have."""
        numbers = {name: number for number, name in enumerate(classes)}
        for row, text in enumerate(texts):
            if text not in numbers:
                listed = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
                raise DataError(
                    f"the class '{text[:100]}' is not among those of data.train",
                    place=place_of_cell(self.path, self.delimiter, layout, row, column),
                    hint=f"classes of training: {listed}",
                )
        return np.array([numbers[text] for text in texts])

    def _refuse_name_as_word(self, texts: list[str], layout: Layout) -> None:
        """A first label that no other sample has, where all others come again, is the name of its column."""
        first, rest = texts[0], texts[1:]
        alone = self.header is None and not layout.header and first not in rest
        if alone and len(texts) > FEW_ROWS and all(rest.count(word) > 1 for word in set(rest)):
            message = f"CSV: is the first line of {self.path} a header? No other sample has the label '{first[:100]}'"
            raise ConfigError(message, hint="say so with header: true or header: false")


def _are_keys(numbers: np.ndarray) -> bool:
    """Whether all are whole numbers and no two the same."""
    return bool((numbers == np.floor(numbers)).all() and len(np.unique(numbers)) == len(numbers))
