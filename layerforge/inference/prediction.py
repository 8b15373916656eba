"""Predictions: a trained net applied to files, as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays.functional import softmax
from ..data.inputs import read_inputs
from ..net import Net
from ..schema.errors import ConfigError
from ..schema.texts import printable
from ..snapshot import atomic_write
from .trained import Trained

PROBABILITIES = {"SoftmaxCrossEntropy": lambda s: softmax(np, s, 1), "NLLLoss": np.exp}


@dataclass
class Table:
    """A row per sample: where it comes from, the predicted class and its probability (for classifiers), the values."""

    files: list[str]
    positions: list[int]
    values: np.ndarray
    probabilities: np.ndarray | None
    names: Sequence[str] | None


def scores_blob(net: Net) -> tuple[str, str]:
    """The blob that the first loss reads, and the type of that loss; the last top where there is no loss."""
    steps = net.graph.phases["eval"].steps
    for step in steps:
        if step.node.layer.loss:
            return step.node.bottoms[0], step.node.layer.type_name
    return steps[-1].node.tops[0], ""


def predict(trained: Trained, files: Sequence[str], *, blob: str | None, name: str | None, batch_size: int) -> Table:
    """Apply the net to every sample of the files.

    Errors   ConfigError for a blob or input that does not exist; DataError for a file that cannot be used
    """
    net = trained.net
    chosen, loss = scores_blob(net) if blob is None else (blob, "")
    name = name or next(iter(net.graph.inputs))
    if name not in net.graph.inputs:
        raise ConfigError(f"the net has no input '{name}'", hint=f"its inputs: {', '.join(net.graph.inputs)}")
    sources: list[str] = []
    positions: list[int] = []
    results: list[np.ndarray] = []
    for file in files:
        samples = read_inputs(file, trained.sample_spec(name), name, trained.source, trained.kind(name))
        for start in range(0, len(samples), batch_size):
            part = {name: trained.prepare(name, samples[start : start + batch_size], file)}
            out = net.forward(phase="eval", outputs=chosen, **part)
            results.append(net.backend.to_host(out[chosen]))
        sources += [file] * len(samples)
        positions += range(len(samples))
    values = np.concatenate(results) if results else np.zeros((0, 1))
    probabilities = PROBABILITIES[loss](values) if loss in PROBABILITIES and values.ndim == 2 else None
    return Table(sources, positions, values, probabilities, trained.class_names())


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
