"""Predictions: a trained net applied to files or to standard input, as a table."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..data.text_files import JSON_LINES
from ..schema.errors import ConfigError, DataError, LayerForgeError
from ..schema.locations import Place
from ..schema.synonyms import did_you_mean
from ..schema.texts import from_json, printable, to_json
from ..snapshot import atomic_write
from .model import Model

STDIN, STDIN_NAME = "-", "standard input"
MAGIC = {b"PK\x03\x04": ".npz", b"\x89PNG": ".png", b"\x89HDF": ".h5", b"\x1f\x8b": ".gz", b"\0\0\x08": ".idx"}
MAGIC |= {b"\x93NUMPY": ".npy", b"PAR1": ".parquet"}
MAGIC |= {b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"II*\0": ".tif", b"MM\0*": ".tif"}
OWN_COLUMNS = ("file", "index", "prediction", "probability")


@dataclass
class Table:
    """A row per sample: where it comes from, and what the net says of it.

    values         what the net computes; values of a target are in its units
    columns        the name of each element of a row of the values, or of the probabilities where there are any
    classes        the number of the predicted class, for classifiers; of several independent answers 0 or 1 of each
    probabilities  of each class, or of each independent answer
    names          the names of the classes by number, where they have names
    """

    files: list[str]
    positions: list[int]
    blob: str
    values: np.ndarray
    columns: list[str]
    classes: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    names: Sequence[str] = ()

    @property
    def numbers(self) -> np.ndarray:
        """What the columns are of, a row per sample."""
        shown = self.values if self.probabilities is None else self.probabilities
        return shown.reshape(len(self.files), -1)

    @property
    def predictions(self) -> np.ndarray | None:
        """The predicted classes, by name where they have names; None for values, and for independent answers."""
        if self.classes is None or self.classes.ndim != 1:
            return None
        return np.array(self.names)[self.classes] if self.names else self.classes


def predict(
    model: Model, files: Sequence[str], *, blob: str | None, name: str | None, batch_size: int, stdin: BinaryIO
) -> Table:
    """Apply a model to every sample of the files.

    files  paths; "-" is standard input: CSV, JSON lines, or whatever else the model reads as a file
    blob   what is written; None: the scores that the loss reads, and what they say
    name   the input that the files are for; None: all that the blob is computed from, each by its name in the files

    Errors   ConfigError for a blob or input that does not exist; DataError for a file that cannot be used
    """
    chosen = blob or model.blob
    model.demand_blobs([chosen])
    names = _inputs(model, chosen, name)
    if list(files).count(STDIN) > 1:
        raise ConfigError("standard input was named twice", hint="name it once")
    sources: list[str] = []
    positions: list[int] = []
    results: list[np.ndarray] = []
    for file in files:
        samples, called = _samples(model, file, names, stdin)
        values = model.of_samples(samples, [chosen], batch_size, called)[chosen]
        results.append(values)
        sources += [called] * len(values)
        positions += range(len(values))
    return _table(model, sources, positions, chosen, np.concatenate(results), scores=blob is None)


def _inputs(model: Model, blob: str, name: str | None) -> list[str]:
    needed, known = model.inputs_of(blob), model.net.graph.inputs
    if name is None:
        return needed
    if name not in known:
        hint = did_you_mean(name, known) or f"its inputs: {', '.join(known)}"
        raise ConfigError(f"the net has no input '{name}'", hint=hint)
    if needed != [name]:
        hint = "leave --input out, and give files that hold all of them, or name a --blob of this input alone"
        raise ConfigError(f"blob '{blob}' is computed from {', '.join(needed)}, not from '{name}' alone", hint=hint)
    return [name]


def _table(
    model: Model, files: list[str], positions: list[int], blob: str, values: np.ndarray, *, scores: bool
) -> Table:
    answers = model.answers
    if not scores or not answers.classifies:
        values = model.in_own_units(values) if scores else values
        width = values[:1].size
        named = list(model.targets) if scores and len(model.targets) == width else [f"v{k}" for k in range(width)]
        return Table(files, positions, blob, values, named)
    p = answers.probabilities(values) if answers.gives_probabilities else None
    classes = answers.numbers(values)
    names = model.classes if answers.names_fit(values) else ()
    width = (values if p is None else p)[:1].size
    columns = (
        _class_columns(names) if len(names) == width else [f"{'v' if p is None else 'p'}{k}" for k in range(width)]
    )
    return Table(files, positions, blob, values, columns, classes, p, names)


def _class_columns(names: Sequence[str]) -> list[str]:
    """A column for each class: its name, with a p in front where that is a number or the name of another column."""
    return [f"p{name}" if name in OWN_COLUMNS or name.lstrip("-").isdigit() else name for name in names]


# Reading --------------------------------------------------------------------------------------------------------------


def _samples(model: Model, file: str, names: list[str], stdin: BinaryIO) -> tuple[dict[str, Any], str]:
    """The raw samples of a file, and what it is called."""
    if file == STDIN:
        return _of_stdin(model, names, stdin.read()), STDIN_NAME
    if Path(file).suffix.lower() in JSON_LINES:
        return model.convert(_json_lines(_content(file), file), names), file
    return model.read(file, names), file


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise DataError(f"cannot read {file}: {reason}", hint="check the path") from None


def _of_stdin(model: Model, names: list[str], content: bytes) -> dict[str, Any]:
    if not content.strip():
        raise DataError("standard input is empty", hint="CSV or JSON lines are read there")
    first = content.lstrip().partition(b"\n")[0]
    if first[:1] in b"{[" and _is_json(first):
        return model.convert(_json_lines(content, STDIN_NAME), names)
    suffix = next((suffix for magic, suffix in MAGIC.items() if content.startswith(magic)), model.text_suffix)
    handle, path = tempfile.mkstemp(suffix, "layerforge-")
    try:
        with open(handle, "wb") as copy:
            copy.write(content)
        return model.read(path, names)
    except LayerForgeError as error:
        raise _called(error, path) from None
    finally:
        os.unlink(path)


def _called(error: LayerForgeError, path: str) -> LayerForgeError:
    """The error of a copy of standard input, with that name in the place of the copy's."""
    error.message = error.message.replace(path, STDIN_NAME)
    error.hint = None if error.hint is None else error.hint.replace(path, STDIN_NAME)
    error.args = (error.message,)
    if error.place is not None and error.place.file == path:
        error.place = replace(error.place, file=STDIN_NAME)
    return error


