"""Predictions: a trained net applied to files, as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..schema.errors import ConfigError
from ..schema.texts import printable
from ..snapshot import atomic_write
from .model import Model


@dataclass
class Table:
    """A row per sample: where it comes from, the predicted class and its probability (for classifiers), the values."""

    files: list[str]
    positions: list[int]
    values: np.ndarray
    probabilities: np.ndarray | None
    names: Sequence[str] | None


def predict(model: Model, files: Sequence[str], *, blob: str | None, name: str | None, batch_size: int) -> Table:
    """Apply a model to every sample of the files.

    blob   what is written; None: the scores that the loss reads, and what they say
    name   the input that the files are for, where the net has several; None: its first

    Errors   ConfigError for a blob or input that does not exist; DataError for a file that cannot be used
    """
    name = name or next(iter(model.inputs))
    if name not in model.net.graph.inputs:
        raise ConfigError(f"the net has no input '{name}'", hint=f"its inputs: {', '.join(model.net.graph.inputs)}")
    chosen = blob or model.blob
    sources: list[str] = []
    positions: list[int] = []
    results: list[np.ndarray] = []
    for file in files:
        values = model.of_file(file, name, chosen, batch_size)
        results.append(values)
        sources += [file] * len(values)
        positions += range(len(values))
    values = np.concatenate(results) if results else np.zeros((0, 1))
    classifies = blob is None and model.gives_probabilities and values.ndim <= 2
    if blob is None and not classifies:
        values = model.in_own_units(values)
    return Table(sources, positions, values, model.probabilities(values) if classifies else None, model.classes or None)


def write_csv(table: Table, path: str | None) -> None:
    """Columns file, index, then prediction, probability and a probability per class, or the values."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    p = table.probabilities
    flat = (table.values if p is None else p).reshape(len(table.files), -1)
    columns = [f"p{k}" if p is not None else f"v{k}" for k in range(flat.shape[1])]
    writer.writerow(["file", "index", *(["prediction", "probability"] if p is not None else []), *columns])
    for i, row in enumerate(flat):
        best: list[Any] = []
        if p is not None:
            k = int(row.argmax())
            best = [table.names[k] if table.names else k, f"{row[k]:.6g}"]
        writer.writerow([table.files[i], table.positions[i], *best, *(f"{v:.6g}" for v in row)])
    if path is None:
        print(end=buffer.getvalue())  # nothing where there is no stdout (`>&-`)
    else:
        atomic_write(path, printable(buffer.getvalue()).encode())


def write_npz(table: Table, path: str) -> None:
    """Arrays source (the file), index, values, and for classifiers prediction and probabilities."""
    arrays = {"source": np.array(table.files), "index": np.array(table.positions), "values": table.values}
    if table.probabilities is not None:
        arrays |= {"prediction": table.probabilities.argmax(axis=1), "probabilities": table.probabilities}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    atomic_write(path, buffer.getvalue())
