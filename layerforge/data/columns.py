"""Columns: what training found out about a table, as plain values that travel in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from ..arrays.spec import Spec, index
from ..schema.params import parse_as
from ..schema.texts import first_few

NUMBER, ONE_HOT, INDEX = "number", "one_hot", "index"  # kinds of a feature; of a label: index, real, binary
REAL, BINARY = "real", "binary"


@dataclass(frozen=True)
class Column:
    """A column of numbers or words, and what becomes of its cells.

    number    (v - mean) / std, with v the cell, or `fill` where it is missing; 0 where std is 0: it never changes
    one_hot   a number for each of the words, 1 for that of the cell and 0 for all others
    index     the number of the word

    place      its number in the lines of training's table
    fill       None where no cell may be missing
    indicator  whether a number follows that is 1 where the cell is missing, and 0 elsewhere
    words      in the order of their numbers; "" is the missing cell
    """

    name: str
    place: int
    kind: str = NUMBER
    words: tuple[str, ...] = ()
    fill: float | None = None
    indicator: bool = False
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From plain values. Errors   KeyError, TypeError or ValueError where they are something else"""
        fill = values["fill"]
        kind = str(values["kind"])
        if kind not in (NUMBER, ONE_HOT, INDEX, REAL, BINARY):
            raise ValueError(kind)
        return cls(
            str(values["name"]), parse_as(int, values["place"]), kind, tuple(parse_as(list[str], values["words"])),
            None if fill is None else parse_as(float, fill), parse_as(bool, values["indicator"]),
            parse_as(float, values["mean"]), parse_as(float, values["std"]),
        )  # fmt: skip

    @property
    def width(self) -> int:
        """How many numbers of `x` it becomes; an index is a blob of its own."""
        return {ONE_HOT: len(self.words), INDEX: 0}.get(self.kind, 1 + self.indicator)

    @property
    def is_plain(self) -> bool:
        """Whether its numbers stay as they are, and none may be missing."""
        return self.kind == NUMBER and self.fill is None and (self.mean, self.std) == (0.0, 1.0)

    def scaled(self, numbers: np.ndarray) -> np.ndarray:
        """(v - mean) / std."""
        return (numbers - self.mean) * (1 / self.std if self.std else 0.0)

    def __str__(self) -> str:
        listed = f"{len(self.words)} words: {first_few(word or '(missing)' for word in self.words)}"
        texts = {ONE_HOT: f"one-hot of {listed}", INDEX: f"index of {listed}"}
        parts = [texts.get(self.kind, "number")]
        parts += [] if self.fill is None else [f"{self.fill:g} where it is missing"]
        parts += ["an indicator of that"] if self.indicator else []
        parts += [] if (self.mean, self.std) == (0.0, 1.0) else [f"standardised (mean {self.mean:g}, std {self.std:g})"]
        return ", ".join(parts)


