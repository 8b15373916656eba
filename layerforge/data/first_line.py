"""Whether a first line of numbers may hold the names of the columns: the rows that follow tell.

Names that are numbers (years, wavelengths, pixels, what pandas calls the columns of an array) count up or down, or are
whole numbers that all differ, and no row resembles them. A first sample is one of many like it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

import numpy as np

INTEGER = re.compile(r"[+-]?\d+")
ENOUGH_ROWS = 10  # fewer do not show what a row looks like
MOST_CELLS = 1_000_000  # so much is looked at
RARE = 0.01  # share of rows that may resemble the first by chance


@np.errstate(all="ignore")  # cells may be infinite
def may_be_names(cells: list[str], label: int | None, rows: Iterable[list[str]]) -> bool:
    """Whether a first line may be a header although it has numbers, from the `rows` behind it.

    label   the number of the label's column; None where it is not known
    """
    numeric = [i for i, cell in enumerate(cells) if np.isfinite(number(cell))]
    features = [i for i in numeric if i != label]
    first = np.array([[number(cell) for cell in cells]])
    counting = [some for some in (features, numeric) if len(some) > 2 and _counts(first[:, some]).all()]
    distinct = len(np.unique(first[:, numeric])) == len(numeric) > 1
    whole = distinct and all(INTEGER.fullmatch(cells[i]) for i in numeric)
    if not counting and not whole:
        return False
    texts = [row for row in islice(rows, MOST_CELLS // len(cells) + ENOUGH_ROWS) if len(row) == len(cells)]
    if not texts or (label is not None and label not in numeric and _comes_again(cells[label], texts, label)):
        return False
    table = np.array([[number(cell) for cell in row] for row in texts])
    if any(_is_alone_counting(first[0, some], table[:, some], label in some) for some in counting):
        return True
    if not whole or len(table) < ENOUGH_ROWS or label not in (None, *numeric):
        return False
    return (
        _lies_far_away(first[0, numeric], table[:, numeric])
        or (len(features) > 1 and _lies_far_away(first[0, features], table[:, features]))
        or (label is not None and _is_a_class_of_its_own(first[0, label], table[:, label]))
        or _is_alone_whole([[row[i].strip() for i in features] for row in texts])
    )


def number(cell: str) -> float:
    """The number of a cell; NaN where it has none."""
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _counts(rows: np.ndarray) -> np.ndarray:
    """Which rows go up or down by equal steps (rows,)."""
    steps = np.diff(rows, axis=1)
    size = np.abs(steps[:, :1])
    return (size[:, 0] > 0) & (np.abs(steps - steps[:, :1]) <= 1e-6 * size).all(axis=1)


def _comes_again(word: str, rows: list[list[str]], label: int) -> bool:
    return any(row[label].strip() == word for row in rows)


def _is_alone_counting(first: np.ndarray, table: np.ndarray, labelled: bool) -> bool:
    """Whether next to no row counts as the first does; three numbers, which may do so by chance, must be new, too."""
    if np.count_nonzero(_counts(table)) > RARE * len(table):
        return False
    if len(first) > 3:
        return True
    new = (table != first).all(axis=0)
    enough = 1 if (first == np.arange(len(first))).all() else 2
    told = np.count_nonzero(new) >= enough and (new.all() or not labelled) and (first == np.floor(first)).all()
    return bool(told and len(table) >= ENOUGH_ROWS)


def _lies_far_away(first: np.ndarray, table: np.ndarray) -> bool:
    """Whether all numbers lie farther beyond their columns than those are wide."""
    low, high = table.min(axis=0), table.max(axis=0)
    return bool(((first < 2 * low - high) | (first > 2 * high - low)).all())


def _is_a_class_of_its_own(first: float, labels: np.ndarray) -> bool:
    """Whether no other sample has this label, and all others come again."""
    values, counts = np.unique(labels, return_counts=True)
    return bool(np.isfinite(labels).all() and first not in values and counts.min() > 1)


def _is_alone_whole(rows: list[list[str]]) -> bool:
    """Whether no row has whole numbers only; of two columns, whether there is no whole number at all."""
    whole = np.array([[INTEGER.fullmatch(cell) is not None for cell in row] for row in rows])
    return whole.shape[1] > 1 and not (whole.all(axis=1) if whole.shape[1] > 2 else whole).any()
