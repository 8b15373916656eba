"""ImageList: images whose paths and labels stand in a table."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..arrays.spec import Spec, index
from ..schema.errors import ConfigError, DataError
from ..schema.locations import Place
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from ..schema.synonyms import did_you_mean
from ..schema.texts import first_few
from .files import file_error, reading, size_of
from .image_form import SUFFIXES
from .image_source import ImageSource, Listing
from .learned import unknown_class
from .rows import is_number
from .table_labels import MOST_CLASSES

NEGATIVE = re.compile(r"-[0-9]+")  # of lists of Caffe, whose classes are numbers


@dataclass(frozen=True)
class Lines:
    """A table: the names of its columns (None without a header), its rows, and their lines in the file."""

    path: str
    names: list[str] | None
    rows: list[list[str]]
    numbers: list[int]

    def find(self, column: str | int) -> int:
        """The number of a column, from its name or its number (negative: from the end)."""
        count = len(self.rows[0])
        if isinstance(column, int):
            if -count <= column < count:
                return column % count
            raise ConfigError(f"ImageList: there is no column {column} in {self.path}: it has {count}, counted from 0")
        if self.names is None:
            raise ConfigError(f"ImageList: {self.path} has no header line: name column '{column}' by its number from 0")
        if column not in self.names:
            hint = did_you_mean(column, self.names) or f"columns: {first_few(self.names, 20)}"
            raise ConfigError(f"ImageList: {self.path} has no column '{column}'", hint=hint)
        return self.names.index(column)

    def cells(self, column: str | int) -> list[str]:
        """The cells of a column; DataError where one is empty."""
        number = self.find(column)
        cells = [row[number].strip() for row in self.rows]
        if "" in cells:
            raise self.error(cells.index(""), f"the cell of column '{column}' is empty")
        return cells

    def error(self, row: int, message: str, hint: str | None = None) -> DataError:
        """A DataError about a row."""
        return DataError(message, place=Place(self.path, self.numbers[row], 1), hint=hint)


@register_source
class ImageList(ImageSource):
    """Images by a table of their paths: blob `image` (C, h, w) bytes, and blobs of its columns of labels and targets.

        label: kind              blob `label`: a class, a word or a whole number
        label: [kind, colour]    blobs `kind` and `colour`, a class each
        separator: "|"           of one label, whose cell holds several words: blob `label` (K,) of 0 and 1
        target: [x, y]           blob `target` (2,) of numbers; of one column: ()

        delimiter: " "           lines `path label`, as lists of Caffe have them: the path may have spaces in it

    Words are numbered in alphabetical order, as train has them. Relative paths begin at the folder of the table.
    """

    path: FilePath = param(help="the table: .csv, or .tsv with tabs")
    image: str | int = param(0, help="the column of the paths: its name, or its number from 0")
    label: str | int | list[str | int] | None = param(None, help="the column of the classes, or several columns")
    target: str | int | list[str | int] | None = param(None, help="the columns of numbers")
    separator: str | None = param(None, help="between the words of a label that has several")
    folder: FilePath | None = param(None, help="where relative paths begin; null: at the folder of the table")
    header: bool | None = param(None, help="whether the first line has names; null: when no cell ends as an image does")
    delimiter: str | None = param(
        None, help="between the cells; null: a comma, in a .tsv file a tab; a space: the last one of a line"
    )

    def validate(self) -> None:
        super().validate()
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ConfigError("delimiter must be one character")
        if self.separator is not None and (self.label is None or isinstance(self.label, list) or not self.separator):
            raise ConfigError("separator is for one column of labels", hint="for example label: tags, separator: '|'")
        names = self._label_names()
        if len(set(names)) < len(names) or {self.blob, "target"} & set(names):
            listed = ", ".join(names)
            raise ConfigError(f"label: blobs {listed} need names of their own, other than {self.blob} and target")

    def _label_names(self) -> list[str]:
        """The blobs of the labels."""
        if not isinstance(self.label, list):
            return [] if self.label is None else ["label"]
        return [column if isinstance(column, str) else f"label_{column}" for column in self.label]

    def listing(self, part: str) -> Listing:
        lines = self._lines()
        root = self.folder or os.path.dirname(self.path)
        files = [os.path.join(root, os.path.expanduser(cell)) for cell in lines.cells(self.image)]
        listing = Listing(files, {}, {}, {})
        columns = self.label if isinstance(self.label, list) else [self.label]
        for name, column in zip(self._label_names(), columns, strict=False):
            if column is not None:
                self._add_label(listing, name, lines, column)
        if self.target is not None:
            listing.blobs["target"] = self._targets(lines, self.target)
            listing.specs["target"] = Spec(listing.blobs["target"].shape[1:])
        return listing

    def _lines(self) -> Lines:
        delimiter = self.delimiter or ("\t" if self.path.lower().endswith((".tsv", ".tab")) else ",")
        size_of(self.path)
        try:
            with reading(self.path), open(self.path, encoding="utf-8-sig", newline="") as file:
                if delimiter == " ":
                    lines = (line.strip().rsplit(" ", 1) for line in file)
                    numbered = [(row, number) for number, row in enumerate(lines, 1) if row != [""]]
                else:
                    table = csv.reader(file, delimiter=delimiter)
                    numbered = [(row, table.line_num) for row in table if row]
        except (csv.Error, UnicodeDecodeError) as problem:
            raise file_error(self.path, f"is no table in UTF-8 ({problem})") from None
        if not numbered:
            raise file_error(self.path, "has no lines")
        rows, numbers = [row for row, _ in numbered], [number for _, number in numbered]
        for row, number in numbered:
            if len(row) != len(rows[0]):
                message = f"{len(row)} cells, where the first line has {len(rows[0])}"
                raise DataError(message, place=Place(self.path, number, 1))
        named = self.header
        if named is None:
            named = delimiter != " " and not any(cell.strip().lower().endswith(SUFFIXES) for cell in rows[0])
        if not named:
            return Lines(self.path, None, rows, numbers)
        names = [cell.strip() for cell in rows[0]]
        if len(rows) == 1:
            raise file_error(self.path, "has a header, and no line below it", "header: false takes it as a sample")
        return Lines(self.path, names, rows[1:], numbers[1:])

    def _add_label(self, listing: Listing, name: str, lines: Lines, column: str | int) -> None:
        """The blob of a column of classes: numbers of words, or whole numbers."""
        cells = lines.cells(column)
        known = self.trained.words.get(name, ()) if self.trained is not None else ()
        if self.separator is not None:
            self._add_tags(listing, lines, cells, known)
            return
        below = [row for row, cell in enumerate(cells) if self.delimiter == " " and NEGATIVE.fullmatch(cell)]
        if below:
            raise lines.error(below[0], f"the class {cells[below[0]]} is below 0", "number the classes from 0 on")
        if known or not all(cell.isdecimal() for cell in cells):
            words = known or tuple(sorted(set(cells)))
            numbers = np.array([self._number(lines, row, cell, words) for row, cell in enumerate(cells)], np.int64)
            listing.words[name], count = words, len(words)
        else:
            if max(map(len, cells)) > len(str(MOST_CLASSES)) or max(map(int, cells)) >= MOST_CLASSES:
                row = max(range(len(cells)), key=lambda i: len(cells[i]))
                raise lines.error(row, f"a class is a whole number below {MOST_CLASSES}", "numbers are a `target`")
            numbers = np.array([int(cell) for cell in cells])
            trained = None if self.trained is None else self.trained.specs.get(name)
            count = int(numbers.max()) + 1 if trained is None else int(trained.high or 0)
        listing.blobs[name], listing.specs[name] = numbers, index((), count)

    def _add_tags(self, listing: Listing, lines: Lines, cells: list[str], known: tuple[str, ...]) -> None:
        """The blob of a column whose cells hold several words each: 1 for each word that is there."""
        tags = [[tag.strip() for tag in cell.split(self.separator) if tag.strip()] for cell in cells]
        words = known or tuple(sorted({tag for row in tags for tag in row}))
        present = np.zeros((len(tags), len(words)), np.float32)
        for row, found in enumerate(tags):
            for tag in found:
                present[row, self._number(lines, row, tag, words)] = 1
        listing.words["label"] = words
        listing.blobs["label"], listing.specs["label"] = present, Spec((len(words),))

    @staticmethod
    def _number(lines: Lines, row: int, word: str, words: tuple[str, ...]) -> int:
        numbers = _numbers_of(words)
        if word not in numbers:
            raise lines.error(row, *unknown_class(word, words))
        return numbers[word]

    @property
    def target_names(self) -> tuple[str, ...]:
        columns = self.target if isinstance(self.target, list) else [] if self.target is None else [self.target]
        return tuple(map(str, columns))

    def _targets(self, lines: Lines, target: str | int | list[str | int]) -> np.ndarray:
        """The numbers of some columns (N, D); of a single one that is not in a list (N,)."""
        columns = target if isinstance(target, list) else [target]
        table = [lines.cells(column) for column in columns]
        for column, cells in zip(columns, table, strict=True):
            for row, cell in enumerate(cells):
                if not is_number(cell):
                    raise lines.error(row, f"'{cell[:100]}' in column '{column}' is no finite number")
        numbers = np.array(table, np.float64).T
        return numbers if isinstance(target, list) else numbers[:, 0]


@lru_cache(8)
def _numbers_of(words: tuple[str, ...]) -> dict[str, int]:
    return {word: number for number, word in enumerate(words)}
