"""The scores and answers of a written net for raw samples against those of the model, before anything is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...check.harness import SEED, draw
from ...data.kinds import Kind
from ...inference.model import Model
from ...schema.errors import LayerForgeError
from .checking import demand_equal, run_alone, tolerance_of, twin_of, unlike
from .raw import Table, columns_of, side_of
from .use_text import Use

SAMPLES = (2, 1, 5)  # how many are tried, until the net takes them
GAPS = 0.2  # share of missing cells


def demand_same_use(
    model: Model, source: str, arrays: Mapping[str, np.ndarray], inputs: Sequence[str], use: Use
) -> None:
    """Run both on random raw samples as training read them. Errors   ConfigError where they differ"""
    trained: Any = model._trained
    net = twin_of(model.net)
    for samples in SAMPLES:
        rng = np.random.default_rng([SEED, 3])
        raw = {name: _drawn(trained.transform.kinds.get(name), use, name, samples, rng) for name in inputs}
        try:
            ready = {name: trained.transform(name, _read(trained, name, raw[name]), net.dtype) for name in inputs}
            net.reset_carried("eval")
            scores = net.forward(phase="eval", outputs=(model.blob,), **ready)[model.blob]
        except LayerForgeError:  # not what these layers take, or not so many samples
            continue
        ours = np.asarray(net.backend.to_host(scores))
        written = run_alone(source)["Net"](dict(arrays))
        try:
            with np.errstate(all="ignore"):
                theirs = np.asarray(written.scores(*raw.values()))
        except Exception as problem:
            raise unlike(f"scores fails where the net does not: {type(problem).__name__}: {problem}") from problem
        demand_equal(model.blob, ours, theirs, tolerance_of(net))
        if not np.isnan(theirs).any():
            _demand_answers(model, theirs, np.asarray(written.predict(*raw.values())))
        return


def _demand_answers(model: Model, scores: np.ndarray, theirs: np.ndarray) -> None:
    """Of the same scores."""
    ours = model.answers.of(scores) if model.answers.classifies else model.in_own_units(scores)
    same = ours.shape == theirs.shape and ours.dtype.kind == theirs.dtype.kind
    if not same or not (np.array_equal(ours, theirs) if ours.dtype.kind in "iuU" else np.allclose(ours, theirs, 1e-5)):
        raise unlike(f"predict says other things: {str(theirs)[:60]} instead of {str(ours)[:60]}")


def _drawn(kind: Kind | None, use: Use, name: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Raw samples as training saw them."""
    spec: Spec = use.specs[name]
    if name in use.tables:
        return _rows(use.tables[name], samples, rng)
    if kind is None or not spec.is_real:
        return np.asarray(draw(spec.with_shape((samples, *spec.shape)), rng))
    shape, dtype = (samples, *kind.shape), np.dtype(kind.dtype)
    if dtype.kind in "iu":
        return rng.integers(int(kind.low), int(kind.high), shape, endpoint=True).astype(dtype)
    return (kind.low + (kind.high - kind.low) * rng.random(shape)).astype(dtype)


def _rows(table: Table, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of a table, with cells that are missing where they may be."""
    scale = np.array([1 / factor if factor else 1.0 for factor in table.factor])
    rows = table.mean + scale * rng.normal(size=(samples, len(scale)))
    may_miss = ~np.isnan(table.missing) if table.missing else False
    return np.where((rng.random(rows.shape) < GAPS) & may_miss, np.nan, rows)


def _read(trained: Any, name: str, raw: np.ndarray) -> np.ndarray:
    """What the reader of training makes of samples."""
    columns = columns_of(trained, name)
    if columns is None or columns.is_plain:
        return raw
    reader: Any = side_of(trained.reader, name)
    return np.asarray(reader.convert(raw, ["x"], {})[0]["x"])  # as a table's reader calls it
