"""Metrics of each class, and tables such as a ConfusionMatrix, as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..run.summary import align
from ..schema.texts import visible
from ..training.console import show_metric
from ..training.evaluation import Scores

MOST = 30  # classes whose confusion is shown with their names


def lines(scores: Scores, section: str) -> Iterator[str]:
    """The lines below the numbers of an evaluation."""
    groups: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for name, parts in scores.each.items():
        rows = tuple(part.removeprefix(f"{name}/") for part in parts)
        groups.setdefault(rows, {})[f"{section}/{name}"] = list(parts.values())
    for rows, columns in groups.items():
        yield from _of_each(rows, columns)
    for name, table in scores.tables.items():
        yield f"{section}/{name}"
        named = table.shape == (len(scores.classes),) * 2 and len(scores.classes) <= MOST
        yield from _confusion(table, scores.classes) if named else str(table).splitlines()


def _of_each(rows: tuple[str, ...], columns: Mapping[str, list[float]]) -> Iterator[str]:
    """A row for each class, a column for each metric."""
    body = [[visible(row), *(show_metric(n, v[i]) for n, v in columns.items())] for i, row in enumerate(rows)]
    yield from align([["class", *columns], *body], right=range(1, 1 + len(columns)))


def _confusion(table: np.ndarray, classes: tuple[str, ...]) -> Iterator[str]:
    """A row for each label, a column for each prediction."""
    names = [visible(name) for name in classes]
    body = [[name, *(f"{n:g}" for n in row)] for name, row in zip(names, table.tolist(), strict=True)]
    yield from align([["label \\ prediction", *names], *body], right=range(1, 1 + len(names)))