@dataclass(frozen=True)
class Columns:
    """What training's table looks like, and what becomes of it.

    features   in order: those of numbers and one-hot make up `x`, each index is a blob of its own name
    targets    the columns of the blob `target`; () without one
    label      that of the blob `label`; its kind is index, real or binary
    weight     that of the blob `weight`
    names      of all columns of the table; "" each without a header
    named      whether it has a header
    ignored    the names of columns that are passed over
    asked      the columns as its configuration named them, by its keys
    header     what the configuration says of a header
    delimiter  between the cells
    missing    cells that are missing; None: no cell may be
    unknown    whether a word that training does not have is "error" or "ignore"d
    """

    features: tuple[Column, ...]
    names: tuple[str, ...]
    named: bool
    targets: tuple[Column, ...] = ()
    label: Column | None = None
    weight: Column | None = None
    ignored: tuple[str, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)
    header: bool | None = None
    delimiter: str = ","
    missing: tuple[str, ...] | None = None
    unknown: str = "error"

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From plain values. Errors   KeyError, TypeError or ValueError where they are something else"""
        header, missing = values["header"], values.get("missing")
        common: dict[str, Any] = {
            "named": parse_as(bool, values["named"]),
            "header": None if header is None else parse_as(bool, header),
            "delimiter": str(values["delimiter"]),
        }
        if "chosen" in values:  # of a checkpoint whose features are numbers as they are
            return cls(**_plain_features(values), **common)
        several: dict[str, Any] = {key: tuple(map(Column.parse, values[key])) for key in ("features", "targets")}
        names: dict[str, Any] = {key: tuple(parse_as(list[str], values[key])) for key in ("names", "ignored")}
        single: dict[str, Any] = {
            key: None if values[key] is None else Column.parse(values[key]) for key in ("label", "weight")
        }
        return cls(
            **several, **names, **single, **common,
            asked=parse_as(dict[str, Any], values["asked"]),
            missing=None if missing is None else tuple(parse_as(list[str], missing)),
            unknown=str(values["unknown"]),
        )  # fmt: skip

    @property
    def plain(self) -> dict[str, Any]:
        """As plain values, for a file."""
        return asdict(self)

    def at(
        self, places: Sequence[int], targets: Sequence[int] = (), label: int | None = None, weight: int | None = None
    ) -> Columns:
        """The same columns at the places that they have in another table; without what it does not have."""
        return replace(
            self,
            features=tuple(replace(c, place=i) for c, i in zip(self.features, places, strict=True)),
            targets=tuple(replace(c, place=i) for c, i in zip(self.targets, targets, strict=True)) if targets else (),
            label=None if label is None or self.label is None else replace(self.label, place=label),
            weight=None if weight is None or self.weight is None else replace(self.weight, place=weight),
        )

    @property
    def chosen(self) -> bool:
        """Whether the configuration named the features, so that others may be there and are passed over."""
        return self.asked.get("columns") is not None

    @property
    def in_x(self) -> tuple[Column, ...]:
        """The features that `x` is made of."""
        return tuple(column for column in self.features if column.kind != INDEX)

    @property
    def indices(self) -> tuple[Column, ...]:
        """The features that are blobs of their own."""
        return tuple(column for column in self.features if column.kind == INDEX)

    @property
    def is_plain(self) -> bool:
        """Whether `x` is the numbers of the features as they are."""
        return all(column.is_plain for column in self.features)

    @property
    def aside(self) -> tuple[str, ...]:
        """The names of columns that are no features."""
        others = [*self.targets, *(c for c in (self.label, self.weight) if c is not None)]
        return tuple(name for name in (*(c.name for c in others), *self.ignored) if name)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The words of the labels, in the order of their numbers."""
        return () if self.label is None else self.label.words

    def specs(self, classes: int = 0) -> dict[str, Spec]:
        """One sample of each blob; `classes` are those of labels that are numbers."""
        width, unknown = sum(column.width for column in self.in_x), int(self.unknown == "ignore")
        specs = {"x": Spec((width,))} if self.in_x else {}
        specs |= {column.name: index((), len(column.words) + unknown) for column in self.indices}
        if self.label is not None:
            numbers = {REAL: Spec(()), BINARY: Spec((1,))}
            specs["label"] = numbers.get(self.label.kind) or index((), len(self.label.words) or classes)
        if self.targets:
            specs["target"] = Spec((len(self.targets),))
        if self.weight is not None:
            specs["weight"] = Spec(())
        return specs

    def in_own_units(self, values: np.ndarray) -> np.ndarray:
        """Values that were learned from the standardised `target`, in the units of its columns."""
        count = len(self.targets)
        fits = values.shape[1:] == (count,) or (values.ndim == 1 and count == 1)
        if not fits or all(column.is_plain for column in self.targets):
            return values
        mean, std = (np.array([getattr(c, word) for c in self.targets]) for word in ("mean", "std"))
        return values.astype(np.float64) * std + mean

    @property
    def notes(self) -> list[str]:
        """What has to be said of the numbers that losses and metrics show."""
        scaled = [column for column in self.targets if not column.is_plain]
        if not scaled:
            return []
        listed = first_few(f"{column.name or column.place} {column.std:g}" for column in scaled)
        return [
            f"losses and metrics are in units of the target's standard deviation ({listed}), predictions in its own"
        ]

    @property
    def told(self) -> list[str]:
        """Each column in words."""
        lines = [f"{column.name or column.place}: {column}" for column in self.features]
        lines += [f"{column.name or column.place}: target, {column}" for column in self.targets]
        lines += [] if self.label is None else [f"{self.label.name or self.label.place}: label, {self.label.kind}"]
        lines += [] if self.weight is None else [f"{self.weight.name or self.weight.place}: weight"]
        return lines + [f"{name}: ignored" for name in self.ignored]


def _plain_features(values: Mapping[str, Any]) -> dict[str, Any]:
    names, places = parse_as(list[str], values["features"]), parse_as(list[int], values["places"])
    features = tuple(Column(name, place) for name, place in zip(names, places, strict=True))
    label = Column(str(values["label"]), -1, INDEX) if values["label"] else None
    asked = {"columns": names} if parse_as(bool, values["chosen"]) else {}
    return {"features": features, "names": tuple(names), "label": label, "asked": asked}
