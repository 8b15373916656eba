"""Labels of tables: words or numbers that are classes, and numbers that are targets."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..schema.errors import ConfigError, DataError
from .columns import BINARY, INDEX, REAL, Column
from .first_line import INTEGER
from .learned import unknown_class
from .rows import is_number
from .sheet import Sheet, not_a_number

MOST_CLASSES = 1 << 24  # of labels that are numbers
MOST_WHOLE = 100  # different whole numbers that may be classes
FEW_ROWS = 10  # too few to tell a word from the name of its column


def labels_of(sheet: Sheet, column: Column, trained: bool, asked: str | None, header: bool | None) -> tuple[
    np.ndarray, Column
]:  # fmt: skip
    """The labels of a table, and their column with its kind and its words.

    trained   whether the column is training's, whose kind and words hold
    asked     index, real or binary, as the configuration says
    header    what the configuration says of a header

    Errors   DataError for cells that are no labels; ConfigError where the first may be the name of the column
    """
    texts = sheet.texts(column.place)
    if "" in texts:  # a sample without a label is none of a class called ''
        hint = "take samples without a label out; a delimiter at the end of each line makes a column of its own"
        message = f"column {sheet.called(column.place)}: the cell of the label is empty"
        raise sheet.error(texts.index(""), column.place, message, hint)
    if trained and column.words:
        return _of_kind(_numbered(sheet, texts, column), column), column
    numeric = [is_number(text) for text in texts]
    if not any(numeric) and asked != REAL and not trained:
        _refuse_name_as_word(sheet, texts, header)
        column = replace(column, kind=asked or INDEX, words=tuple(sorted(set(texts))))
        return _of_kind(_numbered(sheet, texts, column), column), column
    if not all(numeric):
        row = numeric.index(False)
        raise not_a_number(sheet, row, column.place, texts[row])
    kind = column.kind if trained and column.kind != INDEX else asked or (INDEX if trained else None)
    if kind == REAL or (kind is None and not all(map(INTEGER.fullmatch, texts))):
        _warn_of_classes(sheet, texts, said=kind is not None or trained)
        return np.array(texts, np.float64), replace(column, kind=REAL)
    column = replace(column, kind=kind or INDEX)
    return _of_kind(_classes(sheet, texts), column), column


def _of_kind(numbers: np.ndarray, column: Column) -> np.ndarray:
    """Classes as they are, or for one score: 0.0 and 1.0, (rows, 1)."""
    if column.kind != BINARY:
        return numbers
    if (len(column.words) or int(numbers.max()) + 1) > 2:
        what = f"{len(column.words)} words" if column.words else f"the number {numbers.max()}"
        raise DataError(f"a binary label has two classes, column {column.name or column.place} has {what}")
    return numbers.astype(np.float64)[:, None]


def _classes(sheet: Sheet, texts: Sequence[str]) -> np.ndarray:
    numbers = np.array(texts, np.float64)
    wrong = (numbers < 0) | (numbers != np.floor(numbers)) | (numbers >= MOST_CLASSES)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{sheet.name}: label {texts[row][:100]} of row {row} is no class: classes are whole numbers from 0 to"
            f" {MOST_CLASSES - 1}",
            hint="set label_role: real where the label is a target, not a class",
        )
    return numbers.astype(np.int64)


def _numbered(sheet: Sheet, texts: Sequence[str], column: Column) -> np.ndarray:
    """The numbers of the words; DataError for a word that training does not have."""
    numbers = {word: number for number, word in enumerate(column.words)}
    for row, text in enumerate(texts):
        if text not in numbers:
            raise sheet.error(row, column.place, *unknown_class(text, column.words))
    return np.array([numbers[text] for text in texts])


def _warn_of_classes(sheet: Sheet, texts: Sequence[str], said: bool) -> None:
    """Whole numbers written as 0.0 and 1.0, as pandas writes a column with gaps, may be meant as classes."""
    few = len(set(texts)) <= min(MOST_WHOLE, len(texts) // 2)
    if not said and few and all(float(text).is_integer() for text in texts):
        warnings.warn(
            f"{sheet.layout.owner}: the labels of {sheet.name} are whole numbers with a point ({texts[0][:20]}), taken"
            " as real targets; label_role: index takes them as classes, label_role: real says that this is right",
            stacklevel=2,
        )


def _refuse_name_as_word(sheet: Sheet, texts: Sequence[str], header: bool | None) -> None:
    """A first label that no other sample has, where all others come again, is the name of its column."""
    first, rest = texts[0], texts[1:]
    alone = header is None and not sheet.layout.header and first not in rest
    if alone and len(texts) > FEW_ROWS and min(Counter(rest).values()) > 1:
        owner = sheet.layout.owner
        message = f"{owner}: is the first line of {sheet.name} a header? No other sample has the label '{first[:100]}'"
        raise ConfigError(message, hint="say so with header: true or header: false")
