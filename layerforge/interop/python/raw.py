"""Raw samples of a trained net, for its written file: what they are, and what the columns of a table become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...arrays.spec import Spec
from ...data.columns import NUMBER, Columns
from ...data.image_reader import ImageReader
from ...data.pairs import PairReader
from ...data.reader import Reader
from ...data.table_reader import TableReader
from ...inference.trained import Trained
from ...schema.texts import first_few

COLORS = {
    "gray": "one channel, of grey",
    "rgb": "the channels are red, green, blue",
    "bgr": "the channels are blue, green, red, as OpenCV has them and Pillow has not",
}
TEXTS = {"x": "the numbers of tokens, as training made them of texts", "mask": "1 where there is a token, otherwise 0"}


@dataclass
class Table:
    """What becomes of the columns of a table, which all are numbers: (v - mean) factor.

    missing   what stands for a missing cell, NaN where none may be missing; () where that is so everywhere
    order     of the columns that the net sees: indicators of missing cells count from len(mean) on; () without these
    """

    mean: tuple[float, ...]
    factor: tuple[float, ...]
    missing: tuple[float, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, columns: Columns) -> Table:
        cells, order = columns.in_x, list[int]()
        for i, column in enumerate(cells):
            order += [i, len(cells) + i] if column.indicator else [i]
        fills = tuple(float("nan") if column.fill is None else column.fill for column in cells)
        return cls(
            tuple(column.mean for column in cells),
            tuple(1 / column.std if column.std else 0.0 for column in cells),
            fills if any(column.fill is not None for column in cells) else (),
            tuple(order) if len(order) > len(cells) else (),
        )


def side_of(reader: Reader | None, name: str) -> Reader | None:
    """Who reads an input: of a side of pairs the reader of single samples."""
    return reader.inner if isinstance(reader, PairReader) and name in reader.specs else reader


def columns_of(trained: Trained, name: str) -> Columns | None:
    """The columns that an input is made of; None where it is not made of a table."""
    reader = side_of(trained.reader, name)
    return reader.columns if isinstance(reader, TableReader) else None


def tables_of(trained: Trained, names: Sequence[str]) -> dict[str, Table]:
    """The tables whose columns training changed, by input."""
    found = {name: columns_of(trained, name) for name in names}
    return {name: Table.of(columns) for name, columns in found.items() if columns is not None and not columns.is_plain}


def why_prepared(trained: Trained, names: Sequence[str]) -> str:
    """Why a written file cannot take raw samples; "" where it can."""
    if trained.reader is None or trained.transform is None:
        return f"{trained.weights.name} does not say how samples were read and scaled"
    absent = [name for name in names if name not in trained.reader.specs]
    if absent:
        return f"the data of training have no '{absent[0]}'"
    for name in names:
        columns = columns_of(trained, name)
        words = [] if columns is None else [c.name or str(c.place) for c in columns.features if c.kind != NUMBER]
        if words:
            return f"columns of words are encoded by LayerForge alone: {first_few(words)}"
    return ""


def form_of(trained: Trained, name: str, spec: Spec) -> str:
    """What the raw samples of an input are, in words. spec: of one"""
    reader: Any = side_of(trained.reader, name)
    kind = None if trained.transform is None else trained.transform.kinds.get(name)
    if isinstance(reader, TableReader) and spec.is_real:
        listed = first_few(column.name or f"column {column.place}" for column in reader.columns.in_x)
        gaps = any(column.fill is not None for column in reader.columns.in_x)
        return f"numbers{', NaN where a cell is missing' if gaps else ''}, in columns: {listed}"
    if reader.kind.startswith("text"):
        return TEXTS.get(name, "what training made of texts") if not spec.is_real else "what training made of texts"
    axes = ["axes: samples, channels, height, width"] if spec.ndim == 3 else []
    usual = "numbers" if spec.is_real else "whole numbers"
    numbers = usual if kind is None else "uint8 from 0 to 255" if kind.is_bytes else f"as {kind} in training"
    if isinstance(reader, ImageReader) and spec.ndim == 3:
        axes += [COLORS[reader.form.color], "pictures decoded and resized as in training"]
    return "; ".join([numbers, *axes])
