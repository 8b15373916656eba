"""The keys of tables that are more than a word: what is missing, which columns are words, what the target is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from ..config.data_mapping import DataMapping
from ..schema.errors import ConfigError
from ..schema.params import param, parse_as
from .columns import INDEX, ONE_HOT

STRATEGIES = ("error", "mean", "median", "constant")
# What pandas takes for missing, too.
CELLS = ("", "#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "-NaN", "-nan")


class TableKey(DataMapping):
    """A mapping among the keys of a table; the bare word of its first key will do."""

    @classmethod
    def parse(cls, value: Any) -> Self:
        short = next(iter(cls.fields))
        bare = not isinstance(value, (Mapping, cls)) and value is not None
        return super().parse({short: value} if bare else value)

    def plain(self) -> dict[str, Any]:
        return self.config


class Missing(TableKey):
    """What stands for a number that is missing. Unless that is an error, a missing word is a word of its own."""

    noun = "missing"
    description = "error, mean, median, constant or indicator, or {strategy:, value:, indicator:, cells:}"

    strategy: str = param(
        "error", help="what stands for it: the mean or median of train, or a value", choices=STRATEGIES
    )
    value: float = param(0.0, help="what constant puts in")
    indicator: bool = param(False, help="a column that is 1 where the number is missing, beside each that has gaps")
    cells: list[str] = param([], help='cells that are missing beside empty ones, NA, NaN and null, for example ["?"]')

    @classmethod
    def parse(cls, value: Any) -> Self:
        """As a section, or a strategy; `indicator` alone is the mean with an indicator."""
        return super().parse({"strategy": "mean", "indicator": True} if value == "indicator" else value)

    def validate(self) -> None:
        if self.strategy == "error" and (self.indicator or self.cells):
            raise ConfigError("indicator and cells need a strategy", hint="for example strategy: median")
        if self.strategy != "constant" and self.value:
            raise ConfigError("value is for strategy: constant")

    @property
    def texts(self) -> tuple[str, ...] | None:
        """The cells that are missing; None where none may be."""
        return None if self.strategy == "error" else (*CELLS, *self.cells)


class ColumnRule:
    """The rule for a column or several, by names or numbers."""

    description = "the name or number of a column, or a list of these"

    @staticmethod
    def parse(value: Any) -> list[str | int]:
        return parse_as(list[str | int], value if isinstance(value, (list, tuple)) else [value])


class Target(TableKey):
    """What a regression learns."""

    noun = "target"
    description = "a column, or {column:, standardize:}"

    column: Annotated[list[str | int], ColumnRule] = param(help="the target's column, or several")
    standardize: bool = param(
        False, help="learn (y - mean) / std of train's targets; predictions come back in y's own units"
    )


class CategoricalRule:
    """The rule for columns of words: a list, for one-hot, or a mapping of each column to one_hot or index."""

    description = "a list of columns, or a mapping of columns to one_hot or index"

    @staticmethod
    def parse(value: Any) -> dict[str | int, str]:
        if isinstance(value, Mapping):
            kinds = dict(value)
        else:
            kinds = dict.fromkeys(parse_as(list[str | int], value), ONE_HOT)
        for column, kind in kinds.items():
            if kind not in (ONE_HOT, INDEX):
                raise ConfigError(f"categorical: '{column}' must be {ONE_HOT} or {INDEX}, got {kind!r}")
        return {parse_as(str | int, column): kind for column, kind in kinds.items()}