def _is_json(line: bytes) -> bool:
    try:
        from_json(line)
    except (ValueError, RecursionError):
        return False
    return True


def _json_lines(content: bytes, name: str) -> list[Any]:
    """The value of each line that is not empty: an object of columns, or a list of numbers."""
    values = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values.append(from_json(line))
        except (ValueError, RecursionError):
            text = line[:200].decode("utf-8", "replace")
            raise DataError("is no JSON", place=Place(name, number, 1, text), hint="one JSON value a line") from None
    if not values:
        raise DataError(f"{name} holds no samples")
    return values


# Writing --------------------------------------------------------------------------------------------------------------


def rows(table: Table) -> Iterator[dict[str, Any]]:
    """Each sample as a mapping: file, index, then prediction and probabilities by class, or values."""
    predicted, numbers = table.predictions, table.numbers
    for i, row in enumerate(numbers.tolist()):
        known: dict[str, Any] = {"file": table.files[i], "index": table.positions[i]}
        if predicted is not None:
            known["prediction"] = predicted[i].item()
        word = "values" if table.probabilities is None else "probabilities"
        yield {**known, word: dict(zip(table.columns, row, strict=True))}


def write(table: Table, path: str | None) -> None:
    """Write .csv, .npz or .jsonl by the name of the file; CSV on stdout where there is none.

    Errors   ConfigError for another suffix; DataError where the file cannot be written
    """
    suffix = writable(path)
    if suffix == ".npz":
        content = npz_bytes(table)
    elif suffix == ".csv":
        content = printable(csv_text(table)).encode()
    else:
        content = "".join(to_json(row) + "\n" for row in rows(table)).encode()
    if path is None:
        print(end=csv_text(table))  # nothing where there is no stdout (`>&-`)
    else:
        atomic_write(path, content)


def writable(path: str | None) -> str:
    """The kind of a file of predictions. ConfigError where it is none."""
    suffix = ".csv" if path is None else Path(path).suffix.lower()
    if suffix not in (".csv", ".npz", *JSON_LINES):
        hint = "use a name that ends in .csv or .npz, or in .jsonl"
        raise ConfigError(f"cannot write predictions as '{suffix}'", hint=hint)
    return suffix


def csv_text(table: Table) -> str:
    """Columns file and index; of classifiers prediction and probability; then a column per class, or per value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    predicted, best = table.predictions, None
    head = ["file", "index"]
    if predicted is not None:
        head.append("prediction")
        if table.probabilities is not None:
            head.append("probability")
            best = table.probabilities.max(axis=1)
    writer.writerow([*head, *table.columns])
    for i, row in enumerate(table.numbers):
        own: list[Any] = [] if predicted is None else [predicted[i]]
        own += [] if best is None else [f"{best[i]:.6g}"]
        writer.writerow([table.files[i], table.positions[i], *own, *(f"{v:.6g}" for v in row)])
    return buffer.getvalue()


def npz_bytes(table: Table) -> bytes:
    """Arrays source (the file), index, values, columns; for classifiers prediction, probabilities and class_names."""
    arrays: dict[str, Any] = {
        "source": np.array(table.files),
        "index": np.array(table.positions),
        "values": table.values,
        "columns": np.array(table.columns),
    }
    if table.classes is not None:
        arrays["prediction"] = table.classes
    if table.probabilities is not None:
        arrays["probabilities"] = table.probabilities
    if table.names:
        arrays["class_names"] = np.array(table.names)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
