"""CSV: a table of numbers, one sample per line."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError
from ..params import FilePath, param
from ..registry import register_source
from ..spec import Spec, index
from .rows import Layout, is_number, locate, read_layout, read_numbers, read_texts
from .source import Source

INTEGER = re.compile(r"[+-]?\d+")
MOST_CLASSES = 1 << 24


@register_source
class CSV(Source):
    """A table: blob `x` (D,) from the feature columns, and `label` where a label column is named.

    Labels that are whole numbers are classes (index), other numbers are targets (real), words are classes in
    alphabetical order. Every cell must be a finite number, or a word in the label column.
    """

    path: FilePath = param(help="the .csv file, in UTF-8")
    label: str | int | None = param(None, help="the label's column: its name, or its number from 0 (-1: the last)")
    label_role: str | None = param(None, help="null: by the numbers", choices=("index", "real"))
    columns: list[str | int] | None = param(None, help="the feature columns; null: all except the label")
    header: bool | None = param(None, help="whether the first line has names; null: when no cell of it is a number")
    delimiter: str = param(",", help="between the cells")

    _known: tuple[dict[str, np.ndarray], tuple[str, ...]] | None = None

    def validate(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ConfigError("delimiter must be one character")

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._arrays()[1]

    def specs(self) -> dict[str, Spec]:
        arrays, _ = self._arrays()
        specs = {"x": Spec(arrays["x"].shape[1:])}
        if "label" in arrays:
            label = arrays["label"]
            specs["label"] = Spec(()) if label.dtype.kind == "f" else index((), int(label.max()) + 1)
        return specs

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        return dict(self._arrays()[0])

    def normalised(self) -> list[tuple[str, ...]]:
        """The features; a real label is a target and stays as it is."""
        return [("x",)]

    def _arrays(self) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        layout = read_layout(self.path, self.delimiter, self.header)
        label = None if self.label is None else layout.find(self.path, self.label)
        if self.columns is None:
            features = [i for i in range(len(layout.names)) if i != label]
        else:
            features = [layout.find(self.path, column) for column in self.columns]
        if not features:
            raise ConfigError(f"CSV: no column of {self.path} is left for the features")
        arrays = {"x": read_numbers(self.path, self.delimiter, layout, features)}
        names: tuple[str, ...] = ()
        if label is not None:
            texts = read_texts(self.path, self.delimiter, layout, label)
            arrays["label"], names = self._labels(texts, layout, label)
        return arrays, names

    def _labels(self, texts: list[str], layout: Layout, column: int) -> tuple[np.ndarray, tuple[str, ...]]:
        numeric = [is_number(text) for text in texts]
        if not any(numeric) and self.label_role != "real":
            names = {name: number for number, name in enumerate(sorted(set(texts)))}
            return np.array([names[text] for text in texts]), tuple(names)
        if not all(numeric):
            locate(self.path, self.delimiter, layout, [column])
        if self.label_role == "real" or (self.label_role is None and not all(map(INTEGER.fullmatch, texts))):
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
