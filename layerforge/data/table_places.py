"""Which columns of a table serve what: by the keys of a configuration, and in other tables than training's by names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..schema.errors import ConfigError
from .columns import NUMBER, Column, Columns
from .encoding import Cells
from .rows import KEY
from .sheet import Sheet
from .table_labels import FEW_ROWS

LEAVE_IT_OUT = "leave it out with ignore: [...], or name the feature columns, by name or number from 0: columns: [...]"


class Places:
    """The numbers of the columns of a sheet: `label` and `weight`, `targets`, `ignored`, `features`.

    asked     the columns as the configuration names them: label, target, weight, columns and ignore
    trained   the columns of training, whose names tell where there are names; None for training's own table
    owner     what errors call the source

    Errors   ConfigError for a column that is not there, or serves twice
    """

    def __init__(self, sheet: Sheet, asked: Mapping[str, Any], trained: Columns | None, owner: str) -> None:
        self.sheet = sheet
        self.asked = asked
        self.trained = trained
        self.owner = owner
        label, weight = self._serving("label"), self._serving("weight")
        self.label = label[0] if label else None
        self.weight = weight[0] if weight else None
        self.targets = self._serving("target")
        self.ignored = self._ignored()
        self._refuse_twice([*label, *self.targets, *weight, *self.ignored])
        self.features = self._features()

    def find(self, column: str | int, as_in_train: bool = False) -> int:
        """The place of a column. One that is given by its number has that number in train: here its name tells."""
        trained, layout = self.trained, self.sheet.layout
        if isinstance(column, int) and as_in_train and trained is not None and layout.header and trained.named:
            names = trained.names
            column = (names[column] if -len(names) <= column < len(names) else "") or column
        return layout.find(self.sheet.name, column)

    def _serving(self, key: str) -> list[int]:
        """The columns of label, target or weight: those that are asked for here, or in data.train."""
        mine, theirs = self.asked[key], None if self.trained is None else self.trained.asked.get(key)
        instead = self.asked[{"label": "target", "target": "label"}.get(key, key)]  # a table has one of them
        value = theirs if mine is None and instead is None else mine
        listed = value if isinstance(value, list) else [] if value is None else [value]
        return [self.find(column, as_in_train=value == theirs) for column in listed]

    def _ignored(self) -> list[int]:
        own = [self.find(column) for column in self.asked["ignore"]]
        names = () if self.trained is None else self.trained.ignored
        more = [i for i, name in enumerate(self.sheet.layout.names) if name and name in names and i not in own]
        return own + more

    def _refuse_twice(self, taken: Sequence[int]) -> None:
        for i in taken:
            if taken.count(i) > 1:
                what = f"column {self.sheet.called(i)} serves twice, as label, target, weight or ignored"
                raise ConfigError(f"{self.owner}: {what}", hint="name each column once")

    def _features(self) -> list[int]:
        """The columns that may be features: those that are named, or all that serve nothing else."""
        serves = {**dict.fromkeys(self.ignored, "ignored column"), **dict.fromkeys(self.targets, "target")}
        serves |= {i: word for i, word in ((self.label, "label"), (self.weight, "weight")) if i is not None}
        chosen, names = self._chosen(), self.sheet.layout.names
        if chosen is None:
            return [i for i in range(len(names)) if i not in serves]
        for i, column in enumerate(chosen):
            name = names[column] or column
            if column in serves:
                what = f"columns names the {serves[column]} '{name}': it would be a feature, too"
                raise ConfigError(f"{self.owner}: {what}")
            if column in chosen[:i]:
                raise ConfigError(f"{self.owner}: columns names '{name}' twice", hint="name each column once")
        return chosen

    def _chosen(self) -> list[int] | None:
        """The features that are named here, or in data.train; None where all are that serve nothing else."""
        chosen, trained = self.asked["columns"], self.trained
        if chosen is not None:
            same = trained is not None and chosen == trained.asked.get("columns")
            return [self.find(column, as_in_train=same) for column in chosen]
        if trained is None or not trained.chosen or not self.sheet.layout.header:
            return None
        names = [column.name for column in trained.features]
        return [self.find(name) for name in names] if all(names) else None


# Numbers of rows ------------------------------------------------------------------------------------------------------


def refuse_unnamed(sheet: Sheet, places: Sequence[int], owner: str) -> None:
    """A column without a name, as pandas writes for the numbers of the rows, is a feature only where asked for."""
    for i in places if sheet.layout.header else ():
        if not sheet.layout.names[i]:
            message = f"{owner}: column {i} of {sheet.name} has no name: it may only count the rows"
            raise ConfigError(message, hint=LEAVE_IT_OUT)


def refuse_row_numbers(cells: Cells, features: Sequence[Column], owner: str) -> None:
    """Numbers of rows that nobody named are no feature, unless the configuration says that they are."""
    sheet = cells.sheet
    if len(features) < 2 or cells.count < FEW_ROWS:
        return
    for column in features:
        if column.kind != NUMBER or (sheet.layout.header and not KEY.fullmatch(column.name)):
            continue
        numbers = cells.numbers(column)
        counts = _count_rows(numbers)
        if counts or (sheet.layout.header and _are_keys(numbers)):
            what = "only counts the rows" if counts else "only tells the rows apart"
            message = f"{owner}: column {sheet.called(column.place)} of {sheet.name} {what}: is it a feature?"
            raise ConfigError(message, hint=LEAVE_IT_OUT)


@np.errstate(over="ignore", invalid="ignore")
def _count_rows(numbers: np.ndarray) -> bool:
    """Whether numbers go up or down by ones."""
    step = numbers[1] - numbers[0]
    return bool(np.abs(step) == 1 and (np.diff(numbers) == step).all())


def _are_keys(numbers: np.ndarray) -> bool:
    """Whether all are whole numbers and no two the same."""
    return bool((numbers == np.floor(numbers)).all() and len(np.unique(numbers)) == len(numbers))
